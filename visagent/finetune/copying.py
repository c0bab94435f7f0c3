"""Copying practice: the name in a question, token by token into the call. Bare questions, no pictures, many at a time.

A name can be anything, so it cannot be learned but must be copied, and conversations with a name in them are too few
to learn that from. In a call the name stands behind a space, as in the question, so that both are the same tokens and
plain induction (Olsson et al., 2022, arXiv:2209.11895) copies them; tools strip the space.
"""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from visagent.datasets.conversation import ToolCall
from visagent.datasets.names import made_up_name, sample_name
from visagent.datasets.routing import asked_about
from visagent.datasets.written import NAME, written_questions
from visagent.finetune.reading import FURTHEST, Learner

LONGEST = 88
"""Tokens of a question with its call; longer ones are left out."""
MADE_UP_SHARE = 0.6
IGNORED = -100


class Copies:
    """Questions with names and their calls, in memory.

    Args:
        tokenizer: nano's.
        count: Questions to draw.
        seed: The same seed gives the same questions.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> None:
        rng = Random(f"copying {seed}")
        named = [question for questions in written_questions().values() for question in questions
                 if NAME in question.text and question.calls and not question.earlier]
        self._ids: NDArray[np.int16] = np.full((count, LONGEST), -1, np.int16)
        self._target: NDArray[np.int16] = np.full((count, LONGEST), IGNORED, np.int16)
        for row in tqdm(range(count), desc="drawing names", mininterval=10):
            ids: list[int] = []
            while not ids or len(ids) > LONGEST:
                name = made_up_name(rng) if rng.random() < MADE_UP_SHARE else sample_name(rng)
                asked = asked_about(rng.choice(named), name)
                assert not isinstance(asked.target, str)
                about = next(call for call in asked.target if call.person)
                before, value, after = _call(about, name)
                head = tokenizer.encode(f"<|im_start|>user\n{asked.text}<|im_end|>\n<|im_start|>assistant\n{before}")
                copied = tokenizer.encode(f"{value}{after}<|im_end|>")
                ids = [*head, *copied]
            self._ids[row, : len(ids)] = ids
            self._target[row, len(head) : len(ids)] = copied

    def __len__(self) -> int:
        return len(self._ids)

    def draw(self, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids `[size, L]` filled up with -1, and which of them are to be told, `[size, L]`, -100 elsewhere; int64."""
        rows = rng.integers(0, len(self), size)
        longest = int((self._ids[rows] >= 0).sum(1).max())
        return (torch.from_numpy(self._ids[rows, :longest].astype(np.int64)),
                torch.from_numpy(self._target[rows, :longest].astype(np.int64)))


def copying_loss(learner: Learner, ids: torch.Tensor, target: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cross-entropy of the names' tokens in the calls, both as `Copies.draw` gives them."""
    device = learner.needs.weight.device
    ids, target = ids.to(device), target.to(device)
    offset = torch.from_numpy(rng.integers(0, FURTHEST, (len(ids), 1))).to(device)
    positions = torch.arange(ids.shape[1], device=device) + offset
    with torch.autocast(device.type, torch.bfloat16):
        # Right padding: what comes after a question cannot be seen by it, so no attention mask is needed.
        hidden = learner.nano.model.text_model(
            inputs_embeds=learner.nano.model.text_model.get_input_embeddings()(ids.clamp(min=0)),
            position_ids=positions, use_cache=False).last_hidden_state
        wanted = target[:, 1:] != IGNORED
        logits = learner.nano.lm_head(hidden[:, :-1][wanted])
    return nn.functional.cross_entropy(logits.float(), target[:, 1:][wanted])


def _call(call: ToolCall, name: str) -> tuple[str, str, str]:
    """A call as text, in three parts: before the name, the name, and after it."""
    from visagent.datasets.conversation import call_text

    text = call_text(call)
    at = text.rindex(f" {name}")
    return text[:at], f" {name}", text[at + len(name) + 1 :]
