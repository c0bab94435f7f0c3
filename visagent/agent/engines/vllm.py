"""The vllm engine: any OpenAI-compatible server, vLLM first of all.

Pictures travel inside the request, as PNG in base64; the server is never given an address to fetch. Tool results go
back as text, since servers refuse pictures there.

`score` is exact on vLLM: the server renders the conversation with the answer as a finished turn, and returns the
log-likelihood of every token of that prompt (`prompt_logprobs`). That costs one prefill per answer, because vLLM does
not reuse cached prompts when it must report on them. A server without `prompt_logprobs` gets an EngineError, not an
approximation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from visagent.agent.boxes import box_space
from visagent.agent.engines.base import MAX_ANSWER_TOKENS, Engine
from visagent.agent.engines.openai_format import join_deltas, read_reply, request_messages
from visagent.agent.engines.profile import ModelProfile, read_profile
from visagent.agent.engines.toolcalls import visible_prefix
from visagent.errors import EngineError, EngineUnavailable
from visagent.evidence import ModelIdentity
from visagent.settings import Settings
from visagent.weights import WEIGHTS, locate

_LOG = logging.getLogger(__name__)
_ASSUMED_CONTEXT = 8192
_SHORT_CONTEXT = 4096
_PICTURE_TOKENS = {"picture": 1400, "face": 300}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def open_vllm(settings: Settings) -> VllmEngine:
    """Connect to the server of the settings and choose the model there.

    Raises:
        EngineUnavailable: The server does not answer.
        EngineError: It refuses, or does not serve the model.
        WeightsError: A local folder that the model's name stands for is damaged.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    client = httpx.Client(
        base_url=settings.server_url + "/", timeout=settings.timeout_seconds,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        # A proxy of the environment must not see requests that never leave this machine.
        trust_env=urlsplit(settings.server_url).hostname not in _LOOPBACK)
    served = {row["id"]: row for row in _json(client, "GET", "models").get("data", ())}
    name = _served_name(settings.model, list(served))
    profile = _profile(settings.model)
    context = int(served[name].get("max_model_len") or _ASSUMED_CONTEXT)
    engine = VllmEngine(
        view=profile.view, prompt=profile.system_prompt,
        hands_on_findings=profile.answers_with == "findings", context_tokens=context,
        known_tools=profile.tools,
        history_turns=3 if context <= _SHORT_CONTEXT else 20,
        boxes=box_space(served[name].get("root") or name, box_scale=profile.box_scale))
    engine.use(client, name)
    return engine


