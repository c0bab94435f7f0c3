"""Many questions to one engine at once: the same words as one by one, several times as fast.

Only the `local` engine takes batches; others are asked one by one. Prompts are built by the functions that the engine
itself uses, and a test holds both ways to the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from numpy.typing import NDArray

from visagent.agent.engines.base import MAX_ANSWER_TOKENS, Engine
from visagent.agent.engines.chat import control_token_cleaner, template_messages
from visagent.agent.engines.local import LocalEngine
from visagent.agent.engines.toolcalls import read_answer
from visagent.agent.views import picture_question
from visagent.tools.contract import Look

if TYPE_CHECKING:
    import torch

Conversation = Sequence[BaseMessage]
ItemT = TypeVar("ItemT")
LOOK_TOKENS = 96
"""Longest answer to a look, as in `Engine.look`."""


def look_many(engine: Engine, question: str, views: Sequence[NDArray[np.uint8]], *, batch: int = 32,
              max_tokens: int = LOOK_TOKENS) -> list[Look]:
    """`engine.look(question, [view])` for each view, uint8 `[H, W, 3]`. Raises EngineError."""
    if not isinstance(engine, LocalEngine):
        return [engine.look(question, [view], max_tokens=max_tokens) for view in views]
    looks: list[Look] = []
    for part in _parts(views, batch):
        texts = _write(engine, [_about(engine, question, view) for view in part], (), max_tokens)
        looks += [engine.boxes.read(text.strip(), view.shape[1], view.shape[0])
                  for text, view in zip(texts, part, strict=True)]
    return looks


def answer_many(engine: Engine, conversations: Sequence[Conversation], tools: Sequence[dict[str, Any]], *,
                batch: int = 32) -> list[AIMessage]:
    """The engine's next message in each conversation, with these tools on offer. Raises EngineError."""
    if not isinstance(engine, LocalEngine):
        asked = engine.bind(tools=list(tools))
        return [asked.invoke(list(messages)) for messages in conversations]
    # Conversations with alike many pictures and words go together: what is padded is computed too.
    order = sorted(range(len(conversations)), key=lambda index: (_pictures(conversations[index]),
                                                                 sum(len(m.text) for m in conversations[index])))
    answers: dict[int, AIMessage] = {}
    for part in _parts(order, batch):
        for count in sorted({_pictures(conversations[index]) for index in part}):
            alike = [index for index in part if _pictures(conversations[index]) == count]
            texts = _write(engine, [conversations[index] for index in alike], tools, MAX_ANSWER_TOKENS)
            answers |= {index: read_answer(text) for index, text in zip(alike, texts, strict=True)}
    return [answers[index] for index in range(len(conversations))]


def score_many(engine: Engine, question: str, views: Sequence[NDArray[np.uint8]], options: Sequence[str], *,
               batch: int = 32) -> NDArray[np.float64]:
    """`engine.score_options(question, [view], options)` for each view: log-likelihoods `[N, options]`.

    Raises:
        EngineError: The model failed.
    """
    if not isinstance(engine, LocalEngine):
        return np.array([engine.score_options(question, [view], options) for view in views])
    end = engine.end_tokens()[0]
    answers = [[*engine.processor.tokenizer(option, add_special_tokens=False)["input_ids"], end] for option in options]
    rows: list[NDArray[np.float64]] = []
    for part in _parts(views, batch):
        inputs = _inputs(engine, [_about(engine, question, view) for view in part], ())
        rows.append(_log_likelihoods(engine.model, inputs, answers))
    return np.concatenate(rows) if rows else np.empty((0, len(options)))


def _about(engine: Engine, question: str, view: NDArray[np.uint8]) -> list[BaseMessage]:
    return [SystemMessage(engine.system_prompt()), picture_question(question, [view])]


def _pictures(messages: Conversation) -> int:
    return sum(isinstance(part, dict) and part["type"] == "image" for message in messages
               if not isinstance(message.content, str) for part in message.content)


def _parts(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    return (items[start:start + size] for start in range(0, len(items), size))


def _inputs(engine: LocalEngine, conversations: Sequence[Conversation], tools: Sequence[dict[str, Any]]
            ) -> dict[str, torch.Tensor]:
    """`LocalEngine.inputs` for a batch: padded on the left, so that every prompt ends where its answer begins."""
    clean = control_token_cleaner([str(token) for token in engine.processor.tokenizer.get_added_vocab()])
    encoded = engine.processor.apply_chat_template(
        [template_messages(messages, clean) for messages in conversations], tools=list(tools) or None,
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"})
    return {name: value.to(engine.model.device) for name, value in encoded.items()}


def _write(engine: LocalEngine, conversations: Sequence[Conversation], tools: Sequence[dict[str, Any]],
           max_tokens: int) -> list[str]:
    """Greedy words for each conversation. The engine's own decoding, a batch at a time."""
    import torch

    inputs = _inputs(engine, conversations, tools)
    used = int(inputs["input_ids"].shape[1])
    with torch.inference_mode():
        room = min(max_tokens, engine.context_tokens - used)
        written = engine.model.generate(**inputs, **engine.decoding(room, conversations if tools else ()))
    ends = set(engine.end_tokens())
    texts = []
    for row in written[:, used:].tolist():
        stop = next((place for place, token in enumerate(row) if token in ends), len(row))
        texts.append(engine.words(torch.tensor(row[:stop])))
    return texts


def _log_likelihoods(model: Any, inputs: dict[str, torch.Tensor], answers: Sequence[Sequence[int]]
                     ) -> NDArray[np.float64]:
    """`engines.scoring.log_likelihoods` for a batch of prompts of one length: `[prompts, answers]`."""
    import torch

    mask = inputs["attention_mask"]
    if not bool(mask.all()):
        raise ValueError("prompts that are weighed together must have one length")
    prompts, longest = len(mask), max(len(answer) for answer in answers)
    tokens = torch.zeros((len(answers), longest), dtype=torch.long, device=mask.device)
    real = torch.zeros_like(tokens)
    for row, answer in enumerate(answers):
        tokens[row, :len(answer)] = torch.tensor(answer, dtype=torch.long)
        real[row, :len(answer)] = 1
    tokens, real = tokens.repeat(prompts, 1), real.repeat(prompts, 1)
    with torch.inference_mode():
        prefill = model(**inputs, use_cache=True, logits_to_keep=1)
        distributions = prefill.logits[:, -1:].float().log_softmax(-1).repeat_interleave(len(answers), 0)
        if longest > 1:
            cache = prefill.past_key_values
            cache.batch_repeat_interleave(len(answers))
            seen = torch.cat([mask.repeat_interleave(len(answers), 0), real[:, :-1]], 1)
            rest = model(input_ids=tokens[:, :-1], attention_mask=seen, past_key_values=cache, use_cache=True)
            distributions = torch.cat([distributions, rest.logits.float().log_softmax(-1)], 1)
        each = distributions.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) * real
    return np.asarray(each.double().sum(1).reshape(prompts, len(answers)).cpu().numpy())
