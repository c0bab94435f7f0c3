"""The gallery as its users rely on it, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from visagent.errors import (
    ContractMismatch,
    GalleryError,
    NotAGallery,
    PersonExists,
    TamperedGallery,
    UnknownPerson,
    WrongKey,
)
from visagent.gallery import Gallery
from visagent.gallery import gallery as gallery_module
from visagent.gallery.database import Location
from visagent.gallery.records import NewSample, Sighting
from visagent.vision.encoder import EmbeddingContract, of_length_one

Sample = Callable[..., NewSample]
WORDS = {"purpose": "the door", "consent": "form 7"}


def best(gallery: Gallery, sample: NewSample) -> tuple[str | None, float]:
    """Name and score of the most similar person."""
    match = gallery.index().search(sample.embedding[None], 1)[0][0]
    return gallery.name_of(match.person), match.score


def test_who_was_enrolled_is_found(gallery: Gallery, sample: Sample) -> None:
    ada, bob = [sample(), sample()], [sample()]
    assert gallery.enrol("Ada Lovelace", ada, **WORDS).is_new
    gallery.enrol("Bob", bob, **WORDS)
    mean = of_length_one(np.sum([one.embedding for one in ada], axis=0)[None])[0]
    for one in ada:
        assert best(gallery, one) == ("Ada Lovelace", pytest.approx(float(mean @ one.embedding), abs=1e-6))
    assert best(gallery, bob[0])[0] == "Bob"
    assert [(person.card.name, person.samples) for person in gallery.people()] == [("Ada Lovelace", 2), ("Bob", 1)]
    assert gallery.person("ada  LOVELACE").card.consent == "form 7"


def test_the_same_picture_is_enrolled_once(gallery: Gallery, sample: Sample) -> None:
    one = sample("one picture")
    assert gallery.enrol("Ada", [one, one], **WORDS).added == 1
    again = gallery.enrol("Ada", [one, sample()], **WORDS)
    assert (again.added, again.known, again.is_new) == (1, 1, False)
    assert gallery.enrol("Bob", [one], **WORDS).added == 1, "another person may be in the same picture"


def test_the_order_of_enrolment_does_not_matter_and_ties_are_stable(location: Location, contract: EmbeddingContract,
                                                                    sample: Sample) -> None:
    twin = sample()
    with Gallery(location, contract) as gallery:
        gallery.enrol("B", [twin], **WORDS)
        gallery.enrol("A", [NewSample(twin.embedding, "another")], **WORDS)
        once = [match.person for match in gallery.index().search(twin.embedding[None], 2)[0]]
        assert once == sorted(once)
    with Gallery(location, contract) as gallery:
        assert [match.person for match in gallery.index().search(twin.embedding[None], 2)[0]] == once


def test_adding_somebody_changes_nobody_elses_score(gallery: Gallery, sample: Sample) -> None:
    ada, probe = sample(), sample()
    gallery.enrol("Ada", [ada], **WORDS)
    before = gallery.index().search(probe.embedding[None], 1)[0][0].score
    for number in range(20):
        gallery.enrol(f"person {number}", [sample()], **WORDS)
    person = gallery.person("Ada").id
    after = gallery.index().search(probe.embedding[None], 1, among=person)[0][0].score
    assert after == pytest.approx(before, abs=1e-6)


def test_a_forgotten_person_is_never_returned(gallery: Gallery, sample: Sample) -> None:
    ada = sample()
    gallery.enrol("Ada", [ada, sample()], **WORDS)
    gallery.enrol("Bob", [sample()], **WORDS)
    person = gallery.person("Ada").id
    gallery.add_sighting(person, Sighting(at=datetime.now(UTC), score=0.9, how="claimed"))
    gone = gallery.forget("ada")
    assert (gone.samples, gone.sightings) == (2, 1)
    assert best(gallery, ada)[0] == "Bob"
    assert gallery.name_of(person) is None
    assert list(gallery.sightings()) == []
    for call in (gallery.person, gallery.forget, lambda name: list(gallery.everything(name))):
        with pytest.raises(UnknownPerson, match="Nobody of the name Ada"):
            call("Ada")
    gallery.add_sighting(person, Sighting(at=datetime.now(UTC), score=0.9, how="claimed"))
    assert list(gallery.sightings()) == [], "a score that comes late is of nobody"


def test_another_process_sees_changes_at_once(location: Location, contract: EmbeddingContract, sample: Sample) -> None:
    ada = sample()
    with Gallery(location, contract) as one, Gallery(location, contract) as other:
        one.enrol("Ada", [ada], **WORDS)
        assert best(other, ada)[0] == "Ada"
        other.forget("Ada")
        assert len(one.index()) == 0


def test_rename_and_merge(gallery: Gallery, sample: Sample) -> None:
    ada, augusta = sample("p1"), sample("p2")
    gallery.enrol("Ada", [ada], **WORDS)
    gallery.enrol("Augusta", [augusta, NewSample(ada.embedding, "p1")], **WORDS)
    with pytest.raises(PersonExists, match="merge"):
        gallery.rename("Ada", "AUGUSTA")
    gallery.add_sighting(gallery.person("Augusta").id, Sighting(at=datetime.now(UTC), score=0.9, how="identified"))
    gallery.merge("Augusta", "Ada")
    assert [person.card.name for person in gallery.people()] == ["Ada"]
    assert gallery.person("Ada").samples == 2, "a picture of both is kept once"
    assert gallery.person("Ada").sightings == 1
    assert best(gallery, augusta)[0] == "Ada"
    gallery.rename("Ada", "Countess of Lovelace")
    assert best(gallery, ada)[0] == "Countess of Lovelace"
    with pytest.raises(GalleryError, match="same person"):
        gallery.merge("Countess of Lovelace", "countess of lovelace")


@pytest.mark.parametrize(("name", "purpose", "consent", "words"), [
    ("", "door", "form", "1 to 100"), ("x" * 101, "door", "form", "1 to 100"), ("a\x00b", "door", "form", "control"),
    ("a\u202eb", "door", "form", "control"), ("Ada", " ", "form", "purpose"), ("Ada", "door", "", "consent"),
])
def test_what_cannot_be_stored_is_refused_whole(gallery: Gallery, sample: Sample, name: str, purpose: str,
                                                consent: str, words: str) -> None:
    with pytest.raises(GalleryError, match=words):
        gallery.enrol(name, [sample()], purpose=purpose, consent=consent)
    assert gallery.people() == ()


def test_names_are_data(gallery: Gallery, sample: Sample) -> None:
    odd = "Robert'); DROP TABLE people;-- <script>alert(1)</script>"
    gallery.enrol(odd, [sample()], **WORDS)
    assert gallery.person(odd).card.name == odd
    gallery.forget(odd)
    assert gallery.people() == ()


def test_too_many_samples_are_refused_and_none_is_added(gallery: Gallery, sample: Sample,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "MAX_SAMPLES", 3)
    gallery.enrol("Ada", [sample(), sample()], **WORDS)
    with pytest.raises(GalleryError, match="at most 3"):
        gallery.enrol("Ada", [sample(), sample()], **WORDS)
    assert gallery.person("Ada").samples == 2


def test_embeddings_of_another_encoder_are_refused(gallery: Gallery, location: Location,
                                                   contract: EmbeddingContract) -> None:
    for wrong in (np.zeros(32, np.float32), np.full(64, np.nan, np.float32)):
        with pytest.raises(ContractMismatch, match="64"):
            gallery.enrol("Ada", [NewSample(wrong, "x")], **WORDS)
    for change in ({"model": "other"}, {"digest": "1" * 16}, {"preprocessing": "mirrored"}, {"alignment": "none 2"}):
        with pytest.raises(ContractMismatch, match="encoder in use"):
            Gallery(location, contract.model_copy(update=change))
    with Gallery(location, contract.model_copy(update={"model": "other"}), collection="others") as others:
        assert others.people() == ()


def test_collections_are_apart(location: Location, contract: EmbeddingContract, sample: Sample) -> None:
    ada = sample()
    with Gallery(location, contract) as one, Gallery(location, contract, collection="visitors") as other:
        one.enrol("Ada", [ada], **WORDS)
        assert len(other.index()) == 0
        other.enrol("Ada", [ada], **WORDS)
        one.forget("Ada")
        assert best(other, ada)[0] == "Ada"


def test_people_expire(location: Location, contract: EmbeddingContract, sample: Sample,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery(location, contract, retention_days=30) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS)
        expires = gallery.person("Ada").expires
        assert expires is not None and abs(expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
        monkeypatch.setattr(gallery_module, "_now", lambda: datetime.now(UTC) + timedelta(days=31))
        assert len(gallery.index()) == 0, "whose time is over is not found, even if nobody opened the gallery anew"
        assert gallery.people() == ()


# What lies on the disk (SQLite's files; a server's are its own)

@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def share_lying(secret: bytes, folder: Path) -> float:
    """Share of a long record's pieces that lie on the disk: SQLite cuts it into pages, so it is nowhere in one."""
    lying, size = bytes_of(folder), 20
    pieces = [secret[start:start + size] for start in range(0, len(secret) - size, size)]
    return sum(piece in lying for piece in pieces) / len(pieces)


