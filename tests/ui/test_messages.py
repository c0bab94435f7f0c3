"""Messages: every event has its line, nothing is left spinning, and nothing that somebody chose can play tricks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from html import unescape

import pytest
from gradio import ChatMessage
from hypothesis import given
from hypothesis import strategies as st

from visagent.agent.answer import Answer
from visagent.agent.approval import Approved, Decision, Proposal, Refused
from visagent.agent.events import Completed, Event, TextChunk, ToolFinished, ToolStarted
from visagent.evidence import Finding, abstain, not_possible
from visagent.ui import messages as shown
from visagent.ui.messages import STEP_CHARACTERS, WORKING

SPOOF = Finding(tool="spoof", answer="live", summary="The face in image_1 is live.", images=("image_1",))
STARTED = ToolStarted("spoof", {"image": "image_1", "face": None})
FINISHED = ToolFinished(SPOOF, 1.234)
PROPOSAL = Proposal("forget", "Removes a person.", {"person": "Ada"}, {})
DIRTY = "a\x1b[31mb\u202ec\x00d\u2066e\x7ff\u200bg"
CLEAN = "a[31mbcdefg"


def asked(question: str = "Is it live?", attached: str = "") -> list[ChatMessage]:
    messages: list[ChatMessage] = []
    shown.show_question(messages, question, attached)
    return messages


def after(*events: Event) -> list[ChatMessage]:
    messages = asked()
    for event in events:
        shown.show(messages, event)
    return messages


def completed(text: str = "It is live.", *, grounded: bool = True) -> Completed:
    return Completed(Answer(text=text, findings=(SPOOF,), grounded=grounded))


def lines(messages: list[ChatMessage]) -> list[tuple[str, str | None, str | None, str]]:
    return [(message.role, message.metadata.get("title"), message.metadata.get("status"), text(message))
            for message in messages]


def text(message: ChatMessage) -> str:
    assert isinstance(message.content, str)
    return message.content


def pending(messages: list[ChatMessage]) -> list[ChatMessage]:
    return [message for message in messages if message.metadata.get("status") == "pending"]


def test_a_question_shows_what_is_attached_and_that_something_happens() -> None:
    assert lines(asked("Is it live?", "image_1, image_2")) == [
        ("user", None, None, "image_1, image_2\nIs it live?"), ("assistant", WORKING, "pending", "")]
    assert lines(asked("Hello?"))[0] == ("user", None, None, "Hello?")


def test_a_second_question_leaves_the_first_answer_alone() -> None:
    messages = after(TextChunk("It is live."), completed())
    shown.show_question(messages, "Why?", "")
    assert [line[3] for line in lines(messages)] == ["Is it live?", "It is live.", "Why?", ""]
    shown.show(messages, TextChunk("Because."))
    assert [line[3] for line in lines(messages)] == ["Is it live?", "It is live.", "Why?", "Because."]


def test_only_one_line_says_that_something_happens() -> None:
    messages = asked()
    shown.show_working(messages, "Writing")
    assert lines(messages)[1:] == [("assistant", "Writing", "pending", "")]


def test_a_step_takes_the_place_of_the_waiting_line_and_names_its_arguments() -> None:
    assert lines(after(STARTED))[1:] == [("assistant", "Running spoof", "pending", "image: image_1")]


def test_arguments_are_written_for_people() -> None:
    started = ToolStarted("enrol", {"images": ["image_1", "image_2"], "person": "Ada", "require_live": False,
                                    "face": None, "face_a": 0, "empty": ()})
    assert lines(after(started))[-1][3] == (
        "images: image_1, image_2\nperson: Ada\nrequire live: False\nface a: 0\nempty: ")


def test_a_finished_step_says_what_came_out_and_the_answer_is_awaited() -> None:
    messages = after(STARTED, FINISHED)
    assert lines(messages)[1:] == [
        ("assistant", "spoof: live", "done", "image: image_1\nThe face in image_1 is live."),
        ("assistant", "Writing the answer", "pending", "")]
    assert messages[1].metadata["duration"] == 1.23


def test_a_step_without_arguments_is_shown_too() -> None:
    messages = after(ToolStarted("people", {}))
    assert lines(messages)[1:] == [("assistant", "Running people", "pending", "")]
    shown.show(messages, ToolFinished(Finding(tool="people", answer="0", summary="Nobody."), 0.1))
    assert lines(messages)[1][1:] == ("people", "done", "Nobody.")


def test_steps_follow_each_other() -> None:
    faces = Finding(tool="faces", answer="2", summary="Two faces.")
    messages = after(ToolStarted("faces", {"image": "image_1"}), ToolFinished(faces, 0.1), STARTED, FINISHED)
    assert [line[1:] for line in lines(messages)[1:]] == [
        ("faces", "done", "image: image_1\nTwo faces."),
        ("spoof: live", "done", "image: image_1\nThe face in image_1 is live."), ("Writing the answer", "pending", "")]


def test_a_finding_without_a_beginning_is_shown() -> None:
    assert lines(after(FINISHED))[1][1:] == ("spoof: live", "done", "The face in image_1 is live.")
    messages: list[ChatMessage] = []
    shown.show_tool_finished(messages, FINISHED)
    assert [line[1] for line in lines(messages)] == ["spoof: live", "Writing the answer"]


@pytest.mark.parametrize(("finding", "title", "result"), [
    (abstain("spoof", "the face is blurred"), "spoof: no verdict", "no verdict - the face is blurred"),
    (not_possible("spoof", "image_2 is missing"), "spoof: not possible", "not possible - image_2 is missing"),
    (Finding(tool="faces", answer="2", summary="Two faces."), "faces", "Two faces."),
    (Finding(tool="verify", answer="unsure", summary="Unsure."), "verify: unsure", "Unsure.")])
def test_the_title_tells_the_verdict_or_why_there_is_none(finding: Finding, title: str, result: str) -> None:
    messages = after(ToolStarted(finding.tool, {}), ToolFinished(finding, 0.5))
    assert lines(messages)[1][1:] == (title, "done", result)


@pytest.mark.parametrize("name", ["Ada Lovelace", "<b>Ada</b>", "Ada1", "O'Neill", "Ms. Delacroix", "**Ada**", "Ada\n",
                                  "", " ", "Jean-Luc", "A_B"])
def test_a_name_stands_in_no_title(name: str) -> None:
    finding = Finding(tool="identify", answer=name, summary=f'The face is "{name}".')
    messages = after(ToolStarted("identify", {"person": name}), ToolFinished(finding, 0.5), completed(name))
    titles = [message.metadata.get("title") for message in messages if message.metadata]
    assert titles == ["identify"]


def test_a_long_summary_is_cut_in_the_step() -> None:
    long, just = "x" * (STEP_CHARACTERS + 1), "y" * STEP_CHARACTERS
    for summary, expected in ((long, f"{'x' * STEP_CHARACTERS} ..."), (just, just)):
        finding = Finding(tool="spoof", answer="live", summary=summary)
        assert lines(after(STARTED, ToolFinished(finding, 1)))[1][3] == f"image: image_1\n{expected}"


def test_words_add_up_after_the_step() -> None:
    messages = after(STARTED, FINISHED, TextChunk("It is "), TextChunk("live."))
    assert lines(messages)[2:] == [("assistant", None, None, "It is live.")]


def test_words_before_and_after_a_step_stand_apart() -> None:
    messages = after(TextChunk("Let me look."), STARTED, FINISHED, TextChunk("It is live."), completed())
    assert [line[3] for line in lines(messages)[1:]] == [
        "Let me look.", "image: image_1\nThe face in image_1 is live.", "It is live."]


def test_the_checked_answer_replaces_what_was_streamed() -> None:
    messages = after(STARTED, FINISHED, TextChunk("It is a sp"), completed("It is live."))
    assert lines(messages)[2:] == [("assistant", None, None, "It is live.")]


def test_an_answer_that_was_not_streamed_is_shown() -> None:
    for messages in (after(completed("Hello.")), after(STARTED, FINISHED, completed("Hello."))):
        assert lines(messages)[-1] == ("assistant", None, None, "Hello.")
        assert not pending(messages)


def test_an_answer_made_from_the_findings_says_so() -> None:
    assert "made from the findings" in lines(after(completed(grounded=False)))[-1][3]
    assert "made from the findings" not in lines(after(completed()))[-1][3]


def test_a_proposal_asks_and_stays_until_somebody_decides() -> None:
    messages = asked()
    shown.show_proposal(messages, PROPOSAL)
    assert lines(messages)[1:] == [
        ("assistant", "May I run forget? Answer below.", "pending", "Removes a person.\nperson: Ada")]


@pytest.mark.parametrize(("decision", "said"), [
    (Approved({"person": "Bob"}), "You agreed: forget"), (Refused(), "Declined: forget")])
def test_a_decision_is_written_down_and_the_turn_goes_on(decision: Decision, said: str) -> None:
    messages = asked()
    shown.show_proposal(messages, PROPOSAL)
    shown.show_decision(messages, PROPOSAL, decision)
    assert lines(messages)[1:] == [
        ("assistant", said, "done", "Removes a person.\nperson: Ada"), ("assistant", WORKING, "pending", "")]
    done = Finding(tool="forget", answer="forgotten", summary="Forgot Bob.")
    for event in (ToolStarted("forget", {"person": "Bob"}), ToolFinished(done, 0.1), completed("Forgot Bob.")):
        shown.show(messages, event)
    assert [line[1:] for line in lines(messages)[1:]] == [
        (said, "done", "Removes a person.\nperson: Ada"), ("forget: forgotten", "done", "person: Bob\nForgot Bob."),
        (None, None, "Forgot Bob.")]


def test_a_decision_without_its_proposal_breaks_nothing() -> None:
    messages: list[ChatMessage] = []
    shown.show_decision(messages, PROPOSAL, Refused())
    assert lines(messages) == [("assistant", WORKING, "pending", "")]


def test_a_failure_closes_the_step_and_says_why() -> None:
    messages = after(STARTED)
    shown.show_failure(messages, "The model failed.")
    assert lines(messages)[1:] == [
        ("assistant", "Broken off", "done", "image: image_1"), ("assistant", None, None, "The model failed.")]


def test_a_failure_while_nothing_runs_is_one_line() -> None:
    messages = asked()
    shown.show_failure(messages, "The model failed.")
    assert lines(messages)[1:] == [("assistant", None, None, "The model failed.")]


def test_a_failure_while_somebody_is_asked_closes_the_question() -> None:
    messages = asked()
    shown.show_proposal(messages, PROPOSAL)
    shown.show_failure(messages, "Stopped.")
    assert [line[1:3] for line in lines(messages)[1:]] == [("Broken off", "done"), (None, None)]


def test_a_finished_step_stays_as_it_is_when_a_later_one_fails() -> None:
    messages = after(STARTED, FINISHED, ToolStarted("faces", {"image": "image_1"}))
    shown.show_failure(messages, "Stopped.")
    assert [line[1] for line in lines(messages)[1:]] == ["spoof: live", "Broken off", None]


def _dirty_question(messages: list[ChatMessage]) -> None:
    shown.show_question(messages, DIRTY, DIRTY)


def _dirty_start(messages: list[ChatMessage]) -> None:
    shown.show_tool_started(messages, ToolStarted("spoof", {"person": DIRTY, "list": [DIRTY]}))


def _dirty_finding(messages: list[ChatMessage]) -> None:
    shown.show_tool_finished(messages, ToolFinished(Finding(tool="spoof", answer=DIRTY, summary=DIRTY), 1))


def _dirty_reason(messages: list[ChatMessage]) -> None:
    shown.show_tool_finished(messages, ToolFinished(abstain("spoof", DIRTY), 1))


def _dirty_words(messages: list[ChatMessage]) -> None:
    shown.show_words(messages, TextChunk(DIRTY))
    shown.show_words(messages, TextChunk(DIRTY))


def _dirty_answer(messages: list[ChatMessage]) -> None:
    shown.show_completed(messages, completed(DIRTY))


def _dirty_proposal(messages: list[ChatMessage]) -> None:
    shown.show_proposal(messages, Proposal("forget", "Removes.", {"person": DIRTY}, {}))
    shown.show_decision(messages, PROPOSAL, Approved({"person": DIRTY}))


def _dirty_failure(messages: list[ChatMessage]) -> None:
    shown.show_failure(messages, DIRTY)


@pytest.mark.parametrize("act", [_dirty_question, _dirty_start, _dirty_finding, _dirty_reason, _dirty_words,
                                 _dirty_answer, _dirty_proposal, _dirty_failure])
def test_control_characters_are_taken_out(act: Callable[[list[ChatMessage]], None]) -> None:
    messages: list[ChatMessage] = []
    act(messages)
    assert CLEAN in "".join(map(text, messages))
    for message in messages:
        assert_clean(text(message))
        assert_clean(message.metadata.get("title", ""))


def assert_clean(said: str) -> None:
    kept = "\n\t\u200c\u200d"
    assert not [c for c in said if c not in kept and unicodedata.category(c) in ("Cc", "Cf", "Cs")]


def _says(said: str) -> Callable[[list[ChatMessage]], None]:
    def act(messages: list[ChatMessage]) -> None:
        shown.show_question(messages, said, said)
        finding = Finding(tool="spoof", answer=said, summary=said)
        for event in (ToolStarted("spoof", {"person": said}), ToolFinished(finding, 1), TextChunk(said)):
            shown.show(messages, event)
        shown.show_proposal(messages, Proposal("forget", said, {"person": said}, {}))
        shown.show_decision(messages, PROPOSAL, Approved({"person": said}))
        shown.show(messages, ToolFinished(abstain("spoof", said), 1))
        shown.show(messages, completed(said))
        shown.show_failure(messages, said)
        shown.show(messages, ToolStarted(said, {said: said}))
        shown.show_working(messages, said)
    return act


@pytest.mark.parametrize("said", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a < b > c & d",
                                  "&lt;b&gt;", "<!-- x", "\"quoted\" and 'so'"])
def test_no_text_becomes_an_element_of_the_page(said: str) -> None:
    messages: list[ChatMessage] = []
    _says(said)(messages)
    everything = [*map(text, messages), *(message.metadata.get("title", "") for message in messages)]
    assert not [line for line in everything if "<" in line or ">" in line]
    told = [unescape(line) for line in map(text, messages)]
    assert len([line for line in told if said in line]) >= 7, "and it can be read as it was said"


TEXT = st.text(max_size=12)
TOOL_NAMES = st.sampled_from(["spoof", "faces", "people"])
ARGUMENTS = st.dictionaries(st.sampled_from(["image", "face", "person"]), st.one_of(st.none(), st.integers(), TEXT),
                            max_size=2)
FINDINGS = st.one_of(
    st.builds(Finding, tool=TOOL_NAMES, answer=TEXT, summary=TEXT),
    st.builds(abstain, TOOL_NAMES, st.text(min_size=1, max_size=12)),
    st.builds(not_possible, TOOL_NAMES, st.text(min_size=1, max_size=12)))
STARTS = st.builds(ToolStarted, TOOL_NAMES, ARGUMENTS)
ENDS = st.builds(ToolFinished, FINDINGS, st.floats(0, 100))
WORDS = st.builds(TextChunk, TEXT)
COMPLETIONS = st.builds(lambda said, grounded: Completed(Answer(text=said, grounded=grounded)), TEXT, st.booleans())
TURN = st.lists(st.one_of(st.tuples(STARTS, ENDS), st.tuples(ENDS), st.tuples(WORDS)), max_size=8).map(
    lambda steps: [event for step in steps for event in step])
"""What a turn says before its last event: tools run one after the other, and each that begins comes to an end."""
ANYTHING = st.lists(st.one_of(STARTS, ENDS, WORDS, COMPLETIONS), max_size=12)


@given(st.lists(st.tuples(TURN, COMPLETIONS), min_size=1, max_size=3))
def test_nothing_is_left_spinning_after_the_answer(turns: list[tuple[list[Event], Completed]]) -> None:
    messages: list[ChatMessage] = []
    for events, last in turns:
        shown.show_question(messages, "Hello?", "")
        for event in (*events, last):
            shown.show(messages, event)
        assert not pending(messages)
        assert messages[-1].role == "assistant" and not messages[-1].metadata


@given(ANYTHING, TEXT, st.booleans())
def test_nothing_is_left_spinning_after_a_failure(events: list[Event], why: str, asks: bool) -> None:
    messages = after(*events)
    if asks:
        shown.show_proposal(messages, PROPOSAL)
    shown.show_failure(messages, why)
    assert not pending(messages)
    assert messages[-1].role == "assistant" and not messages[-1].metadata


@given(ANYTHING)
def test_whatever_happens_is_shown_as_plain_text_with_a_short_title(events: list[Event]) -> None:
    tools = {"spoof", "faces", "people"}
    for message in after(*events):
        assert_clean(text(message))
        title = message.metadata.get("title")
        if title is not None and title not in (WORKING, "Writing the answer"):
            assert title.removeprefix("Running ").split(":")[0] in tools


@given(ANYTHING)
def test_what_the_person_asked_is_never_touched(events: list[Event]) -> None:
    messages = after(*events)
    assert [text(message) for message in messages if message.role == "user"] == ["Is it live?"]
    assert messages[0].role == "user"
