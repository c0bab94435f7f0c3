"""How often is a live face called a spoof, on pictures that no simulator has touched?

    python -m visagent.evaluation.everyday --data ../shared/data

Every face of the everyday photos, as they are and as a JPEG of quality 40, gray, blurred, at half size, mirrored and
cropped tightly; and pictures of LFW and UTKFace of people, or pictures, that are in no training split. All are live,
so that every "spoof" is wrong.
Faces are found, judged fit and cut as the tool does it; those that the tool would abstain from are counted apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from visagent.agent.engines.base import Engine
from visagent.datasets.sources import face_pictures
from visagent.errors import PictureError, run_command
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.screening import (
    add_voice_options,
    ask_in_words,
    open_voices,
    specialist_scores,
    specialist_threshold,
)
from visagent.evaluation.versions import as_gray, as_half_size, as_jpeg, blurred, mirrored
from visagent.media import load_picture
from visagent.tools.models import Models
from visagent.tools.spoof.specialist import Specialist
from visagent.tools.spoof.surroundings import Border, Surroundings, load_surroundings, seen_around
from visagent.tools.spoof.verdict import decide
from visagent.tools.spoof.view import screening_view
from visagent.tools.spoof.words import Verdict
from visagent.tools.subject import limits_of
from visagent.vision.crop import ByteImage
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.quality import measure_quality

LIMIT = "at most 0.05"
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")

VERSIONS: Mapping[str, Callable[[ByteImage], ByteImage]] = MappingProxyType({
    "original": np.ascontiguousarray, "JPEG quality 40": as_jpeg, "gray": as_gray, "half size": as_half_size,
    "mirrored": mirrored, "blurred": blurred,
})
CROP = 1.5
"""Side of a tight crop over the longer side of the face's box."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveFace:
    """One live face.

    Attributes:
        group: Which pictures it belongs to ("photos, gray", "LFW").
        view: The tool's view of it, uint8 `[192, 192, 3]`; None where the tool abstains.
        wide: What stands around it, uint8 `[96, 96, 3]`; None where that cannot be seen, or the tool abstains.
    """

    group: str
    view: ByteImage | None
    wide: ByteImage | None = None


def faces_of(rgb: ByteImage, group: str, models: Models) -> Iterator[LiveFace]:
    """Every face of a picture as the spoof tool sees it; none if none is found."""
    for face in detect_faces(rgb, models.get(load_face_detector)):
        fit = not measure_quality(rgb, face).shortcomings(limits_of("spoof"))
        if not fit:
            yield LiveFace(group, None)
            continue
        wide = seen_around(rgb, face.box, face.turns)
        yield LiveFace(group, screening_view(rgb, face.box, face.turns).rgb, None if wide is None else wide.rgb)


def tight_crops(rgb: ByteImage, models: Models) -> Iterator[ByteImage]:
    """Every face of a picture as a picture of its own that ends close to it."""
    for face in detect_faces(rgb, models.get(load_face_detector)):
        middle = (face.box.x1 + face.box.x2) / 2, (face.box.y1 + face.box.y2) / 2
        reach = CROP * max(face.box.x2 - face.box.x1, face.box.y2 - face.box.y1) / 2
        x1, y1 = (max(0, round(value - reach)) for value in middle)
        yield np.ascontiguousarray(rgb[y1:round(middle[1] + reach), x1:round(middle[0] + reach)])


def photo_faces(folder: Path, models: Models, *, limit: int | None = None) -> Iterator[LiveFace]:
    """The faces of all photos of a folder in all versions, of the first `limit` photos. Raises PictureError."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PHOTO_SUFFIXES)[:limit]
    if not paths:
        raise PictureError("There are no photos in the data folder.")
    for path in paths:
        original = load_picture(path).rgb
        for version, change in VERSIONS.items():
            yield from faces_of(change(original), f"photos, {version}", models)
        for crop in tight_crops(original, models):
            yield from faces_of(crop, "photos, cropped tightly", models)


def held_out_faces(data: Path, source: Literal["lfw", "utkface"], models: Models, *, count: int, seed: int = 0
                   ) -> Iterator[LiveFace]:
    """The biggest face of `count` pictures of a set's test split, drawn by the seed. Raises PictureError."""
    pictures = list(face_pictures(data, source, "test"))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pictures))[:count])
    for index in chosen:
        found = next(faces_of(pictures[index].rgb, _NAMES[source], models), None)
        # A crop in which no face is found is one that the tool abstains from.
        yield found or LiveFace(_NAMES[source], None)


