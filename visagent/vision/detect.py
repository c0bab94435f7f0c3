"""Find faces: dlib's frontal HOG detector, helped where it is known to miss.

The HOG detector is fast and rarely wrong, but it misses faces that fill the picture (aligned crops), flat or dark
ones, and faces turned away. So a picture without a find is tried again with its edges repeated outwards, with its
contrast equalised, and last with dlib's convolutional detector, which is the slowest. That detector also
has to confirm every weak find: a weak HOG find in a busy background is more often a pattern than a face.

Pictures that lie on their side are common too (a phone's picture that lost its EXIF orientation). Where no sure face
stands upright, the picture is searched turned by quarters.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from visagent.evidence import Box
from visagent.vision.crop import ByteImage, resize, take_view

FloatImage: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

WORK_SIDE = 1000
"""Longer side, in pixels, that pictures are reduced to before the search. Enlarged once, the search then finds faces
from 40 pixels; twice the side costs four times the time."""
TINY_PICTURE_SIDE = 400
"""Pictures up to this longer side are enlarged twice if nothing was found, for faces from 20 pixels."""
CNN_SIDE = 480
"""Longer side for the convolutional detector, which needs about 50 ms per 200,000 pixels of a CPU core."""
SURE_SCORE = 0.5
"""HOG scores from here on are believed without a second opinion."""
WEAK_SCORE = -0.4
"""Lowest HOG score that is shown to the convolutional detector when nothing better was found."""
LYING_SIDE = 240
"""Side of the view in which a weak find is tried turned: its face is 120 pixels wide then, the detector needs 80."""
SECOND_LOOK_SIDE = 640
"""Longer side for the later passes: what they are for, faces that fill the picture and dark ones, needs no more."""
CHECKED_FINDS = 24
"""Weak finds that the convolutional detector checks at most, the best first; each takes it ten milliseconds."""
CHECKED_AGAIN = 6
"""The same in each later pass, of which there are four."""
SAME_FACE_OVERLAP = 0.35
"""Two finds that share this part of the smaller one are one face."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        box: Brows to chin, clipped to the picture, in pixels of the picture.
        confidence: The detector's margin: 0 is its own threshold, a clear frontal face has 1 to 3.
        landmarks68: The 68 points of the iBUG 300-W mark-up in pixels of the picture, float32 `[68, 2]` as (x, y). Not
            clipped: a chin below the picture's edge is placed there.
        turns: Quarter turns of the picture against the clock that bring the face upright, 0 to 3.
    """

    box: Box
    confidence: float
    landmarks68: FloatImage
    turns: int = 0

    @property
    def landmarks5(self) -> FloatImage:
        """Eye centres at the picture's left and right, nose tip, left and right mouth corner; float32 `[5, 2]`."""
        points = self.landmarks68
        return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])

    @property
    def upright68(self) -> FloatImage:
        """The 68 points as they lie to each other in the picture turned upright; their origin means nothing."""
        points = self.landmarks68
        for _ in range(self.turns):
            points = np.stack([points[:, 1], -points[:, 0]], 1)
        return points

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box.x2 - self.box.x1

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return (self.box.x2 - self.box.x1) * (self.box.y2 - self.box.y1)


@dataclass(frozen=True, slots=True, eq=False)
class FaceDetector:
    """The loaded detectors and the landmark predictor. One search at a time: dlib's networks are not thread-safe."""

    hog: Any
    cnn: Any
    landmarks: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Find:
    """A find in pixels of the work picture: edges and score."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float

    @property
    def area(self) -> float:
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def is_same_face(self, other: _Find) -> bool:
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return width > 0 and height > 0 and width * height > SAME_FACE_OVERLAP * min(self.area, other.area)


def load_face_detector() -> FaceDetector:
    """Load dlib's HOG detector, convolutional detector and 68-point predictor (110 MB). Raises WeightsError."""
    import dlib

    from visagent.vision.dlib_mmod import read_dlib_mmod
    from visagent.weights import locate_dlib_model

    return FaceDetector(
        hog=dlib.get_frontal_face_detector(),
        cnn=read_dlib_mmod(locate_dlib_model("mmod_human_face_detector.dat")),
        landmarks=dlib.shape_predictor(str(locate_dlib_model("shape_predictor_68_face_landmarks.dat"))),
    )


