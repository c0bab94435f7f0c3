"""Names that only whoever finds the person can read.

A record's identity is a random number of 128 bits. The name is sealed with a key grown from that number and found by a
tag grown from it, so a list of all names can lie with everybody: it tells how many people there are, and no more.
"""

from __future__ import annotations

import hmac
import secrets

from visagent.errors import DamagedRecord, TamperedGallery
from visagent.gallery.keys import seal, unseal

IDENTITY_BYTES = 16
PADDED = 128
"""Bytes to which names are filled up before they are sealed, so that their lengths do not show."""


def new_identity() -> bytes:
    """A random number that is not zero: zero stands for nobody."""
    while not any(identity := secrets.token_bytes(IDENTITY_BYTES)):
        pass
    return identity


def seal_name(identity: bytes, name: str) -> tuple[str, str]:
    """The tag and the sealed name, both hexadecimal."""
    plain = name.encode()
    plain += bytes(-len(plain) % PADDED)
    return _grown(identity, "tag")[:8].hex(), seal(_grown(identity, "name"), plain, "private name").hex()


def open_name(identity: bytes, names: dict[str, str]) -> str:
    """The name of an identity. Raises DamagedRecord if there is none, or it was changed."""
    sealed = names.get(_grown(identity, "tag")[:8].hex())
    try:
        if sealed is not None:
            return unseal(_grown(identity, "name"), bytes.fromhex(sealed), "private name").rstrip(b"\0").decode()
    except (TamperedGallery, ValueError):
        pass
    raise DamagedRecord("A person was found, and the list of sealed names does not hold the name. Publish the gallery "
                        "again with `visagent private publish`, and copy the folder of the user anew.")


def _grown(identity: bytes, purpose: str) -> bytes:
    return hmac.digest(identity, f"visagent private {purpose}".encode(), "sha256")
