"""The one small picture that a person may choose to keep: sealed like a template, beside the person's key.

Each function works within a transaction of its caller. A newer picture takes the place of the older one.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from visagent.gallery.keys import seal, unseal
from visagent.gallery.tables import Person


def put_thumbnail(connection: Connection, collection: str, person: str, key: bytes, jpeg: bytes) -> None:
    """Seal and store it; `key` is the person's."""
    connection.execute(update(Person).where(Person.id == person).values(
        sealed_thumbnail=seal(key, jpeg, collection, person, "thumbnail")))


def read_thumbnail(connection: Connection, collection: str, person: str, key: bytes) -> bytes | None:
    """The JPEG bytes; None if the person has none. Raises TamperedGallery."""
    sealed = connection.scalar(select(Person.sealed_thumbnail).where(Person.id == person))
    return None if sealed is None else unseal(key, sealed, collection, person, "thumbnail")


def remove_thumbnail(connection: Connection, person: str) -> bool:
    """Take it away; whether there was one."""
    return connection.execute(update(Person).where(
        Person.id == person, Person.sealed_thumbnail.is_not(None)).values(sealed_thumbnail=None)).rowcount > 0
