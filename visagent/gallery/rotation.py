"""A new master key for a gallery: copies of the database from before, with wrapped keys in them, become worthless.

The order makes every moment safe: the new key is on disk before the database is changed, the database changes in one
transaction, and the new file takes the old one's place last. Whoever opens the gallery after a crash in between finds
two key files, and keeps the one that the database was sealed with.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DBAPIError

from visagent.errors import GalleryError, WrongKey
from visagent.gallery.database import Location, connect, explained, scrub, writing
from visagent.gallery.keys import (
    AUDIT_KEY,
    MasterKey,
    create_master_key,
    keep_audit_key,
    load_master_key,
    seal,
    unseal,
)
from visagent.gallery.records import Card, comparable
from visagent.gallery.tables import Collection, Person

KEY_CHECK = "gallery key check"


def rotate_master_key(location: Location) -> int:
    """Wrap every person's key by a new master key, and destroy the old one; how many people.

    Raises:
        WrongKey: The master key in place does not open the gallery.
        GalleryError: The database does not answer, or another process is writing.
    """
    settle(location)
    old = load_master_key(location.key_file)
    keep_audit_key(location.folder / AUDIT_KEY, old)  # what the old key has sealed in the trail stays checkable
    fresh = _fresh(location)
    new = create_master_key(fresh)
    engine = connect(location)
    try:
        with writing(engine) as connection:
            count = _rewrap(connection, old, new)
    except DBAPIError as error:
        fresh.unlink(missing_ok=True)
        raise explained(error) from None
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    else:
        _replace(location)
        scrub(engine)
    finally:
        engine.dispose()
    return count


def settle(location: Location) -> None:
    """Finish or undo a rotation that was cut off. Raises GalleryError."""
    fresh = _fresh(location)
    if not fresh.exists():
        return
    new = load_master_key(fresh)
    engine = connect(location)
    try:
        with engine.connect() as connection:
            sealed_anew = any(bytes(row.key_check) == new.tag(KEY_CHECK, row.id)
                              for row in connection.execute(select(Collection)))
    finally:
        engine.dispose()
    if sealed_anew:
        _replace(location)
    else:
        fresh.unlink()


def _fresh(location: Location) -> Path:
    return location.key_file.with_suffix(".new")


def _replace(location: Location) -> None:
    """Write over the old key before its name goes to the new file."""
    try:
        with location.key_file.open("r+b") as stream:
            stream.write(os.urandom(64))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(_fresh(location), location.key_file)
        folder = os.open(location.key_file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError:
        raise GalleryError("The new master key cannot take the old one's place; is the folder yours?") from None


def _rewrap(connection: Connection, old: MasterKey, new: MasterKey) -> int:
    count = 0
    before, after = old.derived("wrap"), new.derived("wrap")
    for collection in connection.execute(select(Collection)).all():
        if bytes(collection.key_check) != old.tag(KEY_CHECK, collection.id):
            raise WrongKey("The master key is not the one that this gallery was made with: put the right file "
                           "master.key in its place.")
        for person in connection.execute(select(Person).where(Person.collection_id == collection.id)).all():
            key = unseal(before, person.wrapped_key, collection.id, person.id, "key")
            card = Card.model_validate_json(unseal(key, person.sealed_card, collection.id, person.id, "card"))
            connection.execute(update(Person).where(Person.id == person.id).values(
                wrapped_key=seal(after, key, collection.id, person.id, "key"),
                name_tag=new.tag("name", f"{collection.id} {comparable(card.name)}")))
            count += 1
        connection.execute(update(Collection).where(Collection.id == collection.id).values(
            key_check=new.tag(KEY_CHECK, collection.id)))
    return count
