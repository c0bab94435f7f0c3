"""Makes visagent/assets/astronaut-replay.jpg, the bundled attack: `python docs/make_bundled_attack.py`.

The bundled portrait on the screen of a phone that lies on a table: a made-up replay, for examples and tests. What
gives a photographed screen away is there: its pixels and their moire with the camera's, light that leaks through its
black, a reflection in the glass, and the phone around it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

ASSETS = Path(__file__).parent.parent / "visagent" / "assets"
SIDE = 640
SCREEN = (300, 400)
"""Width and height of what the phone shows, in pixels of the picture before it is turned."""
BEZEL = 26


def main() -> None:
    """Draw and save."""
    rng = np.random.default_rng(5)
    portrait = cv2.imread(str(ASSETS / "astronaut.jpg")).astype(np.float32)
    phone, cover = _phone(_shown(portrait[0:400, 70:370]))
    height, width = cover.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = np.array([[150, 92], [494, 66], [510, 548], [136, 566]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    table = _table(rng)
    mask = cv2.warpPerspective(cover, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA)[..., None]
    shadow = cv2.GaussianBlur(np.roll(mask, (14, 10), (0, 1)), (0, 0), 14)[..., None]
    scene = table * (1 - 0.55 * shadow)
    scene = scene * (1 - mask) + cv2.warpPerspective(phone, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR) * mask
    scene = cv2.GaussianBlur(scene, (0, 0), 0.6) + rng.normal(0, 2.0, scene.shape)
    cv2.imwrite(str(ASSETS / "astronaut-replay.jpg"), np.clip(scene, 0, 255).astype(np.uint8),
                [cv2.IMWRITE_JPEG_QUALITY, 90])


def _shown(photo: np.ndarray) -> np.ndarray:
    """The photo as a display shows it to a camera."""
    width, height = SCREEN
    shown = cv2.resize(photo, SCREEN, interpolation=cv2.INTER_AREA)
    shown = 22 + shown * np.array([0.98, 0.9, 0.82], np.float32)  # leaking backlight, a bluish white point
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    fringes = 7 * np.sin(0.35 * x + 0.12 * y) + 6 * np.sin(0.09 * x - 0.31 * y)
    grid = 5 * ((x % 3 == 0).astype(np.float32) + (y % 3 == 0))
    shine = 70 * np.exp(-((x - 0.9 * width + 0.4 * y) / 60) ** 2)
    return shown + (fringes - grid + shine)[..., None]


def _phone(shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The phone seen straight on, and where it is, 0 to 1."""
    width, height = SCREEN[0] + 2 * BEZEL, SCREEN[1] + 4 * BEZEL
    body = np.full((height, width, 3), 24, np.float32)
    body[2 * BEZEL : 2 * BEZEL + SCREEN[1], BEZEL : BEZEL + SCREEN[0]] = shown
    cv2.circle(body, (width // 2, BEZEL), 7, (60, 50, 45), -1, cv2.LINE_AA)
    cv2.rectangle(body, (width // 2 - 40, height - BEZEL - 3), (width // 2 + 40, height - BEZEL + 3), (70, 70, 70), -1)
    cover = np.zeros((height, width), np.float32)
    radius = 34
    cv2.rectangle(cover, (radius, 0), (width - radius, height), 1.0, -1)
    cv2.rectangle(cover, (0, radius), (width, height - radius), 1.0, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(cover, (x, y), radius, 1.0, -1)
    return body, cover


def _table(rng: np.random.Generator) -> np.ndarray:
    """A wooden table in the light of a window."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    grain = cv2.resize(rng.normal(0, 1, (90, 6)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.normal(0, 1, (SIDE, 24)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    light = 1.12 - 0.35 * (x + y) / (2 * SIDE)
    wood = np.array([104, 140, 178], np.float32) * (1 + 0.07 * grain + 0.03 * fine)[..., None]
    return wood * light[..., None]


if __name__ == "__main__":
    main()
