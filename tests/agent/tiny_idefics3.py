"""A tiny Idefics3 with random weights, in a folder that transformers and vLLM both load as it is.

Its blocks are scaled up, so that what it writes depends on the picture: with usual random weights a model with tied
embeddings only repeats its last token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .routing_score import load_questions

IMAGE, PATCH, SHUFFLE = 192, 16, 2
# The processor adds <end_of_utterance> by itself where it is missing, as an id outside the model's vocabulary.
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>",
                  "<global-img>", "<end_of_utterance>"]
# No special tokens, so that they survive decoding, and servers find the calls.
CALL_TOKENS = ["<tool_call>", "</tool_call>"]

# vLLM looks for a loop over `message.content` to know that pictures come as parts, and then gives all text as parts.
CHAT_TEMPLATE = """\
{%- if tools %}{{- '<|im_start|>system\\ntools:' }}
{%- for tool in tools %}{{- ' ' + tool.function.name + '(' + tool.function.parameters.properties | join(', ') + ')' }}
{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{- message.content }}
{%- elif message.content %}
{%- for part in message.content %}
{%- if part.type == 'image' %}{{- '<image>' }}{%- elif part.type == 'text' %}{{- part.text }}{%- endif %}
{%- endfor %}
{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + {'name': call.function.name, 'arguments': call.function.arguments} | tojson + '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def save_tiny_idefics3(folder: Path, seed: int = 7) -> Path:
    """Save model and processor to `folder`: about 14 M parameters in float32, 36 tokens a picture."""
    import torch
    import transformers

    hub: Any = transformers  # much of it is untyped
    tokenizer = _tokenizer()
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # vLLM reads the flag of the text part, transformers the outer one: the embeddings are tied by both.
    text = hub.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024, num_hidden_layers=4,
        num_attention_heads=6, num_key_value_heads=2, head_dim=64, max_position_embeddings=2048,
        initializer_range=0.06, bos_token_id=None, tie_word_embeddings=True, **ends)
    config = hub.Idefics3Config(
        text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=SHUFFLE,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        vision_config={"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4,
                       "image_size": IMAGE, "patch_size": PATCH})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hub.Idefics3ForConditionalGeneration(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".layers." in name and weight.ndim == 2:
                    weight.mul_(2.0)
                elif "modality_projection" in name:
                    weight.normal_(0, 0.2)
    model.generation_config = hub.GenerationConfig(**ends)
    model.save_pretrained(folder)
    images = hub.Idefics3ImageProcessorPil(do_image_splitting=False, size={"longest_edge": IMAGE},
                                           max_image_size={"longest_edge": IMAGE})
    processor = hub.Idefics3Processor(images, tokenizer, image_seq_len=(IMAGE // PATCH // SHUFFLE) ** 2,
                                      chat_template=CHAT_TEMPLATE)
    processor.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pairs: Any = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(vocab_size=1024, special_tokens=SPECIAL_TOKENS, show_progress=False,
                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    pairs.train_from_iterator([record["question"] for record in load_questions()], trainer)
    pairs.add_tokens([AddedToken(token, special=False, normalized=False) for token in CALL_TOKENS])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=pairs, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                padding_side="left", clean_up_tokenization_spaces=False)
