"""What stands around a face: a camera may be held anyhow, no surroundings give no verdict, bad weights say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visagent.errors import WeightsError
from visagent.evidence import Box, ModelIdentity
from visagent.tools.spoof.surroundings import (
    MOST_PADDING,
    BorderPoint,
    Enclosure,
    Surroundings,
    judge,
    padded_share,
    read_surroundings,
    wide_view,
)
from visagent.tools.spoof.surroundings_network import ENCLOSURES, SurroundingsNetwork, load_network, save_network
from visagent.vision.crop import WIDE_MARGIN, WIDE_SIDE

POINT = BorderPoint(threshold=0.0, certain=2.0, scale=1.0, offset=0.0, source="a network that was not trained")


def _network(bias: tuple[float, float, float] = (0.0, 0.0, 0.0), mask: float | None = None) -> SurroundingsNetwork:
    """Weights as drawn; with a bias so large that it decides alone."""
    torch.manual_seed(0)
    network = SurroundingsNetwork().eval()
    with torch.no_grad():
        network.kinds.bias += torch.tensor(bias)
        if mask is not None:
            network.fine_mask.weight.zero_()
            network.coarse_mask.weight.zero_()
            network.fine_mask.bias.fill_(mask)
            network.coarse_mask.bias.zero_()
    return network


def _surroundings(bias: tuple[float, float, float], mask: float | None = None) -> Surroundings:
    return Surroundings(_network(bias, mask), POINT, ModelIdentity(id="test"))


@pytest.fixture(scope="module")
def view() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (WIDE_SIDE, WIDE_SIDE, 3), dtype=np.uint8)


def test_outputs_have_the_shapes_that_they_say() -> None:
    output = _network()(torch.zeros(5, 3, WIDE_SIDE, WIDE_SIDE))
    assert output.kinds.shape == (5, len(ENCLOSURES)) and output.mask.shape == (5, 12, 12)
    chance = output.kinds.softmax(1)
    assert torch.allclose(output.score, torch.log((1 - chance[:, 0]) / chance[:, 0]), atol=1e-4)


def test_the_mirror_image_is_judged_alike_and_its_mask_turned_back(view: np.ndarray) -> None:
    network = _network()
    score, kinds, mask = judge(network, view)
    again, its_kinds, its_mask = judge(network, np.ascontiguousarray(view[:, ::-1]))
    assert again == pytest.approx(score, abs=1e-4)
    assert its_kinds == pytest.approx(kinds, abs=1e-4)
    assert its_mask[:, ::-1] == pytest.approx(mask, abs=1e-4)


@pytest.mark.parametrize("turns", range(4))
def test_how_the_camera_was_held_does_not_matter(turns: int) -> None:
    """A picture that lies on its side, and how it lies, give the upright one's score, and the box in its pixels."""
    upright = np.random.default_rng(3).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    lying = np.ascontiguousarray(np.rot90(upright, -turns))
    face = Box(x1=150, y1=150, x2=250, y2=250)  # in the middle: its box is the same in every turn
    looks = _surroundings((0, 9, 0))
    one, other = looks.look(upright, face), looks.look(lying, face, turns)
    assert one is not None and other is not None and other.score == pytest.approx(one.score, abs=1e-5)


@given(st.integers(20, 300), st.integers(20, 300), st.floats(0, 1), st.floats(0, 1), st.integers(8, 120))
def test_padding_is_the_part_of_the_view_without_picture(width: int, height: int, x: float, y: float, side: int
                                                         ) -> None:
    box = Box(x1=x * width, y1=y * height, x2=x * width + side, y2=y * height + side)
    view = wide_view(np.zeros((height, width, 3), np.uint8), box)
    columns = np.arange(view.left, view.left + view.side)
    rows = np.arange(view.top, view.top + view.side)
    seen = ((columns >= 0) & (columns < width)).sum() * ((rows >= 0) & (rows < height)).sum()
    assert padded_share(view, width, height) == pytest.approx(1 - seen / view.side**2)


@pytest.mark.parametrize(("margin", "tells"), [(1.14, False), (1.8, False), (2.0, True), (4.0, True)])
def test_a_picture_without_surroundings_gives_no_verdict(margin: float, tells: bool) -> None:
    side = round(100 * margin)
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    face = Box(x1=side / 2 - 50, y1=side / 2 - 50, x2=side / 2 + 50, y2=side / 2 + 50)
    assert (_surroundings((0, 0, 0)).look(picture, face) is not None) == tells
    assert (1 - (margin / WIDE_MARGIN) ** 2 <= MOST_PADDING) == tells


@pytest.mark.parametrize(("bias", "border", "carrier"), [
    ((50.0, 0.0, 0.0), "none", None), ((0.0, 50.0, 0.0), "certain", "screen"), ((0.0, 0.0, 50.0), "certain", "sheet")])
def test_the_verdict_is_the_networks(bias: tuple[float, float, float], border: str, carrier: str | None) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    found = _surroundings(bias).look(picture, Box(x1=200, y1=150, x2=290, y2=240))
    assert found is not None and found.border == border
    assert found.threshold == pytest.approx(0.5) and 0 <= found.score <= 1
    assert carrier is None or found.carrier == carrier


@pytest.mark.parametrize(("score", "border"), [(0.49, "none"), (0.5, "likely"), (0.79, "likely"), (0.8, "certain")])
def test_between_the_thresholds_a_border_is_likely(score: float, border: str) -> None:
    assert Enclosure(score=score, threshold=0.5, certain=0.8, carrier="sheet", box=None,
                     enclosed=np.zeros((12, 12))).border == border


def test_what_is_enclosed_is_named_in_pixels_of_the_picture_and_inside_of_it() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    face = Box(x1=10, y1=100, x2=110, y2=200)
    everything = _surroundings((0, 9, 0), mask=9.0).look(picture, face)
    assert everything is not None and everything.box is not None
    # The view is as wide as 320 pixels, shifted to stay in the picture, and padded by 10 above and below.
    assert everything.box.rounded() == (0, 0, 320, 300)
    nothing = _surroundings((0, 9, 0), mask=-9.0).look(picture, face)
    assert nothing is not None and nothing.box is None


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        _surroundings((0, 0, 0)).look(np.zeros((50, 50), np.uint8), Box(x1=1, y1=1, x2=20, y2=20))


def test_saved_weights_say_the_same(tmp_path: Path, view: np.ndarray) -> None:
    network = _network()
    save_network(network, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 1_100_000
    assert judge(load_network(tmp_path), view)[0] == pytest.approx(judge(network, view)[0], abs=0.02)
    (tmp_path / "operating_point.json").write_text(json.dumps(POINT.model_dump()))
    read = read_surroundings(tmp_path)
    assert read.operating_point == POINT and read.identity.digest


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights for a face's surroundings"):
        read_surroundings(tmp_path)
    save_network(_network(), tmp_path)
    with pytest.raises(WeightsError, match="operating point"):
        read_surroundings(tmp_path)
    for wrong in ({"threshold": "high"}, POINT.model_dump() | {"certain": -1.0}):
        (tmp_path / "operating_point.json").write_text(json.dumps(wrong))
        with pytest.raises(WeightsError, match="operating point"):
            read_surroundings(tmp_path)
