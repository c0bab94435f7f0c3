"""The training loop: what is stopped goes on to the same weights; an epoch shows everything once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visagent.finetune.loop import Epochs, train


def _model() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = torch.nn.Linear(4, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.05)


def _loss(model: torch.nn.Linear, step: int) -> torch.Tensor:
    inputs = torch.from_numpy(np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32))
    loss: torch.Tensor = (model(inputs) - inputs[:, :2]).square().mean()
    return loss


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    model, optimizer = _model()
    train(model, [optimizer], lambda step: _loss(model, step), steps=20, checkpoint=tmp_path / "whole", report=str)

    stopped, its_optimizer = _model()

    def stop_at_seven(step: int) -> torch.Tensor:
        if step == 7:
            raise KeyboardInterrupt
        return _loss(stopped, step)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, [its_optimizer], stop_at_seven, steps=20, checkpoint=tmp_path / "c", report=str, minutes=0)
    again, again_optimizer = _model()
    seen: list[int] = []

    def go_on(step: int) -> torch.Tensor:
        seen.append(step)
        return _loss(again, step)

    train(again, [again_optimizer], go_on, steps=20, checkpoint=tmp_path / "c", report=str)
    assert seen == list(range(7, 20))
    assert torch.allclose(again.weight, model.weight, atol=1e-6)


def test_the_rate_rises_to_its_peak_and_falls_and_a_finished_training_does_nothing(tmp_path: Path) -> None:
    model, optimizer = _model()
    rates: list[float] = []

    def loss_of(step: int) -> torch.Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        return _loss(model, step)

    reports: list[int] = []

    def report(step: int) -> str:
        reports.append(step)
        return ""

    for _ in range(2):
        train(model, [optimizer], loss_of, steps=40, checkpoint=tmp_path / "c", report=report, warm_up=0.25)
    assert len(rates) == 40
    assert max(rates) == pytest.approx(0.05, rel=0.01)
    assert 8 <= int(np.argmax(rates)) <= 11
    assert rates[-1] < 1e-3
    assert reports == [40]


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order() -> None:
    epochs = Epochs(100, 10)
    first = [epochs.batch(step) for step in range(10)]
    assert sorted(np.concatenate(first)) == list(range(100))
    second = [epochs.batch(step) for step in range(10, 20)]
    assert sorted(np.concatenate(second)) == list(range(100))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.array_equal(Epochs(100, 10).batch(13), second[3]), "a step's batch does not depend on where one began"
