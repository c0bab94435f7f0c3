"""MOL as a whole: the published shapes and sizes, the order of its slices, and its weights on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from visagent.errors import WeightsError
from visagent.tools.micro_expression.network import MOL, load_network, normalised, save_network, with_changes


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def small() -> MOL:
    torch.manual_seed(0)
    return MOL(9, with_flow=False).eval()


def test_the_parts_are_as_large_as_the_released_ones() -> None:
    network = MOL(5)
    assert size(network.stack) == 19_048 + 8 * 16  # a plane more, of what changes
    assert size(network.expression) == 738_853
    assert network.landmarks is not None and size(network.landmarks) == 3_318_440
    assert network.flow is not None and size(network.flow) == 39_730_282
    # FCC stores 32 taps and places where 16 are used; CCC has the paper's 1x1 convolution, which the code lacks.
    assert size(network.earlier) == size(network.later) == 16_896 - 8_192 + 131_584 + 128 * 128 + 128
    released = MOL(5, correspondence="released")
    assert size(released.earlier) == 16_896 - 8_192 + 131_584


def test_the_outputs_have_their_shapes() -> None:
    torch.manual_seed(0)
    network = MOL(3).eval()
    with torch.inference_mode():
        output = network(torch.randn(2, 8, 128, 128))
        alone = network(torch.randn(1, 8, 128, 128), classes_only=True)
    assert output.classes.shape == (2, 3)
    assert output.landmarks is not None and output.landmarks.shape == (2, 7, 68, 2)
    assert output.flow is not None and output.flow.shape == (2, 7, 2, 128, 128)
    assert alone.classes.shape == (1, 3) and alone.landmarks is None and alone.flow is None


def test_all_pairs_at_once_are_what_pair_by_pair_gives(small: MOL) -> None:
    clips = torch.randn(2, 8, 128, 128)
    slices, landmarks = [], []
    assert small.landmarks is not None
    with torch.inference_mode():
        shown = with_changes(clips)
        for pair in range(7):
            earlier = small.earlier(small.stack(shown[:, pair]))
            later = small.later(small.stack(shown[:, pair + 1]))
            slices += [earlier, later]
            landmarks.append(small.landmarks(later))
        output = small(clips)
        torch.testing.assert_close(output.classes, small.expression(torch.stack(slices, 4)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.landmarks, torch.stack(landmarks, 1), rtol=1e-4, atol=1e-4)


def test_the_flow_of_some_pairs_is_that_of_all() -> None:
    torch.manual_seed(0)
    network = MOL(3, with_landmarks=False).eval()
    clips = torch.randn(2, 8, 128, 128)
    with torch.inference_mode():
        whole, some = network(clips).flow, network(clips, pairs=[1, 5]).flow
    assert whole is not None and some is not None
    torch.testing.assert_close(some, whole[:, [1, 5]])


def test_normalising_takes_out_brightness_contrast_and_flicker() -> None:
    torch.manual_seed(0)
    clips = 100 + 30 * torch.randn(2, 8, 128, 128)
    plain = normalised(clips)
    flickering = clips + torch.randn(2, 8, 1, 1)
    torch.testing.assert_close(normalised(flickering), plain, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(normalised(0.5 * clips + 20), plain, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(normalised(torch.full((1, 8, 128, 128), 7.0))).all()


def test_weights_come_back_in_half_precision_without_the_flow_head(tmp_path: Path, small: MOL) -> None:
    save_network(MOL(9), tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").stat().st_size < 10_000_000
    save_network(small, tmp_path / "small")
    clips = torch.randn(1, 8, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(tmp_path / "small")(clips).classes, small(clips).classes, rtol=0.02,
                                   atol=0.02)
    (tmp_path / "small" / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="reinstall"):
        load_network(tmp_path / "small")
