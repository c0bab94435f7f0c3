"""Prompt-guided vision token masking (PVTM): in training, hide some of the vision tokens that matter least.

After FaceShield (arXiv:2505.09415, method). The tokens of all pictures of a sample, photos and SAVP maps alike, are
ranked in one list by their likeness to the question. The best are kept; of the others a random few are replaced by a
learned vector, so that the answer cannot lean on chance details. Nothing is masked at inference, so the model that is
served is the stock one.

Where the paper is silent or does not fit other models, this is what is done here:

- The paper compares vision tokens with a text tower of the same width (1152), before the projector. Idefics3, SmolVLM,
  LLaVA and Qwen-VL have no such tower. Here tokens are compared where both are of one kind: vision tokens as they
  enter the language model, behind the projector, and the mean input embedding of the question's tokens.
- A masked token is replaced, not dropped: order, positions and length stay. The vector that replaces it is learned and
  begins as zeros.
- The number of masked tokens is exact, `round(p * (N - ceil(k * N)))`, drawn uniformly and without replacement.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn

from visagent.errors import EngineError

RETAIN: Final = 0.10
MASK: Final = 0.05
"""The paper's best shares k and p (FaceShield, ablation of PVTM)."""


def masked_count(tokens: int, retain: float, mask: float) -> int:
    """How many of `tokens` vision tokens are masked: `round(mask * (tokens - ceil(retain * tokens)))`.

    Raises:
        ValueError: A share outside 0 to 1.
    """
    if not (0 <= retain <= 1 and 0 <= mask <= 1):
        raise ValueError("retain and mask are shares, 0 to 1")
    # 0.07 * 100 is a little over 7 in binary; without rounding an eighth token would be kept.
    return round(mask * (tokens - math.ceil(round(retain * tokens, 6))))


def choose_masked(scores: torch.Tensor, *, retain: float, mask: float, generator: torch.Generator) -> torch.Tensor:
    """Which tokens of one sample are masked.

    Args:
        scores: Likeness to the question, float `[N]`, higher is more alike. Only the order counts, so the paper's
            softmax over them is left out.
        retain: Share k of tokens with the highest scores that are never masked, 0 to 1.
        mask: Share p of the other tokens that is masked, 0 to 1.
        generator: On the CPU: the same seed gives the same tokens on every device.

    Returns:
        bool `[N]` on the device of the scores, True where masked.

    Raises:
        ValueError: Another shape, or a share outside 0 to 1.
    """
    if scores.ndim != 1:
        raise ValueError("the scores of one sample are a vector [N]")
    count = masked_count(len(scores), retain, mask)
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    if count:
        ranked = torch.argsort(scores.detach().cpu(), descending=True, stable=True)
        candidates = ranked[math.ceil(round(retain * len(scores), 6)) :]
        chosen[candidates[torch.randperm(len(candidates), generator=generator)[:count]]] = True
    return chosen.to(scores.device)


