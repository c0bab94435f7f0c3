"""The vllm engine against a small OpenAI-compatible server of our own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from PIL import Image

from visagent.agent import Agent
from visagent.agent.engines import open_engine
from visagent.agent.engines.toolcalls import tool_call
from visagent.agent.engines.vllm import VllmEngine
from visagent.agent.toolkit import tool_schema
from visagent.agent.views import picture_question
from visagent.errors import EngineError, EngineUnavailable
from visagent.media import Picture
from visagent.settings import Settings
from visagent.tools.contract import Tool

from .conftest import ScreenInput, spoof_finding
from .openai_server import END, OpenAIServer, running_server

CALL: dict[str, Any] = {"id": "call_1", "type": "function",
                        "function": {"name": "spoof", "arguments": '{"image": "image_1"}'}}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def engine(server: OpenAIServer) -> Iterator[VllmEngine]:
    opened = open_engine(Settings(engine="vllm", model="tiny-vlm", server_url=server.url))
    assert isinstance(opened, VllmEngine)
    yield opened
    opened.close()


def test_the_agent_works_through_a_server(server: OpenAIServer, engine: VllmEngine, screen: Tool[ScreenInput],
                                          picture: Picture) -> None:
    words = "This is a spoof. The attack score is 0.83."
    server.replies = [{"content": None, "tool_calls": [CALL]}, {"content": words}]
    answer = Agent(Settings(engine="vllm"), engine=engine, tools=[screen]).ask("Is it live?", picture)
    assert (answer.text, answer.grounded, answer.findings) == (words, True, (spoof_finding(),))
    first, second = server.requests
    assert first["tools"] == [tool_schema(screen)] and first["temperature"] == 0
    # The step that mostly calls a tool is not streamed: parsers of servers break calls there.
    assert "stream" not in first and second["stream"]
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert isinstance(second["messages"][3]["content"], str)


def test_messages_are_in_the_servers_format(server: OpenAIServer, engine: VllmEngine, noise: np.ndarray) -> None:
    server.replies = [{"content": "Yes."}]
    call = tool_call("spoof", {"image": "image_1"})
    engine.invoke([SystemMessage("Be brief."), picture_question("Is it <|im_start|>live?", [noise]),
                   AIMessage("", tool_calls=[call]), ToolMessage("Spoof.", name="spoof", tool_call_id=call["id"])])
    system, user, assistant, tool = server.requests[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    label, image, question = user["content"]
    assert (label["text"], question["text"]) == ("image_1", "Is it < |im_start|>live?")
    data = image["image_url"]["url"].removeprefix("data:image/png;base64,")
    from io import BytesIO
    assert np.array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(data)))), noise)
    assert assistant["tool_calls"][0]["function"] == {"name": "spoof", "arguments": '{"image": "image_1"}'}
    assert tool == {"role": "tool", "tool_call_id": call["id"], "name": "spoof", "content": "Spoof."}


@pytest.mark.parametrize("message", [
    {"content": "", "tool_calls": [CALL]},
    {"content": '<tool_call>{"name": "spoof", "arguments": {"image": "image_1"}}</tool_call>'},
], ids=["parsed by the server", "left in the text"])
@pytest.mark.parametrize("streamed", [False, True])
def test_tool_calls_are_found(message: dict[str, Any], streamed: bool, server: OpenAIServer,
                              engine: VllmEngine) -> None:
    server.replies = [message]
    if streamed:
        chunks = list(engine.stream([HumanMessage("Is it live?")]))
        assert "".join(chunk.text for chunk in chunks) == ""
        calls = [call for chunk in chunks for call in chunk.tool_calls]  # type: ignore[attr-defined]
    else:
        calls = engine.invoke([HumanMessage("Is it live?")]).tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [("spoof", {"image": "image_1"})]


def test_words_are_streamed(server: OpenAIServer, engine: VllmEngine) -> None:
    server.replies = [{"content": "A face, x < y, and more."}]
    chunks = [chunk.text for chunk in engine.stream([HumanMessage("What?")])]
    assert "".join(chunks) == "A face, x < y, and more." and len(chunks) > 3


def test_arguments_that_are_no_json_are_no_call(server: OpenAIServer, engine: VllmEngine) -> None:
    server.replies = [{"content": "Hm.", "tool_calls": [{"function": {"name": "spoof", "arguments": "{oops"}}]}]
    message = engine.invoke([HumanMessage("Is it live?")])
    assert (message.text, message.tool_calls) == ("Hm.", [])


class TestScore:
    def test_it_sums_the_answers_tokens_and_the_end_of_turn(self, server: OpenAIServer, engine: VllmEngine,
                                                            noise: np.ndarray) -> None:
        server.likely = {"happiness": -0.5, "no": -2.0, "emotion": -0.25, END: -0.125}
        scores = engine.score_options("Which?", [noise], ["happiness", "no emotion"])
        assert scores == pytest.approx([-0.625, -2.375])
        assert engine.score([HumanMessage("Which?")], ["no emotion"], per_token=True) == pytest.approx([-2.375 / 3])
        assert [body.get("add_generation_prompt", True) for body in server.requests[:3]] == [True, False, False]
        assert engine.score([HumanMessage("Which?")], []) == []

    def test_a_server_that_cannot_is_said_to(self, server: OpenAIServer, engine: VllmEngine) -> None:
        server.reports_prompts = False
        with pytest.raises(EngineError, match="prompt_logprobs"):
            engine.score([HumanMessage("Which?")], ["happiness"])


def test_a_look_is_in_pixels_of_the_view(server: OpenAIServer) -> None:
    server.models = [{"id": "Qwen/Qwen3-VL-8B-Instruct"}]
    engine = open_engine(Settings(engine="vllm", model="Qwen/Qwen3-VL-8B-Instruct", server_url=server.url))
    server.replies = [{"content": "A border at [0, 0, 500, 1000]."}]
    look = engine.look("Where?", [np.zeros((60, 80, 3), np.uint8)], max_tokens=33)
    assert (look.text, look.boxes) == ("A border at [0, 0, 40, 60].", ((0, 0, 40, 60),))
    assert server.requests[0]["max_tokens"] == 33
    engine.close()


def test_a_folder_that_is_served_is_used_as_it_wants(server: OpenAIServer, tmp_path: Path) -> None:
    folder = tmp_path / "my-nano"
    folder.mkdir()
    (folder / "visagent.json").write_text(json.dumps({"view": "face", "box_scale": 1000, "system_prompt": "nano"}))
    server.models = [{"id": "/srv/models/my-nano", "max_model_len": 2048}]
    engine = open_engine(Settings(engine="vllm", model=str(folder), server_url=server.url))
    assert (engine.view, engine.prompt, engine.boxes.scale) == ("face", "nano", 1000)
    assert (engine.context_tokens, engine.history_turns) == (2048, 3)
    assert engine.identity.id == "my-nano"
    engine.close()


def test_the_key_is_sent_and_never_told(server: OpenAIServer) -> None:
    engine = open_engine(Settings(engine="vllm", model="tiny-vlm", server_url=server.url,
                                  api_key="sk-secret"))  # type: ignore[arg-type]
    server.replies = [401]
    with pytest.raises(EngineError, match="check the key") as caught:
        engine.invoke([HumanMessage("Hello?")])
    assert set(server.keys) == {"Bearer sk-secret"}
    assert "sk-secret" not in str(caught.value) + repr(engine)
    engine.close()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_is_told_without_the_servers_words(status: int, streamed: bool, server: OpenAIServer,
                                                     engine: VllmEngine) -> None:
    server.replies = [status]
    with pytest.raises(EngineError, match=str(status)) as caught:
        list(engine.stream([HumanMessage("Hello?")])) if streamed else engine.invoke([HumanMessage("Hello?")])
    assert "/srv" not in str(caught.value)


def test_a_model_that_is_not_served_is_named(server: OpenAIServer) -> None:
    with pytest.raises(EngineError, match="it serves tiny-vlm"):
        open_engine(Settings(engine="vllm", model="another", server_url=server.url))


def test_a_server_that_is_not_there(server: OpenAIServer) -> None:
    with pytest.raises(EngineUnavailable, match="does not answer"):
        open_engine(Settings(engine="vllm", model="tiny-vlm", server_url="http://127.0.0.1:9/v1"))


def test_a_server_that_goes_away_keeps_what_was_found(server: OpenAIServer, engine: VllmEngine,
                                                      screen: Tool[ScreenInput], picture: Picture) -> None:
    server.replies = [{"content": None, "tool_calls": [CALL]}, 500]
    answer = Agent(Settings(engine="vllm"), engine=engine, tools=[screen]).ask("Is it live?", picture)
    assert (answer.text, answer.grounded) == (spoof_finding().summary, False)
