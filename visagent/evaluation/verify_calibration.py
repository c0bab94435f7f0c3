"""Choose the distances at which `verify` says same, unsure and different, and measure what they are worth.

    python -m visagent.evaluation.verify_calibration --data ../shared/data

Half of LFW's identities choose the distances (development), the other half measures them (test); no person is in both.
The result is written to `visagent/tools/verify/calibration.json`, which the tool reads.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visagent.errors import run_command
from visagent.media import load_picture
from visagent.tools.subject import limits_of
from visagent.vision.descriptor import DESCRIPTOR_MODEL, describe, load_descriptor_network
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.quality import measure_quality
from visagent.weights import DLIB_MODELS

TARGET_FMR = 1e-2
SAME_FMR = 1e-3
DIFFERENT_FNMR = 1e-2
PICTURES_PER_PERSON = 4
CALIBRATION_FILE = Path(__file__).parents[1] / "tools" / "verify" / "calibration.json"

Distances = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Distances of one half: of pictures of one person, and of two people of the same group."""

    mated: Distances
    non_mated: Distances


@dataclass(frozen=True, slots=True)
class Described:
    """A picture that passed the tool's own limits."""

    identity: str
    group: str
    descriptor: np.ndarray[Any, np.dtype[np.float32]]


def distance_at_fmr(non_mated: Distances, fmr: float) -> float:
    """The largest distance at or under which at most this share of the non-mated comparisons lies."""
    ordered = np.sort(non_mated)
    allowed = int(np.floor(fmr * len(ordered)))
    # Just under the first comparison that is one too many, so that ties are not let in.
    return float(np.nextafter(ordered[allowed], -np.inf))


def distance_at_fnmr(mated: Distances, fnmr: float) -> float:
    """The smallest distance over which at most this share of the mated comparisons lies."""
    ordered = np.sort(mated)[::-1]
    return float(ordered[int(np.floor(fnmr * len(ordered)))])


def rate(hits: int, trials: int) -> dict[str, float | int]:
    """A share with its Wilson interval at 95 % (Wilson 1927)."""
    z, share = 1.959964, hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    return {"rate": round(share, 5), "low": round(max(0.0, centre - half), 5),
            "high": round(min(1.0, centre + half), 5), "errors": hits, "comparisons": trials}


def compare_all(pictures: Sequence[Described]) -> Comparisons:
    """All comparisons of one half. Non-mated ones stay within a group: a man is easily told from a woman."""
    values = np.stack([picture.descriptor for picture in pictures]).astype(np.float64)
    squares = (values ** 2).sum(1)
    first, second = np.triu_indices(len(pictures), 1)
    products = values @ values.T
    distances = np.sqrt(np.maximum(0, squares[first] + squares[second] - 2 * products[first, second]))
    people = np.array([picture.identity for picture in pictures])
    groups = np.array([picture.group for picture in pictures])
    same_person = people[first] == people[second]
    return Comparisons(mated=distances[same_person],
                       non_mated=distances[~same_person & (groups[first] == groups[second])])


def calibrate(development: Comparisons, test: Comparisons) -> dict[str, object]:
    """Choose the distances on the development half, and measure them on the test half."""
    threshold = distance_at_fmr(development.non_mated, TARGET_FMR)
    same = min(threshold, distance_at_fmr(development.non_mated, SAME_FMR))
    different = max(threshold, distance_at_fnmr(development.mated, DIFFERENT_FNMR))
    mated, non_mated = test.mated, test.non_mated
    return {
        "threshold": round(threshold, 4),
        "same_up_to": round(same, 4),
        "different_over": round(different, 4),
        "target_fmr": TARGET_FMR,
        "development": {"mated": len(development.mated), "non_mated": len(development.non_mated),
                        "fnmr": rate(int((development.mated > threshold).sum()), len(development.mated))},
        "test": {
            "fmr": rate(int((non_mated <= threshold).sum()), len(non_mated)),
            "fnmr": rate(int((mated > threshold).sum()), len(mated)),
            "different_people_called_same": rate(int((non_mated <= same).sum()), len(non_mated)),
            "same_person_called_different": rate(int((mated > different).sum()), len(mated)),
            "same_person_unsure": rate(int(((mated > same) & (mated <= different)).sum()), len(mated)),
            "different_people_unsure": rate(int(((non_mated > same) & (non_mated <= different)).sum()),
                                            len(non_mated)),
        },
    }


def read_people(data: Path, pictures: int, seed: int) -> dict[str, list[tuple[str, bytes]]]:
    """Identities with two pictures or more, shuffled, with up to four (group, file) each, `pictures` in all."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(data / "lfw.parquet")
    rows: dict[str, list[int]] = defaultdict(list)
    for row, identity in enumerate(table["identity"].to_pylist()):
        rows[identity].append(row)
    names = sorted(name for name, found in rows.items() if len(found) > 1)
    draw = random.Random(seed)
    draw.shuffle(names)
    people: dict[str, list[tuple[str, bytes]]] = {}
    for name in names:
        chosen = draw.sample(rows[name], min(PICTURES_PER_PERSON, len(rows[name])))
        if sum(map(len, people.values())) + len(chosen) > pictures:
            break
        people[name] = [(table["group"][row].as_py(), table["image"][row]["bytes"].as_py()) for row in chosen]
    return people


def describe_people(people: dict[str, list[tuple[str, bytes]]]) -> list[Described]:
    """The biggest face of each picture, through the tool's own pipeline; what it would abstain from is left out."""
    detector, network = load_face_detector(), load_descriptor_network()
    limits = limits_of("verify")
    described: list[Described] = []
    for identity, files in people.items():
        for group, file in files:
            rgb = load_picture(file).rgb
            faces = detect_faces(rgb, detector)
            if faces and not measure_quality(rgb, faces[0]).shortcomings(limits):
                described.append(Described(identity, group, describe(rgb, faces[0], network)))
    return described


def main() -> None:
    """Calibrate and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw.parquet")
    parser.add_argument("--pictures", type=int, default=2400, help="pictures at most")
    parser.add_argument("--seed", type=int, default=2, help="which people and pictures")
    parser.add_argument("--out", type=Path, default=CALIBRATION_FILE)
    arguments = parser.parse_args()
    people = read_people(arguments.data, arguments.pictures, arguments.seed)
    described = describe_people(people)
    names = list(people)
    halves = {name: index % 2 for index, name in enumerate(names)}
    development, test = ([picture for picture in described if halves[picture.identity] == half] for half in (0, 1))
    total = sum(map(len, people.values()))
    file = f"{DESCRIPTOR_MODEL}.dat"
    result = {
        "model": DESCRIPTOR_MODEL,
        "model_digest": DLIB_MODELS[file].sha256[:16],
        "metric": "Euclidean distance of the mean descriptors of a face and its mirror image",
        "data": "Labeled Faces in the Wild, gray, identities with two pictures or more, at most four each",
        "protocol": "identity-disjoint halves; non-mated comparisons within the male and within the female group; "
                    "intervals (Wilson, 95 %) take comparisons as independent, which pairs of one person are not",
        "identities": len(names),
        "pictures": total,
        "abstained": rate(total - len(described), total),
        **calibrate(compare_all(development), compare_all(test)),
        "date": datetime.date.today().isoformat(),
        "command": f"python -m visagent.evaluation.verify_calibration --data ../shared/data "
                   f"--pictures {arguments.pictures} --seed {arguments.seed}",
    }
    text = json.dumps(result, indent=2) + "\n"
    arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    run_command(main)
