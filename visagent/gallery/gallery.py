"""A gallery: enrol, find, forget. Every change is one transaction, and what was forgotten cannot be read again."""

from __future__ import annotations

import hashlib
import hmac
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final

import numpy as np
from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from visagent.audit import AuditTrail
from visagent.errors import ContractMismatch, GalleryError, PersonExists, UnknownPerson
from visagent.gallery.collection import open_collection
from visagent.gallery.database import Location, connect, explained, reading, scrub, writing
from visagent.gallery.index import TemplateIndex
from visagent.gallery.keys import AUDIT_KEY, keep_audit_key, new_key, seal, unseal
from visagent.gallery.records import (
    Card,
    Enrolled,
    Forgotten,
    FullRecord,
    NewSample,
    PersonRecord,
    Sighting,
    StoredSample,
    checked_thumbnail,
    clean_name,
    comparable,
    new_card,
)
from visagent.gallery.rotation import CurrentKey, settle
from visagent.gallery.tables import Collection, Person, PersonRow, Sample
from visagent.gallery.tables import Sighting as SightingRow
from visagent.gallery.thumbnails import put_thumbnail, read_thumbnail, remove_thumbnail
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one, similarity_of

MAX_SAMPLES: Final = 50
"""Templates of one person; more help little and make every search longer."""


