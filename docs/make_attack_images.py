"""Makes docs/images/attacks.jpg, the sheet of simulated attacks: `python docs/make_attack_images.py`.

Every attack type of the optical renderer on the bundled public-domain portrait, live at the top left; the left half
with techniques that training shows, the right half with those kept for testing. All through the training camera.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from visagent.datasets import camera
from visagent.datasets.attacks import ATTACK_TYPES, optical, scene_of, techniques
from visagent.datasets.surfaces import SCENE_SIDE, Scene
from visagent.vision.crop import VIEW_SIDE, take_view
from visagent.vision.detect import detect_faces, load_face_detector

IMAGE = Path(__file__).parent / "images" / "attacks.jpg"
TRIES = 3
MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38,
            37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
"""The 68 points of a face in the order that they have in its mirror image."""


def main() -> None:
    """Draw and save."""
    photo = astronaut()
    (face, *_) = detect_faces(photo, load_face_detector())
    view = take_view(photo, face.box)
    scene = scene_of(view.rgb)
    points = ((face.landmarks68 - [view.left, view.top]) * (SCENE_SIDE / view.side)).astype(np.float32)
    other, other_points = np.ascontiguousarray(scene[:, ::-1]), points[MIRRORED] * [-1, 1] + [SCENE_SIDE, 0]
    rows = []
    for number, kind in enumerate(["live", *ATTACK_TYPES]):
        row = []
        for known in (techniques.TRAIN, techniques.HELD_OUT):
            for shot in range(TRIES):
                rng = np.random.default_rng([number, shot, known is techniques.TRAIN])
                shown = (
                    optical.present_live(scene, points, other, rng)
                    if kind == "live"
                    else optical.present_attack(kind, scene, points, other, other_points.astype(np.float32), rng,
                                                techniques=known)
                )
                row.append(camera.take(shown.scene, rng, size=VIEW_SIDE).rgb)
        rows.append(_named(np.hstack(row), kind))
    half = len(rows) // 2
    sheet = np.hstack([np.vstack(rows[:half]), np.full((half * VIEW_SIDE, 12, 3), 255, np.uint8),
                       np.vstack(rows[half:])])
    small = cv2.resize(sheet, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(IMAGE), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _named(row: Scene, kind: str) -> Scene:
    cv2.rectangle(row, (0, 0), (9 + 13 * len(kind), 30), (0, 0, 0), -1)
    cv2.putText(row, kind, (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.75, (255, 255, 255), 2, cv2.LINE_AA)
    return row


if __name__ == "__main__":
    main()
