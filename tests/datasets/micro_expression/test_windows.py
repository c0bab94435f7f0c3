"""Simulated windows: what they show, that their truth is true, and that nothing but motion tells one from another."""

from __future__ import annotations

import numpy as np
import torch

from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.motion import sample
from visagent.datasets.micro_expression.recording import blurred, draw_cameras, in_blocks
from visagent.datasets.micro_expression.windows import simulate
from visagent.vision.micro_expression import NONE

Faces = tuple[torch.Tensor, torch.Tensor]


def test_the_same_seed_gives_the_same_windows(faces: Faces) -> None:
    one, two = (simulate(*faces, Draw.of(5)) for _ in range(2))
    assert torch.equal(one.clips, two.clips) and torch.equal(one.emotions, two.emotions)
    assert not torch.equal(simulate(*faces, Draw.of(6)).clips, one.clips)


def test_shapes_and_ranges(faces: Faces) -> None:
    windows = simulate(*faces, Draw.of(0), emotions=torch.tensor([0, 1, 4, NONE]), amplitudes=torch.full((4,), 2.0))
    assert windows.clips.shape == (4, 8, 128, 128) and windows.landmarks.shape == (4, 8, 68, 2)
    assert windows.flow.shape == (4, 7, 2, 128, 128)
    assert windows.clips.min() >= 0 and windows.clips.max() <= 255
    assert torch.equal(windows.clips, windows.clips.round())
    assert windows.amplitudes.tolist() == [2, 2, 2, 0] and windows.emotions.tolist() == [0, 1, 4, NONE]


def test_the_true_flow_leads_from_one_frame_to_the_next(faces: Faces) -> None:
    """Warping the next frame back by the flow comes closer to the frame than leaving it does."""
    windows = simulate(*faces, Draw.of(3), emotions=torch.tensor([0, 1, 2, 3]), amplitudes=torch.full((4,), 3.0))
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    grid = torch.stack([x, y], -1)
    frames = windows.clips - windows.clips.mean((2, 3), keepdim=True)  # the light flickers
    frames = blurred(frames, torch.full((4,), 1.2))
    pair = windows.flow.norm(dim=2).mean((2, 3)).argmax(1)
    for clip, k in enumerate(pair.tolist()):
        there = grid + windows.flow[clip, k].permute(1, 2, 0)
        warped = sample(frames[clip, k + 1][None, None], there[None])[0, 0]
        still = (frames[clip, k + 1] - frames[clip, k])[8:-8, 8:-8].square().mean()
        assert (warped - frames[clip, k])[8:-8, 8:-8].square().mean() < 0.9 * still


def test_the_flow_of_some_pairs_is_that_of_all(faces: Faces) -> None:
    whole, some, none = (simulate(*faces, Draw.of(3), pairs=pairs).flow for pairs in (range(7), [2, 6], []))
    assert whole is not None and some is not None and none is None
    torch.testing.assert_close(some, whole[:, [2, 6]])


def test_landmarks_move_with_the_flow(faces: Faces) -> None:
    windows = simulate(*faces, Draw.of(3), emotions=torch.tensor([0, 1, 2, 3]), amplitudes=torch.full((4,), 3.0))
    for k in range(7):
        step = sample(windows.flow[:, k], windows.landmarks[:, k, None])[:, :, 0].transpose(1, 2)
        inside = ((windows.landmarks[:, k] > 1) & (windows.landmarks[:, k] < 126)).all(-1)
        error = (windows.landmarks[:, k] + step - windows.landmarks[:, k + 1]).norm(dim=-1)
        assert error[inside].max() < 0.15


def test_an_expression_is_larger_by_its_amplitude(faces: Faces) -> None:
    """The same seed, other amplitudes: what differs in the landmarks' paths is the expression."""
    emotions = torch.tensor([0, 1, 2, 4])
    still, small, large = (simulate(*faces, Draw.of(9), emotions=emotions, amplitudes=torch.full((4,), size)).landmarks
                           for size in (1e-6, 1.0, 2.0))
    one, two = ((moved - still).norm(dim=-1).amax((1, 2)) for moved in (small, large))
    torch.testing.assert_close(two / one, torch.full((4,), 2.0), rtol=0.1, atol=0)
    assert ((one > 0.15) & (one < 1.3)).all()


def test_windows_without_an_expression_move_too(faces: Faces) -> None:
    photos, marks = (part.repeat(8, *[1] * (part.dim() - 1)) for part in faces)
    windows = simulate(photos, marks, Draw.of(1), emotions=torch.full((32,), NONE))
    travel = windows.flow.norm(dim=2).mean((2, 3)).amax(1)
    assert travel.max() > 0.3 and travel.min() < 0.2


def test_no_frame_is_softer_than_another(faces: Faces) -> None:
    """A network could tell a moving frame by the blur of interpolation, were some frames not interpolated."""
    windows = simulate(*(part.repeat(16, *[1] * (part.dim() - 1)) for part in faces), Draw.of(2))
    sharpness = (windows.clips.diff(dim=2).square().mean((2, 3)) + windows.clips.diff(dim=3).square().mean((2, 3)))
    relative = (sharpness / sharpness.mean(1, keepdim=True)).mean(0)
    np.testing.assert_allclose(relative, 1, atol=0.02)


def test_blocks_keep_a_picture_that_is_rounded_finely() -> None:
    frames = 128 + 20 * Draw.of(0).normal(2, 3, 16, 24)
    torch.testing.assert_close(in_blocks(frames, torch.zeros(2)), frames, rtol=0, atol=1e-3)
    coarse = in_blocks(frames, torch.tensor([0.0, 6.0]))
    torch.testing.assert_close(coarse[0], frames[0], rtol=0, atol=1e-3)
    assert 1 < (coarse[1] - frames[1]).square().mean().sqrt() < 20


def test_a_camera_without_faults_gives_the_frames_back() -> None:
    draw = Draw.of(0)
    camera = draw_cameras(2, draw)
    for name in ("brightness", "noise", "coarseness"):
        getattr(camera, name).zero_()
    camera.contrast.fill_(1), camera.blur.fill_(0.05), camera.flicker.size.zero_(), camera.moving_lamp.size.zero_()
    frames = draw.even(10, 240, 2, 3, 16, 16).round()
    assert torch.equal(camera.film(frames, torch.zeros(2, 3), draw), frames)
