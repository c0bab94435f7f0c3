"""Follow one face through the frames of a clip: its 68 landmarks in each frame, or that it is not there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visagent.evidence import Box
from visagent.vision.crop import ByteImage, take_view
from visagent.vision.detect import Face, FaceDetector, detect_faces

CHECK_SECONDS: Final = 0.25
"""After so long the detector looks whether the face is still there."""
WHOLE_SIDE: Final = 640
"""Longer side of the frame in which a lost face is looked for."""
NEAR_SIDE: Final = 240
"""Side of the view around the last place: the face is some 100 pixels wide there; the detector needs 80."""
MOST_MISSED: Final = 1
"""Checks in a row that may fail while the landmarks are still followed: a face that turns is missed now and then."""
MARGIN: Final = 2.4
"""Side of that view in widths of the face."""
SAME_PLACE: Final = 0.5
"""A find whose middle is further off than this share of its width is somebody else's."""

Points = NDArray[np.float32]
Rectangle = tuple[float, float, float, float]


class FaceTracker:
    """Follows the face it was begun with.

    Args:
        detector: From `load_face_detector`.
        face: The face in the first frame.
        seconds: When that frame is shown.

    Attributes:
        confirmed: When the detector last saw the face. Landmarks of later frames may be of nothing.
    """

    def __init__(self, detector: FaceDetector, face: Face, seconds: float) -> None:
        self._detector = detector
        box = face.box
        self._place: Rectangle = (box.x1, box.y1, box.x2, box.y2)
        self._points = face.landmarks68
        self._checked = seconds
        self._missed = 0
        self.confirmed = seconds

    def follow(self, gray: NDArray[np.uint8], seconds: float) -> Points | None:
        """The landmarks in the next frame, float32 `[68, 2]` in its pixels; None if the face is not there.

        Args:
            gray: uint8 `[H, W]`, of the size of the frames before.
            seconds: When it is shown.
        """
        if seconds - self._checked >= CHECK_SECONDS:
            self._checked = seconds
            found = self._look(gray)
            self._missed = 0 if found is not None else self._missed + 1
            self.confirmed = seconds if found is not None else self.confirmed
            self._place = found or self._place
        if self._missed > MOST_MISSED:
            return None
        points = self._measured(gray, self._place)
        # Between two checks the rectangle goes where the landmarks go.
        dx, dy = (points.mean(0) - self._points.mean(0)).tolist() if seconds > self._checked else (0.0, 0.0)
        x1, y1, x2, y2 = self._place
        self._place = (x1 + dx, y1 + dy, x2 + dx, y2 + dy)
        self._points = points
        return points

    def _measured(self, gray: NDArray[np.uint8], place: Rectangle) -> Points:
        import dlib

        with self._detector.lock:
            shape = self._detector.landmarks(gray, dlib.rectangle(*(round(value) for value in place)))
        return np.array([(part.x, part.y) for part in shape.parts()], np.float32)

    def _look(self, gray: NDArray[np.uint8]) -> Rectangle | None:
        """Where the face is now: near its last place, or, once lost, anywhere in the frame."""
        if self._missed > MOST_MISSED:
            longer = float(max(gray.shape))
            return _surest(gray, (0.0, 0.0, longer, longer), 1.25, WHOLE_SIDE, self._detector)
        found = _surest(gray, self._place, MARGIN, NEAR_SIDE, self._detector)
        if found is None:
            return None
        x1, y1, x2, y2 = self._place
        off = np.hypot(found[0] + found[2] - x1 - x2, found[1] + found[3] - y1 - y2) / 2
        return found if off <= SAME_PLACE * (x2 - x1) else None


def _surest(gray: NDArray[np.uint8], place: Rectangle, margin: float, side: int, detector: FaceDetector
            ) -> Rectangle | None:
    """The surest find of the HOG detector in the square around a place, seen with this side."""
    x1, y1, x2, y2 = place
    # The view repeats the frame's edge: faces that fill the frame are missed without.
    view = take_view(as_picture(gray), Box(x1=x1, y1=y1, x2=x2, y2=y2), margin, side)
    boxes, scores, _ = detector.hog.run(np.ascontiguousarray(view.rgb[..., 0]), 0, 0.0)
    if not scores:
        return None
    box: Any = boxes[int(np.argmax(scores))]
    found = view.to_picture(Box(x1=box.left(), y1=box.top(), x2=box.right() + 1, y2=box.bottom() + 1))
    return found.x1, found.y1, found.x2, found.y2


def glimpse(gray: NDArray[np.uint8], detector: FaceDetector) -> bool:
    """Whether the HOG detector sees any face: some hundredth of a second, where a thorough search takes seconds."""
    longer = float(max(gray.shape))
    return _surest(gray, (0.0, 0.0, longer, longer), 1.25, WHOLE_SIDE, detector) is not None


def as_picture(gray: NDArray[np.uint8]) -> ByteImage:
    """A gray frame as RGB, uint8 `[H, W, 3]`."""
    return np.ascontiguousarray(np.repeat(gray[..., None], 3, 2))


def first_faces(gray: NDArray[np.uint8], detector: FaceDetector) -> tuple[Face, ...]:
    """All faces of a frame, from left to right."""
    faces = detect_faces(as_picture(gray), detector)
    return tuple(sorted(faces, key=lambda face: face.box.x1 + face.box.x2))