_NAMES: Mapping[Literal["lfw", "utkface"], str] = {"lfw": "LFW", "utkface": "UTKFace"}


def measure(faces: Sequence[LiveFace], engine: Engine | None, specialist: Specialist | None,
            surroundings: Surroundings | None = None, *, command: str, seed: int = 0, batch: int = 32) -> Result:
    """Ask whichever voice is given about every face. Raises EngineError if the model fails."""
    fit = [face for face in faces if face.view is not None]
    views = [face.view for face in fit if face.view is not None]
    said: list[Verdict | None] | None = None
    borders: list[Border] | None = None
    called: list[bool] | None = None
    if engine is not None:
        said = [answer.verdict for answer in ask_in_words(engine, views, batch=batch)]
    if specialist is not None:
        threshold = specialist_threshold(specialist)
        called = [bool(score >= threshold) for score in specialist_scores(specialist, views)]
    if surroundings is not None:
        borders = ["none" if face.wide is None else surroundings.border_of(face.wide) for face in fit]
    groups = list(dict.fromkeys(face.group for face in faces))
    photos = [group for group in groups if group.startswith("photos")]
    rows: list[Row] = []
    for name, members in [*((group, [group]) for group in groups), ("photos, all versions", photos),
                          ("all", groups)]:
        if not members:
            continue
        places = [place for place, face in enumerate(fit) if face.group in members]
        among = [face for face in faces if face.group in members]
        if said is not None:
            rows.append(Row(f"{name}: called spoof by words", Share(sum(said[i] == "spoof" for i in places),
                                                                    len(places)), LIMIT))
            rows.append(Row(f"{name}: words not readable", Share(sum(said[i] is None for i in places), len(places))))
        if called is not None:
            rows.append(Row(f"{name}: called spoof by specialist", Share(sum(called[i] for i in places), len(places)),
                            LIMIT))
        if borders is not None:
            seen = [i for i in places if fit[i].wide is not None]
            bordered = sum(borders[i] != "none" for i in seen)
            rows.append(Row(f"{name}: a border seen around it", Share(bordered, len(seen)), LIMIT))
        answers = [tool_answer(None if said is None else said[i], None if called is None else called[i],
                               "none" if borders is None else borders[i]) for i in places]
        rows.append(Row(f"{name}: tool answers spoof", Share(answers.count("spoof"), len(answers))))
        rows.append(Row(f"{name}: tool answers unsure", Share(answers.count("unsure"), len(answers))))
        rows.append(Row(f"{name}: tool abstains", Share(sum(face.view is None for face in among), len(among))))
    models = {role: voice.identity for role, voice in (("words", engine), ("specialist", specialist),
                                                            ("surroundings", surroundings))
              if voice is not None}
    return Result(title="Live faces called a spoof", command=command, rows=tuple(rows), split="held out", seed=seed,
                  models=models, notes=(
                      f"{len(fit)} views of {len(faces)} faces, all live. Versions of one photo, and faces of one "
                      "person, are not independent: the intervals of the photos are too narrow.",
                      "LFW and UTKFace: people (LFW) or pictures (UTKFace) of the test split, untouched."))


def tool_answer(said: Verdict | None, is_called_spoof: bool | None, border: Border = "none") -> str | None:
    """The spoof tool's answer; None if there is no specialist: then the tool does not answer."""
    return None if is_called_spoof is None else decide("spoof" if is_called_spoof else "live", said, border)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/, lfw.parquet, utkface.parquet")
    parser.add_argument("--pictures", type=int, default=400, help="pictures of LFW and of UTKFace, each")
    add_voice_options(parser)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    faces = read_faces(options.data, pictures=options.pictures, limit=options.limit, seed=options.seed)
    engine, specialist = open_voices(options)
    surroundings = None if options.only == "words" else load_surroundings()
    command = command_line("everyday", data=options.data, pictures=options.pictures, model=options.model,
                           specialist=options.specialist, only=options.only, limit=options.limit, seed=options.seed)
    measure(faces, engine, specialist, surroundings, command=command, seed=options.seed,
            batch=options.batch).show(as_json=options.json)


def read_faces(data: Path, *, pictures: int, limit: int | None = None, seed: int = 0) -> list[LiveFace]:
    """All the faces: of at most `limit` photos, and of `pictures` pictures of each set. Raises PictureError."""
    models = Models()
    faces = list(photo_faces(data / "photos", models, limit=limit))
    for source in _NAMES:
        faces += held_out_faces(data, source, models, count=pictures, seed=seed)
    return faces


if __name__ == "__main__":
    run_command(main)
