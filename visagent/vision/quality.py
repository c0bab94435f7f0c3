"""Whether a face can be judged at all: size, sharpness, light and pose, and in words what falls short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visagent.vision.crop import ByteImage, resize
from visagent.vision.detect import Face
from visagent.vision.pose import estimate_pose

SHARPNESS_WIDTH = 64
"""Face width in pixels at which sharpness is measured. Wider faces are reduced to it, narrower ones are taken as they
are, since enlarging would look like blur."""
BLACK, WHITE = 4, 251
"""Gray values at or beyond which a pixel counts as clipped."""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a tool needs of a face. The reasons below were measured on 100 pictures each of LFW and UTKFace and on 33
    everyday photos; but for size, all of them satisfy the defaults.

    Attributes:
        min_width_px: Box width. dlib's detectors are trained on 80 pixels and the descriptor's chip shows the face
            about 100 wide: 40 is an enlargement by two and a half, with nothing left to enlarge.
        min_sharpness: Of `FaceQuality.sharpness`. Sharp faces have 0.58 to 0.9; the same blurred by a Gaussian of 2 %
            of the face's width 0.5 to 0.65, of 3 % 0.43 to 0.52, of 5 % 0.35 to 0.39: eyes and mouth are smears then.
        min_brightness: Mean gray value; the darkest sharp face measured has 77.
        max_brightness: Mean gray value; the brightest has 184.
        max_clipped: Share of black or of white pixels; at most 0.17 were measured (black hair and beards).
        min_contrast: Standard deviation of the gray values; at least 18 was measured.
        max_yaw: Degrees from frontal, to either side. 99 % of LFW lie within 40; beyond 50 the far eye is hidden.
        max_pitch: Degrees from frontal, up or down. 99 % of LFW lie within 20.
    """

    min_width_px: float = 40.0
    min_sharpness: float = 0.40
    min_brightness: float = 35.0
    max_brightness: float = 225.0
    max_clipped: float = 0.35
    min_contrast: float = 10.0
    max_yaw: float = 50.0
    max_pitch: float = 40.0


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Measures of one face.

    Attributes:
        width_px: Width of the face box in pixels of the picture.
        eye_distance_px: Distance of the eye centres in pixels of the picture.
        sharpness: Detail at the scale of two pixels against that of four, at a face width of 64 pixels; 0.58 to 0.9
            when sharp, under 0.4 when strongly blurred. Size alone moves it little, contrast not at all.
        brightness: Mean gray value in the face box, 0 to 255.
        contrast: Standard deviation of the gray values.
        black_fraction: Share of pixels clipped to black, 0 to 1.
        white_fraction: Share of pixels clipped to white, 0 to 1.
        yaw: Degrees, positive when turned to the picture's right.
        pitch: Degrees, positive when raised.
        roll: Degrees, positive when tilted clockwise.
    """

    width_px: float
    eye_distance_px: float
    sharpness: float
    brightness: float
    contrast: float
    black_fraction: float
    white_fraction: float
    yaw: float
    pitch: float
    roll: float

    def shortcomings(self, limits: QualityLimits) -> tuple[str, ...]:
        """What falls short of the limits, one clause each ("the face is 20 pixels wide, at least 40 are needed")."""
        found: list[str] = []
        if self.width_px < limits.min_width_px:
            found.append(f"the face is {self.width_px:.0f} pixels wide, at least {limits.min_width_px:.0f} are needed")
        if self.sharpness < limits.min_sharpness:
            found.append(f"the face is too blurred (sharpness {self.sharpness:.2f}, at least "
                         f"{limits.min_sharpness:.2f} is needed)")
        if self.brightness < limits.min_brightness:
            found.append(f"the face is too dark (mean gray value {self.brightness:.0f} of 255, at least "
                         f"{limits.min_brightness:.0f} is needed)")
        elif self.black_fraction > limits.max_clipped:
            found.append(f"{self.black_fraction:.0%} of the face is black, at most {limits.max_clipped:.0%} may be")
        if self.brightness > limits.max_brightness:
            found.append(f"the face is too bright (mean gray value {self.brightness:.0f} of 255, at most "
                         f"{limits.max_brightness:.0f} is allowed)")
        elif self.white_fraction > limits.max_clipped:
            found.append(f"{self.white_fraction:.0%} of the face is white, at most {limits.max_clipped:.0%} may be")
        if self.contrast < limits.min_contrast:
            found.append(f"the face has too little contrast (standard deviation {self.contrast:.0f} of 255, at least "
                         f"{limits.min_contrast:.0f} is needed)")
        if abs(self.yaw) > limits.max_yaw:
            found.append(f"the face is turned {abs(self.yaw):.0f} degrees to the picture's "
                         f"{'right' if self.yaw > 0 else 'left'}, at most {limits.max_yaw:.0f} are allowed")
        if abs(self.pitch) > limits.max_pitch:
            found.append(f"the face is {'raised' if self.pitch > 0 else 'lowered'} by {abs(self.pitch):.0f} degrees, "
                         f"at most {limits.max_pitch:.0f} are allowed")
        return tuple(found)


def measure_quality(rgb: ByteImage, face: Face) -> FaceQuality:
    """Measure one face.

    Args:
        rgb: The picture that the face was found in, uint8 `[H, W, 3]`.
        face: From `detect_faces`.
    """
    import cv2

    x1, y1, x2, y2 = face.box.rounded()
    x1, y1 = max(0, min(x1, rgb.shape[1] - 1)), max(0, min(y1, rgb.shape[0] - 1))
    part = np.ascontiguousarray(rgb[y1:max(y2, y1 + 1), x1:max(x2, x1 + 1)])
    gray = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    eyes = face.landmarks5[:2]
    pose = estimate_pose(face.upright68)
    return FaceQuality(
        width_px=face.width,
        eye_distance_px=float(np.linalg.norm(eyes[1] - eyes[0])),
        sharpness=measure_sharpness(gray),
        brightness=float(gray.mean()),
        contrast=float(gray.std()),
        black_fraction=float((gray <= BLACK).mean()),
        white_fraction=float((gray >= WHITE).mean()),
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
    )


def measure_sharpness(gray: ByteImage) -> float:
    """Detail at the scale of two pixels over that of four, in a face 64 pixels wide (differences of Gaussians).

    A ratio of two bands of one face: contrast and light cancel out, and the faces of different people differ little.

    Args:
        gray: The face box, uint8 `[H, W]`.

    Returns:
        0 for a plain surface, else about 0.3 (smeared) to 1 (crisp, or noisy).
    """
    import cv2

    if gray.shape[1] > SHARPNESS_WIDTH:
        gray = resize(gray, SHARPNESS_WIDTH, max(1, round(gray.shape[0] * SHARPNESS_WIDTH / gray.shape[1])))
    values = gray.astype(np.float32)
    fine, middle, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))
    inner = (slice(2, -2), slice(2, -2)) if min(gray.shape) > 8 else (slice(None), slice(None))
    coarse_detail = float((middle - coarse)[inner].std())
    return float((fine - middle)[inner].std()) / coarse_detail if coarse_detail > 1e-3 else 0.0
