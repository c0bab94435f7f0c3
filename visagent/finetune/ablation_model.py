"""The small model that FaceShield's ablation trains: what it keeps, what it learns anew, and what it sees.

Kept and frozen, as in the paper: the vision tower, the language model's weights and its embeddings. Learned anew, from
random weights of the run's seed: the connector (the paper's projector), LoRA on every linear layer of the language
model, and the vector of token masking. So what the shipped training taught about spoofs is left in two places, and in
all variants alike: the frozen tower sees them in photos (it was taught by the specialist, unlike the paper's SigLIP,
and it has never seen SAVP maps), and the language model knows the wording of the answers. How vision tokens lead to
these answers was in the connector; that is what a run has to learn.

Because the tower is frozen, each view is encoded once: what it makes of photo and SAVP maps is kept in files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from tqdm import tqdm
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerBase

from visagent.datasets.nano_examples import look_messages
from visagent.finetune.curriculum import expand_pictures
from visagent.finetune.nano import DECISION, see
from visagent.finetune.pvtm import TokenMasking
from visagent.finetune.views import ViewSet
from visagent.tools.spoof.network import as_input
from visagent.vision.savp import savp_maps

RANK, ALPHA = 16, 32
"""Of LoRA. The paper has 128 and 256 for a width of 4096; alpha is twice the rank, as there."""
ANSWER_TOKENS = 72
_ENCODED_TOGETHER = 64

Tokens = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class SeenViews:
    """What the frozen tower makes of some views.

    Attributes:
        photos: Of the views as the spoof tool shows them, float16 `[N, 144, width]`.
        maps: Of their SAVP maps, likewise.
    """

    photos: Tokens
    maps: Tokens

    def batch(self, rows: Sequence[int], savp: bool) -> torch.Tensor:
        """Tokens of the pictures of some views, view by view, the photo first: float32 `[n or 2n, 144, width]`."""
        shown = [self.photos, self.maps] if savp else [self.photos]
        picked = np.stack([kind[list(rows)] for kind in shown], axis=1).astype(np.float32)
        return torch.from_numpy(picked.reshape(-1, *picked.shape[2:]))


def see_views(
    nano: Idefics3ForConditionalGeneration, views: ViewSet, chosen: NDArray[np.int64], folder: Path, digest: str
) -> SeenViews:
    """Encode views, or open the files of an earlier call with the same model and views.

    Args:
        nano: Its tower looks.
        views: Where they are from.
        chosen: Their numbers.
        folder: Where the tokens are kept.
        digest: Of the model's weights.
    """
    # A few of the pixels tell sets of views apart; all of them would take as long to read as to encode.
    probe = views.pictures(chosen[:: max(1, len(chosen) // 64)])
    key = hashlib.sha256(digest.encode() + probe.tobytes() + chosen.tobytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{key}-{kind}.npy" for kind in ("photos", "maps")]
    if not all(path.exists() for path in paths):
        shape = (len(chosen), *see(nano, as_input(probe[:1])).shape[1:])
        parts = [path.with_suffix(".part.npy") for path in paths]
        out = [np.lib.format.open_memmap(part, "w+", np.float16, shape) for part in parts]
        for start in tqdm(range(0, len(chosen), _ENCODED_TOGETHER), desc="encoding views", mininterval=10):
            photos = views.screened(chosen[start : start + _ENCODED_TOGETHER])
            maps = np.stack([savp_maps(photo) for photo in photos])
            for tokens, pictures in zip(out, (photos, maps), strict=True):
                tokens[start : start + len(pictures)] = see(nano, as_input(pictures)).to(torch.float16).numpy()
        for tokens, part, path in zip(out, parts, paths, strict=True):
            tokens.flush()
            part.replace(path)
    photos, maps = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    return SeenViews(photos, maps)


@dataclass(frozen=True, slots=True)
class Asked:
    """A tokenised question about one view, and its answer: prompt, answer, and where the question's words stand."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    words: range