class VllmEngine(Engine):
    """A model behind an OpenAI-compatible server. Greedy decoding."""

    _client: httpx.Client = PrivateAttr()
    _name: str = PrivateAttr()

    def use(self, client: httpx.Client, name: str) -> None:
        """Ask this model of this server from now on."""
        self._client, self._name = client, name

    @property
    def identity(self) -> ModelIdentity:
        """The served model's name; what weights the server loaded cannot be known here."""
        return ModelIdentity(id=Path(self._name).name if self._name.startswith(("/", ".")) else self._name)

    @property
    def _llm_type(self) -> str:
        return "visagent-vllm"

    def complete(self, messages: Sequence[BaseMessage], *, max_tokens: int = MAX_ANSWER_TOKENS) -> str:
        """The model's plain words, without tools. Raises EngineError."""
        return (self._ask(messages, (), max_tokens).get("content") or "").strip()

    def score(self, messages: Sequence[BaseMessage], options: Sequence[str], *,
              per_token: bool = False) -> list[float]:
        """Log-likelihood of each answer, by the server's `prompt_logprobs`; one prefill each. Raises EngineError."""
        if not options:
            return []
        start = _prompt_length(self._post(self._body(messages, (), 1)))
        return [self._score(messages, option, start, per_token) for option in options]

    def count_tokens(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
        """An estimate, on the high side: three characters per token, and a fixed number per picture."""
        characters = len(json.dumps(list(tools)))
        pictures = 0
        for message in messages:
            characters += len(message.text) + 20
            if not isinstance(message.content, str):
                pictures += sum(isinstance(part, dict) and part["type"] == "image" for part in message.content)
        return characters // 3 + pictures * _PICTURE_TOKENS[self.view]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None,
                  run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> ChatResult:
        reply = read_reply(self._ask(messages, kwargs.get("tools", ()), MAX_ANSWER_TOKENS))
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _stream(self, messages: list[BaseMessage], stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        tools = kwargs.get("tools", ())
        if tools and isinstance(messages[-1], HumanMessage):
            # Streaming parsers of servers break tool calls now and then; the first step is mostly one, and short.
            yield _chunk(read_reply(self._ask(messages, tools, MAX_ANSWER_TOKENS)))
            return
        deltas: list[Mapping[str, Any]] = []
        text = sent = ""
        for delta in self._deltas(self._body(messages, tools, MAX_ANSWER_TOKENS)):
            deltas.append(delta)
            text += delta.get("content") or ""
            shown = visible_prefix(text)
            if len(shown) > len(sent):
                yield ChatGenerationChunk(message=AIMessageChunk(content=shown[len(sent):]))
                sent = shown
        reply = read_reply(join_deltas(deltas))
        rest = "" if reply.tool_calls else text[len(sent):]
        yield ChatGenerationChunk(message=AIMessageChunk(content=rest, tool_calls=reply.tool_calls))

    def _score(self, messages: Sequence[BaseMessage], option: str, start: int, per_token: bool) -> float:
        body = self._body([*messages, AIMessage(option)], (), 1)
        reply = self._post(body | {"add_generation_prompt": False, "prompt_logprobs": 1})
        tokens = reply.get("prompt_logprobs")
        if not isinstance(tokens, list) or len(tokens) <= start:
            raise EngineError("This server does not report prompt_logprobs, so it cannot weigh answers; use vLLM.")
        written, total = "", 0.0
        for count, token in enumerate(tokens[start:], start=1):
            # vLLM names the token of the prompt first, then the likeliest ones.
            chosen = next(iter(token.values()))
            total += float(chosen["logprob"])
            if written.strip() == option.strip():
                return total / count if per_token else total  # this was the end of the turn
            written += chosen.get("decoded_token") or ""
        raise EngineError("The server's chat template does not end a turn where the answer ends; it cannot weigh it.")

    def _ask(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]],
             max_tokens: int) -> dict[str, Any]:
        reply = self._post(self._body(messages, tools, max_tokens))
        try:
            return dict(reply["choices"][0]["message"])
        except (KeyError, IndexError, TypeError) as error:
            raise EngineError("The model server sent something that is no chat completion.") from error

    def _body(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]],
              max_tokens: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._name, "messages": request_messages(messages), "max_tokens": max_tokens,
                                "temperature": 0}
        return body | {"tools": list(tools), "tool_choice": "auto"} if tools else body

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return _json(self._client, "POST", "chat/completions", body)

    def _deltas(self, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        try:
            with self._client.stream("POST", "chat/completions", json={**body, "stream": True}) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
                        choices = json.loads(data).get("choices") or ()
                        if choices:
                            yield choices[0].get("delta") or {}
        except httpx.HTTPError as error:
            raise _silence(error) from error
        except ValueError as error:
            raise EngineError("The model server sent something that is no chat completion.") from error


def _chunk(message: AIMessage) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=message.content, tool_calls=message.tool_calls))


def _served_name(wanted: str, served: Sequence[str]) -> str:
    """The server's name for a model: the same, or one with the same last part (a folder served by its path)."""
    last = Path(wanted).name
    found = [name for name in served if name == wanted] or [name for name in served if Path(name).name == last]
    if len(found) != 1:
        names = ", ".join(Path(name).name for name in served) or "nothing"
        raise EngineError(f"The server does not serve {last!r}; it serves {names}. Choose one with --model.")
    return found[0]


def _profile(model: str) -> ModelProfile:
    """What the folder says of itself, where the served model is one that lies here too."""
    if any(row.name == model for row in WEIGHTS):
        return read_profile(locate(model))
    folder = Path(model).expanduser()
    return read_profile(folder) if folder.is_dir() else ModelProfile()


def _prompt_length(reply: Mapping[str, Any]) -> int:
    try:
        return int(reply["usage"]["prompt_tokens"])
    except (KeyError, TypeError) as error:
        raise EngineError("This server does not count tokens, so it cannot weigh answers; use vLLM.") from error


def _json(client: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    try:
        response = client.request(method, path, json=body)
        if response.is_error:
            raise _refusal(response)
        reply = response.json()
    except httpx.HTTPError as error:
        raise _silence(error) from error
    except ValueError as error:
        raise EngineError("The model server sent something that is no JSON; is the address right?") from error
    if not isinstance(reply, dict):
        raise EngineError("The model server sent something that is no chat completion.")
    return reply


def _refusal(response: httpx.Response) -> EngineError:
    # The server's own words may hold its paths, and the question: they go to the log only.
    _LOG.warning("The model server answered %s: %.300s", response.status_code, response.text)
    advice = {401: "check the key", 403: "check the key", 404: "check the address and the model's name",
              400: "the conversation may be too long, or it takes no pictures or tools"}
    return EngineError(f"The model server refused the request (status {response.status_code}): "
                       f"{advice.get(response.status_code, 'look into its log')}.")


def _silence(error: httpx.HTTPError) -> EngineUnavailable:
    if isinstance(error, httpx.TimeoutException):
        return EngineUnavailable("The model server took too long; wait, or raise timeout_seconds.")
    return EngineUnavailable("The model server does not answer; start it, or give its address with server_url.")
