"""The same model folder says the same, word for word, in this process and behind a vLLM server.

Runs where `VLLM_PYTHON` names the Python of an environment that holds vLLM; `docs/vllm.md` says how to make one.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from visagent import weights
from visagent.agent.engines import open_engine
from visagent.errors import WeightsError
from visagent.settings import load_settings

from .tiny_idefics3 import save_tiny_idefics3

VLLM_PYTHON = os.environ.get("VLLM_PYTHON", "")
START_SECONDS = 600  # half a minute where nothing else runs
MAX_TOKENS = 40

pytestmark = [pytest.mark.vllm, pytest.mark.slow,
              pytest.mark.skipif(not VLLM_PYTHON, reason="VLLM_PYTHON names no environment with vLLM")]

TOOLS = [{"type": "function", "function": {
    "name": name, "description": description, "parameters": {
        "type": "object", "additionalProperties": False, "required": arguments,
        "properties": {argument: {"type": "string", "description": "Id of a picture."} for argument in arguments}}}}
    for name, description, arguments in (("spoof", "Live or spoof.", ["image"]),
                                         ("verify", "Same person or not.", ["image_a", "image_b"]))]
CALL = {"name": "spoof", "arguments": {"image": "image_1"}}


def portrait() -> Image.Image:
    """The face of a NASA portrait that is in the public domain."""
    from skimage import data

    astronaut: Any = data.astronaut
    return Image.fromarray(astronaut()[:300, 100:360])


def drawing() -> Image.Image:
    """A drawn picture, wider than high."""
    picture = Image.new("RGB", (320, 240), (40, 90, 160))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 40, 200, 200), fill=(230, 180, 90))
    pen.rectangle((220, 20, 300, 90), fill=(200, 20, 20))
    return picture


PICTURES = {"portrait": portrait, "drawing": drawing}


@dataclass(frozen=True)
class Case:
    """A conversation: turns of `user` text with pictures by name, `call` of a tool, or `tool` text; tools or none."""

    turns: tuple[tuple[str, str, tuple[str, ...]], ...]
    tools: bool = False

    def pictures(self) -> list[Image.Image]:
        return [PICTURES[name]() for _, _, names in self.turns for name in names]

    def messages(self, *, for_server: bool) -> list[dict[str, Any]]:
        """The turns as OpenAI messages, or as the chat template of transformers takes them."""
        return [_message(role, text, names, for_server) for role, text, names in self.turns]


CASES = {
    "drawing": Case((("user", "What expression does the face show?", ("drawing",)),)),
    "portrait": Case((("user", "What expression does the face show?", ("portrait",)),)),
    "two pictures": Case((("user", "Is this the same person?", ("portrait", "drawing")),)),
    "two pictures, swapped": Case((("user", "Is this the same person?", ("drawing", "portrait")),)),
    "words only": Case((("user", "What can you do?", ()),)),
    "tools": Case((("user", "Is this a live face?", ("portrait",)),), tools=True),
    "after a tool": Case((("user", "Is this a live face?", ("portrait",)), ("call", "", ()),
                          ("tool", "live, attack score 0.031", ()),
                          ("user", "And this one?", ("drawing",))), tools=True),
}


@dataclass(frozen=True)
class Said:
    """What a model said: the prompt's tokens, its words, and the log-probability of its first token."""

    prompt: list[int]
    text: str
    first: float


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return weights.locate("visagent-nano")
    except WeightsError:
        return save_tiny_idefics3(tmp_path_factory.mktemp("tiny") / "visagent-nano")


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
                   "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                   "VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}
    command = [VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
               "--served-model-name", folder.name, "--host", "127.0.0.1", "--port", str(port),
               "--dtype", "float32", "--enforce-eager", "--limit-mm-per-prompt", '{"image": 16}',
               "--allowed-media-domains", "none.invalid", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                                   start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as client:
            _wait_until_healthy(client, process, log)
            yield client
    finally:
        _end(process)


@pytest.fixture(scope="module")
def in_process(folder: Path) -> dict[str, Said]:
    """Every case answered by transformers in this process."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    load_processor: Any = AutoProcessor.from_pretrained
    load_model: Any = AutoModelForImageTextToText.from_pretrained
    processor = load_processor(folder, local_files_only=True)
    model = load_model(folder, dtype=torch.float32, local_files_only=True).eval()
    said = {}
    for name, case in CASES.items():
        prompt = processor.apply_chat_template(case.messages(for_server=False), tools=TOOLS if case.tools else None,
                                               add_generation_prompt=True, tokenize=False)
        inputs = processor(text=prompt, images=case.pictures() or None, return_tensors="pt")
        written = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False, output_scores=True,
                                 return_dict_in_generate=True)
        text = processor.tokenizer.decode(written.sequences[0, inputs["input_ids"].shape[1]:],
                                          skip_special_tokens=True)
        said[name] = Said(inputs["input_ids"][0].tolist(), text,
                          float(torch.log_softmax(written.scores[0][0], dim=-1).max()))
    return said


@pytest.mark.parametrize("name", CASES)
def test_the_server_says_the_same(name: str, server: httpx.Client, in_process: dict[str, Said]) -> None:
    case = CASES[name]
    # Without a choice of tools the words are given as written, calls included.
    tools = {"tools": TOOLS, "tool_choice": "none"} if case.tools else {}
    answer = _ask(server, case.messages(for_server=True), **tools, return_token_ids=True, logprobs=True)
    choice = answer["choices"][0]
    assert answer["prompt_token_ids"] == in_process[name].prompt
    # A character that the last token leaves unfinished is held back by the server and marked by transformers.
    assert choice["message"]["content"] == in_process[name].text.rstrip("\N{REPLACEMENT CHARACTER}")
    assert choice["logprobs"]["content"][0]["logprob"] == pytest.approx(in_process[name].first, abs=2e-3)


def test_the_picture_reaches_the_model(in_process: dict[str, Said]) -> None:
    # Else equal words would show nothing.
    assert in_process["drawing"].prompt == in_process["portrait"].prompt
    assert in_process["drawing"].first != in_process["portrait"].first


def test_the_server_finds_tool_calls_in_what_the_model_writes(server: httpx.Client) -> None:
    # Forced, as a model with random weights would not call by itself.
    forced = r'<tool_call>\{"name": "spoof", "arguments": \{"image": "image_1"\}\}</tool_call>'
    answer = _ask(server, CASES["tools"].messages(for_server=True), tools=TOOLS, max_tokens=128,
                  structured_outputs={"regex": forced})
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])} == CALL


@pytest.mark.parametrize("names", [["portrait"], ["drawing"], ["portrait", "drawing"]], ids=", ".join)
def test_both_engines_look_and_weigh_alike(names: list[str], folder: Path, server: httpx.Client) -> None:
    views = [np.asarray(PICTURES[name]()) for name in names]
    options = ["happiness", "sadness", "neutral"]
    said, weighed = [], []
    local = {"model": str(folder), "engine": "local", "device": "cpu"}
    served = {"model": str(folder), "engine": "vllm", "server_url": str(server.base_url.join("/v1")),
              "timeout_seconds": 600.0}
    for engine in (open_engine(load_settings(local)), open_engine(load_settings(served))):
        said.append(engine.look("What expression does the face show?", views, max_tokens=MAX_TOKENS))
        weighed.append(engine.score_options("What expression does the face show?", views, options))
        engine.close()
    assert said[0].boxes == said[1].boxes
    assert said[0].text.rstrip("\N{REPLACEMENT CHARACTER}") == said[1].text
    assert weighed[0] == pytest.approx(weighed[1], abs=1e-2)


def _message(role: str, text: str, names: Sequence[str], for_server: bool) -> dict[str, Any]:
    if role == "call":
        arguments = json.dumps(CALL["arguments"]) if for_server else CALL["arguments"]
        return {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": CALL["name"], "arguments": arguments}}]}
    if role == "tool":
        return {"role": "tool", "tool_call_id": "call_1", "content": text}
    parts = [_data_url(PICTURES[name]()) if for_server else {"type": "image"} for name in names]
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


def _data_url(picture: Image.Image) -> dict[str, Any]:
    stream = io.BytesIO()
    picture.save(stream, "PNG")  # lossless, or the server would see other pixels
    data = base64.b64encode(stream.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _ask(client: httpx.Client, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    body = {"messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, **more}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _wait_until_healthy(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if client.get("/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(1)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server by its pid, which ends its workers; after half a minute, whatever is left of its own session."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
