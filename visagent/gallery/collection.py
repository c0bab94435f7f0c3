"""Find a collection, or make it: what it was made with is checked before anything of it is read."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from visagent.errors import ContractMismatch, NotAGallery
from visagent.gallery.records import comparable
from visagent.gallery.rotation import KEY_CHECK, CurrentKey
from visagent.gallery.tables import Collection
from visagent.vision.encoder import EmbeddingContract


def open_collection(connection: Connection, name: str, contract: EmbeddingContract, key: CurrentKey,
                    retention_days: int | None) -> str:
    """The id of a collection, in a transaction that may write; made if there is none of the name.

    Args:
        connection: Of the caller's transaction.
        name: The collection's.
        contract: Of the encoder in use.
        key: Follows the key that the collection is sealed with.
        retention_days: Kept with the collection; None leaves what it has.

    Raises:
        WrongKey: The key in place is not the one that the collection is sealed with.
        NotAGallery: Its contract cannot be read.
        ContractMismatch: It holds embeddings of another encoder.
    """
    row = connection.execute(select(Collection).where(Collection.name == comparable(name))).one_or_none()
    if row is None:
        identity = uuid.uuid4().hex
        connection.execute(insert(Collection).values(
            id=identity, name=comparable(name), contract=contract.model_dump_json(), revision=0,
            created=datetime.now(UTC), key_check=key.master.tag(KEY_CHECK, identity), retention_days=retention_days))
        return identity
    key.follow(bytes(row.key_check), row.id)
    try:
        held = EmbeddingContract.model_validate_json(row.contract)
    except ValueError:
        raise NotAGallery("The gallery's contract cannot be read; restore the gallery from a copy.") from None
    if held.id != contract.id:
        raise ContractMismatch(f"The gallery holds templates of {held}, and the encoder in use is {contract}; choose "
                               "that encoder, another collection, or enrol anew.")
    if retention_days is not None and retention_days != row.retention_days:
        connection.execute(update(Collection).where(Collection.id == row.id).values(retention_days=retention_days))
    return str(row.id)