def detect_faces(rgb: ByteImage, detector: FaceDetector) -> tuple[Face, ...]:
    """Find all faces, the biggest first.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`.
        detector: From `load_face_detector`.

    Returns:
        The faces by area, the biggest first; empty if there are none.

    Raises:
        ValueError: The picture is not uint8 `[H, W, 3]`.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError("a picture is uint8 [H, W, 3]")
    reduction = min(1.0, WORK_SIDE / max(rgb.shape[:2]))
    work = _reduced(rgb, reduction)
    with detector.lock:
        turns, finds = _search(work, detector)
        upright, work = np.rot90(rgb, turns), np.ascontiguousarray(np.rot90(work, turns))
        pad_y, pad_x = work.shape[0] // 4, work.shape[1] // 4
        padded = _pad(work, pad_y, pad_x)
        faces = (_measure(find, padded, (pad_x, pad_y), upright.shape, detector) for find in _merge(finds))
        found = sorted((face for face in faces if face is not None), key=lambda face: -face.area)
    return tuple(_turned_back(face, turns, upright.shape) for face in found)


def _reduced(rgb: ByteImage, scale: float) -> ByteImage:
    return resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))


def _search(work: ByteImage, detector: FaceDetector) -> tuple[int, list[_Find]]:
    """The passes, from cheap to dear; the later ones only when the earlier found nothing sure.

    Returns:
        The quarter turns that bring the faces upright, and the finds in pixels of the turned picture.
    """
    finds = _first_look(work, detector)
    found = _confirmed(work, finds, detector, CHECKED_FINDS)
    if found and (found[0].score >= SURE_SCORE or not _lies(work, found[0], detector)):
        return 0, found
    scale = min(1.0, SECOND_LOOK_SIDE / max(work.shape[:2]))
    small = _reduced(work, scale)
    turns, lying = _search_turned(small, detector)
    if turns:
        return turns, _enlarged(lying, 1 / scale)
    if not found and max(work.shape[:2]) <= TINY_PICTURE_SIDE:
        found = _confirmed(work, _hog(work, detector, 2), detector, CHECKED_FINDS)
    return 0, found or _enlarged(_look_again(small, detector), 1 / scale)


def _first_look(picture: ByteImage, detector: FaceDetector) -> list[_Find]:
    """The HOG detector's finds in the picture enlarged twice and as it is.

    In a small picture a sure find of the first pass is enough. In others the surer of the two passes places the box,
    which is how the networks that look for attacks came to know faces: a real live face of 224 pixels was called a
    spoof by a hair where the first pass alone placed it.
    """
    finds = _hog(picture, detector, 1)
    if max(picture.shape[:2]) <= TINY_PICTURE_SIDE and any(find.score >= SURE_SCORE for find in finds):
        return finds
    return finds + _hog(picture, detector, 0)


def _lies(work: ByteImage, find: _Find, detector: FaceDetector) -> bool:
    """Whether the HOG detector is sure of this weak find once it is turned: a face that lies on its side."""
    box = Box(x1=find.x1, y1=find.y1, x2=find.x2, y2=find.y2)
    view = take_view(work, box, margin=2.0, size=LYING_SIDE).rgb
    return any(found.score >= SURE_SCORE for turns in (1, 2, 3)
               for found in _hog(np.ascontiguousarray(np.rot90(view, turns)), detector, 0))


def _search_turned(small: ByteImage, detector: FaceDetector) -> tuple[int, list[_Find]]:
    """The turn with the surest find, and its sure finds in pixels of the turned picture; 0 if none has one."""
    best: tuple[int, list[_Find]] = (0, [])
    for turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(small, turns))
        sure = [find for find in _first_look(turned, detector) if find.score >= SURE_SCORE]
        if max((find.score for find in sure), default=0.0) > max((find.score for find in best[1]), default=0.0):
            best = turns, sure
    return best


def _enlarged(finds: list[_Find], scale: float) -> list[_Find]:
    return [_Find(f.x1 * scale, f.y1 * scale, f.x2 * scale, f.y2 * scale, f.score) for f in finds]


def _turned_back(face: Face, turns: int, shape: tuple[int, ...]) -> Face:
    """A face of a picture that was turned by `turns` quarters to this shape, in pixels of the picture itself."""
    if not turns:
        return face
    points = face.landmarks68
    corners = np.array([[face.box.x1, face.box.y1], [face.box.x2, face.box.y2]])
    height, width = shape[:2]
    for _ in range(turns):
        # One turn with the clock takes (x, y) of a picture that is `height` high to (height - y, x).
        points = np.stack([height - points[:, 1], points[:, 0]], 1)
        corners = np.stack([height - corners[:, 1], corners[:, 0]], 1)
        height, width = width, height
    (x1, y1), (x2, y2) = corners.min(0), corners.max(0)
    box = Box(x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2))
    return Face(box=box, confidence=face.confidence, landmarks68=points.astype(np.float32), turns=turns)


def _look_again(small: ByteImage, detector: FaceDetector) -> list[_Find]:
    """Search once more, with repeated edges, then with equalised contrast, then by the convolutional detector."""
    pad_y, pad_x = small.shape[0] // 3, small.shape[1] // 3
    padded = _pad(small, pad_y, pad_x)
    for picture in (padded, _equalised(padded)):
        for enlarge, lowest in ((0, 0.0), (1, WEAK_SCORE)):
            finds = _shifted(_hog(picture, detector, enlarge, lowest), -pad_x, -pad_y)
            found = _confirmed(small, finds, detector, CHECKED_AGAIN)
            if found:
                return found
    for part in (3, 2):
        pad_y, pad_x = small.shape[0] // part, small.shape[1] // part
        found = _shifted(_cnn(_pad(small, pad_y, pad_x), detector, fine=True), -pad_x, -pad_y)
        if found:
            return found
    return []


def _hog(picture: ByteImage, detector: FaceDetector, enlarge: int, lowest: float = 0.0) -> list[_Find]:
    boxes, scores, _ = detector.hog.run(_single_channel(picture), enlarge, lowest)
    return [_Find(box.left(), box.top(), box.right() + 1, box.bottom() + 1, score)
            for box, score in zip(boxes, scores, strict=True)]


def _single_channel(picture: ByteImage) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A gray picture as `[H, W]`: the detector finds the same faces in less time. Others as they are."""
    first = picture[:, :, 0]
    gray = np.array_equal(first, picture[:, :, 1]) and np.array_equal(first, picture[:, :, 2])
    return np.ascontiguousarray(first) if gray else picture


