"""Asking first: nothing is changed or told without a person's word, and names are those that somebody wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import Field

from visagent.agent import Agent
from visagent.agent.approval import Approved, Decision, Proposal, Refused
from visagent.agent.engines.scripted import ScriptedEngine
from visagent.agent.named import name_in_words
from visagent.agent.toolkit import tool_schema
from visagent.evidence import Finding, State
from visagent.media import picture_from_array
from visagent.settings import Settings
from visagent.tools import TOOLS
from visagent.tools.contract import Tool, ToolContext, ToolInput
from visagent.tools.enrol.tool import ENROL
from visagent.tools.models import Models


class Who(ToolInput):
    """Somebody."""

    person: str = Field(description="The person's name.")
    consent: str | None = Field(default=None, description="Where the person agreed.")


@pytest.fixture
def erase() -> tuple[Tool[Who], list[Who]]:
    done: list[Who] = []

    def run(request: Who, context: ToolContext) -> Finding:
        done.append(request)
        return Finding(tool="erase", answer="erased", summary=f'Erased "{request.person}".')

    return Tool("erase", "Erases somebody for good.", Who, run, writes=True, left_to_person=("consent",)), done


def agent(tool: Tool[Who], call: Mapping[str, object], approve: Callable[[Proposal], Decision] | None,
          tmp_path: Path) -> Agent:
    engine = ScriptedEngine(script=[AIMessage("", tool_calls=[{"name": "erase", "args": dict(call), "id": "1"}]),
                                    'Erased "Ada".'])
    return Agent(Settings(gallery=str(tmp_path)), engine=engine, models=Models(), tools=[tool], approve=approve)


def test_a_call_waits_for_the_persons_word(erase: tuple[Tool[Who], list[Who]], tmp_path: Path) -> None:
    tool, done = erase
    asked: list[Proposal] = []

    def approve(proposal: Proposal) -> Decision:
        asked.append(proposal)
        assert not done
        return Approved({**proposal.arguments, "consent": "form 3"})

    answer = agent(tool, {"person": "ada"}, approve, tmp_path).ask("Please erase Ada.")
    assert [finding.answer for finding in answer.findings] == ["erased"]
    assert done == [Who(person="Ada", consent="form 3")], "as the person wrote it, with what only the person may say"
    assert asked[0].arguments == {"person": "Ada"} and list(asked[0].open_fields) == ["consent"]


def test_a_refusal_is_an_answer_and_leaves_a_receipt(erase: tuple[Tool[Who], list[Who]], tmp_path: Path) -> None:
    tool, done = erase
    answer = agent(tool, {"person": "Ada"}, lambda _: Refused(), tmp_path).ask("Please erase Ada.")
    assert done == []
    assert answer.findings[0].state is State.not_possible and "declined" in str(answer.findings[0].reason)
    trail = (tmp_path / "audit.jsonl").read_text()
    assert '"decision": "refused"' in trail and "Ada" not in trail


def test_without_anybody_to_ask_it_is_not_on_offer(erase: tuple[Tool[Who], list[Who]], tmp_path: Path) -> None:
    tool, done = erase
    alone = agent(tool, {"person": "Ada"}, None, tmp_path)
    answer = alone.ask("Please erase Ada.")
    assert done == []
    assert all(finding.state is State.not_possible for finding in answer.findings)


def test_a_turn_that_is_broken_off_refuses_what_waits(erase: tuple[Tool[Who], list[Who]], tmp_path: Path) -> None:
    tool, done = erase

    def leave(proposal: Proposal) -> Decision:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent(tool, {"person": "Ada"}, leave, tmp_path).ask("Please erase Ada.")
    assert done == []


def test_a_name_that_nobody_wrote_is_refused_before_anybody_is_asked(erase: tuple[Tool[Who], list[Who]],
                                                                     tmp_path: Path) -> None:
    tool, done = erase

    def never(proposal: Proposal) -> Decision:
        raise AssertionError("asked")

    answer = agent(tool, {"person": "Grace Hopper"}, never, tmp_path).ask("Please erase Ada.")
    assert done == [] and "does not stand in your words" in str(answer.findings[0].reason)


def test_a_model_cannot_fill_in_what_is_left_to_the_person() -> None:
    shown = tool_schema(ENROL)["function"]["parameters"]["properties"]
    assert set(shown) == {"images", "person", "face", "require_live"}
    assert {tool.name for tool in TOOLS if tool.asks_first} == {"enrol", "people", "forget"}


@pytest.mark.parametrize(("written", "question", "expected"), [
    (" Ada Lovelace", "enrol her as Ada Lovelace, please", "Ada Lovelace"), ("ada", "Forget ADA!", "ADA"),
    ("Dolores Ha", "wipe Dolores Haze from it", "Dolores Haze"), ("Marine Rossi", "could it be Marco Rossi?", None),
    ("Chuku", "store him under the name Chukwudi", "Chukwudi"), ("Bob", "Remove Bob Miller please", "Bob"),
    ("Zoe", "is this Zoe's brother?", "Zoe"), ("Quusin Traus", "enrol these as Quentin Blake", None),
    ("Bob M", "Remove Bob Miller please", "Bob Miller"),
    ("Ms. Delacroix", "Kindly erase Ms. Delacroix.", "Ms. Delacroix"), ("  ", "Forget Ada.", None),
    ("Anna-Lenge Vogel", "register Anna-Lena Vogel.", "Anna-Lena Vogel"),
])
def test_names_are_corrected_to_what_was_written_or_refused(written: str, question: str, expected: str | None) -> None:
    found = name_in_words(written, [HumanMessage(question)])
    if expected is None:
        assert found is None or found in question
    else:
        assert found == expected


def test_a_name_may_come_from_an_earlier_finding() -> None:
    found = ToolMessage('The face is "Ada Lovelace" (similarity 0.98).', tool_call_id="1")
    said = [HumanMessage("Who is this?"), found, HumanMessage("Then forget her.")]
    assert name_in_words("Ada Lovelace", said) == "Ada Lovelace"
    assert name_in_words("Bob", said) is None


def test_a_person_who_is_called_like_a_verdict_is_no_verdict() -> None:
    from visagent.agent.grounding import gather

    finding = Finding(tool="identify", answer="Joy", summary='The face in image_1 is "Joy".', images=("image_1",))
    assert "expression" not in gather([finding]).answers


def test_pictures_are_not_needed_by_these(tmp_path: Path) -> None:
    """`people` in an agent whose approver agrees: told from an empty gallery, with no picture in the session."""
    engine = ScriptedEngine(script=[AIMessage("", tool_calls=[{"name": "people", "args": {}, "id": "1"}]),
                                    "Nobody is enrolled."])
    found = Agent(Settings(gallery=str(tmp_path / "g")), engine=engine, models=Models(),
                  approve=lambda proposal: Approved(proposal.arguments)).ask("Who is in the gallery?")
    assert found.findings[0].answer == "0" and found.text == "Nobody is enrolled."
    assert picture_from_array(np.zeros((20, 20, 3), np.uint8)).width == 20
