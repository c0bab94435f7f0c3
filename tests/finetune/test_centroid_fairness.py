"""The fairness module: quantile maps, targets, and groups that come together on people it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visagent.datasets.sphere_groups import SphereGroup, draw_groups
from visagent.errors import AnalysisError
from visagent.evaluation.calibrate import split_people
from visagent.evaluation.fairness import compare_groups, group_rates, measures
from visagent.finetune.centroid_fairness import (
    FairnessRecipe,
    ResidualModule,
    _Pictures,
    quantile_map,
    train_module,
)
from visagent.finetune.fairness_run import train_and_compare
from visagent.vision.fairness_module import load_fairness_module

UNFAIR = (SphereGroup("a", 400, 0.0, 125.0), SphereGroup("b", 400, 40.0, 165.0))


@given(st.integers(0, 1000))
def test_quantile_maps_are_monotone_and_meet_the_error_levels(seed: int) -> None:
    draw = np.random.default_rng(seed)
    of, to = np.sort(draw.normal(0, 1, 400)), np.sort(draw.normal(2, 3, 300))
    mapped = quantile_map(of, of, to)
    assert (np.diff(mapped) >= 0).all()
    for score, target in zip(of[::40], mapped[::40], strict=True):
        assert np.mean(of < score) == pytest.approx(np.mean(to < target), abs=1 / 100)
    assert quantile_map(of, of, of) == pytest.approx(of, abs=1e-9), "the identity within one group"


def test_training_begins_at_the_identity() -> None:
    module = ResidualModule(16, 32)
    values = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    assert torch.allclose(module(values), values, atol=1e-6)


def test_a_pictures_own_centroid_leaves_it_out() -> None:
    table = draw_groups((SphereGroup("a", 30, 0.0, 60.0), SphereGroup("b", 30, 0.0, 60.0)), dimension=16, pictures=3)
    before, has_others = _Pictures(table).genuine()
    changed = table.embeddings.copy()
    changed[0] = -changed[0]
    after, _ = _Pictures(table.with_embeddings(changed)).genuine()
    assert has_others.all()
    assert after[0] == pytest.approx(-before[0], abs=1e-5), "its own centroid did not move"
    assert after[1] != pytest.approx(before[1], abs=1e-3)


@pytest.mark.slow
def test_groups_come_together_on_people_it_never_saw(tmp_path: Path) -> None:
    table = draw_groups(UNFAIR, seed=1)
    text = train_and_compare(table, FairnessRecipe(epochs=12), tmp_path / "fair")
    assert "BFAR" in text and "| FAR, a" in text
    module = load_fairness_module(tmp_path / "fair")
    _, test = split_people(table, 0)
    rates = []
    for embeddings in (test.embeddings, module(test.embeddings)):
        grouped = compare_groups(test.with_embeddings(embeddings))
        threshold = grouped.all.threshold_at_fmr(1e-3)
        found = measures(*group_rates(grouped, threshold))
        rates.append((found["BFAR"], found["BFRR"], grouped.all.fnmr(threshold)))
    (far_before, frr_before, missed_before), (far, frr, missed) = rates
    assert far - 1 < 0.5 * (far_before - 1) and frr - 1 < 0.5 * (frr_before - 1)
    assert missed <= 1.05 * missed_before
    assert json.loads((tmp_path / "fair" / "fairness.json").read_text())["reports"]


def test_the_same_seed_gives_the_same_module() -> None:
    table = draw_groups((SphereGroup("a", 40, 0.0, 60.0), SphereGroup("b", 40, 10.0, 60.0)), dimension=16, seed=3)
    one, again = (train_module(table, FairnessRecipe(epochs=2)) for _ in range(2))
    assert all(np.array_equal(one.tensors[name], again.tensors[name]) for name in one.tensors)


@pytest.mark.slow
def test_groups_that_are_alike_are_left_nearly_as_they_are() -> None:
    table = draw_groups((SphereGroup("a", 200, 0.0, 125.0), SphereGroup("b", 200, 0.0, 125.0)), dimension=64, seed=2)
    trained = train_module(table, FairnessRecipe(epochs=4, anchor=1.0))
    module = ResidualModule(64, 128)
    module.load_state_dict({"first.weight": torch.from_numpy(trained.tensors["first"]),
                            "first.bias": torch.from_numpy(trained.tensors["first_bias"]),
                            "second.weight": torch.from_numpy(trained.tensors["second"]),
                            "second.bias": torch.from_numpy(trained.tensors["second_bias"])})
    with torch.inference_mode():
        moved = module(torch.from_numpy(table.embeddings)).numpy()
    assert float((moved * table.embeddings).sum(1).mean()) > 0.97


def test_what_cannot_be_trained_is_refused() -> None:
    table = draw_groups((SphereGroup("a", 30, 0.0, 60.0), SphereGroup("b", 30, 0.0, 60.0)), dimension=16)
    with pytest.raises(AnalysisError, match="no group x"):
        train_module(table, FairnessRecipe(reference="x"))
    few = draw_groups((SphereGroup("a", 30, 0.0, 60.0), SphereGroup("b", 5, 0.0, 60.0)), dimension=16)
    with pytest.raises(AnalysisError, match="at least two groups"):
        train_module(few, FairnessRecipe())
    table.groups[:] = ""
    with pytest.raises(AnalysisError, match="No person"):
        train_module(table, FairnessRecipe())
