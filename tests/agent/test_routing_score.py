"""The routing questions are well-formed, balanced and unlike one another; the score counts what it says it counts."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from random import Random
from typing import Any

import pytest

from visagent.datasets.routing import routing_example

from .routing_score import (
    BLIND_QUESTIONS,
    DEVELOPMENT_QUESTIONS,
    FRESH_QUESTIONS,
    Call,
    Record,
    expected_tools,
    is_expected,
    load_questions,
    routing_accuracy,
    wilson_interval,
)

ARGUMENTS = {"spoof": {"image"}, "expression": {"image"}, "faces": {"image"}, "verify": {"image_a", "image_b"},
             "identify": {"image"}}
STYLES = {"plain", "terse", "misspelt", "polite", "chatty"}
RECORDS = load_questions()
DEVELOPMENT = load_questions(DEVELOPMENT_QUESTIONS)
FRESH = load_questions(FRESH_QUESTIONS)
BLIND = load_questions(BLIND_QUESTIONS)
GALLERY = [record for name in ("gallery", "gallery_development")
           for record in load_questions(BLIND_QUESTIONS.with_name(f"routing_{name}.jsonl"))]


def spoof(image: str) -> Call:
    return {"name": "spoof", "arguments": {"image": image}}


def verify(first: str, second: str) -> Call:
    return {"name": "verify", "arguments": {"image_a": first, "image_b": second}}


def all_calls(record: Record) -> list[Call]:
    expects = record["expect"].get("any_of", [record["expect"]])
    return [*(call for expect in expects for call in expect.get("calls", ())),
            *(call for turn in record["history"] for call in turn["tools"])]


def test_there_are_enough_questions_of_every_kind() -> None:
    alone = Counter(next(iter(tools)) if len(tools) == 1 else f"{len(tools)} tools"
                    for tools in (expected_tools(record["expect"]) for record in RECORDS))
    assert len(RECORDS) >= 200
    assert alone["spoof"] >= 40 and alone["expression"] >= 35 and alone["verify"] >= 30 and alone["faces"] >= 35
    assert alone["0 tools"] >= 60 and alone["2 tools"] >= 3
    assert sum(bool(record["history"]) for record in RECORDS) >= 15
    assert sum(record["pictures"] > 1 and "verify" not in expected_tools(record["expect"]) for record in RECORDS) >= 10


def test_the_styles_are_balanced() -> None:
    counts = Counter(record["style"] for record in RECORDS)
    assert set(counts) == STYLES
    assert max(counts.values()) <= 1.25 * min(counts.values())


@pytest.mark.parametrize("record", [*RECORDS, *DEVELOPMENT, *FRESH, *BLIND],
                         ids=lambda record: record["question"][:40])
def test_a_record_is_well_formed(record: dict[str, Any]) -> None:
    assert set(record) == {"question", "pictures", "history", "expect", "style", "about"}
    assert record["question"] == record["question"].strip() != ""
    assert re.fullmatch(r"[a-z_-]+", record["about"])
    assert all(set(turn) == {"question", "tools"} and turn["question"] for turn in record["history"])
    assert set(record["expect"]) in ({"calls"}, {"answer"}, {"any_of"})
    assert record["expect"].get("calls") != [] and record["expect"].get("answer", "direct") == "direct"
    session = {f"image_{number}" for number in range(1, record["pictures"] + 1)}
    for call in all_calls(record):
        assert set(call.get("arguments", ARGUMENTS[call["name"]])) == ARGUMENTS[call["name"]]
        assert set(call.get("arguments", {}).values()) <= session
        assert len(set(call.get("arguments", {}).values())) == len(call.get("arguments", {}))


@pytest.mark.parametrize("record", GALLERY, ids=lambda record: record["question"][:40])
def test_a_record_about_the_gallery_is_well_formed(record: dict[str, Any]) -> None:
    assert record["question"] == record["question"].strip() != "" and record["style"] in STYLES | {"indirect"}
    session = [f"image_{number}" for number in range(1, record["pictures"] + 1)]
    for call in all_calls(record):
        pictures, person = {}, None
        for name, value in call["arguments"].items():
            if name == "person":
                person = value
            else:
                pictures[name] = value if isinstance(value, list) else [value]
        assert all(set(shown) <= set(session) for shown in pictures.values())
        assert set(pictures) == {"enrol": {"images"}, "people": set(), "forget": set(), "drift": set(),
                                 "fairness": set()}.get(call["name"], {"image"})
        assert person is None or person.casefold() in record["question"].casefold(), "as the person wrote it"
        assert call["name"] not in ("enrol", "forget") or person


def test_no_two_questions_share_a_skeleton() -> None:
    seen = [record["question"].lower() for record in RECORDS]
    assert len(set(seen)) == len(seen)
    # Long ones only: "hair colour" and "eye colour?" are alike because they are short.
    long = [question for question in seen if len(question.split()) >= 5]
    alike = [(one, other) for index, one in enumerate(long) for other in long[:index]
             if (match := SequenceMatcher(None, one, other)).quick_ratio() > 0.7 and match.ratio() > 0.7]
    assert alike == []


def _plain(question: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", question.lower()).strip()


def test_hardly_a_question_is_in_the_training_or_in_the_other_set() -> None:
    """A bare word ("liveness") or a stock phrase ("why do you think so") comes up by chance; sentences do not."""
    development = {_plain(record["question"]) for record in DEVELOPMENT}
    rng = Random(17)
    trained = {_plain(routing_example(rng).question) for _ in range(8000)}
    for records in (RECORDS, FRESH, BLIND):
        blind = {_plain(record["question"]) for record in records}
        assert len(blind & development) <= 3
        assert len(blind & trained) <= 24
        assert [question for question in blind & trained if len(question.split()) > 5] == []


def test_names_are_compared_as_a_set_and_pictures_where_given() -> None:
    both = {"calls": [spoof("image_1"), spoof("image_2")]}
    assert is_expected(both, [spoof("image_2"), spoof("image_1")])
    assert is_expected(both, [spoof("image_2"), spoof("image_1"), spoof("image_1")])
    assert not is_expected(both, [spoof("image_1")])
    assert not is_expected({"calls": [spoof("image_1")]}, [spoof("image_1"), spoof("image_2")])
    assert not is_expected({"calls": [spoof("image_2")]}, [spoof("image_1")])
    assert not is_expected({"calls": [spoof("image_1")]}, [spoof("image_1"), verify("image_1", "image_2")])
    assert is_expected({"calls": [{"name": "spoof"}]}, [spoof("image_7")])


def test_verify_does_not_mind_the_order_of_its_pictures() -> None:
    assert is_expected({"calls": [verify("image_1", "image_2")]}, [verify("image_2", "image_1")])
    assert not is_expected({"calls": [verify("image_1", "image_2")]}, [verify("image_1", "image_3")])


def test_a_direct_answer_calls_nothing_and_words_are_no_call() -> None:
    assert is_expected({"answer": "direct"}, "I answer questions about faces in pictures.")
    assert is_expected({"answer": "direct"}, [])
    assert not is_expected({"answer": "direct"}, [spoof("image_1")])
    assert not is_expected({"calls": [spoof("image_1")]}, "It is live.")


def test_any_of_takes_each_reading() -> None:
    expect = {"any_of": [{"calls": [spoof("image_1")]}, {"answer": "direct"}]}
    assert is_expected(expect, [spoof("image_1")]) and is_expected(expect, "words")
    assert not is_expected(expect, [spoof("image_2")])


def test_wilson_interval_agrees_with_published_values() -> None:
    # 81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(29, 29)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="total > 0"):
        wilson_interval(0, 0)


def test_a_perfect_router_is_perfect_and_a_mute_one_only_gets_the_direct_ones() -> None:
    def perfect(record: Record) -> list[Call]:
        expect = record["expect"].get("any_of", [record["expect"]])[0]
        return [call if "arguments" in call else {**call, "arguments": {"image_a": "image_1", "image_b": "image_2"}}
                for call in expect.get("calls", ())]

    result = routing_accuracy(RECORDS, perfect)
    assert result.accuracy == 1 and result.misses == ()
    mute = routing_accuracy(RECORDS, lambda record: "I answer questions about faces in pictures.")
    direct = [record for record in RECORDS if record["expect"].get("answer") == "direct"]
    assert mute.right == len(direct) == mute.by["tool:direct"][0]
    assert mute.low < mute.accuracy < mute.high and mute.by["tool:spoof"][0] == 0
    assert [miss.record for miss in mute.misses] == [r for r in RECORDS if r not in direct]
    assert str(mute).startswith(f"{len(direct)}/{len(RECORDS)} = ")
