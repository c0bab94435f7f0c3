"""What must not happen twice, kept on disk: a dealt random number is used once, a query is answered once.

A number is marked as used before it is used. Should the server die in between, it is lost and never used again.

The ledger must never be put back from a copy, nor deleted while its numbers last: it would forget what is used. The
other server's ledger still knows then, and both agree on the higher count; if both are lost, deal new numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from visagent.errors import BadMessage, DamagedRecord, PrivateMatchError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

VERSION: Final = 1
"""Of the tables; kept in the file."""
BUSY_S: Final = 10
"""Seconds to wait for another thread or process that is writing."""
GREATEST: Final = 1 << 62
QUERY_BYTES: Final = range(16, 65)
"""Lengths of a query's id: long enough that two never meet by chance, and bounded."""
UNUSABLE: Final = "The server's ledger cannot be read or written; is it yours, and the disk not full?"
DAMAGED: Final = ("The server's ledger is damaged, or something else. Deal new random numbers with `visagent private "
                  "publish`, and start without the old ledger.")
_TABLES: Final = (
    "CREATE TABLE used (pool TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (pool, number)) STRICT, "
    "WITHOUT ROWID",
    "CREATE TABLE queries (id BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX queries_until ON queries (until)",
    f"PRAGMA user_version = {VERSION}",
)


class Ledger:
    """A server's ledger; made if there is none. For any number of threads, and safe if two processes have it open.

    Args:
        file: In the server's folder; only its owner can read it.

    Raises:
        DamagedRecord: The file is something else, or of a newer version.
        PrivateMatchError: It cannot be made or opened.
    """

    def __init__(self, file: Path) -> None:
        self._engine = _open(file)
        self._closed = False
        try:
            with self._writing() as connection:
                _prepare(connection)
        except BaseException:
            self.close()
            raise

    def next_of(self, pool: str) -> int:
        """The number after the highest of a pool that is used, from 0.

        Raises:
            PrivateMatchError: The ledger cannot be read.
        """

        self._demand_open()
        with _explained(), self._engine.connect() as connection:
            return _next(connection, pool)

    def take_next(self, pool: str, at_least: int = 0) -> int:
        """Mark a number as used that was never used before, and return it. It is on disk when this returns.

        Args:
            pool: Of which the number is.
            at_least: It is no lower than this.

        Raises:
            BadMessage: There is no such number.
            PrivateMatchError: The ledger cannot be written.
        """
        with self._writing() as connection:
            index = max(_next(connection, pool), at_least)
            _mark(connection, pool, index)
            return index

    def take(self, pool: str, index: int) -> None:
        """Mark a number of a pool as used. It is on disk when this returns.

        Queries that run at once may take theirs in any order.

        Raises:
            BadMessage: It is used already.
            PrivateMatchError: The ledger cannot be written. The number must not be used.
        """
        with self._writing() as connection:
            _mark(connection, pool, index)

    def first_time(self, query: bytes, now: datetime, keep_s: int) -> bool:
        """Whether a query is new; from then on it is not.

        Args:
            query: Its id, 16 to 64 random bytes.
            now: The time, with its zone.
            keep_s: Seconds to remember it: no less than for how long its own time has it accepted.

        Raises:
            BadMessage: The id has another length.
            PrivateMatchError: The ledger cannot be written. The query must not be answered.
        """
        from sqlalchemy import text

        if len(query) not in QUERY_BYTES:
            raise BadMessage("A query's id is no such thing.")
        moment = int(now.timestamp())
        with self._writing() as connection:
            connection.execute(text("DELETE FROM queries WHERE until < :now"), {"now": moment})
            added = connection.execute(text(
                "INSERT INTO queries (id, until) VALUES (:id, :until) ON CONFLICT DO NOTHING"),
                {"id": query, "until": moment + keep_s})
            return bool(added.rowcount == 1)

    def close(self) -> None:
        """Let go of the file; nothing can be taken any more."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other writer shares; what it wrote is on disk when it ends."""
        self._demand_open()
        with _explained(), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def _demand_open(self) -> None:
        if self._closed:
            raise PrivateMatchError("The server is stopping; ask again when it runs.")


def _next(connection: Connection, pool: str) -> int:
    from sqlalchemy import text

    highest = connection.execute(text("SELECT max(number) FROM used WHERE pool = :pool"), {"pool": pool}).scalar()
    return 0 if highest is None else int(highest) + 1


def _mark(connection: Connection, pool: str, index: int) -> None:
    from sqlalchemy import text

    if not 0 <= index < GREATEST:
        raise BadMessage("There are no random numbers of this index.")
    added = connection.execute(text("INSERT INTO used (pool, number) VALUES (:pool, :index) ON CONFLICT DO NOTHING"),
                               {"pool": pool, "index": index})
    if added.rowcount != 1:
        raise BadMessage("The random numbers meant for this query were used before; ask again.")


def _open(file: Path) -> Engine:
    from sqlalchemy import URL, create_engine, event

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here and not by SQLite, so that it is never open to others, not even for a moment.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        raise PrivateMatchError(UNUSABLE) from None
    engine = create_engine(URL.create("sqlite", database=str(file)), connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin in `_begin`
        cursor = connection.cursor()
        _keep_a_log(cursor)
        # FULL: every commit is on disk before anybody acts on it.
        for pragma in ("synchronous=FULL", "trusted_schema=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Python's driver would begin late, and a reader that turns into a writer fails where another wrote meanwhile.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _keep_a_log(cursor: DBAPICursor) -> None:
    """Write ahead. Here alone SQLite itself does not wait for others, where several open a new file at once."""
    from sqlite3 import OperationalError

    ends = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except OperationalError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.01)


def _prepare(connection: Connection) -> None:
    """Make the tables if the file is empty. Raises DamagedRecord if it is not, and no ledger either."""
    found = connection.exec_driver_sql("PRAGMA user_version").scalar()
    if found == VERSION:
        return
    if found:
        raise DamagedRecord(f"The ledger was written by a newer visagent (its version {found}, this one knows "
                            f"{VERSION}); update visagent.")
    if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar():
        raise DamagedRecord(DAMAGED)
    for statement in _TABLES:
        connection.exec_driver_sql(statement)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns a driver's error, whose own message may hold a path, into one for people."""
    from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

    try:
        yield
    except OperationalError as error:
        if "locked" in str(error).lower():
            raise PrivateMatchError("Another process is writing to the server's ledger; is the server running "
                                    "twice?") from None
        raise PrivateMatchError(UNUSABLE) from None
    except DatabaseError:
        raise DamagedRecord(DAMAGED) from None
    except SQLAlchemyError:
        raise PrivateMatchError(UNUSABLE) from None
