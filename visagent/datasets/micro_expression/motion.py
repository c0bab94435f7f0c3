"""Motion of a simulated face: fields of displacement, how they rise and fall, and what truly moved where.

A pixel q of the frame at time t shows the point `p = A_t (q - V_t(q))` of the photo: `V_t` is what the skin has moved,
a sum of fields that each rise and fall on their own, and the affine map `A_t` places the photo in the frame, with the
head's drift. All is known, so the true flow and landmarks are too.
"""

from __future__ import annotations

import torch

from visagent.datasets.micro_expression.action_units import pull_table


def fields_of(landmarks: torch.Tensor, strengths: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Displacement fields whose strongest place moves by one pixel.

    Args:
        landmarks: The 68 points in pixels of the frame, `[B, 68, 2]`.
        strengths: Of each action unit (`UNITS`) at the picture's left and right, 0 to 1, `[B, U, 2]`.
        size: Height and width of the frame.

    Returns:
        `[B, 2, H, W]` as (x, y); zero where all strengths are.
    """
    table = pull_table()
    device = landmarks.device
    left, right = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    across = right - left
    distance = across.norm(dim=1)  # between the eyes
    axes = torch.stack([across, torch.stack([-across[:, 1], across[:, 0]], 1)], 1)  # right and down, in the frame
    places = torch.as_tensor(table.places, device=device) @ landmarks
    places = places + torch.as_tensor(table.offsets, device=device) @ axes
    units = torch.as_tensor(table.units, device=device)
    of_sides = torch.cat([strengths, strengths.mean(2, keepdim=True)], 2)  # left, right, middle
    weights = of_sides[:, units, torch.as_tensor(table.sides, device=device)]  # [B, J]
    moves = (torch.as_tensor(table.moves, device=device) @ axes) / distance[:, None, None] * weights[..., None]
    spread = 2 * (torch.as_tensor(table.reaches, device=device) * distance[:, None]).square()  # [B, J]
    # A Gaussian of both coordinates is a product of two: the sum over the pulls is one matrix product.
    x = torch.arange(size[1], device=device, dtype=torch.float32)
    y = torch.arange(size[0], device=device, dtype=torch.float32)
    across_x = (-(x - places[..., 0:1]).square() / spread[..., None]).exp()  # [B, J, W]
    down_y = (-(y - places[..., 1:2]).square() / spread[..., None]).exp()  # [B, J, H]
    field = torch.einsum("bjd,bjh,bjw->bdhw", moves, down_y, across_x)
    strongest = field.square().sum(1).amax((1, 2)).sqrt()
    return field / strongest.clamp_min(1e-6)[:, None, None, None]


def envelope(times: torch.Tensor, onset: torch.Tensor, apex: torch.Tensor, release: torch.Tensor, offset: torch.Tensor
             ) -> torch.Tensor:
    """How much of a movement there is: 0 until the onset, 1 from apex to release, 0 from the offset on; smooth.

    Args:
        times: Of the frames, `[..., T]`, seconds.
        onset, apex, release, offset: `[...]`, rising.
    """
    rising = (times - onset[..., None]) / (apex - onset)[..., None].clamp_min(1e-6)
    falling = (offset[..., None] - times) / (offset - release)[..., None].clamp_min(1e-6)
    share = torch.minimum(rising, falling).clamp(0, 1)
    return (1 - torch.cos(torch.pi * share)) / 2


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The pixels' own places, `[H, W, 2]` as (x, y)."""
    y, x = torch.meshgrid(torch.arange(height, device=device, dtype=torch.float32),
                          torch.arange(width, device=device, dtype=torch.float32), indexing="ij")
    return torch.stack([x, y], -1)


def transform(matrices: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Affine maps `[N, 2, 3]` of points `[N, ..., 2]`."""
    flat = points.flatten(1, -2)
    return (flat @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]).reshape(points.shape)


def inverse(matrices: torch.Tensor) -> torch.Tensor:
    """The inverse affine maps, `[N, 2, 3]`."""
    linear = torch.linalg.inv(matrices[:, :, :2])
    return torch.cat([linear, -linear @ matrices[:, :, 2:]], 2)


def sample(maps: torch.Tensor, points: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """Values of maps `[N, C, H, W]` at points `[N, h, w, 2]` in their pixels: `[N, C, h, w]`; the edge goes on."""
    size = torch.tensor([maps.shape[3], maps.shape[2]], device=maps.device, dtype=maps.dtype)
    return torch.nn.functional.grid_sample(maps, (2 * points + 1) / size - 1, mode=mode, padding_mode="border",
                                           align_corners=False)


def shown_points(placing: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Which point of the photo each pixel shows: `A (q - V(q))`.

    Args:
        placing: A of each frame, `[N, 2, 3]`.
        moved: V of each frame, `[N, 2, H, W]`.

    Returns:
        `[N, H, W, 2]` in pixels of the photo.
    """
    grid = pixel_grid(moved.shape[2], moved.shape[3], moved.device)
    return transform(placing, grid - moved.permute(0, 2, 3, 1))


def where_seen(points: torch.Tensor, placing: torch.Tensor, moved: torch.Tensor, rounds: int = 6) -> torch.Tensor:
    """Where in each frame points of the photo are seen: the x with `A (x - V(x)) = p`, by iterating
    `x <- inverse(A) p + V(x)`. The fields change by less than their own length from pixel to pixel, so it converges.

    Args:
        points: `[N, h, w, 2]` in pixels of the photo.
        placing: A, `[N, 2, 3]`.
        moved: V, `[N, 2, H, W]`.
        rounds: Of the iteration.
    """
    still = transform(inverse(placing), points)
    seen = still
    for _ in range(rounds):
        seen = still + sample(moved, seen).permute(0, 2, 3, 1)
    return seen


def true_flow(placing: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """The flow from each frame to the next.

    Args:
        placing: A of each frame of clips, `[B, T, 2, 3]`.
        moved: V, `[B, T, 2, H, W]`.

    Returns:
        `[B, T - 1, 2, H, W]` as (x, y) in pixels.
    """
    points = shown_points(placing[:, :-1].flatten(0, 1), moved[:, :-1].flatten(0, 1))
    seen = where_seen(points, placing[:, 1:].flatten(0, 1), moved[:, 1:].flatten(0, 1))
    flow = seen - pixel_grid(moved.shape[3], moved.shape[4], moved.device)
    return flow.permute(0, 3, 1, 2).reshape(moved.shape[0], -1, *moved.shape[2:])
