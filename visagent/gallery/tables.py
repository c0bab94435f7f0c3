"""The tables. What a person could be known by is sealed; the rest is ids, times and counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import DateTime, ForeignKey, LargeBinary, String, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = "0002"
"""The newest migration; a test holds the migrations to it."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite knows no time zones, so they are put back when a time is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {bytes: LargeBinary, datetime: Moment}


class Collection(Table):
    """A set of people that is searched as one, with one contract."""

    __tablename__ = "collections"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    contract: Mapped[str] = mapped_column(Text)
    key_check: Mapped[bytes]
    retention_days: Mapped[int | None]
    revision: Mapped[int]
    created: Mapped[datetime]


class Person(Table):
    """One person of a collection."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("collection_id", "name_tag"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    name_tag: Mapped[bytes]
    wrapped_key: Mapped[bytes]
    sealed_card: Mapped[bytes]
    created: Mapped[datetime]
    expires: Mapped[datetime | None] = mapped_column(index=True)
    sealed_thumbnail: Mapped[bytes | None]


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person's row as far as it is needed to open the person's records."""

    id: str
    wrapped_key: bytes
    sealed_card: bytes
    created: datetime
    expires: datetime | None
    has_thumbnail: bool = False


class Sample(Table):
    """One template of a person."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("person_id", "picture_tag"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    picture_tag: Mapped[bytes]
    sealed_template: Mapped[bytes]
    created: Mapped[datetime]


class Sighting(Table):
    """One mated score: when a person was recognised, and how alike. No picture."""

    __tablename__ = "sightings"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    sealed_score: Mapped[bytes]