def test_nothing_readable_lies_on_the_disk(folder: Path, contract: EmbeddingContract, sample: Sample,
                                           thumbnail: Callable[[int], bytes]) -> None:
    one = sample("the digest of the picture")
    with Gallery(Location(folder), contract) as gallery:
        gallery.enrol("Ada Lovelace", [one], purpose="the secret door", consent="form seven", thumbnail=thumbnail(1))
        assert share_lying(thumbnail(1), folder) == 0
        gallery.add_sighting(gallery.person("Ada Lovelace").id,
                             Sighting(at=datetime.now(UTC), score=0.987654, how="claimed"))
        lying = bytes_of(folder)
        for secret in (one.embedding.tobytes(), b"Lovelace", b"lovelace", b"secret door", b"form seven", b"0.987654",
                       b"the digest of the picture"):
            assert secret not in lying
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_forgetting_erases_the_bytes_log_included(folder: Path, contract: EmbeddingContract, sample: Sample,
                                                  thumbnail: Callable[[int], bytes]) -> None:
    """Even the sealed bytes and the wrapped key are gone, from the file and from the write-ahead log."""
    with Gallery(Location(folder), contract) as gallery:
        for number in range(30):
            gallery.enrol(f"person {number}", [sample()], **WORDS)
        gallery.enrol("Ada", [sample(), sample()], **WORDS, thumbnail=thumbnail(1))
        person = gallery.person("Ada").id
        gallery.add_sighting(person, Sighting(at=datetime.now(UTC), score=0.9, how="claimed"))
        with sqlite3.connect(folder / "gallery.sqlite") as rows:
            sealed = [row[0] for row in rows.execute("SELECT sealed_template FROM samples WHERE person_id = ?",
                                                     (person,))]
            sealed += rows.execute("SELECT wrapped_key, sealed_card, name_tag FROM people WHERE id = ?",
                                   (person,)).fetchone()
            sealed += [row[0] for row in rows.execute("SELECT sealed_score FROM sightings")]
            (picture,) = rows.execute("SELECT sealed_thumbnail FROM people WHERE id = ?", (person,)).fetchone()
        rows.close()
        assert len(sealed) == 6
        assert all(secret in bytes_of(folder) for secret in sealed)
        assert len(picture) > 8192 and share_lying(picture, folder) > 0.9
        assert gallery.forget("Ada").erased
        lying = bytes_of(folder)
        assert not any(secret in lying for secret in sealed)
        assert share_lying(picture, folder) == 0
        assert person.encode() not in lying
        assert len(gallery.people()) == 30