class TokenMasking(nn.Module):
    """PVTM on embedded sequences. It changes nothing in eval mode, unless `mask_at_eval`.

    Attributes:
        vector: What a masked token is replaced by, `[width]`; learned, zeros at first.

    Args:
        width: Of the language model's input embeddings.
        retain: Share k of vision tokens that is never masked, 0 to 1.
        mask: Share p of the other vision tokens that is masked, 0 to 1.
        seed: Of the draw; see `reseed`.
        mask_at_eval: Mask in eval mode too. The paper does not say outright that it does not.

    Raises:
        ValueError: A share outside 0 to 1.
    """

    def __init__(
        self, width: int, *, retain: float = RETAIN, mask: float = MASK, seed: int = 0, mask_at_eval: bool = False
    ) -> None:
        super().__init__()
        masked_count(0, retain, mask)
        self.vector = nn.Parameter(torch.zeros(width))
        self.retain, self.mask, self.mask_at_eval = retain, mask, mask_at_eval
        self._generator = torch.Generator().manual_seed(seed)

    def reseed(self, seed: int) -> None:
        """Begin the draw anew: a run that calls this with the number of each step can go on after a stop."""
        self._generator.manual_seed(seed)

    def choose(self, embedded: torch.Tensor, vision: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Which places are masked now, bool `[B, L]`; the vision tokens of a sample are ranked in one list.

        Args:
            embedded: What enters the language model, float `[B, L, width]`.
            vision: True where a vision token stands, bool `[B, L]`; samples may have different numbers of them.
            question: True where a token of the question stands, bool `[B, L]`.

        Raises:
            ValueError: A sample has vision tokens, but no question to compare them with.
        """
        chosen = torch.zeros_like(vision)
        if not (self.training or self.mask_at_eval):
            return chosen
        for row, (states, pictures, words) in enumerate(zip(embedded.detach(), vision, question, strict=True)):
            if not pictures.any():
                continue
            if not words.any():
                raise ValueError("a sample with pictures has no words to compare their tokens with")
            asked = states[words].float().mean(0)
            scores = nn.functional.cosine_similarity(states[pictures].float(), asked[None], dim=1)
            chosen[row, pictures] = choose_masked(
                scores, retain=self.retain, mask=self.mask, generator=self._generator
            )
        return chosen

    def replace(self, embedded: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The sequences `[B, L, width]` with the vector in the chosen places, bool `[B, L]`."""
        return torch.where(chosen[..., None], self.vector.to(embedded), embedded)

    def forward(self, embedded: torch.Tensor, vision: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Choose and replace; arguments as of `choose`, returns `[B, L, width]`."""
        chosen = self.choose(embedded, vision, question)
        return self.replace(embedded, chosen) if chosen.any() else embedded


@contextmanager
def masked_vision_tokens(
    model: nn.Module, masking: TokenMasking, *, not_words: Collection[int] = ()
) -> Iterator[TokenMasking]:
    """Mask what a stock vision-language model of transformers feeds to its language model, while the context lasts.

        masking = TokenMasking(model.get_input_embeddings().embedding_dim).to(device)
        optimizer = AdamW([*model.parameters(), *masking.parameters()])
        with masked_vision_tokens(model, masking, not_words=tokenizer.all_special_ids):
            model(**batch).loss.backward()

    The model's classes and weights are not touched; hooks are set, and removed at the end. Vision tokens are those at
    the model's image and video tokens, whatever projector they come from: Idefics3, SmolVLM, LLaVA, Qwen2.5-VL and
    Qwen3-VL (where a masked token is hidden from the deeper layers, too) need nothing of their own. Masking follows
    the model's `train()` and `eval()`. The vector is no part of the model: give it to the optimizer, and save it, on
    its own.

    Args:
        model: With or without PEFT; not yet wrapped for several processes.
        masking: On the model's device.
        not_words: Tokens that do not count as the question's, for example the tokenizer's special ones.

    Yields:
        `masking`.

    Raises:
        EngineError: The model names no image token, or is called without `input_ids`, so that nobody knows where its
            vision tokens are. (The second is raised by the model's call.)
    """
    inner: Any = model
    if hasattr(inner, "get_base_model"):  # PEFT's
        inner = inner.get_base_model()
    tokens = [getattr(inner.config, name, None) for name in ("image_token_id", "video_token_id")]
    pictures = [token for token in tokens if token is not None]
    if not pictures:
        raise EngineError("This model's configuration names no image token; token masking needs a model of "
                          "transformers that has one (Idefics3, SmolVLM, LLaVA, Qwen-VL).")
    places: list[tuple[torch.Tensor, torch.Tensor]] = []

    def remember(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = arguments[0] if arguments else named.get("input_ids")
        places.clear()
        if ids is not None:
            places.append(_places(ids, named, pictures, not_words))

    def mask(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if not places:
            raise EngineError("Token masking must know where the pictures are: call the model with input_ids.")
        vision, question = places.pop()
        masking.train(module.training)
        return arguments, _masked(masking, named, vision, question)

    hooks = [inner.register_forward_pre_hook(remember, with_kwargs=True),
             inner.get_decoder().register_forward_pre_hook(mask, with_kwargs=True)]
    try:
        yield masking
    finally:
        for hook in hooks:
            hook.remove()


def _places(
    ids: torch.Tensor, named: Mapping[str, Any], pictures: Collection[int], not_words: Collection[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where vision tokens and the question's tokens stand, each bool `[B, L]`. An answer is no part of one."""
    vision = torch.isin(ids, torch.tensor(list(pictures), device=ids.device))
    question = ~vision & ~torch.isin(ids, torch.tensor(list(not_words), device=ids.device, dtype=ids.dtype))
    seen, labels = named.get("attention_mask"), named.get("labels")
    if seen is not None and seen.shape == ids.shape:
        question &= seen.bool()
    if labels is not None:
        question &= labels == -100
    return vision, question


def _masked(
    masking: TokenMasking, named: dict[str, Any], vision: torch.Tensor, question: torch.Tensor
) -> dict[str, Any]:
    """The language model's arguments with masked vision tokens."""
    embedded: torch.Tensor = named["inputs_embeds"]
    chosen = masking.choose(embedded, vision, question)
    if not chosen.any():
        return named
    named = {**named, "inputs_embeds": masking.replace(embedded, chosen)}
    if named.get("deepstack_visual_embeds") is not None:
        hidden = chosen[named["visual_pos_masks"]][:, None]
        named["deepstack_visual_embeds"] = [layer.masked_fill(hidden, 0) for layer in named["deepstack_visual_embeds"]]
    return named
