"""Makes visagent/assets/astronaut-clip.mp4, the bundled clip: `python docs/make_bundled_clip.py`.

Three seconds of the bundled portrait with a made-up micro-expression: the film of `visagent.datasets`, with blinks,
a head that drifts, noise and light. The photograph is from the same public-domain portrait; no face was filmed.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from visagent.datasets.micro_expression.films import encode, make_film
from visagent.vision.detect import detect_faces, load_face_detector

ASSETS = Path(__file__).parent.parent / "visagent" / "assets"
SEED = 11
"""Of a smile: see what is printed."""


def main() -> None:
    """Film and save."""
    rgb = cv2.cvtColor(cv2.imread(str(ASSETS / "astronaut.jpg")), cv2.COLOR_BGR2RGB)
    head = np.ascontiguousarray(cv2.resize(rgb[10:330, 60:380], (288, 288), interpolation=cv2.INTER_AREA))
    (face,) = detect_faces(head, load_face_detector())
    film = make_film(cv2.cvtColor(head, cv2.COLOR_RGB2GRAY), face.landmarks68, SEED, seconds=3.0, events=1,
                     amplitudes=(1.5, 1.501))
    (ASSETS / "astronaut-clip.mp4").write_bytes(encode(film, 60, quality=23))
    print(*film.events)


if __name__ == "__main__":
    main()
