"""Reading practice teaches what a question needs, whatever it is padded with and wherever it stands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from visagent.datasets.conversation import ToolCall
from visagent.datasets.routing import CANNOT
from visagent.finetune.nano import make_corpus
from visagent.finetune.nano_model import build_nano, train_tokenizer
from visagent.finetune.reading import FORGOTTEN, NEEDS, Learner, Readings, forget, needs_of, reading_loss


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(make_corpus(150, 0), words=900)


def test_needs_name_tools_and_pictures() -> None:
    calls = (ToolCall("spoof", {"image": "image_2"}), ToolCall("verify", {"image_a": "image_1", "image_b": "image_2"}))
    assert [need for need, wanted in zip(NEEDS, needs_of(calls), strict=True) if wanted] == [
        "spoof", "verify", "image_1", "image_2"]
    assert sum(needs_of(CANNOT)) == 0


def test_the_same_seed_draws_the_same_questions(tokenizer: PreTrainedTokenizerFast) -> None:
    once, again = Readings(tokenizer, 80, 4), Readings(tokenizer, 80, 4)
    ids, needs = once.draw(16, np.random.default_rng(0))
    same_ids, same_needs = again.draw(16, np.random.default_rng(0))
    assert torch.equal(ids, same_ids) and torch.equal(needs, same_needs)
    assert ids.shape[0] == 16 and needs.shape == (16, len(NEEDS))
    assert (ids >= 0).any(1).all()


def test_what_is_left_of_a_question_keeps_its_order() -> None:
    ids = np.array([[5, 6, 7, 8, 9, 10, 11, 12], [3, 4, -1, -1, -1, -1, -1, -1], [2, -1, -1, -1, -1, -1, -1, -1]])
    lengths = []
    for seed in range(200):
        left = forget(ids.copy(), np.random.default_rng(seed))
        for row, before in zip(left, ids, strict=True):
            kept = row[row >= 0].tolist()
            assert kept and kept == [token for token in before.tolist() if token in kept]
            assert (row[len(kept):] == -1).all()
        lengths.append(int((left[0] >= 0).sum()))
    assert 8 in lengths and np.mean(lengths) == pytest.approx(8 * (1 - np.mean(FORGOTTEN)), abs=0.3)


def test_a_batch_has_the_mean_loss_of_its_questions(tokenizer: PreTrainedTokenizerFast) -> None:
    """Filling up short questions changes nothing, nor does the place where a question stands, nearly."""
    torch.manual_seed(0)
    learner = Learner(build_nano(tokenizer))
    ids, needs = Readings(tokenizer, 60, 1).draw(12, np.random.default_rng(1))
    assert (ids < 0).any()
    with torch.no_grad():
        together = reading_loss(learner, ids, needs, np.random.default_rng(0))
        alone = [reading_loss(learner, ids[row : row + 1, ids[row] >= 0], needs[row : row + 1],
                              np.random.default_rng(row)) for row in range(len(ids))]
    assert together.item() == pytest.approx(float(np.mean(alone)), abs=2e-3)


def test_reading_is_learned_by_the_first_layers_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    learner = Learner(build_nano(tokenizer))
    readings = Readings(tokenizer, 400, 2)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-3)
    losses = []
    for step in range(30):
        rng = np.random.default_rng(step)
        loss = reading_loss(learner, *readings.draw(64, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.75 * losses[0]
    layers = learner.nano.model.text_model.layers
    assert layers[1].mlp.up_proj.weight.grad is not None and layers[2].mlp.up_proj.weight.grad is None
