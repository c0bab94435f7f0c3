"""Conversations that teach a model from scratch which tool a question needs, and to hand findings on word by word.

`sample_text_example` draws the whole mix. Which pictures a question means:

- those it names ("the second photo", "image_3", "the last one", "both");
- else, right after an answer, those of that answer ("why?", "and her expression?"), or the picture just added;
- else every picture, one call each (at most four); `verify` takes the first two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from random import Random
from typing import Final

from visagent.datasets.conversation import TOOL_NAMES, Asked, RoutingExample, Talk, ToolCall
from visagent.datasets.names import sample_name
from visagent.datasets.questions import (
    NOT_OFFERED_INTENTS,
    OFF_TOPIC,
    TOOL_OF,
    fill,
    join_questions,
    polish,
    sample_follow_up,
    sample_question,
)
from visagent.datasets.references import name_all, name_picture, name_two
from visagent.datasets.written import NAME, WrittenQuestion, written_questions

CANNOT: Final = (
    "I answer questions about faces in pictures: whether a face is live or a spoof, what expression it shows, whether "
    "two pictures show the same person, who of the enrolled people it is, and how many faces there are, where, and "
    "how good the picture is. I also enrol and forget people, and tell whether match scores drift or differ between "
    "groups."
)
"""The answer to everything that is off topic, and to "what can you do?"."""

NOT_OFFERED: Final = "I cannot tell that from a face here. " + CANNOT
"""The answer to questions about faces that no tool answers: age, gender, looks, health, editing."""

NEED_PICTURE: Final = "Please add a picture of the face you ask about."
NEED_TWO: Final = "Please add a second picture to compare."

MAX_CALLS: Final = 4

MIX: Final = {
    "tool": 0.33,
    "two_intents": 0.06,
    "follow_up": 0.16,
    "off_topic": 0.22,
    "capabilities": 0.03,
    "not_offered": 0.10,
    "need_picture": 0.06,
    "final_answer": 0.04,
}
"""Shares of `sample_text_example`; final answers are few and long, and findings speak for themselves."""

WRITTEN_SHARE: Final = 0.5
"""Of the questions that open a matter, the share that was written whole; the rest comes from the grammar."""
WRITTEN_FOLLOW_UP_SHARE: Final = 0.6
"""Likewise of beginnings for follow-up questions; those from the grammar are continued in several ways."""

_INTENTS_BY_WEIGHT: Final = {
    "spoof.verdict": 5, "spoof.attack": 2, "spoof.reasons": 2, "spoof.where": 2, "spoof.full": 2,
    "expression.open": 4, "expression.closed": 3, "expression.yes_no": 4, "verify": 7,
    "faces.count": 4, "faces.where": 3, "faces.quality": 4, "identify": 6,
}
_WRITTEN_WEIGHTS: Final = (1.0, 1.0, 1.0, 1.0, 2.0, 1.4, 1.2, 1.5, 0.9, 1.1)
"""How often each tool is asked for among the questions that were written whole; in the order of `TOOL_NAMES`."""
_WITHOUT_PICTURE: Final = ("enrol", "people", "forget", "drift", "fairness")
_OPENINGS: Final = [kind for kind in MIX if kind not in ("follow_up", "final_answer")]
_OFF_TOPIC_WEIGHTS: Final = (34, 26, 14, 8, 6, 6, 6)
_SIDES = re.compile(r"\b(left|right|middle|second|another|other|both|two|twice)\b", re.IGNORECASE)


def sample_text_example(rng: Random) -> RoutingExample:
    """One example of the whole mix, in the shares of `MIX`."""
    return sample_family(rng, 1)[0]


def sample_family(rng: Random, size: int) -> list[RoutingExample]:
    """Up to `size` examples that begin with the same turns, if any, and end in questions of their own.

    Final answers come alone. The first example has the shares of `MIX`.
    """
    kind = _kind(rng, list(MIX))
    if kind == "final_answer":
        return [final_answer_example(rng)]
    talk = Talk(rng)
    if kind == "follow_up" and rng.random() < WRITTEN_FOLLOW_UP_SHARE:
        return [_written_follow_up(talk, rng)]
    if kind == "follow_up":
        _about_tool_before(talk, rng)
        return [_follow_up_example(talk.branch(), rng) for _ in range(size)]
    if rng.random() < 0.12:
        _chat_before(talk, rng)
    return [_opening_example(kind if first else _kind(rng, _OPENINGS), talk.branch(), rng)
            for first in (True, *[False] * (size - 1))]


def routing_example(rng: Random) -> RoutingExample:
    """One example whose target is a tool call or a direct answer to a question: `MIX` without final answers."""
    while (example := sample_text_example(rng)).kind == "final_answer":
        pass
    return example


def final_answer_example(rng: Random) -> RoutingExample:
    """A conversation that ends in tool results; the target is their summaries joined by one space, verbatim."""
    talk = Talk(rng)
    if rng.random() < 0.2:
        _chat_before(talk, rng)
    asked = _two_intents(talk, rng) if rng.random() < 0.25 else _about_tool(talk, rng)
    talk.ask(asked.text)
    assert not isinstance(asked.target, str)
    calls = asked.target if rng.random() < 0.3 else asked.target[:2]
    return talk.example("final_answer", talk.call(calls))


def _kind(rng: Random, kinds: Sequence[str]) -> str:
    return rng.choices(kinds, [MIX[kind] for kind in kinds])[0]


def _opening_example(kind: str, talk: Talk, rng: Random) -> RoutingExample:
    if rng.random() < WRITTEN_SHARE:
        asked = _written(kind, talk, rng)
        talk.ask(asked.text, asked.person)
        return talk.example(kind, asked.target)
    if kind == "need_picture":
        return _need_picture_example(talk, rng)
    if kind in ("tool", "two_intents"):
        asked = _about_tool(talk, rng) if kind == "tool" else _two_intents(talk, rng)
    else:
        talk.attach(0 if rng.random() < 0.3 else _pictures(rng))
        asked = _about_nothing(kind, talk.pictures, rng)
    talk.ask(asked.text)
    return talk.example(kind, asked.target)


def _written(kind: str, talk: Talk, rng: Random) -> Asked:
    """A question that was written whole, with its pictures."""
    need = rng.choices(TOOL_NAMES, _WRITTEN_WEIGHTS)[0] if kind == "tool" else kind
    question = rng.choice(written_questions()[need])
    talk.attach(question.pictures)
    return asked_about(question, sample_name(rng))


def _written_follow_up(talk: Talk, rng: Random) -> RoutingExample:
    question = rng.choice(written_questions()["follow_up"])
    assert question.earlier is not None
    name = sample_name(rng)
    before, asked = asked_about(question.earlier, name), asked_about(question, name)
    talk.attach(question.earlier.pictures)
    talk.ask(before.text, before.person)
    talk.answer(before.target)
    talk.attach(question.pictures - question.earlier.pictures)
    talk.ask(asked.text, asked.person)
    return talk.example("follow_up", asked.target)


def asked_about(question: WrittenQuestion, name: str) -> Asked:
    """A written question with a name in its place, and what answers it."""
    return Asked(question.text.replace(NAME, name), _target(question, name), name if NAME in question.text else None)


def _target(question: WrittenQuestion, name: str) -> str | tuple[ToolCall, ...]:
    if question.answer == "need_picture":
        return NEED_TWO if question.pictures else NEED_PICTURE
    if question.answer:
        return NOT_OFFERED if question.answer == "not_offered" else CANNOT
    calls = [_verify(*pictures) if tool == "verify" else
             _calls(tool, pictures) if tool not in _WITHOUT_PICTURE and not named else
             (_about_person(tool, pictures, name if named else None),)
             for tool, pictures, named in question.calls]
    return tuple(chain.from_iterable(calls))


def _about_person(tool: str, pictures: Sequence[int], name: str | None) -> ToolCall:
    """A call that names somebody, or needs no picture."""
    images = [f"image_{number}" for number in pictures]
    arguments: dict[str, str | list[str]] = {}
    if tool == "enrol":
        arguments["images"] = images
    elif images and tool == "identify":
        arguments["image"] = images[0]
    if name is not None:
        arguments["person"] = name
    return ToolCall(tool, arguments)


def _pictures(rng: Random, least: int = 1) -> int:
    counts, weights = (1, 2, 3, 4), (50, 28, 13, 9)
    return rng.choices(counts[least - 1:], weights[least - 1:])[0]


def _chat_before(talk: Talk, rng: Random) -> None:
    """One earlier turn that has nothing to do with what follows."""
    asked = _about_nothing(rng.choice(["off_topic", "off_topic", "capabilities", "not_offered"]), 0, rng)
    talk.ask(asked.text)
    talk.answer(asked.target)


def _about_nothing(kind: str, pictures: int, rng: Random) -> Asked:
    if kind == "capabilities":
        return Asked(sample_question(kind, rng), CANNOT)
    if kind == "not_offered":
        intent = rng.choice(NOT_OFFERED_INTENTS)
        photo = name_picture(rng.randint(1, pictures), pictures, rng) if pictures and rng.random() < 0.15 else None
        return Asked(sample_question(intent, rng, photo=photo), NOT_OFFERED)
    intent = rng.choices(OFF_TOPIC, _OFF_TOPIC_WEIGHTS)[0]
    text = sample_question(intent, rng)
    if intent == "none.general" and rng.random() < 0.06:
        text = join_questions(text, sample_question(rng.choice(OFF_TOPIC[:3]), rng), rng)
    if pictures and intent == "none.scene" and rng.random() < 0.15:
        text = polish(f"{text} ({name_picture(rng.randint(1, pictures), pictures, rng)})")
    return Asked(text, CANNOT)


def _intent(rng: Random) -> str:
    return rng.choices(list(_INTENTS_BY_WEIGHT), list(_INTENTS_BY_WEIGHT.values()))[0]


def _calls(tool: str, indices: Sequence[int]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(tool, {"image": f"image_{index}"}) for index in indices[:MAX_CALLS])


def _verify(one: int, other: int) -> tuple[ToolCall, ...]:
    return (ToolCall("verify", {"image_a": f"image_{one}", "image_b": f"image_{other}"}),)


def _about_tool(talk: Talk, rng: Random) -> Asked:
    """A question that a tool answers, about pictures that come with it."""
    intent = _intent(rng)
    talk.attach(_pictures(rng, least=2 if intent == "verify" else 1))
    count = talk.pictures
    if intent == "verify":
        return _about_two(count, rng)
    tool = TOOL_OF[intent]
    everyone = range(1, count + 1)
    drawn = rng.random()
    if count == 1:
        photo = name_picture(1, 1, rng) if drawn < 0.06 else None
        return Asked(sample_question(intent, rng, photo=photo), _calls(tool, [1]))
    if drawn < 0.54:
        index = rng.randint(1, count)
        return Asked(sample_question(intent, rng, photo=name_picture(index, count, rng)), _calls(tool, [index]))
    if drawn < 0.62 and count > 2:
        one, other = sorted(rng.sample(everyone, 2))
        return Asked(sample_question(intent, rng, photo=name_two(one, other, count, rng)), _calls(tool, [one, other]))
    if drawn < 0.70:
        return Asked(sample_question(intent, rng, photo=name_all(count, rng)), _calls(tool, everyone))
    return Asked(_about_each(intent, count, rng), _calls(tool, everyone))


def _about_each(intent: str, count: int, rng: Random) -> str:
    """A question about every one of several pictures ("any of these a fake?")."""
    if rng.random() < 0.4 or intent == "identify":
        return _unreferenced(intent, rng)
    tool = TOOL_OF[intent]
    if count == 2 and rng.random() < 0.5:
        return polish(fill(f"{tool}.pair", rng))
    number = rng.choice([("two", "2"), ("three", "3"), ("four", "4")][count - 2])
    return polish(fill(f"{tool}.several", rng, {"count": number}))


def _unreferenced(intent: str, rng: Random) -> str:
    """A question that names no picture, not even by "the man on the left"."""
    text = sample_question(intent, rng)
    for _ in range(20):
        if not _SIDES.search(text):
            break
        text = sample_question(intent, rng)
    return text


def _about_two(count: int, rng: Random) -> Asked:
    everyone = range(1, count + 1)
    drawn = rng.random()
    if drawn < (0.12 if count == 2 else 0.75):
        one, other = sorted(rng.sample(everyone, 2))
        if rng.random() < 0.5:
            return Asked(sample_question("verify", rng, both=name_two(one, other, count, rng)), _verify(one, other))
        names = {"pic_a": name_picture(one, count, rng), "pic_b": name_picture(other, count, rng)}
        return Asked(polish(fill("verify.pair", rng, names)), _verify(one, other))
    return Asked(sample_question("verify", rng), _verify(1, 2))


def _two_intents(talk: Talk, rng: Random) -> Asked:
    """Two matters in one question: the calls of the first, then those of the second."""
    one = other = _intent(rng)
    while TOOL_OF[one] == TOOL_OF[other]:
        other = _intent(rng)
    one, other = rng.sample((one, other), 2)
    if rng.random() < 0.45 and "identify" not in (one, other):
        return _two_in_one(talk, TOOL_OF[one], TOOL_OF[other], rng)
    talk.attach(_pictures(rng, least=2 if "verify" in (one, other) else 1))
    index = rng.randint(1, talk.pictures) if talk.pictures > 2 or rng.random() < 0.3 else None
    texts: list[str] = []
    calls: list[ToolCall] = []
    for intent in (one, other):
        tool = TOOL_OF[intent]
        if intent == "verify":
            asked = _about_two(talk.pictures, rng)
            texts.append(asked.text)
            assert not isinstance(asked.target, str)
            calls += asked.target
        elif index is not None and talk.pictures > 1:
            texts.append(sample_question(intent, rng, photo=name_picture(index, talk.pictures, rng)))
            calls += _calls(tool, [index])
        else:
            texts.append(_unreferenced(intent, rng))
            calls += _calls(tool, range(1, talk.pictures + 1))
    return Asked(join_questions(texts[0], texts[1], rng), tuple(calls[:MAX_CALLS]))


def _two_in_one(talk: Talk, one: str, other: str, rng: Random) -> Asked:
    """Two matters in an utterance that was written whole: about one picture, or two if they are to be compared."""
    talk.attach(2 if "verify" in (one, other) else 1)
    calls: list[ToolCall] = []
    for tool in (one, other):
        calls += _verify(1, 2) if tool == "verify" else _calls(tool, range(1, talk.pictures + 1))
    return Asked(polish(fill(f"two.{one}_{other}", rng)), tuple(calls))


def _need_picture_example(talk: Talk, rng: Random) -> RoutingExample:
    """A question about a face without a picture, or about two with only one; sometimes the picture then comes."""
    intent = _intent(rng)
    if intent == "verify" and rng.random() < 0.65:
        talk.attach(1)
    target = NEED_TWO if talk.pictures else NEED_PICTURE
    talk.ask(sample_question(intent, rng))
    if rng.random() > 0.15:
        return talk.example("need_picture", target)
    talk.answer(target)
    talk.attach(2 if intent == "verify" and not talk.pictures else 1)
    talk.ask(sample_follow_up("here", rng))
    return talk.example("need_picture", _verify(1, 2) if intent == "verify" else _calls(TOOL_OF[intent], [1]))


def _about_tool_before(talk: Talk, rng: Random) -> None:
    """An earlier turn that calls a tool, sometimes after one that has nothing to do with it."""
    if rng.random() < 0.15:
        _chat_before(talk, rng)
    first = _about_tool(talk, rng)
    talk.ask(first.text)
    talk.answer(first.target)


def _follow_up_example(talk: Talk, rng: Random) -> RoutingExample:
    if rng.random() < 0.1:
        again = _about_nothing("off_topic", 0, rng)
        talk.ask(again.text)
        if rng.random() < 0.5:
            return talk.example("follow_up", again.target)
        calls = talk.last_calls
        talk.answer(again.target)
        talk.last_calls = calls
    asked = _follow_up(talk, rng)
    talk.ask(asked.text)
    return talk.example("follow_up", asked.target)


def _follow_up(talk: Talk, rng: Random) -> Asked:
    """A question that leans on the calls before it."""
    last = talk.last_calls
    tool, images = last[0].name, [int(i.removeprefix("image_")) for call in last for i in call.images()]
    others = [index for index in range(1, talk.pictures + 1) if index not in images]
    single = len(images) == 1
    may_add = talk.pictures < MAX_CALLS and (single or tool == "verify")
    kinds = {
        "sure": 2, "why": 3, "where": 3 if tool in ("spoof", "faces") else 0, "full": 3, "nothing": 2,
        "other": 8 if others and tool != "verify" else 0, "new": 4 if may_add else 0,
        "both": 3 if len(images) == 2 and tool != "verify" else 0, "stop": 2,
        "to": 4 if tool != "verify" else 0, "to_verify": 3 if single and talk.pictures > 1 else 0,
        "named": 3 if talk.pictures > 1 else 0,
    }
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind in ("sure", "why", "where"):
        return Asked(sample_follow_up(kind, rng), last)
    if kind == "other":
        index = rng.choice(others)
        text = sample_follow_up("other", rng, photo=name_picture(index, talk.pictures, rng))
        return Asked(text, _calls(tool, [index]))
    if kind == "new":
        talk.attach(1)
        calls = _verify(images[0], talk.pictures) if tool == "verify" else _calls(tool, [talk.pictures])
        return Asked(sample_follow_up("new", rng), calls)
    if kind == "both":
        return Asked(sample_follow_up("to_verify_both", rng), _verify(images[0], images[1]))
    if kind == "stop":
        return Asked(sample_follow_up("stop", rng), CANNOT)
    if kind == "to":
        next_tool = rng.choice([t for t in ("spoof", "expression", "faces") if t != tool])
        return Asked(sample_follow_up(f"to_{next_tool}", rng), _calls(next_tool, images))
    if kind == "to_verify":
        index = rng.choice([i for i in range(1, talk.pictures + 1) if i not in images])
        text = sample_follow_up("to_verify", rng, photo=name_picture(index, talk.pictures, rng))
        return Asked(text, _verify(*sorted((images[0], index))))
    if kind == "named":
        index = rng.randint(1, talk.pictures)
        intent = rng.choice([i for i in TOOL_OF if i != "verify"])
        text = sample_question(intent, rng, photo=name_picture(index, talk.pictures, rng))
        return Asked(text, _calls(TOOL_OF[intent], [index]))
    if kind == "full":
        return _full_follow_up(talk, images, rng)
    return _about_nothing(rng.choice(["off_topic", "off_topic", "not_offered", "capabilities"]), talk.pictures, rng)


def _full_follow_up(talk: Talk, images: list[int], rng: Random) -> Asked:
    """A whole question that names no picture: the pictures of the last answer, or the one just added."""
    intent = _intent(rng)
    if intent == "verify":
        if talk.pictures == 1:
            talk.attach(1)
        one, other = (images[0], images[1]) if len(images) == 2 else (1, 2)
        return Asked(sample_question(intent, rng), _verify(one, other))
    if talk.pictures < 4 and rng.random() < 0.4:
        talk.attach(1)
        return Asked(_unreferenced(intent, rng), _calls(TOOL_OF[intent], [talk.pictures]))
    return Asked(_unreferenced(intent, rng), _calls(TOOL_OF[intent], images))
