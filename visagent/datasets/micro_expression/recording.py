"""What a camera does to the frames of a simulated clip: light that changes, a lens, noise, and blocks of compression.

All of it is drawn once for a clip and differs from frame to frame only where it does in a camera: a network must not
be able to tell moving frames from still ones by anything but the motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from visagent.datasets.micro_expression.drawing import Draw

BLOCK = 8


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave over time for each clip, all `[B]`: size, cycles a second, and where in a cycle it begins, 0 to 1."""

    size: torch.Tensor
    frequency: torch.Tensor
    phase: torch.Tensor

    def at(self, seconds: torch.Tensor) -> torch.Tensor:
        """Its values at times `[B, T]`."""
        turns = self.frequency[:, None] * seconds + self.phase[:, None]
        return self.size[:, None] * torch.sin(2 * torch.pi * turns)


@dataclass(frozen=True, slots=True)
class Camera:
    """The cameras and lamps of B clips, all `[B]`.

    Attributes:
        blur: Deviation of the lens's Gaussian in pixels.
        contrast: Factor.
        brightness: Added gray values.
        flicker: Of the lamps, a share of the light. They flicker at twice the mains frequency; what a camera sees of
            it beats slowly.
        moving_lamp: A share of the light at the frame's edges, brighter at one and darker at the other.
        lamp_angle: Where that lamp stands.
        noise: Deviation in gray values.
        shot: How much of the noise grows with the light, 0 to 1.
        coarseness: Step that coefficients of 8x8 blocks are rounded to; 0 keeps them.
    """

    blur: torch.Tensor
    contrast: torch.Tensor
    brightness: torch.Tensor
    flicker: Wave
    moving_lamp: Wave
    lamp_angle: torch.Tensor
    noise: torch.Tensor
    shot: torch.Tensor
    coarseness: torch.Tensor

    def film(self, frames: torch.Tensor, seconds: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Film clips.

        Args:
            frames: Gray values `[B, T, H, W]`, 0 to 255; height and width are multiples of 8.
            seconds: When each frame is taken, `[B, T]`.
            draw: Of the noise.

        Returns:
            Whole gray values 0 to 255, as floats.
        """
        lit = self._lit(blurred(frames, self.blur), seconds)
        amount = self.noise[:, None, None, None] * (
            1 - self.shot[:, None, None, None] * (1 - (lit.clamp_min(0) / 128).sqrt()))
        noisy = lit + amount * draw.normal(*lit.shape)
        return in_blocks(noisy, self.coarseness).round().clamp(0, 255)

    def _lit(self, frames: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
        exposed = (frames - 128) * self.contrast[:, None, None, None] + 128 + self.brightness[:, None, None, None]
        y = torch.linspace(-1, 1, frames.shape[2], device=frames.device)[:, None]
        x = torch.linspace(-1, 1, frames.shape[3], device=frames.device)[None, :]
        slope = torch.cos(self.lamp_angle)[:, None, None] * x + torch.sin(self.lamp_angle)[:, None, None] * y
        lamp = self.moving_lamp.at(seconds)[..., None, None] * slope[:, None]
        return exposed.clamp(0, 255) * (1 + self.flicker.at(seconds)[..., None, None] + lamp)


def draw_cameras(batch: int, draw: Draw, *, compresses: bool = True) -> Camera:
    """Cameras of all kinds; half of those that compress do so visibly."""
    return Camera(
        blur=draw.even(0.05, 1.0, batch),
        contrast=draw.even(0.6, 1.3, batch),
        brightness=draw.even(-35, 35, batch),
        flicker=draw_waves(0.025, (0.3, 12), batch, draw),
        moving_lamp=draw_waves(0.02, (0.05, 0.6), batch, draw),
        lamp_angle=draw.even(0, 2 * torch.pi, batch),
        noise=draw.even(0.3, 3.0, batch),
        shot=draw.even(0, 0.6, batch),
        coarseness=draw.even(-8, 8, batch).clamp_min(0) * compresses,
    )


def draw_waves(largest: float, frequencies: tuple[float, float], batch: int, draw: Draw) -> Wave:
    """Waves of sizes up to the largest."""
    return Wave(draw.even(0, largest, batch), draw.even(*frequencies, batch), draw.even(0, 1, batch))


def blurred(frames: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Clips `[B, T, H, W]`, each blurred by its own Gaussian of under 1.5 pixels."""
    taps = torch.arange(-3, 4, device=frames.device)
    kernel = (-taps.square() / (2 * deviation[:, None].square())).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    clips = frames.transpose(0, 1)  # a channel for each clip, with its own kernel
    padded = torch.nn.functional.pad(clips, (3, 3, 3, 3), mode="reflect")
    across = torch.nn.functional.conv2d(padded, kernel[:, None, None], groups=len(frames))
    return torch.nn.functional.conv2d(across, kernel[:, None, :, None], groups=len(frames)).transpose(0, 1)


def in_blocks(frames: torch.Tensor, coarseness: torch.Tensor) -> torch.Tensor:
    """Clips `[B, T, H, W]` with the coefficients of 8x8 blocks rounded, coarser for higher frequencies, as JPEG and
    video codecs do."""
    batch, count, height, width = frames.shape
    transform = _cosines().to(frames.device)
    blocks = frames.reshape(batch, count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    coefficients = transform @ blocks @ transform.T
    frequency = torch.arange(BLOCK, device=frames.device)
    steps = coarseness[:, None, None, None, None, None] * (1 + 0.4 * (frequency[:, None] + frequency[None, :]))
    rounded = torch.where(steps > 0, (coefficients / steps.clamp_min(1e-3)).round() * steps, coefficients)
    pixels: torch.Tensor = transform.T @ rounded @ transform
    return pixels.transpose(3, 4).reshape(frames.shape)


@cache
def _cosines() -> torch.Tensor:
    """The orthonormal discrete cosine transform of length 8 as a matrix."""
    k = torch.arange(BLOCK, dtype=torch.float32)
    rows: torch.Tensor = torch.cos(torch.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    rows[0] /= 2**0.5
    return rows
