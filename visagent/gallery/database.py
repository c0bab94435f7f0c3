"""The database of a gallery: SQLite in a private folder by default, PostgreSQL by address; migrated when opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from visagent.errors import GalleryError, NotAGallery
from visagent.gallery.tables import VERSION

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

FILE_NAME: Final = "gallery.sqlite"
KEY_NAME: Final = "master.key"
VERSION_TABLE: Final = "visagent_gallery_version"
BUSY_SECONDS: Final = 30
_WRITERS_LOCK: Final = 0x76697361  # PostgreSQL: any number, the same in every process
_TABLES: Final = {"collections", "people", "samples", "sightings"}
_EXPLANATIONS: Final[tuple[tuple[tuple[str, ...], type[GalleryError], str], ...]] = (
    (("not a database", "malformed"), NotAGallery,
     "The gallery's file is no SQLite database, or damaged; restore it from a copy, or name another folder."),
    (("password", "authentication"), GalleryError,
     "The database server refuses the user or password of the gallery's address."),
    (("does not exist",), GalleryError,
     "The database server has no database or user of that name; create it first (createdb NAME)."),
    (("locked",), GalleryError, "Another process is writing to the gallery; try again in a moment."),
    (("readonly", "read-only", "unable to open"), GalleryError,
     "The gallery's file cannot be opened or written; is it yours?"),
    (("disk is full", "no space"), GalleryError, "The disk is full; nothing was changed."),
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a gallery lives.

    Attributes:
        folder: Private folder with the master key, and with the database where that is SQLite.
        url: Address of a PostgreSQL database, `postgresql://user@host/name`; None for SQLite.
    """

    folder: Path
    url: str | None = None

    @property
    def key_file(self) -> Path:
        """The master key."""
        return self.folder / KEY_NAME


def connect(location: Location) -> Engine:
    """Open the database and bring its tables up to date; they are made if there are none.

    Raises:
        NotAGallery: The file is no SQLite database, or the database belongs to something else or a newer visagent.
        GalleryError: The folder cannot be made, or the server does not answer.
    """
    engine = _sqlite(location.folder / FILE_NAME) if location.url is None else _postgresql(location.url)
    try:
        with engine.begin() as connection:
            current = _is_current(connection)
        if not current:
            with writing(engine) as connection:
                _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        raise explained(error) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment, whatever others write meanwhile."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # SQLite does so by itself
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write: it waits for other writers at its beginning, one at a time."""
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
        yield connection


def explained(error: SQLAlchemyError) -> GalleryError:
    """What to tell a person about a driver's error, whose own message may hold a path, an address or a password."""
    words = str(error).lower()
    for signs, kind, message in _EXPLANATIONS:
        if any(sign in words for sign in signs):
            return kind(message)
    return GalleryError("The gallery's database does not answer; is the server running, and the address right?")


def scrub(engine: Engine) -> bool:
    """Make deleted rows vanish from the files, as far as the database lets us; after every forgetting.

    SQLite overwrites deleted cells at once (`secure_delete`); what is left in the write-ahead log is cut off here.
    PostgreSQL's dead rows are reused only after a VACUUM.

    Returns:
        False if another process was reading, so that the log could not be cut off yet; the next one does it.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            busy, _, _ = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()
        return not busy
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("people", "samples", "sightings"):
            connection.execute(text(f"VACUUM {table}"))
    return True


def _sqlite(file: Path) -> Engine:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here and not by SQLite, so that it is never readable by others, not even for a moment.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        raise GalleryError("The gallery's folder cannot be made or written; choose another with `gallery`.") from None
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin in `_begin`
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON",
                       "temp_store=MEMORY", "trusted_schema=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Python's driver would begin late, and a reader that turns into a writer fails where another wrote meanwhile.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _postgresql(url: str) -> Engine:
    try:
        address = make_url(url)
        if address.get_backend_name() != "postgresql":
            raise GalleryError("A gallery's address begins with postgresql://; for SQLite name a folder.")
        return create_engine(address.set(drivername="postgresql+psycopg"), pool_pre_ping=True,
                             connect_args={"connect_timeout": 10})
    except ArgumentError:
        raise GalleryError("The gallery's address cannot be read; write postgresql://user@host:port/name.") from None
    except (NoSuchModuleError, ImportError):
        raise GalleryError("A gallery on PostgreSQL needs a driver: pip install 'visagent[postgresql]'.") from None


def _is_current(connection: Connection) -> bool:
    """Whether the tables are those of this visagent; False if they must be made or migrated. Raises NotAGallery."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if found is not None and found > VERSION:
            raise NotAGallery(f"The gallery was written by a newer visagent (its version {found}, this one knows "
                              f"{VERSION}); update visagent.")
        return bool(found == VERSION)
    if tables & _TABLES or (tables and connection.dialect.name == "sqlite"):
        raise NotAGallery("The database holds other things than a gallery of visagent; name an empty place.")
    return False


def _migrate(connection: Connection) -> None:
    if _is_current(connection):  # two processes opened a new gallery at once, and the other was faster
        return
    from alembic import command
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", "visagent.gallery:migrations")
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
