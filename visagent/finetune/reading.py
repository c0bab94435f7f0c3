"""Reading practice: which tools and pictures does a question need? Bare questions, half of the layers, many at a time.

A whole conversation costs twenty times as much and teaches a question's words only through its answer: back through
all layers and through what one token attends to. Here every word hears of it at once: the mean of the question's
tokens, after two layers, must tell what is needed, as in fastText (Joulin et al., 2017, arXiv:1607.01759) but in
context.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from visagent.datasets.conversation import TOOL_NAMES, ToolCall
from visagent.datasets.routing import routing_example

NEEDS = (*TOOL_NAMES, "image_1", "image_2", "image_3", "image_4")
"""What a question may need."""
LAYERS = 2
"""The layers after which that must be told."""
LONGEST = 80
"""Tokens of a question; the rest is cut off here."""
FORGOTTEN = (0.0, 0.1, 0.2, 0.35)
"""Shares of a question's tokens that are left out of it, each as likely. Who only reads whole sentences leans on how
the grammar words them; strangers word them otherwise."""
FURTHEST = 400
"""Questions stand at positions up to this, as they do behind pictures and earlier turns."""


class Learner(nn.Module):
    """nano and, while it learns, a layer that tells what a question needs from the mean of its tokens."""

    def __init__(self, nano: Idefics3ForConditionalGeneration) -> None:
        super().__init__()
        self.nano = nano
        self.needs = nn.Linear(nano.lm_head.in_features, len(NEEDS))


def needs_of(target: str | Sequence[ToolCall]) -> tuple[float, ...]:
    """1 for each of `NEEDS` that the target calls for, else 0."""
    named = set() if isinstance(target, str) else {need for call in target for need in (call.name, *call.images())}
    return tuple(float(need in named) for need in NEEDS)


class Readings:
    """Opening questions with their needs, in memory.

    Args:
        tokenizer: nano's.
        count: Questions to draw.
        seed: The same seed gives the same questions.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> None:
        rng = Random(f"reading {seed}")
        self._ids: NDArray[np.int16] = np.full((count, LONGEST), -1, np.int16)
        self._needs = np.zeros((count, len(NEEDS)), np.float32)
        for row in tqdm(range(count), desc="drawing questions", mininterval=10):
            example = routing_example(rng)
            while len(example.messages) > 1 or example.kind == "need_picture":
                example = routing_example(rng)
            names = "".join(f"image_{number}" for number in range(1, example.pictures + 1))
            ids = [*tokenizer.encode(names), *tokenizer.encode(example.question)][:LONGEST]
            self._ids[row, : len(ids)] = ids
            self._needs[row] = needs_of(example.target)

    def __len__(self) -> int:
        return len(self._ids)

    def draw(self, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Questions of like length, int64 ids `[size, L]` filled up with -1, and their needs, float32 `[size, 8]`.

        Some of their tokens are left out, in each question another share of `FORGOTTEN`.
        """
        rows = rng.integers(0, len(self), 4 * size)
        rows = rows[np.argsort((self._ids[rows] >= 0).sum(1), kind="stable")]
        start = rng.integers(0, 4) * size
        ids = forget(self._ids[rows[start : start + size]].astype(np.int64), rng)
        needs = self._needs[rows[start : start + size]]
        return torch.from_numpy(ids), torch.from_numpy(needs)


def forget(ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Questions, `[N, L]` filled up with -1, without some of their tokens; the rest moves up, at least one stays."""
    rates = rng.choice(FORGOTTEN, len(ids))
    order = np.where(ids >= 0, rng.random(ids.shape), -1.0)
    stays = (ids >= 0) & ((order >= rates[:, None]) | (order == order.max(1, keepdims=True)))
    moved = np.take_along_axis(ids, np.argsort(~stays, axis=1, kind="stable"), 1)
    kept = stays.sum(1)
    moved[np.arange(ids.shape[1]) >= kept[:, None]] = -1
    return moved[:, : int(kept.max())]


def reading_loss(learner: Learner, ids: torch.Tensor, needs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Binary cross-entropy of the needs told from questions, both as `Readings.draw` gives them."""
    device = learner.needs.weight.device
    ids, needs = ids.to(device), needs.to(device)
    model = learner.nano.model.text_model
    present = ids >= 0
    offset = torch.from_numpy(rng.integers(0, FURTHEST, (len(ids), 1))).to(device)
    positions = torch.arange(ids.shape[1], device=device) + offset
    with torch.autocast(device.type, torch.bfloat16):
        hidden = model.get_input_embeddings()(ids.clamp(min=0))
        turned = model.rotary_emb(hidden, position_ids=positions)
        # Right padding: what comes after a question cannot be seen by it, so no attention mask is needed.
        for layer in model.layers[:LAYERS]:
            hidden = layer(hidden, position_ids=positions, position_embeddings=turned)
    return needs_loss(learner, hidden, present, needs)


def needs_loss(learner: Learner, hidden: torch.Tensor, where: torch.Tensor, needs: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the needs told from the mean of some tokens.

    Args:
        learner: The model.
        hidden: What the first layers make of the tokens, `[N, L, 256]`.
        where: The tokens that count, bool `[N, L]`, one or more in each row.
        needs: float32 `[N, 8]`.
    """
    normal = nn.functional.rms_norm(hidden.float(), hidden.shape[-1:]) * where[..., None]
    mean = normal.sum(1) / where.sum(1, keepdim=True)
    return nn.functional.binary_cross_entropy_with_logits(learner.needs(mean), needs)
