"""Training on packed wide views: it learns a border, fixes its threshold, and saves what the tool reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visagent.datasets.surroundings.packed import WideViews, read_wide_views
from visagent.errors import PictureError
from visagent.finetune.surroundings import enclosure_scores, fix_threshold, main, quick_scores, training_loss
from visagent.tools.spoof.surroundings import NAME, read_surroundings
from visagent.tools.spoof.surroundings_network import SurroundingsNetwork, WideOutput


def _views(count: int, seed: int) -> WideViews:
    """Noise; every second view has a bright frame (a screen) or a dark one (a sheet) around its middle."""
    rng = np.random.default_rng(seed)
    views = rng.integers(90, 160, (count, 96, 96, 3)).astype(np.uint8)
    kinds = np.array([0, 1, 0, 2] * count, np.int64)[:count]
    masks = np.zeros((count, 12, 12), np.float32)
    for number in np.flatnonzero(kinds):
        level = 250 if kinds[number] == 1 else 5
        views[number, 16:80, 16:24] = views[number, 16:80, 72:80] = level
        views[number, 16:24, 16:80] = views[number, 72:80, 16:80] = level
        masks[number, 3:9, 3:9] = 1
    return WideViews(views, kinds, masks, np.zeros(count, np.float32))


def _pack(views: WideViews, folder: Path, shards: int = 2) -> None:
    folder.mkdir(parents=True)
    for number, chosen in enumerate(np.array_split(np.arange(len(views)), shards)):
        np.savez(folder / f"{number:03d}.npz", views=views.views[chosen], kinds=views.kinds[chosen],
                 masks=views.masks[chosen], padded=views.padded[chosen])


def test_shards_are_read_in_order_and_their_absence_is_named(tmp_path: Path) -> None:
    views = _views(10, 0)
    _pack(views, tmp_path / "train", shards=3)
    np.savez(tmp_path / "train" / "003.part.npz", views=views.views)  # one that is still being written
    read = read_wide_views(tmp_path / "train")
    assert len(read) == 10 and (read.views == views.views).all() and (read.kinds == views.kinds).all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match=r"visagent\.datasets\.surroundings"):
        read_wide_views(tmp_path / "empty")


class _Follows(SurroundingsNetwork):
    """Says of the kind nothing, and "enclosed" of every cell that is bright."""

    def forward(self, views: torch.Tensor) -> WideOutput:
        bright = torch.nn.functional.avg_pool2d(views.mean(1, keepdim=True), 8)[:, 0]
        return WideOutput(torch.zeros(len(views), 3), 40 * bright)


def test_view_and_mask_are_mirrored_together() -> None:
    views, masks = np.zeros((2, 96, 96, 3), np.uint8), np.zeros((2, 12, 12), np.float32)
    views[:, 8:40, 48:56] = 255
    masks[:, 1:5, 6:7] = 1  # its mirror image does not lie on itself
    packed = WideViews(views, np.zeros(2, np.int64), masks, np.zeros(2, np.float32))
    losses = [training_loss(_Follows(1), packed, np.arange(2), np.random.default_rng(seed)).item()
              for seed in range(12)]
    assert max(losses) < np.log(3) + 0.05


@pytest.mark.slow
def test_it_learns_a_border_and_where_it_is() -> None:
    torch.manual_seed(0)
    network, views = SurroundingsNetwork(4), _views(32, 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        network.train()
        loss = training_loss(network, views, np.arange(32), np.random.default_rng(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    others = _views(16, 1)
    scores = quick_scores(network, others.views)
    assert scores[others.kinds > 0].min() > scores[others.kinds == 0].max()


def test_the_quick_scores_are_those_of_the_view_as_it_is() -> None:
    torch.manual_seed(0)
    network, views = SurroundingsNetwork(4), _views(6, 2)
    symmetric = np.full((1, 96, 96, 3), 77, np.uint8)  # is its own mirror image
    assert quick_scores(network, symmetric) == pytest.approx(enclosure_scores(network, symmetric), abs=1e-4)
    assert quick_scores(network, views.views).shape == enclosure_scores(network, views.views).shape == (6,)


@pytest.mark.parametrize(("likely", "certain"), [(0.1, 0.0), (0.5, 0.1), (0.2, 0.2)])
def test_the_thresholds_refuse_no_more_live_views_than_allowed(likely: float, certain: float) -> None:
    torch.manual_seed(0)
    network, dev = SurroundingsNetwork(4), _views(40, 3)
    point = fix_threshold(network, dev, likely, certain)
    live = enclosure_scores(network, dev.views)[dev.kinds == 0]
    assert (live > float(str(point["threshold"])) + 1e-4).mean() <= likely
    assert (live > float(str(point["certain"])) + 1e-4).mean() <= certain
    assert float(str(point["certain"])) >= float(str(point["threshold"]))
    source = str(point["source"])
    assert f"BPCER {likely:.1%}" in source and f"BPCER {certain:.1%}" in source
    assert "20 live views, 20 attacks" in source


@pytest.mark.slow
def test_the_command_saves_what_the_tool_reads(tmp_path: Path) -> None:
    _pack(_views(16, 0), tmp_path / "views" / "train")
    _pack(_views(12, 1), tmp_path / "views" / "dev")
    main(["--views", str(tmp_path / "views"), "--out", str(tmp_path / "out"), "--epochs", "1", "--batch", "8"])
    read = read_surroundings(tmp_path / "out" / NAME)
    assert read.operating_point.source.startswith("development split")
