"""A tiny vision-language model with random weights, in the architecture that visagent-nano uses."""

from __future__ import annotations

import json
from pathlib import Path

SIDE = 48
TEMPLATE = """\
{%- macro words(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' -%}<image>{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ words(message.content) }}
{%- if loop.first and tools %}{{ '\\n' }}Tools:{% for tool in tools %} {{ tool.function.name }}{% endfor %}{% endif -%}
{%- for call in message.tool_calls or [] -%}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor -%}
<end_of_utterance>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


def build_tiny_model(folder: Path, *, context: int = 2048, seed: int = 0) -> Path:
    """Save the model, its processor and its `visagent.json` in `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        LlamaConfig,
        PreTrainedTokenizerFast,
    )

    special = ["<pad>", "<end_of_utterance>", "<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>",
               "<tool_call>", "</tool_call>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = ["image_1 image_2 live spoof the face in the picture shows happiness", "[12, 34, 56, 78] score 0.83"]
    bpe.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=360, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<end_of_utterance>",
        additional_special_tokens=special[2:], model_max_length=context)
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(do_image_splitting=False, size={"longest_edge": SIDE},
                                  max_image_size={"longest_edge": SIDE}),
        tokenizer, image_seq_len=(SIDE // 12) ** 2 // 4, chat_template=TEMPLATE)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, bos_token_id=None, eos_token_id=end, pad_token_id=pad,
        tie_word_embeddings=True, initializer_range=0.2)
    config = Idefics3Config(
        vision_config={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "image_size": SIDE, "patch_size": 12, "initializer_range": 0.2},
        text_config=text, scale_factor=2, image_token_id=processor.image_token_id, pad_token_id=pad,
        tie_word_embeddings=True)
    model = Idefics3ForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = pad
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "visagent.json").write_text(json.dumps({"view": "face", "box_scale": 1000, "system_prompt": "nano"}))
    return folder
