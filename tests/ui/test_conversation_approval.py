"""Calls that ask first: approved, changed, declined, or given up."""

from __future__ import annotations

from typing import Any

import pytest

from visagent.agent.approval import Approved, Decision, Refused
from visagent.evidence import State
from visagent.ui import messages as shown
from visagent.ui.conversation import ChatConversation

from .fakes import (
    HELLO,
    Chat,
    ChatEngine,
    FakeTools,
    WhoInput,
    erase,
    finish,
    last,
    lines,
    pending,
    until,
)

STOPPED = "The answer was stopped; ask again, the pictures are still here."


class TestApproval:
    def _asked(self, chat: Chat) -> tuple[ChatConversation, ChatEngine]:
        conversation, engine = chat(erase(), 'Erased "Ada".', HELLO)
        conversation.ask("Please erase Ada.")
        until(lambda: conversation.waiting is not None)
        return conversation, engine

    def test_a_call_waits_and_says_what_it_wants(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = self._asked(chat)
        assert conversation.waiting is not None and conversation.busy
        proposal = conversation.waiting.proposal
        assert (proposal.tool, proposal.arguments) == ("erase", {"person": "Ada"})
        assert pending(conversation) == ["May I run erase? Answer below."]
        assert last(conversation) == "Erases somebody for good.\nperson: Ada"
        assert tools.erased == []
        conversation.decide(Refused())
        finish(conversation)

    def test_an_agreement_runs_it_with_what_the_person_filled_in(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = self._asked(chat)
        conversation.decide(Approved({"person": "Ada Lovelace", "consent": "form 3"}))
        finish(conversation)
        assert tools.erased == [WhoInput(person="Ada Lovelace", consent="form 3")]
        assert conversation.waiting is None and not pending(conversation)
        assert [title for title, _ in lines(conversation)] == [None, "You agreed: erase", "erase: erased", None]
        assert lines(conversation)[2][1] == 'person: Ada Lovelace\nconsent: form 3\nErased "Ada Lovelace".'
        assert [finding.answer for finding in conversation.answers[0].findings] == ["erased"]

    def test_a_refusal_does_not_run_it_and_is_said(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = self._asked(chat)
        conversation.decide(Refused())
        finish(conversation)
        assert tools.erased == [] and conversation.waiting is None and not pending(conversation)
        assert [title for title, _ in lines(conversation)] == [None, "Declined: erase", "erase: not possible", None]
        (finding,) = conversation.answers[0].findings
        assert finding.state is State.not_possible and "declined" in str(finding.reason)

    def test_stopping_while_it_waits_refuses_it(self, chat: Chat, tools: FakeTools) -> None:
        conversation, engine = self._asked(chat)
        conversation.stop()
        finish(conversation)
        assert tools.erased == [] and conversation.waiting is None and not pending(conversation)
        assert lines(conversation)[1][0] == "Declined: erase" and last(conversation) == STOPPED
        engine.script[:] = [HELLO]
        conversation.ask("Hello?")
        finish(conversation)
        assert last(conversation) == HELLO and tools.erased == []

    @pytest.mark.parametrize(("first", "second", "expected"), [
        (Refused(), Approved({"person": "Ada"}), []),
        (Approved({"person": "Ada"}), Refused(), [WhoInput(person="Ada")]),
        (Approved({"person": "Ada"}), Approved({"person": "Bob"}), [WhoInput(person="Ada")])])
    def test_only_the_first_word_counts(self, chat: Chat, tools: FakeTools, first: Decision, second: Decision,
                                        expected: list[WhoInput]) -> None:
        conversation, _ = self._asked(chat)
        conversation.decide(first)
        conversation.decide(second)
        finish(conversation)
        assert tools.erased == expected

    def test_a_word_without_a_question_is_not_kept_for_the_next(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = chat(erase(), 'Erased "Ada".')
        conversation.decide(Approved({"person": "Ada"}))
        conversation.ask("Please erase Ada.")
        until(lambda: conversation.waiting is not None)
        assert conversation.waiting is not None and not conversation.waiting.decided.is_set()
        conversation.decide(Refused())
        finish(conversation)
        assert tools.erased == []

    def test_each_call_is_asked_for_anew(self, chat: Chat, tools: FakeTools) -> None:
        conversation, _ = chat(erase(), 'Erased "Ada".', erase("Bob"), 'Erased "Bob".')
        for name, decision in (("Ada", Approved({"person": "Ada"})), ("Bob", Refused())):
            conversation.ask(f"Please erase {name}.")
            until(lambda: conversation.waiting is not None)
            assert conversation.waiting is not None
            assert conversation.waiting.proposal.arguments == {"person": name}
            conversation.decide(decision)
            finish(conversation)
        assert tools.erased == [WhoInput(person="Ada")]

    def test_a_stop_while_the_question_is_being_put_is_heard(self, chat: Chat, tools: FakeTools,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the call and the moment that there is something to refuse."""
        conversation, _ = chat(erase(), HELLO)
        show = shown.show_proposal

        def stop_first(*arguments: Any) -> None:
            conversation.stop()
            show(*arguments)

        monkeypatch.setattr(shown, "show_proposal", stop_first)
        conversation.ask("Please erase Ada.")
        finish(conversation)
        assert conversation.waiting is None and not pending(conversation)
