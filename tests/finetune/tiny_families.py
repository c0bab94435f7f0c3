"""Tiny models with random weights of every family that a shipped recipe names, and their processors.

The processors of SmolVLM and Qwen-VL want a video processor, which needs torchvision; here they are put together
without one, as pictures need none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import ProcessorMixin
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

hub: Any = transformers  # much of it is untyped
SIDE, TEXT = 56, {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.2}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
          "patch_size": 14, "image_size": SIDE, "initializer_range": 0.2}

# Each family's own way to write a conversation, shortened to what pictures and text need.
CHATML = """\
{%- if messages[0].role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == \
'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}\
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SMOL = """\
<|im_start|>{% for message in messages %}{{ message.role | capitalize }}{% if message.content[0].type == 'image' %}\
{{ ':' }}{% else %}{{ ': ' }}{% endif %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}\
{% elif part.type == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""
VICUNA = """\
{% for message in messages %}{{ message.role.upper() + ': ' }}{% for part in message.content %}{% if part.type == \
'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}{% for part in message.content %}{% if part.type == 'text' %}\
{{ part.text + ' ' }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""


class StillSmolVLMProcessor(SmolVLMProcessor):
    """SmolVLM's processor for pictures only."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None, **_: Any) -> None:
        self.fake_image_token, self.image_token = "<fake_token_around_image>", "<image>"
        self.end_of_utterance_token, self.global_image_token = "<end_of_utterance>", "<global-img>"
        self.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
        self.image_seq_len, self.video_token = (SIDE // 14 // 2) ** 2, "<video>"
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def apply_chat_template(self, *arguments: Any, **named: Any) -> Any:
        return ProcessorMixin.apply_chat_template(self, *arguments, **named)


class _StillQwen:
    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None, **_: Any) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id, self.vision_start_token_id, self.vision_end_token_id = (
            tokenizer.convert_tokens_to_ids(name) for name in
            ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[arg-type]


class StillQwen25Processor(_StillQwen, Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor for pictures only."""


class StillQwen3Processor(_StillQwen, Qwen3VLProcessor):
    """Qwen3-VL's processor for pictures only."""


def tokenizer(special: list[str], end: str) -> Any:
    """A byte-level tokenizer with a family's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    pairs: Any = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    pairs.train_from_iterator(
        ["Is this a live face or a spoof? Why?", "Live.", "Spoof: tattoo attack.", "system user assistant"],
        trainers.BpeTrainer(vocab_size=330, special_tokens=["<pad>", *special], show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return hub.PreTrainedTokenizerFast(tokenizer_object=pairs, pad_token="<pad>", eos_token=end,
                                       additional_special_tokens=[one for one in special if one != end])


def smolvlm() -> tuple[Any, Any]:
    words = tokenizer(["<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>"],
                      "<end_of_utterance>")
    images = hub.SmolVLMImageProcessorPil(do_image_splitting=False, size={"longest_edge": SIDE},
                                          max_image_size={"longest_edge": SIDE})
    config = hub.SmolVLMConfig(
        vision_config=VISION, text_config=hub.LlamaConfig(**_text(words)).to_dict(), scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"), pad_token_id=words.pad_token_id)
    return hub.SmolVLMForConditionalGeneration(config), StillSmolVLMProcessor(images, words, SMOL)


def qwen25() -> tuple[Any, Any]:
    words, images = _qwen_words(), _qwen_images(14)
    config = hub.Qwen2_5_VLConfig(
        text_config={**_text(words), "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                         "mrope_section": [2, 3, 3]}},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
                       "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}, **_qwen_ids(words))
    return hub.Qwen2_5_VLForConditionalGeneration(config), StillQwen25Processor(images, words, CHATML)


def qwen3() -> tuple[Any, Any]:
    words, images = _qwen_words(), _qwen_images(16)
    config = hub.Qwen3VLConfig(
        text_config={**_text(words), "head_dim": 16, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
                       "patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **_qwen_ids(words))
    return hub.Qwen3VLForConditionalGeneration(config), StillQwen3Processor(images, words, CHATML)


def llava() -> tuple[Any, Any]:
    words = tokenizer(["<s>", "</s>", "<image>"], "</s>")
    images = hub.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    config = hub.LlavaConfig(
        vision_config=hub.CLIPVisionConfig(**VISION, projection_dim=32), text_config=hub.LlamaConfig(**_text(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"), vision_feature_layer=-2,
        vision_feature_select_strategy="default", tie_word_embeddings=False)
    processor = hub.LlavaProcessor(images, words, patch_size=14, vision_feature_select_strategy="default",
                                   num_additional_image_tokens=1, chat_template=VICUNA)
    return hub.LlavaForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "smolvlm": smolvlm, "qwen2.5": qwen25, "qwen3": qwen3, "llava": llava}


def save_family(name: str, folder: Path, seed: int = 0) -> Any:
    """Save a tiny model of a family, and return its processor, which cannot be loaded from there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = FAMILIES[name]()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    return processor


def _text(words: Any) -> dict[str, Any]:
    return {**TEXT, "vocab_size": len(words), "bos_token_id": None, "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id, "tie_word_embeddings": False}


def _qwen_words() -> Any:
    return tokenizer(["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
                      "<|video_pad|>"], "<|im_end|>")


def _qwen_ids(words: Any) -> dict[str, Any]:
    return {f"{key}_token_id": words.convert_tokens_to_ids(token) for key, token in (
        ("image", "<|image_pad|>"), ("video", "<|video_pad|>"), ("vision_start", "<|vision_start|>"),
        ("vision_end", "<|vision_end|>"))} | {"tie_word_embeddings": False}


def _qwen_images(patch: int) -> Any:
    side = patch * 4
    return hub.Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, temporal_patch_size=2,
                                        size={"shortest_edge": side * side, "longest_edge": side * side})
