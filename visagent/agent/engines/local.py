"""The local engine: a vision-language model in this process, by transformers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from visagent.agent.boxes import BoxSpace, box_space
from visagent.agent.engines.base import MAX_ANSWER_TOKENS, Engine
from visagent.agent.engines.chat import control_token_cleaner, template_messages
from visagent.agent.engines.loading import LoadedModel, load_model
from visagent.agent.engines.profile import read_profile
from visagent.agent.engines.scoring import log_likelihoods
from visagent.agent.engines.spoken_names import NamesAsSaid, SpokenText, TokenBytes
from visagent.agent.engines.toolcalls import read_answer, visible_prefix
from visagent.agent.named import texts_with_names
from visagent.errors import EngineError
from visagent.evidence import ModelIdentity

if TYPE_CHECKING:
    import torch

    from visagent.settings import Settings

_MOST_CONTEXT = 32768
_SHORT_CONTEXT = 4096
_SHORT_HISTORY = 3


def open_local(settings: Settings) -> LocalEngine:
    """Load the model of the settings. Raises EngineError and WeightsError."""
    return engine_for(load_model(settings))


def engine_for(loaded: LoadedModel) -> LocalEngine:
    """An engine around a loaded model; what its `visagent.json` says wins over what its family does."""
    profile = read_profile(loaded.folder)
    config = loaded.model.config
    context = min(int(config.get_text_config().max_position_embeddings), _MOST_CONTEXT)
    engine = LocalEngine(
        view=profile.view, prompt=profile.system_prompt,
        hands_on_findings=profile.answers_with == "findings", context_tokens=context,
        known_tools=profile.tools,
        history_turns=_SHORT_HISTORY if context <= _SHORT_CONTEXT else 20,
        boxes=_boxes(config.model_type, profile.box_scale, loaded.processor.image_processor.to_dict()))
    engine.use(loaded)
    return engine


class LocalEngine(Engine):
    """A loaded model. Greedy decoding: the same question gets the same answer.

    One call at a time: a second thread waits for the first.
    """

    _loaded: LoadedModel = PrivateAttr()
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def use(self, loaded: LoadedModel) -> None:
        """Answer with this model from now on."""
        self._loaded = loaded

    @property
    def identity(self) -> ModelIdentity:
        """Id and weights digest of the loaded model."""
        return self._loaded.identity

    @property
    def model(self) -> Any:
        """The transformers model."""
        return self._loaded.model

    @property
    def processor(self) -> Any:
        """The transformers processor."""
        return self._loaded.processor

    @property
    def _llm_type(self) -> str:
        return "visagent-local"

    def complete(self, messages: Sequence[BaseMessage], *, max_tokens: int = MAX_ANSWER_TOKENS) -> str:
        """The model's plain words, without tools. Raises EngineError."""
        return self._write(messages, (), max_tokens).strip()

    def score(self, messages: Sequence[BaseMessage], options: Sequence[str], *,
              per_token: bool = False) -> list[float]:
        """Log-likelihood of each answer, from one prefill. Raises EngineError."""
        if not options:
            return []
        end = self.end_tokens()[0]
        answers = [[*self.processor.tokenizer(option, add_special_tokens=False)["input_ids"], end]
                   for option in options]
        try:
            inputs = self.inputs(messages)
            with self._lock:
                return log_likelihoods(self.model, inputs, answers, per_token=per_token)
        except EngineError:
            raise
        except Exception as error:
            raise _failure(error) from error

    def count_tokens(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
        """Tokens of the prompt, counted by the model's own processor."""
        return int(self.inputs(messages, tools)["input_ids"].shape[1])

    def inputs(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> dict[str, torch.Tensor]:
        """The model's inputs for these messages, generation prompt included, on its device. Batch of one."""
        tokenizer = self.processor.tokenizer
        clean = control_token_cleaner([str(token) for token in tokenizer.get_added_vocab()])
        encoded = self.processor.apply_chat_template(
            template_messages(messages, clean), tools=list(tools) or None, add_generation_prompt=True, tokenize=True,
            return_dict=True, return_tensors="pt")
        return {name: value.to(self.model.device) for name, value in encoded.items()}

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None,
                  run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> ChatResult:
        text = self._write(messages, kwargs.get("tools", ()), MAX_ANSWER_TOKENS)
        return ChatResult(generations=[ChatGeneration(message=read_answer(text))])

    def _stream(self, messages: list[BaseMessage], stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        text = sent = ""
        for piece in self._pieces(messages, kwargs.get("tools", ()), MAX_ANSWER_TOKENS):
            text += piece
            shown = visible_prefix(text)
            if len(shown) > len(sent):
                yield ChatGenerationChunk(message=AIMessageChunk(content=shown[len(sent):]))
                sent = shown
        message = read_answer(text)
        rest = "" if message.tool_calls else text[len(sent):]
        yield ChatGenerationChunk(message=AIMessageChunk(content=rest, tool_calls=message.tool_calls))

    def _write(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]], max_tokens: int) -> str:
        try:
            inputs, room = self._prompt(messages, tools, max_tokens)
            with self._lock:
                written = self.model.generate(**inputs, **self.decoding(room, [messages] if tools else ()))
            return self.words(written[0, inputs["input_ids"].shape[1]:])
        except EngineError:
            raise
        except Exception as error:  # shapes, memory, templates: whatever it was, the model gave no answer
            raise _failure(error) from error

    def _pieces(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]],
                max_tokens: int) -> Iterator[str]:
        """The answer as it is written. The model runs in a thread, which ends when nobody listens any more."""
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        abandoned = threading.Event()
        failures: list[Exception] = []
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=False)

        def run() -> None:
            try:
                inputs, room = self._prompt(messages, tools, max_tokens)
                stopping = StoppingCriteriaList([lambda ids, scores, **_: abandoned.is_set()])
                with self._lock:
                    self.model.generate(**inputs, **self.decoding(room, [messages] if tools else ()),
                                        streamer=streamer, stopping_criteria=stopping)
            except Exception as error:
                failures.append(error)
                streamer.end()  # type: ignore[no-untyped-call]

        thread = threading.Thread(target=run, name="visagent-generate", daemon=True)
        thread.start()
        try:
            for piece in streamer:
                yield self._strip_control(piece)
        finally:
            abandoned.set()
            thread.join()
        if failures:
            raise failures[0] if isinstance(failures[0], EngineError) else _failure(failures[0]) from failures[0]

    def _prompt(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]],
                max_tokens: int) -> tuple[dict[str, torch.Tensor], int]:
        inputs = self.inputs(messages, tools)
        used = int(inputs["input_ids"].shape[1])
        if used >= self.context_tokens:
            raise EngineError(f"The question is too long for this model: {used} tokens of {self.context_tokens}.")
        return inputs, min(max_tokens, self.context_tokens - used)

    def decoding(self, room: int, conversations: Sequence[Sequence[BaseMessage]] = ()) -> dict[str, Any]:
        """The arguments of the model's `generate`: greedy, at most `room` tokens, names copied from what was said.

        Args:
            room: Tokens that may be written.
            conversations: Those that are answered in one batch with tools on offer; none without tools.
        """
        ends = self.end_tokens()
        pad = self.processor.tokenizer.pad_token_id
        arguments = {"max_new_tokens": room, "do_sample": False, "eos_token_id": ends,
                     "pad_token_id": ends[0] if pad is None else pad}
        if conversations and self._token_bytes is not None:
            said = [SpokenText(texts_with_names(messages)) for messages in conversations]
            arguments["logits_processor"] = [NamesAsSaid(self._token_bytes, said)]
        return arguments

    @cached_property
    def _token_bytes(self) -> TokenBytes | None:
        """What its tokens spell; None for a vocabulary that is not spelt in bytes, whose names are checked later."""
        try:
            return TokenBytes(self.processor.tokenizer)
        except ValueError:
            return None

    def end_tokens(self) -> list[int]:
        """What ends a turn: the tokenizer's own end token first, then those of the generation settings."""
        configured = self.model.generation_config.eos_token_id
        more = configured if isinstance(configured, list) else [configured]
        own = self.processor.tokenizer.eos_token_id
        return list(dict.fromkeys(token for token in (own, *more) if token is not None))

    def words(self, tokens: torch.Tensor) -> str:
        """Generated tokens as text, without control tokens."""
        return self._strip_control(str(self.processor.tokenizer.decode(tokens, skip_special_tokens=False)))

    def _strip_control(self, text: str) -> str:
        """Without the control tokens; tags of tool calls stay, although some tokenizers count them among these."""
        for token in self.processor.tokenizer.added_tokens_decoder.values():
            if token.special and "tool" not in token.content:
                text = text.replace(token.content, "")
        return text


def _boxes(model_type: str, box_scale: float | None, image_processor: dict[str, Any]) -> BoxSpace:
    space = box_space(model_type, box_scale=box_scale)
    if space.factor == 1:
        return space
    size = image_processor.get("size") or {}
    return BoxSpace(factor=space.factor,
                    min_pixels=image_processor.get("min_pixels") or size.get("shortest_edge") or space.min_pixels,
                    max_pixels=image_processor.get("max_pixels") or size.get("longest_edge") or space.max_pixels)


def _failure(error: Exception) -> EngineError:
    return EngineError(f"The model failed while answering ({type(error).__name__}).")
