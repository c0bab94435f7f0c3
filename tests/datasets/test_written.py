"""The questions that were written whole: well formed, many, and not those of the tests."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path
from random import Random

from visagent.datasets.conversation import TOOL_NAMES
from visagent.datasets.routing import CANNOT, NEED_PICTURE, NEED_TWO, NOT_OFFERED, WRITTEN_SHARE, sample_text_example
from visagent.datasets.written import written_questions

TESTS = sorted((Path(__file__).parents[1] / "agent").glob("routing_*.jsonl"))


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def triples(text: str) -> set[tuple[str, ...]]:
    said = words(text)
    return set(zip(said, said[1:], said[2:], strict=False)) or {said}


def test_every_record_is_well_formed_and_said_once() -> None:
    lines = (files("visagent.datasets") / "wordings" / "written.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        assert record["question"].strip() and 0 <= record["pictures"] <= 4
        assert ("calls" in record) != ("answer" in record)
    said = {(record.get("earlier", {}).get("question"), words(record["question"]))
            for record in map(json.loads, lines)}
    assert len(said) == len(lines)
    assert set(written_questions()) == {*TOOL_NAMES, "two_intents", "off_topic", "not_offered", "need_picture",
                                        "capabilities", "follow_up"}


def test_calls_name_pictures_that_are_there() -> None:
    asked = written_questions()
    earlier = [question.earlier for question in asked["follow_up"] if question.earlier]
    assert len(earlier) == len(asked["follow_up"]) > 100
    assert all(question.earlier.pictures <= question.pictures for question in asked["follow_up"] if question.earlier)
    needing = [question for need in (*TOOL_NAMES, "two_intents", "follow_up") for question in asked[need]]
    for question in (question for question in (*needing, *earlier) if not question.answer):
        assert 1 <= len(question.calls) <= 4 and len(set(question.calls)) == len(question.calls)
        for tool, pictures, named in question.calls:
            if tool == "enrol":
                assert pictures and named
            elif tool in ("people", "forget", "drift", "fairness"):
                assert not pictures and named in {"forget": (True,), "people": (True, False)}.get(tool, (False,))
            else:
                assert len(set(pictures)) == len(pictures) == (2 if tool == "verify" else 1)
            assert not named or "{name}" in question.text
            assert all(1 <= number <= question.pictures for number in pictures)
    assert all(question.pictures <= 1 for question in asked["need_picture"])


def test_no_question_of_the_tests_is_taught() -> None:
    """None has the words of a tested question, or half of the triples of words of a longer one."""
    tested = [json.loads(line)["question"] for path in TESTS for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(TESTS) >= 3 and len(tested) > 600
    exactly = {words(question) for question in tested}
    holders = defaultdict(set)
    parts = [triples(question) for question in tested]
    for number, part in enumerate(parts):
        for triple in part:
            holders[triple].add(number)
    for question in (question for questions in written_questions().values() for question in questions):
        # "Are you sure?" is how anybody asks that again.
        assert words(question.text) not in exactly or question.earlier, question
        mine = triples(question.text)
        shared = Counter(number for triple in mine for number in holders.get(triple, ()))
        if len(words(question.text)) >= 4:
            assert all(n < 0.5 * min(len(mine), len(parts[number])) for number, n in shared.items()), question


def test_conversations_open_with_them() -> None:
    rng, found = Random(0), Counter[str]()
    written = {(question.text, question.pictures): question
               for questions in written_questions().values() for question in questions}
    openings = [example for example in (sample_text_example(rng) for _ in range(3000))
                if example.kind not in ("follow_up", "final_answer")]
    assert len(openings) > 2000
    for example in openings:
        question = written.get((example.question, example.pictures))
        if question is None:  # from the grammar, or typed with a slip
            continue
        if isinstance(example.target, str):
            assert not question.calls and example.target in (CANNOT, NOT_OFFERED, NEED_PICTURE, NEED_TWO)
        else:
            asked = tuple((call.name, tuple(int(i.removeprefix("image_")) for i in call.images()),
                           call.person is not None) for call in example.target)
            assert asked == question.calls
        found[example.kind] += 1
    assert set(found) == {"tool", "two_intents", "off_topic", "capabilities", "not_offered", "need_picture"}
    assert 0.3 * WRITTEN_SHARE < sum(found.values()) / len(openings) < WRITTEN_SHARE


def test_follow_ups_lean_on_the_turn_they_were_written_for() -> None:
    rng = Random(1)
    written = {(question.text, question.earlier.text): question
               for question in written_questions()["follow_up"] if question.earlier}
    found = 0
    for example in (sample_text_example(rng) for _ in range(3000)):
        asked = [message["content"][-1]["text"] for message in example.messages  # type: ignore[index]
                 if message["role"] == "user"]
        question = written.get((asked[-1], asked[-2])) if len(asked) == 2 else None
        if question is None or example.kind != "follow_up":
            continue
        found += 1
        assert example.pictures == question.pictures and question.earlier
        called = [message for message in example.messages if message["role"] == "tool"]
        assert [message["name"] for message in called] == [name for name, _, _ in question.earlier.calls]
        if not isinstance(example.target, str):
            assert [call.name for call in example.target] == [name for name, _, _ in question.calls]
    assert found > 15
