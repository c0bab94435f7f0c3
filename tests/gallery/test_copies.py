"""Exports, a person's own data, re-encoding, and new master keys."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from visagent.errors import ContractMismatch, GalleryError, NotAGallery, WrongKey
from visagent.gallery import Gallery, rotation
from visagent.gallery.copies import MAGIC, _key_of, export_gallery, import_gallery, reencode, subject_report
from visagent.gallery.database import Location
from visagent.gallery.keys import seal
from visagent.gallery.records import NewSample, Sighting
from visagent.gallery.rotation import rotate_master_key
from visagent.vision.encoder import EmbeddingContract, of_length_one

Sample = Callable[..., NewSample]
WORDS = {"purpose": "the door", "consent": "form 7"}
PASSPHRASE = "correct horse battery"


@pytest.fixture
def filled(gallery: Gallery, sample: Sample) -> Gallery:
    gallery.enrol("Ada", [sample(), sample()], **WORDS)
    gallery.enrol("Zoë", [sample()], **WORDS)
    gallery.add_sighting(gallery.person("Ada").id, Sighting(at=datetime.now(UTC), score=0.91, how="claimed"))
    return gallery


def test_an_export_comes_back_whole(filled: Gallery, tmp_path: Path, contract: EmbeddingContract) -> None:
    file = tmp_path / "copy"
    assert export_gallery(filled, file, PASSPHRASE) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"Ada" not in file.read_bytes()
    with Gallery(Location(tmp_path / "other"), contract) as other:
        assert import_gallery(other, file, PASSPHRASE) == (2, 3)
        assert import_gallery(other, file, PASSPHRASE) == (0, 0), "once more adds nothing"
        for record in filled.everything():
            (copy,) = other.everything(record.card.name)
            assert (copy.card, copy.created, copy.sightings) == (record.card, record.created, record.sightings)
            for one, same in zip(record.samples, copy.samples, strict=True):
                assert np.array_equal(one.embedding, same.embedding) and one.picture == same.picture
    with pytest.raises(GalleryError, match="already"):
        export_gallery(filled, file, PASSPHRASE)
    with pytest.raises(GalleryError, match="at least 8"):
        export_gallery(filled, tmp_path / "short", "short")


def test_bad_exports_are_refused_and_add_nobody(filled: Gallery, tmp_path: Path, contract: EmbeddingContract) -> None:
    file, bad = tmp_path / "copy", tmp_path / "bad"
    export_gallery(filled, file, PASSPHRASE)
    data = file.read_bytes()
    with Gallery(Location(tmp_path / "other"), contract) as other:
        for content, kind in ((b"PK\x03\x04 a zip", NotAGallery), (data[:-5], WrongKey),
                              (data[:-5] + bytes(5), WrongKey), (b"", NotAGallery)):
            bad.write_bytes(content)
            with pytest.raises(kind):
                import_gallery(other, bad, PASSPHRASE)
        with pytest.raises(WrongKey, match="passphrase"):
            import_gallery(other, file, "wrong horse battery")
        with pytest.raises(NotAGallery):
            import_gallery(other, tmp_path / "not there", PASSPHRASE)
        assert other.people() == ()
    with Gallery(Location(tmp_path / "third"), contract.model_copy(update={"model": "other"})) as third, \
            pytest.raises(ContractMismatch):
        import_gallery(third, file, PASSPHRASE)


def test_a_person_can_have_all_that_is_stored(filled: Gallery) -> None:
    report = subject_report(filled, "ada")
    assert report["name"] == "Ada" and report["consent"] == "form 7"
    assert len(report["samples"]) == 2 and report["sightings"][0]["score"] == 0.91
    assert "Zo" not in json.dumps(report)


def test_reencoding_copies_everybody_to_another_contract(filled: Gallery, location: Location,
                                                         contract: EmbeddingContract) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0].astype(np.float32)
    changed = contract.model_copy(update={"model": "made-up + module"})
    with Gallery(location, changed, collection="fair") as target:
        assert reencode(filled, target, lambda values: of_length_one(values @ turn)) == 2
        for record in filled.everything():
            mean = of_length_one(np.sum([sample.embedding for sample in record.samples], axis=0)[None] @ turn)
            match = target.index().search(mean, 1)[0][0]
            assert target.name_of(match.person) == record.card.name and match.score > 0.9999
    assert filled.person("Ada").samples == 2, "the source stays"


def test_a_new_key_keeps_everything_and_makes_old_copies_worthless(location: Location, contract: EmbeddingContract,
                                                                   sample: Sample) -> None:
    ada = sample()
    with Gallery(location, contract) as gallery:
        gallery.enrol("Ada", [ada], **WORDS)
        gallery.audit.write("enrol", {})
    old = location.key_file.read_bytes()
    assert rotate_master_key(location) == 1
    assert location.key_file.read_bytes() != old
    assert not location.key_file.with_suffix(".new").exists()
    with Gallery(location, contract) as gallery:
        assert gallery.person("Ada").samples == 1
        assert gallery.enrol("ADA", [ada], **WORDS).known == 1
        gallery.audit.write("enrol", {})
        assert gallery.audit.verify() == 2, "the trail outlives the key it began under"
    new = location.key_file.read_bytes()
    location.key_file.write_bytes(old)
    with pytest.raises(WrongKey, match="not the one"):
        Gallery(location, contract)
    location.key_file.write_bytes(new)


@pytest.mark.parametrize("step", ["_rewrap", "_replace"])
def test_a_rotation_that_was_cut_off_is_finished_or_undone(location: Location, contract: EmbeddingContract,
                                                           sample: Sample, monkeypatch: pytest.MonkeyPatch,
                                                           step: str) -> None:
    """Killed before the database changed, or after it did and before the files were swapped."""
    with Gallery(location, contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS)

    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rotation, step, killed)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            rotate_master_key(location)
    assert location.key_file.with_suffix(".new").exists()
    with Gallery(location, contract) as gallery:
        assert gallery.person("Ada").samples == 1
    assert not location.key_file.with_suffix(".new").exists()
    assert os.stat(location.key_file).st_mode & 0o077 == 0


def test_a_gallery_that_is_open_takes_up_a_new_key(location: Location, contract: EmbeddingContract,
                                                   sample: Sample) -> None:
    """What is written with an old key could never be read again."""
    with Gallery(location, contract) as early:
        early.enrol("Ada", [sample()], **WORDS)
        rotate_master_key(location)
        assert early.person("Ada").samples == 1
        rotate_master_key(location)
        early.enrol("Bob", [sample()], **WORDS)
        with Gallery(location, contract) as late:
            assert [person.card.name for person in late.people()] == ["Ada", "Bob"]
            assert len(late.index()) == 2
        location.key_file.write_bytes(b"x" * 32)
        assert early.person("Bob").samples == 1, "its own key still is the right one"


def test_opening_while_keys_are_rotated_loses_nothing(location: Location, contract: EmbeddingContract,
                                                      sample: Sample) -> None:
    with Gallery(location, contract) as gallery:
        gallery.enrol("Ada", [sample()], **WORDS)
    stop = threading.Event()
    failures: list[str] = []
    opened = 0

    def open_again() -> None:
        nonlocal opened
        while not stop.is_set():
            try:
                with Gallery(location, contract) as gallery:
                    opened += len(gallery.people())
            except BaseException as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=open_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(12):
        assert rotate_master_key(location) == 1
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == [] and opened > 0
    with Gallery(location, contract) as gallery:
        assert gallery.person("Ada").samples == 1


def test_an_export_put_together_by_hand_is_refused(filled: Gallery, tmp_path: Path) -> None:
    salt = bytes(16)
    for content in (b"[]", b"{}", b'{"contract": {}, "people": []}', b"no json"):
        (tmp_path / "odd").write_bytes(MAGIC + salt + seal(_key_of(PASSPHRASE, salt), content, "export"))
        with pytest.raises(NotAGallery):
            import_gallery(filled, tmp_path / "odd", PASSPHRASE)