def test_a_record_that_was_changed_cut_or_moved_does_not_open(folder: Path, contract: EmbeddingContract,
                                                              sample: Sample) -> None:
    with Gallery(Location(folder), contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS)
        gallery.enrol("Bob", [sample()], **WORDS)
    file = folder / "gallery.sqlite"

    def after(statement: str) -> None:
        kept = file.read_bytes()
        with sqlite3.connect(file) as rows:
            rows.execute(statement)
        rows.close()
        with pytest.raises(TamperedGallery, match="changed, cut or moved"), \
                Gallery(Location(folder), contract) as gallery:
            gallery.people()
            gallery.index()
        file.write_bytes(kept)

    first = "(SELECT min(id) FROM samples)"
    after(f"UPDATE samples SET sealed_template = zeroblob(300) WHERE id = {first}")
    after(f"UPDATE samples SET sealed_template = substr(sealed_template, 1, 40) WHERE id = {first}")
    after("UPDATE samples SET person_id = (SELECT max(id) FROM people WHERE id != samples.person_id), "
          f"picture_tag = randomblob(32) WHERE id = {first}")
    after("UPDATE people SET wrapped_key = (SELECT p.wrapped_key FROM people p WHERE p.id != people.id)")
    after("UPDATE people SET sealed_card = (SELECT p.sealed_card FROM people p WHERE p.id != people.id)")
    with Gallery(Location(folder), contract) as gallery:
        assert len(gallery.index()) == 2


