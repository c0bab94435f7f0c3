"""The one small picture that a person may choose to keep, wherever it goes, and that no other is ever there."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import MetaData, select

from visagent.errors import GalleryError, NotAGallery, TamperedGallery, UnknownPerson
from visagent.gallery import Gallery
from visagent.gallery import gallery as gallery_module
from visagent.gallery.copies import MAGIC, _key_of, export_gallery, import_gallery, reencode, subject_report
from visagent.gallery.database import VERSION_TABLE, Location, connect, writing
from visagent.gallery.keys import seal
from visagent.gallery.records import THUMBNAIL_BYTES, NewSample
from visagent.gallery.rotation import rotate_master_key
from visagent.gallery.tables import VERSION
from visagent.vision.encoder import EmbeddingContract

Sample = Callable[..., NewSample]
Thumbnail = Callable[..., bytes]
WORDS = {"purpose": "the door", "consent": "form 7"}
PASSPHRASE = "correct horse battery"


def test_no_picture_is_kept_unless_one_is_given(gallery: Gallery, sample: Sample) -> None:
    gallery.enrol("Ada", [sample()], **WORDS)
    assert gallery.thumbnail("Ada") is None
    assert not gallery.person("Ada").has_thumbnail and not gallery.people()[0].has_thumbnail
    assert next(gallery.everything("Ada")).thumbnail is None
    assert gallery.drop_thumbnail("Ada") is False


def test_the_newest_picture_of_a_person_is_kept(gallery: Gallery, sample: Sample, thumbnail: Thumbnail) -> None:
    gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
    gallery.enrol("Bob", [sample()], **WORDS)
    assert gallery.thumbnail("ADA") == thumbnail(1) and gallery.thumbnail("Bob") is None
    assert [person.has_thumbnail for person in gallery.people()] == [True, False]
    gallery.enrol("Ada", [sample()], **WORDS)
    assert gallery.thumbnail("Ada") == thumbnail(1), "who says nothing of a picture changes none"
    gallery.enrol("Ada", [], **WORDS, thumbnail=thumbnail(2))
    assert gallery.thumbnail("Ada") == thumbnail(2)
    assert gallery.drop_thumbnail("ada") is True
    assert gallery.thumbnail("Ada") is None and not gallery.person("Ada").has_thumbnail
    assert gallery.person("Ada").samples == 2, "nothing else is removed"
    for call in (gallery.thumbnail, gallery.drop_thumbnail):
        with pytest.raises(UnknownPerson, match="Nobody of the name Carol"):
            call("Carol")


def test_what_is_no_thumbnail_is_refused_whole(gallery: Gallery, sample: Sample, thumbnail: Thumbnail) -> None:
    png, wide = BytesIO(), BytesIO()
    Image.new("RGB", (40, 40)).save(png, "PNG")
    Image.new("RGB", (161, 40)).save(wide, "JPEG")
    good = thumbnail(1)
    for bad in (b"", b"no picture", png.getvalue(), wide.getvalue(), thumbnail(1, 200), good[:len(good) // 2],
                good + bytes(THUMBNAIL_BYTES + 1 - len(good))):
        with pytest.raises(GalleryError, match="16 to 160 pixels on each side and at most 30 kB"):
            gallery.enrol("Ada", [sample()], **WORDS, thumbnail=bad)
    assert gallery.people() == ()
    gallery.enrol("Ada", [sample()], **WORDS, thumbnail=good + bytes(THUMBNAIL_BYTES - len(good)))
    assert len(gallery.thumbnail("Ada") or b"") == THUMBNAIL_BYTES


@pytest.mark.parametrize(("ada", "augusta", "then"), [(1, 2, 1), (None, 2, 2), (1, None, 1), (None, None, None)])
def test_merging_keeps_the_pictures_of_who_stays(gallery: Gallery, sample: Sample, thumbnail: Thumbnail,
                                                 ada: int | None, augusta: int | None, then: int | None) -> None:
    for name, seed in (("Ada", ada), ("Augusta", augusta)):
        gallery.enrol(name, [sample()], **WORDS, thumbnail=None if seed is None else thumbnail(seed))
    gallery.merge("Augusta", "Ada")
    assert gallery.thumbnail("Ada") == (None if then is None else thumbnail(then))


def test_a_new_name_and_a_new_key_leave_it_readable(location: Location, contract: EmbeddingContract, sample: Sample,
                                                    thumbnail: Thumbnail) -> None:
    with Gallery(location, contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
        gallery.rename("Ada", "Countess")
        assert rotate_master_key(location) == 1
        assert gallery.thumbnail("Countess") == thumbnail(1)
    with Gallery(location, contract) as gallery:
        assert gallery.thumbnail("Countess") == thumbnail(1)


def test_it_goes_with_the_person(location: Location, contract: EmbeddingContract, sample: Sample,
                                 thumbnail: Thumbnail, monkeypatch: pytest.MonkeyPatch) -> None:
    def stored() -> int:
        engine = connect(location)
        with engine.connect() as connection:
            tables = MetaData()
            tables.reflect(connection)
            count = len(connection.execute(select(tables.tables["people"].c.sealed_thumbnail)).all())
        engine.dispose()
        return count

    with Gallery(location, contract, retention_days=30) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
        gallery.forget("Ada")
        gallery.enrol("Ada", [sample()], **WORDS)
        assert gallery.thumbnail("Ada") is None, "who comes again under the name has no picture from before"
        gallery.enrol("Bob", [sample()], **WORDS, thumbnail=thumbnail(2))
        assert stored() == 2
        monkeypatch.setattr(gallery_module, "_now", lambda: datetime.now(UTC) + timedelta(days=31))
        assert gallery.purge() == 2
        assert stored() == 0


def test_copies_carry_it(gallery: Gallery, location: Location, tmp_path: Path, contract: EmbeddingContract,
                         sample: Sample, thumbnail: Thumbnail) -> None:
    gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
    gallery.enrol("Bob", [sample()], **WORDS)
    report = json.loads(json.dumps(subject_report(gallery, "Ada")))
    assert base64.b64decode(report["thumbnail"]) == thumbnail(1)
    assert subject_report(gallery, "Bob")["thumbnail"] is None
    export_gallery(gallery, tmp_path / "copy", PASSPHRASE)
    with Gallery(Location(tmp_path / "other"), contract) as other:
        import_gallery(other, tmp_path / "copy", PASSPHRASE)
        assert other.thumbnail("Ada") == thumbnail(1) and other.thumbnail("Bob") is None
        other.drop_thumbnail("Ada")
        import_gallery(other, tmp_path / "copy", PASSPHRASE)
        assert other.thumbnail("Ada") is None, "a copy does not bring back what was dropped of somebody who is there"
    changed = contract.model_copy(update={"model": "made-up + module"})
    with Gallery(location, changed, collection="fair") as target:
        reencode(gallery, target, lambda values: values[:, ::-1].copy())
        assert target.thumbnail("Ada") == thumbnail(1)


def test_an_export_of_before_there_were_thumbnails_is_read(gallery: Gallery, tmp_path: Path, sample: Sample,
                                                           thumbnail: Thumbnail) -> None:
    gallery.enrol("Ada", [sample()], **WORDS)
    person = subject_report(gallery, "Ada")
    salt = bytes(16)

    def write(person: dict[str, object]) -> Path:
        content = json.dumps({"contract": gallery.contract.model_dump(), "people": [person]}).encode()
        file = tmp_path / "copy"
        file.write_bytes(MAGIC + salt + seal(_key_of(PASSPHRASE, salt), content, "export"))
        return file

    gallery.forget("Ada")
    for odd in ("no base64!", base64.b64encode(b"no picture").decode(), 7):
        with pytest.raises(NotAGallery):
            import_gallery(gallery, write({**person, "thumbnail": odd}), PASSPHRASE)
    assert gallery.people() == ()
    del person["thumbnail"]
    assert import_gallery(gallery, write(person), PASSPHRASE) == (1, 1)
    assert not gallery.person("Ada").has_thumbnail
    record = replace(next(gallery.everything("Ada")), thumbnail=b"no picture")
    with pytest.raises(GalleryError, match="JPEG"):
        gallery.restore(record)


def test_a_changed_or_swapped_picture_does_not_open(tmp_path: Path, contract: EmbeddingContract, sample: Sample,
                                                    thumbnail: Thumbnail) -> None:
    folder = tmp_path / "gallery"
    with Gallery(Location(folder), contract) as gallery:
        for seed, name in enumerate(("Ada", "Bob")):
            gallery.enrol(name, [sample()], **WORDS, thumbnail=thumbnail(seed))
    file = folder / "gallery.sqlite"
    for change in ("zeroblob(9000)", "substr(sealed_thumbnail, 1, 40)", "zeroblob(3)", "sealed_card",
                   "(SELECT p.sealed_thumbnail FROM people p WHERE p.id != people.id)",
                   "CAST(substr(sealed_thumbnail, 1, 100) || x'00' || substr(sealed_thumbnail, 102) AS BLOB)"):
        kept = file.read_bytes()
        with sqlite3.connect(file) as rows:
            rows.execute(f"UPDATE people SET sealed_thumbnail = {change}")
        rows.close()
        with Gallery(Location(folder), contract) as gallery:
            for read in (gallery.thumbnail, lambda name, gallery=gallery: list(gallery.everything(name))):
                with pytest.raises(TamperedGallery, match="changed, cut or moved"):
                    read("Ada")
            assert len(gallery.index()) == 2, "templates do not depend on it"
        file.write_bytes(kept)
    with Gallery(Location(folder), contract) as gallery:
        assert gallery.thumbnail("Ada") == thumbnail(0)


@pytest.mark.parametrize("act", ["drop", "replace", "merge"])
def test_a_picture_that_goes_alone_leaves_no_bytes(tmp_path: Path, contract: EmbeddingContract, sample: Sample,
                                                   thumbnail: Thumbnail, act: str) -> None:
    folder = tmp_path / "gallery"
    with Gallery(Location(folder), contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
        gallery.enrol("Bob", [sample()], **WORDS, thumbnail=thumbnail(2))
        with sqlite3.connect(folder / "gallery.sqlite") as rows:
            (sealed,) = rows.execute("SELECT sealed_thumbnail FROM people WHERE id = ?",
                                     (gallery.person("Ada").id,)).fetchone()
        rows.close()
        pieces = [sealed[start:start + 20] for start in range(0, len(sealed) - 20, 20)]

        def lying() -> int:
            everything = b"".join(path.read_bytes() for path in folder.iterdir())
            return sum(piece in everything for piece in pieces)

        assert lying() > 0.9 * len(pieces)
        if act == "drop":
            gallery.drop_thumbnail("Ada")
        elif act == "replace":
            gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(3))
        else:
            gallery.merge("Ada", "Bob")
        assert lying() == 0


def test_a_gallery_of_before_there_were_thumbnails_is_brought_up_to_date(
        location: Location, contract: EmbeddingContract, sample: Sample, thumbnail: Thumbnail) -> None:
    """Its tables are made by the first migration alone, and hold what a gallery of that time held."""
    from alembic import command
    from alembic.config import Config

    ada = sample()
    with Gallery(location, contract) as gallery:
        gallery.enrol("Ada", [ada], **WORDS)
    engine = connect(location)
    with writing(engine) as connection:
        tables = MetaData()
        tables.reflect(connection)
        names = [table.name for table in tables.sorted_tables if table.name != VERSION_TABLE]
        held = {name: [dict(row) for row in connection.execute(select(tables.tables[name])).mappings()]
                for name in names}
        tables.drop_all(connection)
        configuration = Config()
        configuration.set_main_option("script_location", "visagent.gallery:migrations")
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "0001")
        older = MetaData()
        older.reflect(connection)
        assert "sealed_thumbnail" not in older.tables["people"].c
        for name in names:
            for row in held[name]:
                connection.execute(older.tables[name].insert().values(
                    {column: value for column, value in row.items() if column in older.tables[name].c
                     and not (name == "samples" and column == "id")}))  # the database numbers them itself
        assert connection.execute(select(older.tables[VERSION_TABLE])).scalar() == "0001"
    engine.dispose()

    with Gallery(location, contract) as gallery:
        assert gallery.person("Ada").samples == 1 and not gallery.person("Ada").has_thumbnail
        assert gallery.name_of(gallery.index().search(ada.embedding[None], 1)[0][0].person) == "Ada"
        gallery.enrol("Ada", [sample()], **WORDS, thumbnail=thumbnail(1))
        assert gallery.thumbnail("Ada") == thumbnail(1)
    engine = connect(location)
    with engine.connect() as connection:
        reflected = MetaData()
        reflected.reflect(connection)
        assert connection.execute(select(reflected.tables[VERSION_TABLE])).scalar() == VERSION
    engine.dispose()
