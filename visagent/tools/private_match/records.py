"""What a server holds of a gallery: sealed records and dealt random numbers, in one SQLite file that the authority
writes and the server only reads.

Every row is sealed by AES-256-GCM with the server's storage key, bound to the key pair, the generation of the gallery,
its kind and its place: a row that was changed, moved, or taken from another gallery does not open.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import ValidationError
from sqlalchemy import URL, Column, Integer, LargeBinary, MetaData, String, Table, create_engine, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from visagent.errors import DamagedRecord, RandomnessSpent, TamperedGallery
from visagent.gallery.keys import seal, unseal
from visagent.tools.private_match.parties import Terms

RECORDS_FILE: Final = "records.sqlite"
DAMAGED: Final = ("What this server holds of the gallery is missing, damaged, or not what was sealed for it; publish "
                  "it again with `visagent private publish`.")

_METADATA: Final = MetaData()
_ROWS: Final = Table("rows", _METADATA, Column("kind", String, primary_key=True),
                     Column("place", Integer, primary_key=True), Column("sealed", LargeBinary, nullable=False))
_ABOUT: Final = Table("about", _METADATA, Column("generation", Integer, primary_key=True),
                      Column("pool", String, nullable=False), Column("sealed", LargeBinary, nullable=False))


@dataclass(frozen=True, slots=True)
class Pool:
    """Dealt random numbers.

    Attributes:
        id: Of this dealing; random.
        queries: For how many queries they last.
        seed: Of this server.
    """

    id: str
    queries: int
    seed: bytes


class RecordsWriter:
    """The authority's side: a new file that takes the old one's place when it is whole.

    Args:
        folder: Of the server.
        key: The server's storage key.
        key_id: Of the public key.
        terms: Of the gallery.
        pool: The dealt numbers.
    """

    def __init__(self, folder: Path, key: bytes, key_id: str, terms: Terms, pool: Pool) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._final = folder / RECORDS_FILE
        for left_over in folder.glob(f".{RECORDS_FILE}.*"):  # of a publication that was killed
            left_over.unlink(missing_ok=True)
        self._fresh = folder / f".{RECORDS_FILE}.{os.urandom(8).hex()}"
        os.close(os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._key, self._bound = key, (key_id, str(terms.generation), pool.id)
        self._engine = create_engine(URL.create("sqlite", database=str(self._fresh)))
        _METADATA.create_all(self._engine)
        about = terms.model_dump_json() + "\n" + f"{pool.queries} {pool.seed.hex()}"
        with self._engine.begin() as connection:
            connection.execute(insert(_ABOUT), {"generation": terms.generation, "pool": pool.id, "sealed": seal(
                key, about.encode(), *self._bound, "about")})

    def write(self, kind: str, rows: Iterable[bytes]) -> None:
        """Seal rows of a kind and keep them, in their order."""
        with self._engine.begin() as connection:
            for place, row in enumerate(rows):
                connection.execute(insert(_ROWS), {"kind": kind, "place": place, "sealed": seal(
                    self._key, row, *self._bound, kind, str(place))})

    def finish(self) -> None:
        """Put the file in place."""
        self._engine.dispose()
        with self._fresh.open("rb") as stream:
            os.fsync(stream.fileno())
        self._fresh.replace(self._final)

    def give_up(self) -> None:
        """Leave the old file in place, and nothing behind."""
        self._engine.dispose()
        self._fresh.unlink(missing_ok=True)


class Records:
    """The server's side. Raises DamagedRecord when made or read, wherever a row is missing or does not open.

    Args:
        folder: Of the server.
        key: Its storage key.
        key_id: Of the public key.
    """

    def __init__(self, folder: Path, key: bytes, key_id: str) -> None:
        self._file = folder / RECORDS_FILE
        self._key = key
        self._one_at_a_time = threading.Lock()
        if not self._file.is_file():
            raise DamagedRecord(DAMAGED)
        self.stamp = stamp_of(folder)
        self._engine = _read_only(self._file)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(select(_ABOUT)).one()
            self._bound: tuple[str, ...] = (key_id, str(row.generation), row.pool)
            about = unseal(key, row.sealed, *self._bound, "about").decode()
            terms, _, pool = about.rpartition("\n")
            queries, seed = pool.split()
            self.terms = Terms.model_validate_json(terms)
            self.pool = Pool(row.pool, int(queries), bytes.fromhex(seed))
        except (SQLAlchemyError, TamperedGallery, ValidationError, ValueError, TypeError):
            self._engine.dispose()
            raise DamagedRecord(DAMAGED) from None

    def read(self, kind: str, count: int) -> Iterator[bytes]:
        """All rows of a kind in their order, `count` of them."""
        try:
            with self._one_at_a_time, self._engine.connect() as connection:
                rows = connection.execute(select(_ROWS).where(_ROWS.c.kind == kind).order_by(_ROWS.c.place)).all()
            if len(rows) != count:
                raise DamagedRecord(DAMAGED)
            for place, row in enumerate(rows):
                yield unseal(self._key, row.sealed, *self._bound, kind, str(place))
        except (SQLAlchemyError, TamperedGallery, TypeError):
            raise DamagedRecord(DAMAGED) from None

    def dealt(self, index: int) -> bytes:
        """Server 1's corrections for a query. Raises RandomnessSpent if there are none for it any more."""
        if index >= self.pool.queries:
            raise RandomnessSpent("The random numbers dealt for queries are used up. Deal new ones with `visagent "
                                  "private publish`.")
        try:
            with self._one_at_a_time, self._engine.connect() as connection:
                row = connection.execute(select(_ROWS).where(_ROWS.c.kind == "dealt", _ROWS.c.place == index)).one()
            return unseal(self._key, row.sealed, *self._bound, "dealt", str(index))
        except (SQLAlchemyError, TamperedGallery, TypeError):
            raise DamagedRecord(DAMAGED) from None

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def query_seed(seed: bytes, index: int) -> bytes:
    """A server's seed for one query, grown from its seed of the pool."""
    return hmac.digest(seed, index.to_bytes(8, "big"), "sha256")


def halves(count: int) -> tuple[range, range]:
    """Which records server 1 leads in the reference way, and which server 2."""
    middle = (count + 1) // 2
    return range(middle), range(middle, count)


def stamp_of(folder: Path) -> tuple[int, int]:
    """Changes whenever another file takes the place of the one that was read."""
    try:
        found = (folder / RECORDS_FILE).stat()
    except OSError:
        raise DamagedRecord(DAMAGED) from None
    return found.st_ino, found.st_mtime_ns


def _read_only(file: Path) -> Engine:
    # Read only and without a journal, so nothing is written beside the file. One connection for good: another one,
    # opened later, might find the next generation's file in this one's place.
    address = f"file:{quote(str(file.absolute()))}?mode=ro&immutable=1"
    return create_engine("sqlite://", poolclass=StaticPool,
                         creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False))
