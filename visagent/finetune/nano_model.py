"""visagent-nano's architecture: a stock Idefics3, small enough to learn on two processor cores.

```
view 192x192 -> vision tower: 144 patches of 16x16, 4 blocks of width 256
             -> pixel shuffle 2x2 and a linear connector: 36 tokens of width 256
             -> Llama decoder: 4 blocks of width 256, 4 heads of 64, 2 key-value heads
```

Nothing here is custom at run time: the saved folder loads with `AutoModelForImageTextToText` and with vLLM. Two
initialisations make it learn in minutes rather than days: two-dimensional sine-cosine position embeddings (with the
usual small random ones, positions were not learned), and patch filters made of cosine waves and quadrature pairs of
Gabor waves, scaled by the data, so that fine periodic texture, which gives prints and screens away, is seen from the
first step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionTransformer

from visagent.vision.crop import VIEW_SIDE

PATCH, SHUFFLE = 16, 2
GRID = VIEW_SIDE // PATCH
TOKENS_PER_VIEW = (GRID // SHUFFLE) ** 2
CONTEXT = 2048

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
)
MARKS = ("<tool_call>", "</tool_call>")
"""Tokens of their own that stay in the decoded text."""

TEMPLATE = (Path(__file__).parent / "nano_chat_template.jinja").read_text()


def vision_config() -> Idefics3VisionConfig:
    """The tower: 3.4 million parameters."""
    return Idefics3VisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=VIEW_SIDE,
        patch_size=PATCH,
    )


def build_tower(sample: NDArray[np.uint8]) -> Idefics3VisionTransformer:
    """A fresh vision tower whose filters are scaled on a sample of views, uint8 `[n, 192, 192, 3]`."""
    config = vision_config()
    config._attn_implementation = "sdpa"
    tower = Idefics3VisionTransformer(config)
    pixels = torch.from_numpy(sample.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
    with torch.no_grad():
        tower.embeddings.position_embedding.weight.copy_(sine_cosine_positions(GRID, config.hidden_size))
        convolution = tower.embeddings.patch_embedding
        convolution.weight.copy_(wave_filters(config.hidden_size))
        assert convolution.bias is not None
        convolution.bias.zero_()
        response = convolution(pixels)
        spread, mean = response.std((0, 2, 3)) + 1e-4, response.mean((0, 2, 3))
        convolution.weight.div_(spread[:, None, None, None])
        convolution.bias.copy_(-mean / spread)
    return tower


def sine_cosine_positions(grid: int, width: int) -> torch.Tensor:
    """Two-dimensional sine-cosine position embeddings, float32 `[grid * grid, width]`, row by row."""
    frequency = 1.0 / 100 ** (torch.arange(width // 4) / (width // 4))
    angle = torch.arange(grid)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], 1)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None, :].expand(grid, grid, -1)
    return torch.cat([rows, columns], -1).reshape(grid * grid, width)


def wave_filters(width: int) -> torch.Tensor:
    """Patch filters `[256, 3, 16, 16]`: 48 brightness and 16 colour cosines, 192 Gabor waves in quadrature."""
    y, x = torch.meshgrid(torch.arange(PATCH) + 0.5, torch.arange(PATCH) + 0.5, indexing="ij")
    luma, red, blue = (torch.tensor(c) for c in ([0.3, 0.59, 0.11], [1.0, -0.7, -0.3], [-0.3, -0.7, 1.0]))
    order = sorted(((u, v) for u in range(PATCH) for v in range(PATCH)), key=lambda f: f[0] ** 2 + f[1] ** 2)
    cosines = [torch.cos(torch.pi * u * y / PATCH) * torch.cos(torch.pi * v * x / PATCH) for u, v in order[:48]]
    filters = [c[None] * luma[:, None, None] for c in cosines]
    filters += [c[None] * colour[:, None, None] for c in cosines[:8] for colour in (red, blue)]

    def gabor(period: float, angle: float, phase: float, cx: float, cy: float, sigma: float) -> torch.Tensor:
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        window = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
        wave = window * torch.cos(2 * torch.pi * along / period + phase)
        return (wave - wave.mean())[None] * luma[:, None, None]

    phases = (0.0, np.pi / 2)
    filters += [
        gabor(period, angle, phase, 8, 8, 5.5)
        for period in (2.3, 2.9, 3.7, 4.8, 6.2, 8.5)
        for angle in np.arange(8) * np.pi / 8
        for phase in phases
    ]
    filters += [
        gabor(period, angle, phase, cx, cy, 2.5)
        for cx in (4, 12)
        for cy in (4, 12)
        for period in (2.5, 3.5, 5.5)
        for angle in np.arange(4) * np.pi / 4
        for phase in phases
    ]
    bank = torch.stack(filters).float()
    assert len(bank) == width, "the filter bank is made for this width"
    return bank


def train_tokenizer(corpus: list[str], words: int = 4096) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the texts that nano reads and writes; digits stand alone."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=words,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            min_frequency=3,
            show_progress=False,
        ),
    )
    bpe.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=[t for t in SPECIAL if t not in ("<|endoftext|>", "<|im_end|>")],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=CONTEXT,
        chat_template=TEMPLATE,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """The stock processor: every picture becomes 192x192 and 36 tokens."""
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": VIEW_SIDE},
        max_image_size={"longest_edge": VIEW_SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return Idefics3Processor(pictures, tokenizer, image_seq_len=TOKENS_PER_VIEW, chat_template=TEMPLATE)


def build_nano(tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    """A fresh nano (8 million parameters) for a tokenizer; its tower is not trained yet."""
    image, end, pad = (_id_of(tokenizer, token) for token in ("<image>", "<|im_end|>", "<|endoftext|>"))
    config = Idefics3Config(
        image_token_id=image,
        scale_factor=SHUFFLE,
        pad_token_id=pad,  # type: ignore[call-arg]  # taken by every configuration, named by none
        tie_word_embeddings=True,  # transformers reads this flag, vLLM the one of the text configuration
        vision_config=vision_config().to_dict(),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=pad,
        ).to_dict(),
    )
    nano = Idefics3ForConditionalGeneration(config)
    nano.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad)  # type: ignore[no-untyped-call]
    return nano


def _id_of(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    number = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(number, int)
    return number
