"""What FaceShield's tasks are asked about: packed views, or the pictures of a set, each cut to the face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.agent.views import ViewKind
from visagent.datasets.spoof_benchmarks import (
    SpoofPicture,
    load_rgb,
    read_celeba_spoof,
    read_folder,
    read_oulu_npu,
    read_padisi,
    read_siw_mv2,
    read_wmca,
)
from visagent.errors import VisagentError
from visagent.evaluation.boxes import BoxCorners
from visagent.evaluation.views import LabelledView
from visagent.evidence import Box
from visagent.tools.spoof.view import screening_view
from visagent.vision.crop import FACE_VIEW_MARGIN, View, take_view
from visagent.vision.detect import FaceDetector, detect_faces, load_face_detector

SETS = ("wmca", "siw-mv2", "padisi", "celeba-spoof", "oulu-npu", "folder")
PAPER_MARGIN = 1.3
PAPER_SIDE = 512
"""Crop and size that are proposed for the paper's pictures (fact sheet, section 6)."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One picture to ask about.

    Attributes:
        rgb: The view, uint8 `[S, S, 3]`.
        attack: The attack type, None for a live face.
        box: The attacked area in pixels of the view, None if it is not known.
        subject: Set and person.
        is_whole: No face was found, so the view is the whole picture.
    """

    rgb: NDArray[np.uint8]
    attack: str | None
    box: BoxCorners | None
    subject: tuple[str, str]
    is_whole: bool = False


def of_views(views: Sequence[LabelledView]) -> list[Trial]:
    """Packed views as they are."""
    return [Trial(view.rgb, view.attack, view.box, view.person) for view in views]


def of_pictures(pictures: Sequence[SpoofPicture], kind: ViewKind) -> Iterator[Trial]:
    """The pictures of a set, read and cut one by one.

    Args:
        pictures: The records.
        kind: "face": the spoof tool's own view, 192 pixels, for models that were trained on it; "picture": a square of
            1.3 times the face, 512 pixels, for others.

    Raises:
        PictureError: A file is damaged.
    """
    detector = load_face_detector()
    for picture in pictures:
        yield _cut(load_rgb(picture), picture, kind, detector)


def drawn(pictures: Sequence[SpoofPicture], limit: int | None, seed: int) -> list[SpoofPicture]:
    """At most `limit` of the pictures, drawn by the seed, in their order."""
    if limit is None or limit >= len(pictures):
        return list(pictures)
    chosen = np.sort(np.random.default_rng(seed).choice(len(pictures), limit, replace=False))
    return [pictures[place] for place in chosen]


def read_set(name: str, root: Path, *, table: Path | None = None, protocol: str | None = None,
             frames: int = 5) -> list[SpoofPicture]:
    """The pictures of a set by its name, one of `SETS`.

    Args:
        name: The set.
        root: Its folder.
        table: The CSV of a `folder`.
        protocol: The set's own protocol or fold; None for its main one.
        frames: Frames of each clip, 1 to 5.

    Raises:
        VisagentError: Another name, a folder without a table, a protocol where there is only one, or the readers'
            errors.
    """
    if name == "folder":
        if table is None:
            raise VisagentError("The set 'folder' needs its table: add --csv FILE.")
        return read_folder(root, table, frames=frames)
    if name == "siw-mv2":
        if protocol is not None:
            raise VisagentError("Of SiW-Mv2 only Protocol I is read: leave --protocol out.")
        return read_siw_mv2(root, frames=frames)
    if name == "wmca":
        return read_wmca(root, protocol=protocol or "grandtest", frames=frames)
    if name == "oulu-npu":
        return read_oulu_npu(root, protocol=protocol or "1", frames=frames)
    if name == "celeba-spoof":
        return read_celeba_spoof(root, protocol=protocol or "intra_test")
    if name == "padisi":
        if protocol not in (None, "0", "1", "2"):
            raise VisagentError(f"PADISI-Face has the folds 0, 1 and 2, not {protocol!r}.")
        return read_padisi(root, fold=int(protocol or 0))
    raise VisagentError(f"There is no reader for {name!r}; there are {', '.join(SETS)}.")


def _cut(rgb: NDArray[np.uint8], picture: SpoofPicture, kind: ViewKind, detector: FaceDetector) -> Trial:
    margin = FACE_VIEW_MARGIN if kind == "face" else PAPER_MARGIN
    found, turns = _face_of(rgb, picture, detector)
    # Released crops (WMCA's) may be too tight for the detector: then the view is the whole picture.
    face = found or _centre(rgb, max(rgb.shape[:2]) / margin)
    if kind == "face":
        view = screening_view(rgb, face, turns)
    else:
        view = take_view(rgb, face, margin, size=PAPER_SIDE, turns=turns)
    return Trial(view.rgb, picture.attack, None if picture.box is None else _in_view(picture.box, view),
                 (picture.source, picture.subject), is_whole=found is None)


def _face_of(rgb: NDArray[np.uint8], picture: SpoofPicture, detector: FaceDetector) -> tuple[Box | None, int]:
    """The face's box, None if there is none, and the quarter turns that bring it upright."""
    if picture.face is not None:
        x1, y1, x2, y2 = picture.face
        return Box(x1=x1, y1=y1, x2=x2, y2=y2), 0
    faces = detect_faces(rgb, detector)
    if not faces:
        return None, 0
    biggest = max(faces, key=lambda found: found.area)
    return biggest.box, biggest.turns


def _centre(rgb: NDArray[np.uint8], side: float) -> Box:
    y, x = rgb.shape[0] / 2, rgb.shape[1] / 2
    return Box(x1=x - side / 2, y1=y - side / 2, x2=x + side / 2, y2=y + side / 2)


def _in_view(corners: BoxCorners, view: View) -> BoxCorners | None:
    x1, y1, x2, y2 = corners
    box = view.from_picture(Box(x1=x1, y1=y1, x2=x2, y2=y2))
    side = float(view.rgb.shape[0])
    left, right = (min(max(x, 0.0), side) for x in (box.x1, box.x2))
    top, bottom = (min(max(y, 0.0), side) for y in (box.y1, box.y2))
    return (left, top, right, bottom) if left < right and top < bottom else None
