"""Weighing closed answers from one prefill.

The picture and the question go through the model once. Their key-value cache is then repeated, one row per answer, and
all answers go through together in one more, short pass. What comes out equals one full pass per answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def log_likelihoods(model: Any, inputs: Mapping[str, torch.Tensor], answers: Sequence[Sequence[int]], *,
                    per_token: bool = False) -> list[float]:
    """Natural log-likelihood of each answer after one prompt.

    Args:
        model: A transformers model for image-text-to-text, in eval mode.
        inputs: The processor's output for the prompt, batch of one, generation prompt included.
        answers: Token ids of each answer, end-of-turn token included; at least one token each.
        per_token: Divide by the number of tokens.
    """
    import torch

    device = inputs["input_ids"].device
    longest = max(len(answer) for answer in answers)
    tokens = torch.zeros((len(answers), longest), dtype=torch.long, device=device)
    real = torch.zeros_like(tokens)
    for row, answer in enumerate(answers):
        tokens[row, :len(answer)] = torch.tensor(answer, dtype=torch.long)
        real[row, :len(answer)] = 1
    with torch.inference_mode():
        prefill = model(**inputs, use_cache=True, logits_to_keep=1)
        first = prefill.logits[:, -1:].float().log_softmax(dim=-1).expand(len(answers), -1, -1)
        if longest == 1:
            distributions = first
        else:
            cache = prefill.past_key_values
            cache.batch_repeat_interleave(len(answers))
            prompt_mask = inputs["attention_mask"].expand(len(answers), -1)
            # Padding is on the right: no real token can see it, and what follows it is masked out below.
            rest = model(input_ids=tokens[:, :-1], attention_mask=torch.cat([prompt_mask, real[:, :-1]], dim=1),
                         past_key_values=cache, use_cache=True).logits.float().log_softmax(dim=-1)
            distributions = torch.cat([first, rest], dim=1)
        each = distributions.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * real
        sums = each.double().sum(dim=1)
        if per_token:
            sums = sums / real.sum(dim=1)
    return [float(value) for value in sums]
