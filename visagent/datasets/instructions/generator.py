"""Rewording by a larger vision-language model behind an OpenAI-compatible server (vLLM and others).

FaceShield has its base model write the pairs and LLaMA-3 two more per pair; its instruction holds the true label, a
hint about the attack, the wanted shape of the answer, and examples (its fact sheet, section 6). Here the pair exists
already, and the model is asked to say the same in other words. What comes back passes the filters, or the pair stays
as it was.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visagent.datasets.instructions.answers import BoxStyle, PictureLabel
from visagent.datasets.instructions.clues import ATTRIBUTES, TYPE_WORDS
from visagent.datasets.instructions.filters import contradiction, refusal
from visagent.datasets.instructions.questions import Task
from visagent.errors import EngineError, EngineUnavailable
from visagent.settings import Settings

IN_FLIGHT: Final = 8
"""Requests at one time; servers batch them."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_SHAPES: Final = {
    "description": "a description of the picture",
    "coarse": "one or two sentences that say whether the face is real or a spoof, with short evidence",
    "fine": 'one or two sentences that say "represents a ... Attack" or "represents a Bonafide face", with evidence',
    "reasoning": "the quoted attribute names "
    + ", ".join(f'"{name}"' for name in ATTRIBUTES)
    + ", in this order, with one remark each, then a clause that says real or spoof",
    "localisation": "one or two sentences with the same [x1, y1, x2, y2] numbers and what is there; no box if real",
}
_SYSTEM: Final = (
    "You reword question-answer pairs about face presentation attacks. Keep every fact, add none, and be definite: "
    "never refuse, never hedge. Keep all numbers and quoted names exactly. The question is one sentence, the answer "
    'one paragraph. Reply with JSON only: {"question": "...", "answer": "..."}'
)
_EXAMPLE: Final = (
    (
        "Attack: Print. Answer's shape: " + _SHAPES["coarse"] + '.\n{"question": "Is the face real or a spoof?", '
        '"answer": "This is a spoof: halftone dots are visible."}'
    ),
    (
        '{"question": "Would you call this face genuine or spoofed?", '
        '"answer": "It is a spoof face, given away by the halftone dots that are visible on it."}'
    ),
)


class Pair(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


Outcome = Literal["reworded", "unreadable", "refused by the server", "refusal", "contradiction"]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    question: str = Field(min_length=3, max_length=400)
    answer: str = Field(min_length=3, max_length=1200)


class Rewriter:
    """A model that rewords pairs, and the answers it has given before.

    Args:
        name: A server's base URL (`http://127.0.0.1:8000/v1`), whose only model is used; or a model's name, served
            where the settings say (`VISAGENT_SERVER_URL`).
        settings: Server, key and time-out.
        memory: File of earlier replies, JSON Lines: a build that was stopped asks nothing twice.

    Raises:
        EngineUnavailable: The server does not answer.
        EngineError: It refuses, or does not serve one such model.
    """

    def __init__(self, name: str, settings: Settings, memory: Path) -> None:
        url = name if name.startswith(("http://", "https://")) else settings.server_url
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            timeout=settings.timeout_seconds,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # A proxy of the environment must not see requests that never leave this machine.
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )
        served = self._models()
        wanted = served if url == name else [model for model in served if model == name]
        if len(wanted) != 1:
            raise EngineError(
                f"The server serves {', '.join(served) or 'no model'}; name one of them with "
                "--generator, and its server with VISAGENT_SERVER_URL."
            )
        self.model = wanted[0]
        self._memory, self._lock = memory, threading.Lock()
        self._replies = _remembered(memory)

    def reword(
        self, task: Task, pair: Pair, label: PictureLabel, png: bytes, *, boxes: BoxStyle = "pixels"
    ) -> tuple[Pair, Outcome]:
        """The pair in the model's words if they pass the filters, else as it was; and what came of it.

        Args:
            task: What is asked.
            pair: The pair to reword.
            label: What is known of the picture.
            png: The picture, which the model sees.
            boxes: How boxes are written, see `answers.written_box`.

        Raises:
            EngineUnavailable: The server stopped answering.
        """
        text = self._reply(_messages(task, pair, label, png))
        if text is None:
            return pair, "refused by the server"
        found = re.search(r"\{.*\}", text, re.DOTALL)
        try:
            reply = _Reply.model_validate_json(found.group() if found else "")
        except ValidationError:
            return pair, "unreadable"
        if refusal(reply.answer) or refusal(reply.question):
            return pair, "refusal"
        if contradiction(task, reply.answer, label, boxes=boxes):
            return pair, "contradiction"
        return Pair(reply.question, reply.answer), "reworded"

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _models(self) -> list[str]:
        try:
            response = self._client.get("models")
            response.raise_for_status()
            return [str(row["id"]) for row in response.json()["data"]]
        except httpx.TransportError as error:
            raise EngineUnavailable(
                "The generator's server does not answer; start it or correct --generator."
            ) from error
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise EngineError(
                "The generator's server does not list its models; is the address right, and the key?"
            ) from error

    def _reply(self, messages: list[dict[str, Any]]) -> str | None:
        """What the model says; None where the server refuses this request."""
        body = {"model": self.model, "messages": messages, "max_tokens": 400, "temperature": 0}
        request = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        if request in self._replies:
            return self._replies[request]
        try:
            response = self._client.post("chat/completions", json=body)
        except httpx.TransportError as error:
            raise EngineUnavailable(
                "The generator's server stopped answering; start it and run the same command "
                "again: what it has said is kept."
            ) from error
        if response.is_error:
            return None
        try:
            reply = str(response.json()["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError):
            reply = ""
        with self._lock:
            self._replies[request] = reply
            with self._memory.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"request": request, "reply": reply}) + "\n")
        return reply


def _remembered(memory: Path) -> dict[str, str]:
    """Earlier replies by request; the last line of a stopped build may be cut short."""
    replies = {}
    for line in memory.read_text(encoding="utf-8").splitlines() if memory.is_file() else ():
        with contextlib.suppress(ValueError, KeyError):
            row = json.loads(line)
            replies[row["request"]] = str(row["reply"])
    return replies


def _messages(task: Task, pair: Pair, label: PictureLabel, png: bytes) -> list[dict[str, Any]]:
    if label.attack is None:
        truth = "The face is real (Bonafide); no clue of an attack is in the picture."
    else:
        words = TYPE_WORDS[label.attack]
        truth = f"Attack: {words.title}, {words.things[0]}. Clues in the picture: {'; '.join(label.clues)}."
    wanted = f"{truth} Answer's shape: {_SHAPES[task]}.\n{json.dumps(pair._asdict())}"
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _EXAMPLE[0]},
        {"role": "assistant", "content": _EXAMPLE[1]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": wanted}],
        },
    ]