def _cnn(picture: ByteImage, detector: FaceDetector, fine: bool = False) -> list[_Find]:
    from visagent.vision.dlib_mmod import find_windows

    scale = min(1.0, CNN_SIDE / max(picture.shape[:2]))
    windows = find_windows(_reduced(picture, scale), detector.cnn, fine)
    return _enlarged([_Find(*window) for window in windows], 1 / scale)


def _confirmed(work: ByteImage, finds: list[_Find], detector: FaceDetector, most: int) -> list[_Find]:
    """The finds that are sure, and those of the `most` best weak ones that the convolutional detector sees too."""
    merged = _merge(finds)
    weak = [find for find in merged if find.score < SURE_SCORE][:most]
    return [find for find in merged if find.score >= SURE_SCORE] + [
        find for find in weak if _cnn_sees(work, find, detector)]


def _cnn_sees(work: ByteImage, find: _Find, detector: FaceDetector) -> bool:
    """Whether the convolutional detector finds this face too, in a view with the face about 90 pixels wide."""
    box = Box(x1=find.x1, y1=find.y1, x2=find.x2, y2=find.y2)
    view = take_view(work, box, margin=2.0, size=180)
    for other in _cnn(view.rgb, detector):
        seen = view.to_picture(Box(x1=other.x1, y1=other.y1, x2=other.x2, y2=other.y2))
        if find.is_same_face(_Find(seen.x1, seen.y1, seen.x2, seen.y2, other.score)):
            return True
    return False


def _merge(finds: list[_Find]) -> list[_Find]:
    """One find per face: the one with the best score."""
    kept: list[_Find] = []
    for find in sorted(finds, key=lambda find: -find.score):
        if not any(find.is_same_face(other) for other in kept):
            kept.append(find)
    return kept


def _measure(find: _Find, padded: ByteImage, padding: tuple[int, int], shape: tuple[int, ...],
             detector: FaceDetector) -> Face | None:
    """The find in pixels of the picture of this shape, with landmarks; None if hardly any of it lies inside."""
    import dlib

    pad_x, pad_y = padding
    height, width = shape[:2]
    scale_x = width / (padded.shape[1] - 2 * pad_x)
    scale_y = height / (padded.shape[0] - 2 * pad_y)
    x1, x2 = (min(max(0.0, x * scale_x), width) for x in (find.x1, find.x2))
    y1, y2 = (min(max(0.0, y * scale_y), height) for y in (find.y1, find.y2))
    if (x2 - x1) * (y2 - y1) < 0.5 * find.area * scale_x * scale_y:
        return None
    rectangle = dlib.rectangle(round(find.x1) + pad_x, round(find.y1) + pad_y,
                               round(find.x2) + pad_x - 1, round(find.y2) + pad_y - 1)
    parts = detector.landmarks(padded, rectangle).parts()
    points = np.array([(part.x, part.y) for part in parts], dtype=np.float32)
    points = (points - np.array([pad_x, pad_y], np.float32)) * np.array([scale_x, scale_y], np.float32)
    return Face(box=Box(x1=x1, y1=y1, x2=x2, y2=y2), confidence=float(find.score), landmarks68=points)


def _shifted(finds: list[_Find], dx: float, dy: float) -> list[_Find]:
    return [_Find(f.x1 + dx, f.y1 + dy, f.x2 + dx, f.y2 + dy, f.score) for f in finds]


def _pad(picture: ByteImage, pad_y: int, pad_x: int) -> ByteImage:
    """Repeat the edge pixels outwards. Mirroring would show the detector half faces that are not there."""
    return np.ascontiguousarray(np.pad(picture, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="edge"))


def _equalised(picture: ByteImage) -> ByteImage:
    """Locally equalised brightness (CLAHE), for flat, dark or backlit faces."""
    import cv2

    gray = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    return np.ascontiguousarray(np.stack([np.asarray(gray, dtype=np.uint8)] * 3, axis=2))
