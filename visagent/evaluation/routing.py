"""Does the model choose the right tool, or the direct answer, for questions worded unlike those it was trained on?

    python -m visagent.evaluation.routing
    python -m visagent.evaluation.routing --questions tests/agent/routing_development.jsonl --misses

The model is given what the agent gives it (system prompt, earlier turns, face views, the tools' schemas) and its first
message is compared with what was expected. No tool is run.

One line per question in the file: `question`; `pictures`, the number of pictures in the session (`image_1` ...
`image_n`, attached to its first turn); `history`, earlier turns as `{"question", "tools": [calls]}`; `expect`;
`style`; `about`.
Three sets: `routing_questions.jsonl` and `routing_fresh.jsonl` are for final numbers (the misses of the former were
published once, the latter was written afterwards by an author who saw neither the training wordings nor any other
set), `routing_development.jsonl` is there to choose trainings with; only its misses are to be looked at.
`expect` is `{"calls": [{"name", "arguments"}]}`, `{"answer": "direct"}` (no tool: words only), or `{"any_of": [...]}`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.agent.engines.toolcalls import tool_call
from visagent.agent.middleware import turns_of
from visagent.agent.prompts import CAPABILITIES
from visagent.agent.toolkit import tool_schema
from visagent.agent.views import Views, message_of
from visagent.datasets.summaries import sample_summary
from visagent.errors import run_command
from visagent.evaluation.batch import answer_many
from visagent.evaluation.intervals import Share, wilson_interval
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.media import PictureStore, load_picture, picture_from_array
from visagent.settings import load_settings
from visagent.tools.models import Models

Call = Mapping[str, Any]
Record = Mapping[str, Any]
Routed = Sequence[Call] | str

QUESTIONS = Path("tests/agent/routing_questions.jsonl")
LATER_QUESTIONS = (Path("tests/agent/routing_fresh.jsonl"), Path("tests/agent/routing_blind.jsonl"),
                   Path("tests/agent/routing_gallery.jsonl"))
"""Each by an author who saw no other question, written after a training that is measured on it."""
MOST_PICTURES = 4


@dataclass(frozen=True, slots=True)
class Miss:
    """One question that went astray: what it was, what was expected and what the router did."""

    record: Record
    expected: Mapping[str, Any]
    got: Routed


@dataclass(frozen=True, slots=True)
class RoutingAccuracy:
    """Accuracy in 0..1 with its 95 % Wilson interval.

    Attributes:
        right: Questions routed as expected.
        total: Questions asked.
        low: Lower end of the interval.
        high: Upper end of the interval.
        misses: The others, in the order of the records.
        by: Right and total per group, named `style:terse`, `about:verdict`, `tool:spoof`, `tool:direct`, `history`,
            `several pictures`.
    """

    right: int
    total: int
    low: float
    high: float
    misses: tuple[Miss, ...]
    by: Mapping[str, tuple[int, int]]

    @property
    def accuracy(self) -> float:
        """Share of questions routed as expected."""
        return self.right / self.total

    def __str__(self) -> str:
        return f"{self.right}/{self.total} = {self.accuracy:.3f} [{self.low:.3f}, {self.high:.3f}]"


def load_questions(path: Path) -> list[dict[str, Any]]:
    """The records of a file, one per line of JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def picture_ids(call: Call) -> frozenset[str]:
    """The pictures and the person a call speaks of. A set: for `verify` the order of the two does not matter.

    Names count without regard to case: the gallery looks them up so.
    """
    values = call.get("arguments", {}).values()
    several = (value if isinstance(value, list) else [value] for value in values)
    return frozenset(str(one).strip().casefold() for value in several for one in value)


def is_expected(expect: Mapping[str, Any], got: Routed) -> bool:
    """Whether `got` is what was asked for: the same set of tools, on the same pictures where `expect` names them."""
    if "any_of" in expect:
        return any(is_expected(one, got) for one in expect["any_of"])
    calls = () if isinstance(got, str) else got
    if expect.get("answer") == "direct":
        return not calls
    wanted = expect["calls"]
    if {call["name"] for call in calls} != {call["name"] for call in wanted}:
        return False
    free = {call["name"] for call in wanted if not call.get("arguments")}  # any picture of the session will do
    named = {(call["name"], picture_ids(call)) for call in wanted if call["name"] not in free}
    return named == {(call["name"], picture_ids(call)) for call in calls if call["name"] not in free}


def routing_accuracy(records: Iterable[Record], route: Callable[[Record], Routed]) -> RoutingAccuracy:
    """Ask `route` every record: it gives the calls it makes, or the text it answers with when it calls nothing."""
    misses: list[Miss] = []
    by: dict[str, tuple[int, int]] = {}
    total = 0
    for record in records:
        total += 1
        got = route(record)
        right = is_expected(record["expect"], got)
        if not right:
            misses.append(Miss(record, record["expect"], got))
        for group in _groups(record):
            was_right, asked = by.get(group, (0, 0))
            by[group] = (was_right + right, asked + 1)
    low, high = wilson_interval(total - len(misses), total)
    return RoutingAccuracy(total - len(misses), total, low, high, tuple(misses), by)


def expected_tools(expect: Mapping[str, Any]) -> frozenset[str]:
    """Names of the tools that `expect` allows; empty for a direct answer."""
    if "any_of" in expect:
        return frozenset().union(*(expected_tools(one) for one in expect["any_of"]))
    return frozenset(call["name"] for call in expect.get("calls", ()))


def _groups(record: Record) -> list[str]:
    groups = [f"style:{record['style']}", f"about:{record['about']}"]
    groups += [f"tool:{name}" for name in sorted(expected_tools(record["expect"])) or ["direct"]]
    if record["history"]:
        groups.append("history")
    if record["pictures"] > 1:
        groups.append("several pictures")
    return groups


