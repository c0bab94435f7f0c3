"""PADISI-Face, the multi-spectral release (USC, signed agreement).

Rostami et al., ICCV 2021; Spinoulas et al., IEEE Sensors Journal 21(13), 2021.

Layout, as the authors' README_FACE.md describes it (vimal-isi-edu/PADISI_USC_Dataset):

    .../padisi_USC_FACE_ground_truth.csv                        columns transaction_id, trial_id, trial_name,
                                                                ground_truth, participant_id ...
    .../padisi_USC_FACE_dataset_partition_3folds_part<F>.csv    the first three columns, and partition_name
    .../ID_<transaction_id>_<trial_id>_<trial_name>.npz         array `data`, [1, 22, 320, 256], 0 to 1; the first
                                                                three channels are blue, green, red

The other release, `padisi_USC_FACE_preprocessed.bz2`, is a Python pickle: opening it runs whatever code is in it, so
it is not read. Partitions are disjoint in participants.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from visagent.datasets.layout import LayoutError, find_one, found_in, not_listed
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.record import SpoofPicture, require_pictures

EXPECTED = "PADISI-Face"
BONA_FIDE = "m00000"
ATTACKS = {"m501": "glasses", "m502": "print", "m503": "fakehead", "m504": "rigid mask", "m505": "rigid mask",
           "m506": "makeup", "m507": "flexible mask", "m508": "glasses", "m509": "tattoo"}
"""FaceShield's class by the PAI code. What a code is, the authors release on request only; these are read off their
own sentence descriptions of each sample (data/face_partitions/padisi_USC_FACE_descriptions.csv): eyeglasses with eyes
on them, photos of celebrities, plastic heads, a hard opaque mask, plastic masks, drawn brows and wrinkles, silicone
masks, paper eyeglasses, black markings on the skin. Half and transparent masks are of hard plastic."""

SPECIES = {"m50105": "fakehead", "m50507": "flexible mask"}
"""The two species that their descriptions put in another class than their code: a white head, a fabric mask."""

PARTITIONS: dict[str, Split] = {"train": "train", "valid": "dev", "test": "test"}


def read_padisi(root: Path, *, fold: int = 0) -> list[SpoofPicture]:
    """The pictures of one of the three folds (`3folds_part<fold>`).

    Args:
        root: The folder that holds the tables and the unpacked arrays.
        fold: 0, 1 or 2.

    Raises:
        LayoutError: Another layout.
    """
    files = {path.stem: path for path in sorted(root.rglob("ID_*.npz"))} if root.is_dir() else {}
    if not files:
        pickled = " The COLOR release (.bz2) is a pickle and is not read; the MULTI-SPECTRAL one is." \
            if root.is_dir() and any(root.rglob("*.bz2")) else ""
        raise LayoutError(f"{EXPECTED}: expected files 'ID_<transaction>_<trial>_<name>.npz', but {found_in(root)}."
                          + pickled)
    truths = {_identifier(row): row for row in _rows(root, "padisi_USC_FACE_ground_truth.csv",
                                                     ("ground_truth", "participant_id"))}
    pictures = []
    for row in _rows(root, f"padisi_USC_FACE_dataset_partition_3folds_part{fold}.csv", ("partition_name",)):
        name = _identifier(row)
        if name not in truths or name not in files:
            where = "the ground truth" if name not in truths else "the arrays"
            raise LayoutError(f"{EXPECTED}: the partition lists {name!r}, which is not in {where}.")
        if row["partition_name"] not in PARTITIONS:
            raise not_listed(row["partition_name"], PARTITIONS, "partition", EXPECTED)
        truth = truths[name]
        pictures.append(SpoofPicture(files[name], None, label_of(truth["ground_truth"]), truth["participant_id"],
                                     PARTITIONS[row["partition_name"]], "padisi"))
    return require_pictures(pictures, EXPECTED)


def label_of(code: str) -> str | None:
    """FaceShield's class of a ground truth code, None for bona fide. Raises LayoutError."""
    if code == BONA_FIDE:
        return None
    attack = SPECIES.get(code) or ATTACKS.get(code[:4])
    if attack is None or len(code) != len(BONA_FIDE):
        raise not_listed(code, (BONA_FIDE, *(f"{start}.." for start in ATTACKS)), "ground truth code", EXPECTED)
    return attack


def _identifier(row: dict[str, str]) -> str:
    return f"ID_{row['transaction_id']}_{row['trial_id']}_{row['trial_name']}"


def _rows(root: Path, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    path = find_one(root, name, EXPECTED)
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    wanted = {"transaction_id", "trial_id", "trial_name", *columns}
    if not wanted <= set(reader.fieldnames or ()):
        raise LayoutError(f"{EXPECTED}: {name!r} needs the columns {', '.join(sorted(wanted))}; it has "
                          f"{', '.join(reader.fieldnames or ()) or 'none'}.")
    return list(reader)
