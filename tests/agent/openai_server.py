"""A small OpenAI-compatible server on loopback: says what it is told to, and remembers what it was asked.

Its tokens are words. It reports `prompt_logprobs` as vLLM does: for every token of the prompt a dict whose first entry
is that token.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

END = "<|im_end|>"


def render(messages: list[dict[str, Any]], generation_prompt: bool) -> list[str]:
    """The prompt's tokens."""
    tokens: list[str] = []
    for message in messages:
        content = message["content"]
        text = content if isinstance(content, str) else " ".join(part.get("text", "<image>") for part in content)
        tokens += [f"<{message['role']}>", *re.findall(r"\S+\s*", text), END, "\n"]
    return [*tokens, "<assistant>"] if generation_prompt else tokens


class OpenAIServer:
    """What to say, and what was asked.

    Attributes:
        replies: Messages to answer with, in order; an integer is an HTTP status to refuse with.
        requests: Bodies of all requests for a completion.
        keys: The authorisation of every request.
        likely: Log-probability of each token; -1 where it is not here.
        reports_prompts: Whether `prompt_logprobs` is known.
        pause: Seconds before each piece of a stream.
        broken_off: Streams whose reader went away.
    """

    def __init__(self) -> None:
        self.replies: list[dict[str, Any] | int] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.likely: dict[str, float] = {}
        self.models: list[dict[str, Any]] = [{"id": "tiny-vlm", "max_model_len": 4096}]
        self.reports_prompts = True
        self.pause = 0.0
        self.broken_off = 0
        self.url = ""

    def completion(self, body: Mapping[str, Any]) -> dict[str, Any] | int:
        prompt = render(body["messages"], body.get("add_generation_prompt", True))
        reply: dict[str, Any] = {"usage": {"prompt_tokens": len(prompt)}}
        if body.get("max_tokens") == 1:
            message: dict[str, Any] | int = {"content": "x"}
        else:
            message = self.replies.pop(0)
        if isinstance(message, int):
            return message
        if "prompt_logprobs" in body and self.reports_prompts:
            reply["prompt_logprobs"] = [None, *(
                {str(place): {"logprob": self.likely.get(token.strip(), -1.0), "rank": 2, "decoded_token": token},
                 "0": {"logprob": -0.001, "rank": 1, "decoded_token": "other"}}
                for place, token in enumerate(prompt[1:], start=1))]
        return {**reply, "choices": [{"index": 0, "message": {"role": "assistant", **message}}]}


@contextmanager
def running_server() -> Iterator[OpenAIServer]:
    """The server, listening until the end of the block."""
    state = OpenAIServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            state.keys.append(self.headers["Authorization"])
            self._send({"data": state.models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.keys.append(self.headers["Authorization"])
            state.requests.append(body)
            reply = state.completion(body)
            if isinstance(reply, int):
                self.send_response(reply)
                self.end_headers()
                self.wfile.write(b"secret /srv/path")
            elif body.get("stream"):
                self._stream(reply["choices"][0]["message"])
            else:
                self._send(reply)

        def _send(self, reply: object) -> None:
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, message: Mapping[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += [{"content": piece} for piece in re.findall(r".{1,3}", message.get("content") or "", re.DOTALL)]
            for index, call in enumerate(message.get("tool_calls") or ()):
                function = call["function"]
                half = len(function["arguments"]) // 2
                deltas += [{"tool_calls": [{"index": index, "id": call["id"], "function": {
                               "name": function["name"], "arguments": function["arguments"][:half]}}]},
                           {"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][half:]}}]}]
            try:
                for delta in deltas:
                    time.sleep(state.pause)
                    self.wfile.write(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                state.broken_off += 1

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