class Gallery:
    """The people of one collection. Thread-safe; several processes may share one.

    Args:
        location: Where it lives; made if nothing is there.
        contract: Of the encoder in use.
        collection: Which set of people.
        retention_days: People enrolled from now on are forgotten after as many days; None keeps what the collection
            has, which for a new one is for ever.

    Attributes:
        contract: Of all its templates.
        collection: Its name.
        audit: Who did what with it.
        picture_key: Secret by which pictures are named in the trail.

    Raises:
        NotAGallery: The place holds something else, or a newer gallery.
        WrongKey: The master key is missing, readable by others, or another one.
        ContractMismatch: The collection holds embeddings of another encoder.
        GalleryError: The database does not answer.
    """

    def __init__(self, location: Location, contract: EmbeddingContract, *, collection: str = "default",
                 retention_days: int | None = None) -> None:
        settle(location)
        self._engine: Engine = connect(location)
        self._lock = threading.RLock()
        self._index = TemplateIndex(contract.dimension)
        self._revision = -1
        self._id = ""  # while it is being opened
        self.contract = contract
        self.collection = collection
        try:
            with self._engine.connect() as connection:
                sealed = bool(connection.scalar(select(func.count()).select_from(Collection)))
            self._key = CurrentKey(location, sealed=sealed)
            audit_key = keep_audit_key(location.folder / AUDIT_KEY, self._key.master)
            self.picture_key = audit_key.derived("audit picture")
            self.audit = AuditTrail(location.folder / "audit.jsonl", audit_key.secret)
            with self._writing() as connection:
                self._id = open_collection(connection, collection, contract, self._key, retention_days)
            self.purge()
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; the index is thrown away."""
        self._engine.dispose()
        self._index = TemplateIndex(self.contract.dimension)
        self._revision = -1

    # Enrol

    def enrol(self, name: str, samples: Sequence[NewSample], *, purpose: str, consent: str,
              thumbnail: bytes | None = None) -> Enrolled:
        """Add templates to a person, who is new or known by that name. A picture enrolled before is left as it is.

        Args:
            name: The person's.
            samples: Templates.
            purpose: What they may be used for.
            consent: Reference to the person's consent.
            thumbnail: A small JPEG of the face, if the person chose to keep one; it takes an older one's place.

        Raises:
            ContractMismatch: An embedding of another dimension.
            GalleryError: A name, purpose, consent or thumbnail that cannot be stored, or too many samples; nothing is
                added then.
        """
        card = new_card(name, purpose, consent)
        if thumbnail is not None:
            checked_thumbnail(thumbnail)
        for sample in samples:
            self._check(sample.embedding)
        with self._writing() as connection:
            person = self._find(connection, card.name)
            is_new = person is None
            if person is None:
                person = self._add_person(connection, card)
            now = _now()
            stored = [StoredSample(sample.embedding, hashlib.sha256(sample.picture_digest.encode()).digest(), now)
                      for sample in samples]
            key = self._person_key(person)
            added = self._add_samples(connection, person.id, key, stored)
            if thumbnail is not None:
                put_thumbnail(connection, self._id, person.id, key, thumbnail)
            self._count_up(connection)
        if thumbnail is not None and person.has_thumbnail:
            scrub(self._engine)  # of the older one
        return Enrolled(person.id, added, len(samples) - added, is_new)

    def rename(self, name: str, new_name: str) -> None:
        """Give a person another name. Raises UnknownPerson, PersonExists."""
        with self._writing() as connection:
            person = self._known(connection, name)
            other = self._find(connection, new_name)
            if other is not None and other.id != person.id:
                raise PersonExists(f"There is a {clean_name(new_name)} already; merge the two if they are one person.")
            card = self._read_card(person).model_copy(update={"name": clean_name(new_name)})
            connection.execute(update(Person).where(Person.id == person.id).values(
                name_tag=self._name_tag(new_name),
                sealed_card=seal(self._person_key(person), _json(card), self._id, person.id, "card")))
            self._count_up(connection)

    def merge(self, name: str, into: str) -> None:
        """Move everything of one person to another, under whose name, purpose and consent it then is.

        Of two thumbnails the other's stays.

        Raises:
            UnknownPerson: One of them is not enrolled.
            GalleryError: They are the same person, or have too many samples together; nothing is changed then.
        """
        with self._writing() as connection:
            one, other = self._known(connection, name), self._known(connection, into)
            if one.id == other.id:
                raise GalleryError("Both names are of the same person.")
            whole = self._read_everything(connection, one)
            key = self._person_key(other)
            self._add_samples(connection, other.id, key, whole.samples)
            self._add_sightings(connection, other.id, key, whole.sightings)
            if whole.thumbnail is not None and not other.has_thumbnail:
                put_thumbnail(connection, self._id, other.id, key, whole.thumbnail)
            connection.execute(delete(Person).where(Person.id == one.id))
            self._count_up(connection)
        scrub(self._engine)

    # Forget

    def forget(self, name: str) -> Forgotten:
        """Remove a person: templates, mated scores, thumbnail, index rows, and the key that would open copies of them.

        Raises:
            UnknownPerson: Nobody of this name is enrolled.
        """
        with self._writing() as connection:
            person = self._known(connection, name)
            gone = self._remove(connection, person.id)
            self._count_up(connection)
        erased = scrub(self._engine)
        self._refresh()
        return Forgotten(person.id, *gone, erased=erased)

    def drop_thumbnail(self, name: str) -> bool:
        """Remove a person's thumbnail, and nothing else; whether there was one.

        The person's key stays, so copies of the database made before still show it until there is a new master key.

        Raises:
            UnknownPerson: Nobody of this name is enrolled.
        """
        with self._writing() as connection:
            removed = remove_thumbnail(connection, self._known(connection, name).id)
        if removed:
            scrub(self._engine)
        return removed

    def purge(self) -> int:
        """Forget everybody whose time is over; how many. Called when a gallery is opened and before each search."""
        due = select(Person.id).where(Person.collection_id == self._id, Person.expires <= _now())
        with self._reading() as connection:
            if not connection.scalars(due.limit(1)).first():
                return 0
        with self._writing() as connection:
            expired = connection.scalars(due).all()
            for person in expired:
                self._remove(connection, person)
            self._count_up(connection)
        scrub(self._engine)
        return len(expired)

    # Look up

    def people(self) -> tuple[PersonRecord, ...]:
        """Everybody, by name."""
        with self._reading() as connection:
            samples = self._counts(connection, Sample)
            sightings = self._counts(connection, SightingRow)
            records = [self._record(row, samples, sightings) for row in self._rows(connection)]
        return tuple(sorted(records, key=lambda record: comparable(record.card.name)))

    def person(self, name: str) -> PersonRecord:
        """One person. Raises UnknownPerson."""
        with self._reading() as connection:
            row = self._known(connection, name)
            return self._record(row, self._counts(connection, Sample, row.id),
                                self._counts(connection, SightingRow, row.id))

    def name_of(self, person: str) -> str | None:
        """The name of an id that a search gave; None if the person was forgotten meanwhile."""
        with self._reading() as connection:
            row = next(iter(self._rows(connection, Person.id == person)), None)
            return None if row is None else self._read_card(row).name

    def thumbnail(self, name: str) -> bytes | None:
        """The small JPEG that a person chose to keep; None without one. Raises UnknownPerson, TamperedGallery."""
        with self._reading() as connection:
            row = self._known(connection, name)
            return read_thumbnail(connection, self._id, row.id, self._person_key(row))

    def similarity(self, name: str, other: str) -> float:
        """How alike the means of two people's templates are, -1 to 1. Raises UnknownPerson."""
        means = [np.sum([sample.embedding for record in self.everything(one) for sample in record.samples], axis=0)
                 for one in (name, other)]
        return similarity_of(*of_length_one(np.stack(means)))

    def index(self) -> TemplateIndex:
        """The search index, brought up to date with the database."""
        self.purge()
        self._refresh()
        return self._index

    def templates(self) -> Iterator[tuple[int, str, Embeddings]]:
        """Every template as sample id, person and embedding, straight from the database."""
        with self._reading() as connection:
            yield from self._read_templates(connection, None)

    # Mated scores

    def add_sighting(self, person: str, sighting: Sighting) -> None:
        """Keep a mated score of a person, by the id that a search gave; nothing happens if the person is gone."""
        with self._writing() as connection:
            row = next(iter(self._rows(connection, Person.id == person)), None)
            if row is not None:
                self._add_sightings(connection, person, self._person_key(row), [sighting])

    def sightings(self, name: str | None = None) -> Iterator[tuple[str, Sighting]]:
        """Mated scores as person id and score, oldest first for each person. Raises UnknownPerson."""
        with self._reading() as connection:
            for row in self._rows(connection) if name is None else [self._known(connection, name)]:
                for sighting in self._read_sightings(connection, row):
                    yield row.id, sighting

    # Copies

    def everything(self, name: str | None = None) -> Iterator[FullRecord]:
        """All that is stored of everybody, or of one person. Raises UnknownPerson."""
        with self._reading() as connection:
            for row in self._rows(connection) if name is None else [self._known(connection, name)]:
                yield self._read_everything(connection, row)

    def restore(self, record: FullRecord) -> Enrolled:
        """Add what `everything` gave of a person, here or elsewhere; templates that are there already stay.

        Who is known here already gets templates only: no mated score, and no picture that was not chosen here.

        Raises:
            ContractMismatch: A template of another dimension.
            GalleryError: Too many samples, or a thumbnail that is none.
        """
        if record.thumbnail is not None:
            checked_thumbnail(record.thumbnail)
        for sample in record.samples:
            self._check(sample.embedding)
        with self._writing() as connection:
            person = self._find(connection, record.card.name)
            is_new = person is None
            if person is None:
                person = self._add_person(connection, record.card, record.created, record.expires)
            key = self._person_key(person)
            added = self._add_samples(connection, person.id, key, record.samples)
            if is_new:
                self._add_sightings(connection, person.id, key, record.sightings)
                if record.thumbnail is not None:
                    put_thumbnail(connection, self._id, person.id, key, record.thumbnail)
            self._count_up(connection)
        return Enrolled(person.id, added, len(record.samples) - added, is_new)

    # Inside

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with reading(self._engine) as connection:
                self._follow_key(connection)
                yield connection
        except DBAPIError as error:
            raise explained(error) from None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with writing(self._engine) as connection:
                self._follow_key(connection)
                yield connection
        except IntegrityError:
            raise PersonExists("Somebody of that name was enrolled at the same moment; try again.") from None
        except DBAPIError as error:
            raise explained(error) from None

    def _follow_key(self, connection: Connection) -> None:
        check = connection.scalar(select(Collection.key_check).where(Collection.id == self._id))
        if check is not None:
            self._key.follow(bytes(check), self._id)

    def _check(self, embedding: Embeddings) -> None:
        if embedding.shape != (self.contract.dimension,) or not np.isfinite(embedding).all():
            raise ContractMismatch(f"A template of {self.contract} has {self.contract.dimension} finite numbers.")

    def _add_person(self, connection: Connection, card: Card, created: datetime | None = None,
                    expires: datetime | None = None) -> PersonRow:
        days = connection.scalar(select(Collection.retention_days).where(Collection.id == self._id))
        identity, key, created = uuid.uuid4().hex, new_key(), created or _now()
        if expires is None and days is not None:
            expires = created + timedelta(days=days)
        row = PersonRow(identity, seal(self._key.wrapping, key, self._id, identity, "key"),
                        seal(key, _json(card), self._id, identity, "card"), created, expires)
        connection.execute(insert(Person).values(
            id=row.id, collection_id=self._id, name_tag=self._name_tag(card.name), wrapped_key=row.wrapped_key,
            sealed_card=row.sealed_card, created=row.created, expires=row.expires))
        return row

    def _add_samples(self, connection: Connection, person: str, key: bytes, samples: Sequence[StoredSample]) -> int:
        """Seal and store templates of pictures that the person is not enrolled with yet; how many."""
        known = {bytes(tag) for tag in connection.scalars(select(Sample.picture_tag).where(
            Sample.person_id == person))}
        tagged = {hmac.digest(key, sample.picture, "sha256"): sample for sample in samples}
        new = {tag: sample for tag, sample in tagged.items() if tag not in known}
        if len(known) + len(new) > MAX_SAMPLES:
            raise GalleryError(f"A person has at most {MAX_SAMPLES} samples; {len(known)} are there, and {len(new)} "
                               "would come.")
        for tag, sample in new.items():
            plain = sample.picture + np.ascontiguousarray(sample.embedding, "<f4").tobytes()
            connection.execute(insert(Sample).values(
                person_id=person, picture_tag=tag, created=sample.created,
                sealed_template=seal(key, plain, self._id, person, self.contract.id, "template")))
        return len(new)

    def _add_sightings(self, connection: Connection, person: str, key: bytes, sightings: Sequence[Sighting]) -> None:
        for sighting in sightings:
            connection.execute(insert(SightingRow).values(
                person_id=person, sealed_score=seal(key, _json(sighting), self._id, person, "sighting")))

    def _remove(self, connection: Connection, person: str) -> tuple[int, int]:
        samples = connection.execute(delete(Sample).where(Sample.person_id == person)).rowcount
        sightings = connection.execute(delete(SightingRow).where(SightingRow.person_id == person)).rowcount
        connection.execute(delete(Person).where(Person.id == person))
        return samples, sightings

    def _count_up(self, connection: Connection) -> None:
        connection.execute(update(Collection).where(Collection.id == self._id).values(
            revision=Collection.revision + 1))

    def _refresh(self) -> None:
        with self._lock, self._reading() as connection:
            revision = connection.scalar(select(Collection.revision).where(Collection.id == self._id))
            if revision is None:
                raise GalleryError("The collection was removed by another process.")
            if revision == self._revision:
                return
            there = frozenset(connection.scalars(select(Sample.id).join(Person).where(
                Person.collection_id == self._id)))
            held = self._index.samples
            added = list(self._read_templates(connection, there - held)) if there - held else []
            self._index.change(tuple(held - there), added)
            self._revision = revision

    def _read_templates(self, connection: Connection, wanted: frozenset[int] | None
                        ) -> Iterator[tuple[int, str, Embeddings]]:
        """Templates of these samples; all if None."""
        keys: dict[str, bytes] = {}
        query = select(Sample.id, Sample.person_id, Sample.sealed_template, Person.wrapped_key).join(Person).where(
            Person.collection_id == self._id)
        if wanted is not None and len(wanted) <= 500:
            query = query.where(Sample.id.in_(wanted))
        for sample, person, sealed, wrapped in connection.execute(query.execution_options(yield_per=10_000)):
            if wanted is not None and sample not in wanted:
                continue
            if person not in keys:
                keys[person] = self._unwrap(person, wrapped)
            yield sample, person, self._open_template(keys[person], person, sealed)[1]

    def _open_template(self, key: bytes, person: str, sealed: bytes) -> tuple[bytes, Embeddings]:
        plain = unseal(key, sealed, self._id, person, self.contract.id, "template")
        return plain[:32], np.frombuffer(plain[32:], "<f4").astype(np.float32)

    def _read_sightings(self, connection: Connection, row: PersonRow) -> Iterator[Sighting]:
        key = self._person_key(row)
        for sealed in connection.scalars(select(SightingRow.sealed_score).where(
                SightingRow.person_id == row.id).order_by(SightingRow.id)).all():
            yield Sighting.model_validate_json(unseal(key, sealed, self._id, row.id, "sighting"))

    def _read_everything(self, connection: Connection, row: PersonRow) -> FullRecord:
        key = self._person_key(row)
        samples = []
        for sealed, created in connection.execute(select(Sample.sealed_template, Sample.created).where(
                Sample.person_id == row.id).order_by(Sample.id)).all():
            picture, embedding = self._open_template(key, row.id, sealed)
            samples.append(StoredSample(embedding, picture, created))
        return FullRecord(self._read_card(row), row.created, row.expires, tuple(samples),
                          tuple(self._read_sightings(connection, row)),
                          read_thumbnail(connection, self._id, row.id, key))

    def _rows(self, connection: Connection, *conditions: object) -> Iterator[PersonRow]:
        query = select(Person.id, Person.wrapped_key, Person.sealed_card, Person.created, Person.expires,
                       Person.sealed_thumbnail.is_not(None)).where(
            Person.collection_id == self._id, *conditions)  # type: ignore[arg-type]
        for row in connection.execute(query).all():
            yield PersonRow(*row)

    def _find(self, connection: Connection, name: str) -> PersonRow | None:
        return next(iter(self._rows(connection, Person.name_tag == self._name_tag(name))), None)

    def _known(self, connection: Connection, name: str) -> PersonRow:
        row = self._find(connection, name)
        if row is None:
            raise UnknownPerson(f"Nobody of the name {clean_name(name)} is enrolled.")
        return row

    def _name_tag(self, name: str) -> bytes:
        return self._key.master.tag("name", f"{self._id} {comparable(name)}")

    def _unwrap(self, person: str, wrapped: bytes) -> bytes:
        return unseal(self._key.wrapping, wrapped, self._id, person, "key")

    def _person_key(self, row: PersonRow) -> bytes:
        return self._unwrap(row.id, row.wrapped_key)

    def _read_card(self, row: PersonRow) -> Card:
        return Card.model_validate_json(unseal(self._person_key(row), row.sealed_card, self._id, row.id, "card"))

    def _counts(self, connection: Connection, table: type[Sample] | type[SightingRow], person: str | None = None
                ) -> dict[str, int]:
        query = select(table.person_id, func.count()).join(Person, table.person_id == Person.id).where(
            Person.collection_id == self._id).group_by(table.person_id)
        if person is not None:
            query = query.where(table.person_id == person)
        return {row[0]: row[1] for row in connection.execute(query)}

    def _record(self, row: PersonRow, samples: dict[str, int], sightings: dict[str, int]) -> PersonRecord:
        return PersonRecord(row.id, self._read_card(row), samples.get(row.id, 0), sightings.get(row.id, 0),
                            row.created, row.expires, row.has_thumbnail)


def _json(model: Card | Sighting) -> bytes:
    return model.model_dump_json().encode()


def _now() -> datetime:
    return datetime.now(UTC)
