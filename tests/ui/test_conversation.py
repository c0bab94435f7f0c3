"""A conversation on the page: turns run by themselves, can be watched, stopped and asked, and leave nothing open."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from visagent.agent.approval import Approved
from visagent.errors import EngineError, QuestionError
from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui.conversation import TITLE_CHARACTERS, ChatConversation
from visagent.ui.turns import TurnQueue

from .fakes import (
    DEADLINE_SECONDS,
    HELLO,
    SPOOF,
    Chat,
    ChatEngine,
    FakeTools,
    Follower,
    WhoInput,
    erase,
    finish,
    last,
    lines,
    pending,
    picture,
    screen,
    spoof_finding,
    until,
)

STOPPED = "The answer was stopped; ask again, the pictures are still here."

class TestTurns:
    def test_a_question_is_answered_with_its_steps_and_evidence(self, chat: Chat) -> None:
        conversation, engine = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        (seen,) = finish(conversation)
        assert seen[-1] == lines(conversation) == [
            (None, "image_1\nIs it live?"),
            ("spoof: spoof", f"image: image_1\n{spoof_finding().summary}"),
            (None, SPOOF)]
        (answer,) = conversation.answers
        assert (answer.question, answer.findings) == ("Is it live?", (spoof_finding(),))
        assert answer.seconds is not None and answer.seconds >= 0
        assert not conversation.busy and conversation.waiting is None and conversation.page == 0
        assert conversation.agent.pictures.ids() == ("image_1",)
        assert engine.tools_seen[0] == ("spoof", "erase"), "there is somebody to ask, so both are on offer"

    def test_a_conversation_begins_empty(self, chat: Chat) -> None:
        conversation, _ = chat()
        assert (conversation.messages(), conversation.answers, conversation.busy) == ([], [], False)
        assert conversation.title == "New conversation"
        assert finish(conversation) == [[[]]], "following it comes back once"

    def test_the_question_stands_there_before_anything_is_found(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        assert lines(conversation)[0] == (None, "image_1\nIs it live?") and conversation.busy
        assert len(conversation.answers) == 1 and conversation.answers[0].seconds is None
        tools.may_end.set()
        finish(conversation)

    def test_findings_stand_beside_the_answer_before_it_is_complete(self, chat: Chat) -> None:
        conversation, engine = chat(screen(), "...")
        conversation.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        until(lambda: conversation.answers[0].findings == (spoof_finding(),))
        assert conversation.answers[0].seconds is None and conversation.busy
        engine.silent.set()
        finish(conversation)
        assert conversation.answers[0].seconds is not None

    def test_it_is_remembered_from_turn_to_turn(self, chat: Chat) -> None:
        conversation, engine = chat(screen(), SPOOF, HELLO)
        for question, pictures in (("Is it live?", [picture()]), ("Hello?", [])):
            conversation.ask(question, pictures)
            finish(conversation)
        assert [answer.question for answer in conversation.answers] == ["Is it live?", "Hello?"]
        assert [answer.findings for answer in conversation.answers] == [(spoof_finding(),), ()]
        assert conversation.page == 1, "the newest answer is shown"
        assert len([message for message in engine.inputs[-1] if isinstance(message, HumanMessage)]) == 2

    def test_the_page_goes_to_the_newest_answer(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO, HELLO, HELLO)
        for number in range(3):
            conversation.page = 0
            conversation.ask("Hello?")
            assert conversation.page == number
            finish(conversation)

    def test_a_second_question_meanwhile_is_refused(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF, HELLO)
        conversation.ask("Is it live?", [picture()])
        until(lambda: ("Running spoof", "image: image_1") in lines(conversation))
        before = lines(conversation)
        with pytest.raises(QuestionError, match="still being answered"):
            conversation.ask("And now?", [picture()], ["another"])
        assert lines(conversation) == before and len(conversation.answers) == 1
        assert conversation.captions == {} and conversation.agent.pictures.ids() == ("image_1",)
        tools.may_end.set()
        finish(conversation)
        conversation.ask("And now?")
        finish(conversation)
        assert last(conversation) == HELLO

    @pytest.mark.parametrize(("question", "message"), [("", "empty"), (" \n", "empty"), ("x" * 101, "over the limit")])
    def test_a_bad_question_leaves_no_trace(self, chat: Chat, question: str, message: str) -> None:
        conversation, _ = chat(HELLO, max_question_characters=100)
        with pytest.raises(QuestionError, match=message):
            conversation.ask(question, [picture()], ["a clip"])
        assert (conversation.messages(), conversation.answers, conversation.captions) == ([], [], {})
        assert not conversation.busy and conversation.agent.pictures.ids() == ()
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO

    def test_messages_that_were_handed_out_do_not_change(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO)
        conversation.ask("Hello?")
        finish(conversation)
        handed = conversation.messages()
        handed.clear()
        assert len(conversation.messages()) == 2

    @pytest.mark.parametrize("length", [1, TITLE_CHARACTERS, TITLE_CHARACTERS + 1, 500])
    def test_the_first_question_is_the_title_shortened(self, chat: Chat, length: int) -> None:
        conversation, _ = chat(HELLO, HELLO)
        question = ("Is it live? " * 50)[:length].rstrip().ljust(length, "x")
        for asked in (question, "Another?"):
            conversation.ask(asked)
            finish(conversation)
        assert len(conversation.title) == min(length, TITLE_CHARACTERS)
        assert question.startswith(conversation.title.removesuffix("…"))
        assert conversation.title.endswith("…") == (length > TITLE_CHARACTERS)


class TestFollowers:
    def test_whoever_watches_sees_the_same_end(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        until(tools.began.is_set)
        threading.Timer(0.05, tools.may_end.set).start()
        seen = finish(conversation, watchers=3)
        assert [watched[-1] for watched in seen] == [lines(conversation)] * 3
        assert last(conversation) == SPOOF and len(seen[0]) > 1

    def test_a_turn_goes_on_if_nobody_watches(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        with Follower(conversation) as follower:
            assert follower.step()
        tools.may_end.set()
        until(lambda: not conversation.busy)
        assert last(conversation) == SPOOF and conversation.answers[0].findings == (spoof_finding(),)

    def test_who_comes_late_sees_how_it_stands_at_once(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        until(tools.began.is_set)
        until(lambda: pending(conversation) == ["Running spoof"])
        with Follower(conversation) as follower:
            assert follower.step() and pending(conversation) == ["Running spoof"]
            tools.may_end.set()
            while follower.step():
                pass
        assert last(conversation) == SPOOF and not pending(conversation)

    def test_every_step_is_seen_by_who_watches_from_the_beginning(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, engine = chat(screen(), "...")
        conversation.ask("Is it live?", [picture()])
        with Follower(conversation) as follower:
            assert follower.step()
            follower.until(lambda: pending(conversation) == ["Running spoof"])
            tools.may_end.set()
            follower.until(lambda: pending(conversation) == ["Writing the answer"])
            engine.silent.set()
            while follower.step():
                pass
        assert pending(conversation) == []

    def test_nothing_is_painted_that_has_not_changed(self, chat: Chat, tools: FakeTools,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("visagent.ui.conversation.REPAINT_SECONDS", 0.005)
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        until(lambda: pending(conversation) == ["Running spoof"])
        threading.Timer(0.2, tools.may_end.set).start()
        (seen,) = finish(conversation)
        assert len(seen) <= 12, "it did not come back again and again while the tool ran"


class TestStop:
    def test_a_slow_tool_is_not_waited_for_longer_than_it_runs(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, engine = chat(screen(), HELLO)
        conversation.ask("Is it live?", [picture()])
        until(tools.began.is_set)
        until(lambda: pending(conversation) == ["Running spoof"])
        conversation.stop()
        tools.may_end.set()
        finish(conversation)
        assert lines(conversation)[1:] == [("Broken off", "image: image_1"), (None, STOPPED)]
        assert not pending(conversation) and not conversation.busy
        assert conversation.answers[0].seconds is None and conversation.answers[0].findings == ()
        assert len(engine.inputs) == 1, "the model was not asked again"
        self._goes_on(conversation, engine)

    def test_a_model_that_talks_on_is_stopped(self, chat: Chat) -> None:
        conversation, engine = chat("...", HELLO)
        conversation.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        conversation.stop()
        engine.silent.set()
        finish(conversation)
        assert last(conversation) == STOPPED
        assert not pending(conversation)
        self._goes_on(conversation, engine)

    def test_what_was_found_before_stays_beside_the_question(self, chat: Chat) -> None:
        conversation, engine = chat(screen(), "...", HELLO)
        conversation.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        until(lambda: bool(conversation.answers[0].findings))
        conversation.stop()
        engine.silent.set()
        finish(conversation)
        assert [title for title, _ in lines(conversation)] == [None, "spoof: spoof", None]
        assert last(conversation) == STOPPED
        assert conversation.answers[0].findings == (spoof_finding(),) and conversation.answers[0].seconds is None
        self._goes_on(conversation, engine)

    def test_a_stop_before_the_turn_has_begun_to_run_counts(self, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
        conversation, engine = chat(HELLO)
        start = threading.Thread.start

        def stop_first(thread: threading.Thread) -> None:
            if thread.name == "visagent-turn":
                conversation.stop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", stop_first)
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == "The question was taken back." and not engine.inputs

    def test_stopping_what_does_not_run_does_nothing(self, chat: Chat) -> None:
        conversation, engine = chat(HELLO, HELLO)
        conversation.stop()
        self._goes_on(conversation, engine)
        conversation.stop()
        self._goes_on(conversation, engine)

    def _goes_on(self, conversation: ChatConversation, engine: ChatEngine) -> None:
        """The next question is answered, and the model knows nothing of the turn that was stopped."""
        asked = len([answer for answer in conversation.answers if answer.seconds is not None])
        kept = conversation.agent.pictures.ids()
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO and not pending(conversation)
        assert len([message for message in engine.inputs[-1] if isinstance(message, HumanMessage)]) == asked + 1
        assert conversation.agent.pictures.ids() == kept


class TestClear:
    def test_everything_is_forgotten(self, chat: Chat) -> None:
        conversation, engine = chat(screen(), SPOOF, screen(), SPOOF)
        conversation.ask("Is it live?", [picture(1)], ["the clip at 1.0 s"])
        finish(conversation)
        before = conversation.agent.pictures
        conversation.clear()
        assert (conversation.messages(), conversation.answers, conversation.captions) == ([], [], {})
        assert conversation.page == 0 and conversation.title == "New conversation" and not conversation.busy
        assert conversation.agent.pictures.ids() == () and before.ids() == ()
        conversation.ask("Is it live?", [picture(2)])
        finish(conversation)
        assert lines(conversation)[0] == (None, "image_1\nIs it live?"), "pictures are counted anew"
        assert len([message for message in engine.inputs[-1] if isinstance(message, HumanMessage)]) == 1

    def test_a_running_turn_is_stopped_first(self, chat: Chat) -> None:
        conversation, engine = chat("...", HELLO)
        conversation.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        threading.Timer(0.05, engine.silent.set).start()
        self._cleared(conversation)
        conversation.ask("Hello?")
        finish(conversation)
        assert lines(conversation) == [(None, "Hello?"), (None, HELLO)]

    def test_a_tool_that_runs_writes_nothing_into_what_was_cleared(self, chat: Chat, tools: FakeTools) -> None:
        tools.may_end.clear()
        conversation, _ = chat(screen(), SPOOF)
        conversation.ask("Is it live?", [picture()])
        until(tools.began.is_set)
        threading.Timer(0.05, tools.may_end.set).start()
        self._cleared(conversation)

    def test_a_call_that_waits_for_a_word_is_refused(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = chat(erase(), HELLO)
        conversation.ask("Please erase Ada.")
        until(lambda: conversation.waiting is not None)
        self._cleared(conversation)
        assert tools.erased == [] and conversation.waiting is None

    def test_who_watches_is_let_go(self, chat: Chat) -> None:
        conversation, engine = chat("...")
        conversation.ask("Is it live?", [picture()])
        with Follower(conversation) as follower:
            assert follower.step()
            until(engine.talking.is_set)
            threading.Timer(0.05, engine.silent.set).start()
            self._cleared(conversation)
            while follower.step():
                pass
        assert conversation.messages() == []

    def _cleared(self, conversation: ChatConversation) -> None:
        clearing = threading.Thread(target=conversation.clear, daemon=True)
        clearing.start()
        clearing.join(DEADLINE_SECONDS)
        assert not clearing.is_alive(), "it hangs"
        assert (conversation.messages(), conversation.answers, conversation.busy) == ([], [], False)
        assert conversation.agent.pictures.ids() == ()


class TestFailures:
    def test_a_model_that_fails_says_so_and_the_next_question_works(self, chat: Chat) -> None:
        conversation, engine = chat(EngineError("The model failed."), HELLO)
        conversation.ask("Is it live?", [picture()])
        finish(conversation)
        assert lines(conversation) == [(None, "image_1\nIs it live?"), (None, "The model failed.")]
        assert not pending(conversation) and not conversation.busy and conversation.answers[0].seconds is None
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO
        assert len([message for message in engine.inputs[-1] if isinstance(message, HumanMessage)]) == 1

    def test_what_nobody_foresaw_goes_to_the_log_and_not_to_the_page(self, chat: Chat,
                                                                     caplog: pytest.LogCaptureFixture) -> None:
        conversation, _ = chat(RuntimeError("/home/somebody/weights.bin is broken"), HELLO)
        conversation.ask("Is it live?", [picture()])
        finish(conversation)
        assert "Something went wrong" in str(last(conversation))
        assert "/home" not in str(lines(conversation)) and "RuntimeError" not in str(lines(conversation))
        assert "weights.bin is broken" in caplog.text
        assert not pending(conversation) and not conversation.busy
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO

    def test_what_was_found_survives_a_model_that_fails(self, chat: Chat) -> None:
        conversation, _ = chat(screen(), EngineError("The model failed."))
        conversation.ask("Is it live?", [picture()])
        finish(conversation)
        assert str(last(conversation)).startswith(spoof_finding().summary)
        assert conversation.answers[0].findings == (spoof_finding(),) and not pending(conversation)

    def test_an_engine_that_cannot_be_opened_is_a_message(self, tools: FakeTools) -> None:
        def unopened() -> ChatEngine:
            raise EngineError("The model cannot be loaded.")

        conversation = ChatConversation(Settings(engine="scripted"), Models(unopened))
        conversation.ask("Is it live?")
        finish(conversation)
        assert lines(conversation)[1:] == [(None, "The model cannot be loaded.")] and not conversation.busy

    def test_too_many_pictures_are_a_message(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO, HELLO, max_pictures=2)
        conversation.ask("Hello?", [picture()] * 2)
        finish(conversation)
        conversation.ask("And these?", [picture()])
        finish(conversation)
        assert "may hold 2" in str(last(conversation))
        assert conversation.agent.pictures.ids() == ("image_1", "image_2")
        assert not pending(conversation) and not conversation.busy
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO


class TestCaptions:
    def test_they_name_what_the_person_cannot_know(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO, HELLO)
        conversation.ask("Hello?", [picture(1), picture(2)], ["the clip at 0.0 s", "the clip at 2.0 s"])
        finish(conversation)
        assert lines(conversation)[0][1] == "image_1 (the clip at 0.0 s), image_2 (the clip at 2.0 s)\nHello?"
        assert conversation.caption("image_2") == "image_2 (the clip at 2.0 s)"
        conversation.ask("And this?", [picture(3), picture(4)], ["", "the clip at 4.0 s"])
        finish(conversation)
        assert lines(conversation)[2][1] == "image_3, image_4 (the clip at 4.0 s)\nAnd this?"
        assert conversation.caption("image_1") == "image_1 (the clip at 0.0 s)"

    def test_a_picture_without_one_goes_by_its_id(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO)
        conversation.ask("Hello?", [picture()])
        finish(conversation)
        assert conversation.caption("image_1") == "image_1" and conversation.caption("image_9") == "image_9"
        assert lines(conversation)[0][1] == "image_1\nHello?"

    def test_pictures_that_were_refused_leave_no_captions(self, chat: Chat) -> None:
        conversation, _ = chat(HELLO, HELLO, max_pictures=2)
        conversation.ask("Hello?", [picture()] * 3, ["one", "two", "three"])
        finish(conversation)
        assert conversation.agent.pictures.ids() == () and conversation.captions == {}
        conversation.ask("Hello?", [picture()])
        finish(conversation)
        assert conversation.caption("image_1") == "image_1"

    def test_the_names_on_the_page_are_those_that_the_agent_gave(self, chat: Chat) -> None:
        conversation, _ = chat(*[HELLO] * 3)
        for number in range(3):
            conversation.ask("Hello?", [picture(number)] * number)
            finish(conversation)
        shown = [str(text).split("\n")[0].split(", ") for _, text in lines(conversation)[2::2]]
        assert [name for names in shown for name in names] == list(conversation.agent.pictures.ids())


class TestQueue:
    """Conversations that share a machine wait for each other."""

    @pytest.fixture
    def two(self, tools: FakeTools, tmp_path: Path) -> tuple[ChatConversation, ChatConversation, ChatEngine]:
        engine, queue = ChatEngine(), TurnQueue(1)
        settings, models = Settings(engine="scripted", gallery=str(tmp_path / "gallery")), Models(lambda: engine)
        return ChatConversation(settings, models, queue), ChatConversation(settings, models, queue), engine

    def test_the_second_waits_and_says_so(self, two: tuple[ChatConversation, ChatConversation, ChatEngine]) -> None:
        first, second, engine = two
        engine.script[:] = ["...", HELLO]
        first.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        second.ask("Hello?")
        until(lambda: pending(second) == ["Waiting: 1 question before this one"])
        assert second.busy and len(engine.inputs) == 1
        engine.silent.set()
        for conversation in two[:2]:
            finish(conversation)
            assert not pending(conversation)
        assert lines(second) == [(None, "Hello?"), (None, HELLO)]

    def test_who_waits_may_leave_without_a_word_of_the_model(
            self, two: tuple[ChatConversation, ChatConversation, ChatEngine]) -> None:
        first, second, engine = two
        engine.script[:] = ["...", HELLO]
        first.ask("Is it live?", [picture()])
        until(engine.talking.is_set)
        second.ask("Hello?", [picture()])
        until(lambda: pending(second) == ["Waiting: 1 question before this one"])
        second.stop()
        finish(second)
        assert last(second) == "The question was taken back." and not pending(second) and first.busy
        assert len(engine.inputs) == 1
        engine.silent.set()
        finish(first)
        second.ask("Hello?")
        finish(second)
        assert last(second) == HELLO

    def test_a_person_who_is_asked_holds_up_nobody(self, tools: FakeTools,
                                                   two: tuple[ChatConversation, ChatConversation, ChatEngine]) -> None:
        first, second, engine = two
        engine.script[:] = [erase(), HELLO]
        first.ask("Please erase Ada.")
        until(lambda: first.waiting is not None)
        second.ask("Hello?")
        finish(second)
        assert last(second) == HELLO and first.busy and tools.erased == []
        engine.script[:] = ['Erased "Ada".']
        first.decide(Approved({"person": "Ada"}))
        finish(first)
        assert tools.erased == [WhoInput(person="Ada")] and last(first) == 'Erased "Ada".'

    def test_a_turn_that_failed_lets_the_next_one_in(
            self, two: tuple[ChatConversation, ChatConversation, ChatEngine]) -> None:
        first, second, engine = two
        for failure in (EngineError("The model failed."), RuntimeError("broken")):
            engine.script[:] = [failure, HELLO]
            first.ask("Is it live?")
            finish(first)
            second.ask("Hello?")
            finish(second)
            assert last(second) == HELLO
