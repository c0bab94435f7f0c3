"""Routing examples are well formed, balanced, and send near-misses to the honest answer."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from random import Random

import pytest

from visagent.datasets import routing
from visagent.datasets.conversation import RoutingExample, Talk
from visagent.datasets.questions import sample_question
from visagent.datasets.references import name_all, name_picture, name_two
from visagent.datasets.routing import (
    CANNOT,
    MIX,
    NEED_PICTURE,
    NEED_TWO,
    NOT_OFFERED,
    final_answer_example,
    routing_example,
    sample_family,
    sample_text_example,
)
from visagent.datasets.summaries import sample_summary

ARGUMENTS = {"spoof": {"image"}, "expression": {"image"}, "faces": {"image"}, "verify": {"image_a", "image_b"},
             "identify": {"image"}, "enrol": {"images", "person"}, "people": set(), "forget": {"person"},
             "drift": set(), "fairness": set()}
MAY_NAME = ("identify", "people")


def _examples(count: int, seed: int = 1) -> list[RoutingExample]:
    rng = Random(seed)
    return [sample_text_example(rng) for _ in range(count)]


def test_calls_are_valid_and_name_pictures_that_are_there() -> None:
    for example in _examples(2000):
        if isinstance(example.target, str):
            continue
        assert 1 <= len(example.target) <= 4
        for call in example.target:
            may = {"person"} if call.name in MAY_NAME else set()
            assert ARGUMENTS[call.name] <= set(call.arguments) <= ARGUMENTS[call.name] | may
            if call.person is not None:
                said = " ".join(part["text"] for message in example.messages if message["role"] == "user"
                                for part in message["content"] if part["type"] == "text")  # type: ignore[union-attr]
                assert call.person in said, "a name is typed without slips, to be copied"
            for image in call.images():
                assert 1 <= int(image.removeprefix("image_")) <= example.pictures
            if call.name == "verify":
                assert call.arguments["image_a"] != call.arguments["image_b"]
        assert len(set(map(str, example.target))) == len(example.target)


def test_messages_have_the_chat_format() -> None:
    for example in _examples(1000):
        json.dumps(example.chat())
        seen = 0
        for message in example.chat():
            if message["role"] == "user":
                parts = message["content"]
                assert isinstance(parts, list)
                assert parts[-1]["type"] == "text"
                for label, picture in zip(parts[:-1:2], parts[1:-1:2], strict=True):
                    seen += 1
                    assert label == {"type": "text", "text": f"image_{seen}"}
                    assert picture == {"type": "image"}
            elif message["role"] == "tool":
                assert message["name"] in ARGUMENTS
                assert isinstance(message["content"], str)
            else:
                assert ("content" in message) != ("tool_calls" in message)
        assert seen == example.pictures
        assert example.chat()[-1]["role"] == "assistant"


def test_direct_answers_are_the_canonical_sentences() -> None:
    direct = {CANNOT, NOT_OFFERED, NEED_PICTURE, NEED_TWO}
    for example in _examples(2000):
        if isinstance(example.target, str) and example.kind != "final_answer":
            assert example.target in direct
        if example.target == NEED_PICTURE:
            assert example.pictures == 0
        if example.target == NEED_TWO:
            assert example.pictures == 1


def test_the_mix_has_its_documented_shares() -> None:
    assert sum(MIX.values()) == pytest.approx(1.0)
    examples = _examples(4000)
    kinds = Counter(example.kind for example in examples)
    for kind, share in MIX.items():
        assert kinds[kind] / len(examples) == pytest.approx(share, abs=0.03)
    tools = Counter(e.target[0].name for e in examples if not isinstance(e.target, str))
    often = ("spoof", "expression", "verify", "faces", "identify")
    assert min(tools[name] for name in often) > 0.1 * sum(tools.values())
    assert min(tools[name] for name in ARGUMENTS) > 0.015 * sum(tools.values())
    pictures = {kind: [e.pictures for e in examples if e.kind == kind] for kind in ("tool", "off_topic")}
    assert set(pictures["off_topic"]) >= {0, 1, 2, 3, 4}
    assert set(pictures["tool"]) == {0, 1, 2, 3, 4}  # forgetting somebody needs no picture


def test_final_answers_repeat_the_summaries_word_by_word() -> None:
    rng = Random(8)
    for _ in range(500):
        example = final_answer_example(rng)
        results: list[str] = []
        for message in reversed(example.messages):
            if message["role"] != "tool":
                break
            results.insert(0, str(message["content"]))
        assert results
        assert example.target == " ".join(results)


def test_summaries_have_many_shapes_and_no_open_marks() -> None:
    rng = Random(2)
    shapes = set()
    for tool in ARGUMENTS:
        for _ in range(600):
            text = sample_summary(tool, ("image_1", "image_2"), rng)
            assert not set("<>{}|") & set(text), text
            shapes.add((tool, "".join(c for c in text if not c.isdigit())[:24]))
    assert len(shapes) >= 40


def test_routing_examples_never_end_in_tool_results() -> None:
    rng = Random(6)
    assert all(routing_example(rng).messages[-1]["role"] == "user" for _ in range(500))


def test_the_same_seed_gives_the_same_examples() -> None:
    assert [e.chat() for e in _examples(200, seed=5)] == [e.chat() for e in _examples(200, seed=5)]


@pytest.fixture(scope="module")
def near_misses() -> str:
    rng = Random(1)
    return "\n".join(sample_question("none.nearmiss", rng).lower() for _ in range(12000))


@pytest.mark.parametrize("words", [
    "clock face", "face value", "facebook page", "live concert", "real estate", "fake news article",
    "happy birthday song", "same day delivery", "count to ten", "print this document", "phone screen cracked",
    "mirror", "how many planets", "verify my email", "the same recipe"])
def test_words_of_the_trade_are_taught_as_off_topic(words: str, near_misses: str) -> None:
    assert words in near_misses


def test_off_topic_questions_never_call_a_tool() -> None:
    assert all(e.target == CANNOT for e in _examples(2000) if e.kind in ("off_topic", "capabilities"))


def test_names_of_pictures_are_unambiguous() -> None:
    rng = Random(4)
    for count in (2, 3, 4):
        named: dict[str, set[int]] = {}
        for _ in range(2000):
            index = rng.randint(1, count)
            named.setdefault(name_picture(index, count, rng), set()).add(index)
        assert all(len(meant) == 1 for meant in named.values())
        assert name_all(count, rng)
        assert "1" in name_two(1, 2, count, Random(0)) or "first" in name_two(1, 2, count, Random(0))


def test_a_family_begins_alike_and_ends_in_questions_of_its_own() -> None:
    rng = Random(9)
    families = [family for family in (sample_family(rng, 5) for _ in range(300)) if len(family) > 1]
    assert {len(family) for family in families} == {5}
    talked = 0
    for family in families:
        earlier = [[m for m in example.messages[:-1]] for example in family]
        shared = min(earlier, key=len)
        if family[0].kind == "follow_up":
            assert all(messages[:len(shared)] == shared for messages in earlier)
            assert len(shared) >= 3
            talked += 1
        assert len({example.question for example in family}) > 1
    assert talked > 10


@pytest.mark.parametrize(("one", "other"), list(permutations(("spoof", "expression", "verify", "faces"), 2)))
def test_two_matters_are_called_for_in_the_order_of_their_mention(one: str, other: str) -> None:
    """Every wording says both; `verify` has its own pair, the other tool every picture."""
    rng = Random(3)
    talk = Talk(rng)
    asked = routing._two_in_one(talk, one, other, rng)
    assert not isinstance(asked.target, str)
    assert list(dict.fromkeys(call.name for call in asked.target)) == [one, other]
    assert talk.pictures == (2 if "verify" in (one, other) else 1)
    looked_at = {image for call in asked.target if call.name != "verify" for image in call.images()}
    assert len(looked_at) == talk.pictures


@pytest.mark.parametrize("tool", ["spoof", "expression", "faces"])
def test_a_question_about_each_calls_for_every_picture(tool: str) -> None:
    rng = Random(5)
    written = Counter(
        example.question for example in (routing_example(rng) for _ in range(12000))
        if not isinstance(example.target, str) and example.pictures > 2 and len(example.messages) == 1
        and {call.name for call in example.target} == {tool} and len(example.target) == example.pictures)
    assert len(written) > 25
    assert not any("{" in question for question in written)
