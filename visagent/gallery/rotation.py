"""A new master key for a gallery: copies of the database from before, with wrapped keys in them, become worthless.

The order makes every moment safe: the new key is on disk before the database is changed, the database changes in one
transaction, and the new file takes the old one's place last. Whoever opens the gallery after a crash in between finds
two key files, and keeps the one that the database was sealed with. Only one process at a time touches key files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    engine = connect(location)
    try:
        with ExitStack() as until_replaced:
            # The database first, then the key files: who follows a new key waits for these within a transaction.
            # If it fails, whoever opens the gallery next finds two key files, and `settle` undoes or finishes it.
            with writing(engine) as connection:
                until_replaced.enter_context(rotation_lock(location))
                _settle(location)
                old = load_master_key(location.key_file)
                keep_audit_key(location.folder / AUDIT_KEY, old)  # what it sealed in the trail stays checkable
                new = create_master_key(_fresh(location))
                count = _rewrap(connection, old, new)
            _replace(location)
        scrub(engine)
    except DBAPIError as error:
        raise explained(error) from None
    finally:
        engine.dispose()
    return count


@contextmanager
def rotation_lock(location: Location) -> Iterator[None]:
    """Wait until no other process changes the key files, and keep others from it. Raises GalleryError."""
    try:
        location.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(location.folder / "rotation.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        raise GalleryError("The gallery's folder cannot be written; is it yours?") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class CurrentKey:
    """The master key of an open gallery, which another process may replace at any time.

    Args:
        location: Where the gallery lives.
        sealed: Whether anything was ever sealed there; if not, and no key is there, a new one is made.

    Attributes:
        master: The key.
        wrapping: What wraps people's keys, made of it.

    Raises:
        WrongKey: It is missing, readable by others, or no key.
    """

    def __init__(self, location: Location, *, sealed: bool) -> None:
        self._location = location
        self._check = b""
        with rotation_lock(location):
            there = sealed or location.key_file.exists()
            self._use(load_master_key(location.key_file) if there else create_master_key(location.key_file))

    def follow(self, check: bytes, collection: str) -> None:
        """Take up the key that a collection is sealed with now: what is written with an old one could never be read.

        Args:
            check: The collection's key check, read in the transaction that goes on.
            collection: Its id.

        Raises:
            WrongKey: The key in place is not the one that the collection is sealed with.
        """
        if check == self._check:
            return
        if self.master.tag(KEY_CHECK, collection) != check:
            with rotation_lock(self._location):  # the new key's file is in place when the other process is done
                key = load_master_key(self._location.key_file)
            if key.tag(KEY_CHECK, collection) != check:
                raise WrongKey("The master key is not the one that this gallery was made with: put the right file "
                               "master.key in its place.")
            self._use(key)
        self._check = check

    def _use(self, key: MasterKey) -> None:
        self.master, self.wrapping = key, key.derived("wrap")


def settle(location: Location) -> None:
    """Finish or undo a rotation that was cut off; one that goes on is waited for. Raises GalleryError."""
    if _fresh(location).exists():
        with rotation_lock(location):
            _settle(location)


def _settle(location: Location) -> None:
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
        for person in connection.execute(select(Person.id, Person.wrapped_key, Person.sealed_card).where(
                Person.collection_id == collection.id)).all():
            key = unseal(before, person.wrapped_key, collection.id, person.id, "key")
            card = Card.model_validate_json(unseal(key, person.sealed_card, collection.id, person.id, "card"))
            connection.execute(update(Person).where(Person.id == person.id).values(
                wrapped_key=seal(after, key, collection.id, person.id, "key"),
                name_tag=new.tag("name", f"{collection.id} {comparable(card.name)}")))
            count += 1
        connection.execute(update(Collection).where(Collection.id == collection.id).values(
            key_check=new.tag(KEY_CHECK, collection.id)))
    return count