def test_keys_that_are_wrong_missing_or_open_to_others(folder: Path, contract: EmbeddingContract,
                                                       sample: Sample) -> None:
    with Gallery(Location(folder), contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS)
    key = folder / "master.key"
    right = key.read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(WrongKey, match=words):
            Gallery(Location(folder), contract)

    key.chmod(0o644)
    refused("read by others")
    key.chmod(0o600)
    key.write_bytes(bytes(32))
    refused("not the one")
    key.write_bytes(b"short")
    refused("damaged")
    key.unlink()
    refused("missing")
    key.touch(0o600)
    key.write_bytes(right)
    with Gallery(Location(folder), contract) as gallery:
        assert gallery.person("Ada").samples == 1, "nothing was lost meanwhile"


@pytest.mark.parametrize(("content", "words"), [
    (b"this is no database at all, whatever its name says" * 10, "no SQLite database"),
    (b"SQLite format 3\x00" + bytes(200), "no SQLite database|damaged"),
])
def test_a_foreign_file_is_named_as_one(folder: Path, contract: EmbeddingContract, content: bytes,
                                        words: str) -> None:
    folder.mkdir(mode=0o700)
    (folder / "gallery.sqlite").write_bytes(content)
    with pytest.raises(NotAGallery, match=words) as error:
        Gallery(Location(folder), contract)
    assert str(folder) not in str(error.value)
    assert (folder / "gallery.sqlite").read_bytes() == content, "it is left as it was"


def test_a_foreign_database_is_left_alone(folder: Path, contract: EmbeddingContract) -> None:
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "gallery.sqlite") as rows:
        rows.execute("CREATE TABLE photos (id)")
    rows.close()
    with pytest.raises(NotAGallery, match="other things"):
        Gallery(Location(folder), contract)


def test_a_newer_gallery_is_not_touched(folder: Path, contract: EmbeddingContract) -> None:
    Gallery(Location(folder), contract).close()
    with sqlite3.connect(folder / "gallery.sqlite") as rows:
        rows.execute("UPDATE visagent_gallery_version SET version_num = '9999'")
    rows.close()
    with pytest.raises(NotAGallery, match="newer visagent"):
        Gallery(Location(folder), contract)


@pytest.mark.parametrize(("url", "words"), [
    ("postgresql://visagent@127.0.0.1:9/gallery", "does not answer"), ("mysql://localhost/gallery", "postgresql://"),
    ("postgresql://visagent@", "does not answer|cannot be read|refuses|does not exist|no database"),
])
def test_a_server_that_is_not_there(tmp_path: Path, contract: EmbeddingContract, url: str, words: str) -> None:
    with pytest.raises(GalleryError, match=words):
        Gallery(Location(tmp_path, url), contract)


def test_the_migrations_make_the_tables_that_the_code_uses(location: Location, contract: EmbeddingContract) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from visagent.gallery.database import VERSION_TABLE, connect
    from visagent.gallery.tables import VERSION, Table

    engine = connect(location)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert context.get_current_revision() == VERSION
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()