def portraits() -> PictureStore:
    """A session of four pictures of one face: the bundled portrait, mirrored, darker, and both."""
    store = PictureStore()
    first = load_picture((files("visagent") / "assets" / "astronaut.jpg").read_bytes())
    darker = (first.rgb * 0.8).astype(np.uint8)
    store.add(first)
    for rgb in (first.rgb[:, ::-1], darker, darker[:, ::-1]):
        store.add(picture_from_array(rgb))
    return store


def conversation_of(record: Record, engine: Engine, views: Views, seed: int = 0) -> list[BaseMessage]:
    """What the agent would hand to the model for this question, its pictures `image_1` ... among those of `views`.

    Earlier tool results are summaries in the tools' own sentences with drawn numbers, and were answered with these.
    """
    rng = random.Random(f"{seed} {record['question']}")
    pictures = [f"image_{number}" for number in range(1, record["pictures"] + 1)]
    said: list[BaseMessage] = []
    for turn in record["history"]:
        said.append(message_of(turn["question"], [] if said else pictures))
        found = []
        calls = [tool_call(call["name"], dict(call["arguments"])) for call in turn["tools"]]
        if calls:
            said.append(AIMessage("", tool_calls=calls))
        for call in calls:
            pictures_of = [str(one) for name, value in call["args"].items() if name != "person"
                           for one in (value if isinstance(value, list) else [value])]
            found.append(sample_summary(call["name"], pictures_of, rng, person=call["args"].get("person")))
            said.append(ToolMessage(found[-1], name=call["name"], tool_call_id=call["id"] or ""))
        said.append(AIMessage(" ".join(found) or CAPABILITIES))
    said.append(message_of(record["question"], [] if said else pictures))
    shown = [message for turn in turns_of(said)[-engine.history_turns:] for message in turn]
    return [SystemMessage(engine.system_prompt()), *views.attach(shown)]


def route_all(records: Sequence[Record], engine: Engine, *, batch: int = 16, seed: int = 0,
              models: Models | None = None) -> list[Routed]:
    """The model's calls for each question, or its words where it calls nothing. Raises EngineError.

    Args:
        records: The questions.
        engine: The model.
        batch: Questions that go through the model together.
        seed: Of what earlier tool results say.
        models: Owner of the face detector; a fresh one if None.

    Raises:
        ValueError: A question with more than four pictures.
    """
    from visagent.tools import TOOLS

    if any(record["pictures"] > MOST_PICTURES for record in records):
        raise ValueError(f"a question may have at most {MOST_PICTURES} pictures")
    views = Views(engine.view, portraits(), Models() if models is None else models)
    conversations = [conversation_of(record, engine, views, seed) for record in records]
    offered = [tool for tool in TOOLS if tool.needs_setting is None
               and (engine.known_tools is None or tool.name in engine.known_tools)]
    answers = answer_many(engine, conversations, [tool_schema(tool) for tool in offered], batch=batch)
    return [[{"name": call["name"], "arguments": call["args"]} for call in answer.tool_calls] if answer.tool_calls
            else answer.text for answer in answers]


def measure(records: Sequence[Record], engine: Engine, *, command: str, name: str = "", batch: int = 16, seed: int = 0,
            models: Models | None = None, misses: bool = False) -> Result:
    """Route every question and count. Raises EngineError if the model fails, ValueError without questions.

    Args:
        records: The questions.
        engine: The model.
        command: What prints this result.
        name: Of the set of questions.
        batch: Questions that go through the model together.
        seed: Of what earlier tool results say.
        models: Owner of the face detector; a fresh one if None.
        misses: Whether to list the questions that went astray; whoever reads them can no longer test with the set.
    """
    routed = {id(record): got for record, got in zip(records, route_all(records, engine, batch=batch, seed=seed,
                                                                        models=models), strict=True)}
    found = routing_accuracy(records, lambda record: routed[id(record)])
    rows = [Row("right tool or direct answer", Share(found.right, found.total), "at least 0.90"),
            *(Row(group, Share(*found.by[group])) for group in sorted(found.by))]
    table = [("question", "expected", "got")]
    table += [(str(miss.record["question"])[:90], _short(miss.expected), _short(miss.got)) for miss in found.misses]
    return Result(title=" ".join(["Routing of hand-written questions", *([f"({name})"] if name else [])]),
                  command=command, rows=tuple(rows), split="hand-written, none in training", seed=seed,
                  models={"model": engine.identity}, extra={"Misses": table} if misses else {}, notes=(
                      "The first message of the model is compared; no tool is run. A question about anything else "
                      "counts as right when no tool is called.",))


def _short(routed: Mapping[str, Any] | Routed) -> str:
    if isinstance(routed, str):
        return f"words: {routed[:60]}"
    if isinstance(routed, Mapping):
        return " or ".join(_short(one) for one in routed["any_of"]) if "any_of" in routed else \
            _short(routed["calls"]) if "calls" in routed else "words"
    return " + ".join(f"{call['name']}({', '.join(map(str, call.get('arguments', {}).values()))})" for call in routed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--misses", action="store_true", help="list them; not for a set whose number is reported")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    records = load_questions(options.questions)
    if options.limit is not None and options.limit < len(records):
        records = random.Random(options.seed).sample(records, options.limit)
    engine = open_engine(load_settings({"model": options.model}))
    command = command_line("routing", questions=options.questions, model=options.model, limit=options.limit,
                           seed=options.seed)
    measure(records, engine, command=command, name=options.questions.stem, batch=options.batch, seed=options.seed,
            misses=options.misses).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
