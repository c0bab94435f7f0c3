"""How well a router chooses tools, scored on the hand-written questions of `routing_questions.jsonl`.

One line per question: `question`; `pictures`, the number of pictures in the session (`image_1` ... `image_n`, attached
to its first turn); `history`, earlier turns as `{"question", "tools": [calls]}`; `expect`; `style`; `about`. `expect`
is `{"calls": [{"name", "arguments"}]}`, `{"answer": "direct"}` (no tool: words only), or `{"any_of": [...]}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Call = Mapping[str, Any]
Record = Mapping[str, Any]
Routed = Sequence[Call] | str

QUESTIONS = Path(__file__).with_name("routing_questions.jsonl")


def load_questions(path: Path = QUESTIONS) -> list[dict[str, Any]]:
    """The records of `path`, one per line of JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
        by: Right and total per group, named `style:terse`, `tool:spoof`, `tool:direct`, `history`, `several pictures`.
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


def wilson_interval(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion, as `(low, high)` in 0..1; `z` is the normal quantile (95 % here)."""
    if not 0 <= right <= total or total == 0:
        raise ValueError("a proportion needs 0 <= right <= total and total > 0")
    share = right / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def picture_ids(call: Call) -> frozenset[str]:
    """The pictures a call speaks of. A set: for `verify` the order of the two does not matter."""
    return frozenset(str(value) for value in call.get("arguments", {}).values())


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
    groups = [f"style:{record['style']}"]
    groups += [f"tool:{name}" for name in sorted(expected_tools(record["expect"])) or ["direct"]]
    if record["history"]:
        groups.append("history")
    if record["pictures"] > 1:
        groups.append("several pictures")
    return groups