class AblationModel(nn.Module):
    """A nano whose connector, LoRA and mask vector learn; everything else is frozen.

    Args:
        nano: Taken over and changed.
        tokenizer: nano's.
        savp: Show the SAVP maps as a second picture behind the photo.
        masking: PVTM; None trains without it.
        seed: Of the fresh weights.
    """

    def __init__(
        self,
        nano: Idefics3ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        *,
        savp: bool,
        masking: TokenMasking | None,
        seed: int,
    ) -> None:
        super().__init__()
        nano.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in nano.model.connector.modules():
                if isinstance(module, nn.Linear):
                    module.reset_parameters()
            nano.model.connector.requires_grad_(True)
            layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=layers), nano.model.text_model)
        self.nano, self.savp, self.masking = nano, savp, masking
        self._tokenizer = tokenizer
        self._picture = nano.config.image_token_id
        pad = tokenizer.pad_token_id
        assert isinstance(pad, int)
        self._pad = pad

    def ask(self, question: str, answer: str = "") -> Asked:
        """Tokenise a question as the spoof tool asks it, with one more picture behind the photo if there are maps."""
        chat: list[Any] = [*look_messages("{}")]
        parts = chat[0]["content"]
        parts[1:2] = [{"type": "image"}] * (2 if self.savp else 1)
        rendered = str(self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        before, after = expand_pictures(rendered).split("{}")
        ids = [self._encode(text) for text in (before, question, after)]
        words = range(len(ids[0]), len(ids[0]) + len(ids[1]))
        return Asked((*ids[0], *ids[1], *ids[2]), tuple(self._encode(answer + "<|im_end|>")), words)

    def loss(self, asked: Sequence[Asked], tokens: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the answers' tokens, weighted within each answer as `visagent.finetune.nano` does.

        Args:
            asked: Questions with answers, `n`.
            tokens: Of `SeenViews.batch`, in the same order.
        """
        rows = [(*one.prompt, *one.answer) for one in asked]
        ids, weight = self._filled(rows, left=False), torch.zeros(len(rows), max(map(len, rows)))
        for row, one in enumerate(asked):
            at = len(one.prompt)
            weight[row, at : at + len(one.answer)] = len(one.answer) ** -0.5
            weight[row, at] = DECISION
        with torch.autocast("cpu", torch.bfloat16):
            embedded = self._embed(ids, tokens, asked, shift=[0] * len(asked))
            # Rows are filled up on the right, and nobody looks to the right: no mask is needed.
            hidden = self.nano.model.text_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
            wanted = weight[:, 1:] > 0
            logits = self.nano.lm_head(hidden[:, :-1][wanted])
        losses = nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
        return (losses * weight[:, 1:][wanted]).sum() / len(asked)

    @torch.inference_mode()
    def answer(self, asked: Sequence[Asked], tokens: torch.Tensor) -> list[str]:
        """Greedy answers to questions; arguments as of `loss`. Call it in eval mode."""
        ids = self._filled([one.prompt for one in asked], left=True)
        shift = [ids.shape[1] - len(one.prompt) for one in asked]
        seen = torch.arange(ids.shape[1])[None] >= torch.tensor(shift)[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            embedded = self._embed(ids, tokens, asked, shift)
            written = self.nano.generate(  # type: ignore[misc]  # as everywhere: its mixin is typed for another class
                inputs_embeds=embedded, attention_mask=seen.long(), do_sample=False, max_new_tokens=ANSWER_TOKENS
            )
        assert isinstance(written, torch.Tensor)
        return [text.strip() for text in self._tokenizer.batch_decode(written, skip_special_tokens=True)]

    def _embed(
        self, ids: torch.Tensor, tokens: torch.Tensor, asked: Sequence[Asked], shift: Sequence[int]
    ) -> torch.Tensor:
        """Embedded rows with the connector's tokens in place, masked in training."""
        vision = ids == self._picture
        embedded: torch.Tensor = self.nano.model.text_model.get_input_embeddings()(ids)
        seen = self.nano.model.connector(tokens).flatten(0, 1).to(embedded.dtype)
        embedded = embedded.masked_scatter(vision[..., None], seen)
        if self.masking is None:
            return embedded
        question = torch.zeros_like(vision)
        for row, (one, by) in enumerate(zip(asked, shift, strict=True)):
            question[row, by + one.words.start : by + one.words.stop] = True
        masked: torch.Tensor = self.masking(embedded, vision, question)
        return masked

    def _filled(self, rows: Sequence[Sequence[int]], *, left: bool) -> torch.Tensor:
        filled = torch.full((len(rows), max(map(len, rows))), self._pad)
        for number, row in enumerate(rows):
            at = filled.shape[1] - len(row) if left else 0
            filled[number, at : at + len(row)] = torch.tensor(row)
        return filled

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))
