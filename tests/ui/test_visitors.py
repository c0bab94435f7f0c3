"""Visitors: each has conversations of their own, there is room for so many, and who has left is forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from visagent.agent.approval import Refused
from visagent.errors import QuestionError
from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui import visitors as module
from visagent.ui.sessions import Sessions
from visagent.ui.uploads import Uploads
from visagent.ui.visitors import IDLE_SECONDS, MOST_CONVERSATIONS, MOST_VISITORS, Visitor, Visitors

from .fakes import DEADLINE_SECONDS, HELLO, ChatEngine, FakeTools, erase, finish, lines, picture, until


class Clock:
    """A clock that a test turns; it never stands still, so that nobody was here at the same time as another."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def engine() -> ChatEngine:
    return ChatEngine()


@pytest.fixture
def visitors(engine: ChatEngine, uploads: Uploads, tools: FakeTools, tmp_path: Path) -> Visitors:
    settings = Settings(engine="scripted", gallery=str(tmp_path / "gallery"))
    return Visitors(settings, Models(lambda: engine), uploads, Sessions())


def upload(folder: Path, uploads: Uploads, visitor: Visitor) -> Path:
    path = folder / f"hash-{visitor.id}" / "face.jpg"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    uploads.register(visitor.id, [str(path)])
    return path


def answered(visitor: Visitor, engine: ChatEngine, question: str = "Hello?") -> None:
    engine.script.append(HELLO)
    visitor.conversation.ask(question, [picture()])
    finish(visitor.conversation)


def busy(visitor: Visitor, engine: ChatEngine) -> None:
    """Leave a turn running."""
    engine.talking.clear()
    engine.script.append("...")
    visitor.conversation.ask("Is it live?", [picture()])
    until(engine.talking.is_set)


def test_each_visitor_is_known_again(visitors: Visitors) -> None:
    ada, bob = visitors.of("ada"), visitors.of("bob")
    assert visitors.of("ada") is ada and visitors.of("bob") is bob and ada is not bob
    assert (ada.id, bob.id) == ("ada", "bob")
    assert len(ada.conversations) == 1 and ada.conversation is ada.conversations[ada.current]


def test_nobody_sees_another_ones_conversation(visitors: Visitors, engine: ChatEngine) -> None:
    ada, bob = visitors.of("ada"), visitors.of("bob")
    answered(ada, engine)
    assert bob.conversation.messages() == [] and bob.conversation.answers == []
    assert bob.conversation.agent.pictures.ids() == () and ada.conversation.agent.pictures.ids() == ("image_1",)
    assert not set(ada.conversations) & set(bob.conversations)


def test_a_new_conversation_stands_beside_the_others(visitors: Visitors, engine: ChatEngine) -> None:
    ada = visitors.of("ada")
    answered(ada, engine, "First?")
    first = ada.current
    visitors.begin(ada)
    assert ada.current != first and list(ada.conversations) == [first, ada.current]
    assert ada.conversation.messages() == [] and ada.conversation.agent.pictures.ids() == ()
    answered(ada, engine, "Second?")
    assert [one.title for one in ada.conversations.values()] == ["First?", "Second?"]
    assert len(engine.inputs[-1]) == 2, "the system prompt and the question: the first conversation is not told"


def test_an_empty_conversation_is_taken_again(visitors: Visitors, engine: ChatEngine) -> None:
    ada = visitors.of("ada")
    for _ in range(3):
        visitors.begin(ada)
    assert len(ada.conversations) == 1
    answered(ada, engine)
    first = ada.current
    visitors.begin(ada)
    second = ada.current
    ada.current = first
    visitors.begin(ada)
    assert ada.current == second and len(ada.conversations) == 2


def test_there_are_only_so_many_conversations(visitors: Visitors, engine: ChatEngine) -> None:
    ada = visitors.of("ada")
    for _ in range(MOST_CONVERSATIONS - 1):
        answered(ada, engine)
        visitors.begin(ada)
    answered(ada, engine)
    kept, current = dict(ada.conversations), ada.current
    with pytest.raises(QuestionError, match=f"There are {MOST_CONVERSATIONS} conversations"):
        visitors.begin(ada)
    assert ada.conversations == kept and ada.current == current
    visitors.begin(visitors.of("bob"))
    visitors.clear(ada)
    visitors.begin(ada)
    assert len(ada.conversations) == 1


def test_clearing_forgets_all_of_one_visitor(visitors: Visitors, engine: ChatEngine, folder: Path,
                                             uploads: Uploads) -> None:
    ada, bob = visitors.of("ada"), visitors.of("bob")
    for visitor in (ada, bob):
        answered(visitor, engine)
    visitors.begin(ada)
    answered(ada, engine)
    before = list(ada.conversations.values())
    paths = [upload(folder, uploads, visitor) for visitor in (ada, bob)]
    visitors.clear(ada)
    assert len(ada.conversations) == 1 and ada.conversation.messages() == [] and ada.conversation not in before
    for conversation in before:
        assert (conversation.messages(), conversation.answers) == ([], [])
        assert conversation.agent.pictures.ids() == ()
    assert [path.exists() for path in paths] == [False, True]
    assert visitors.of("ada") is ada and len(bob.conversation.messages()) == 2


def test_clearing_stops_what_runs(visitors: Visitors, engine: ChatEngine) -> None:
    ada = visitors.of("ada")
    busy(ada, engine)
    conversation = ada.conversation
    threading.Timer(0.05, engine.silent.set).start()
    clearing = threading.Thread(target=visitors.clear, args=(ada,), daemon=True)
    clearing.start()
    clearing.join(DEADLINE_SECONDS)
    assert not clearing.is_alive() and not conversation.busy and conversation.agent.pictures.ids() == ()


def test_who_has_been_away_for_long_is_forgotten(visitors: Visitors, engine: ChatEngine, folder: Path,
                                                 uploads: Uploads, clock: Clock) -> None:
    ada = visitors.of("ada")
    answered(ada, engine)
    visitors.begin(ada)
    path, conversations = upload(folder, uploads, ada), list(ada.conversations.values())
    clock.now += IDLE_SECONDS - 1
    visitors.purge()
    assert visitors.of("ada") is ada and path.exists() and len(conversations[0].messages()) == 2
    clock.now += IDLE_SECONDS - 1
    visitors.purge()
    assert visitors.of("ada") is ada, "who was just here stays"
    clock.now += IDLE_SECONDS + 1
    visitors.purge()
    assert not path.exists()
    assert [(one.messages(), one.agent.pictures.ids()) for one in conversations] == [([], ())] * 2
    again = visitors.of("ada")
    assert again is not ada and again.conversation.messages() == []


def test_others_stay_when_one_is_forgotten(visitors: Visitors, engine: ChatEngine, clock: Clock) -> None:
    ada = visitors.of("ada")
    clock.now += IDLE_SECONDS
    bob = visitors.of("bob")
    answered(bob, engine)
    clock.now += 1
    visitors.purge()
    assert visitors.of("bob") is bob and len(bob.conversation.messages()) == 2 and visitors.of("ada") is not ada


def test_who_still_waits_for_an_answer_is_not_forgotten(visitors: Visitors, engine: ChatEngine, clock: Clock) -> None:
    ada = visitors.of("ada")
    busy(ada, engine)
    first = ada.conversation
    visitors.begin(ada)
    assert ada.conversation is not first
    clock.now += IDLE_SECONDS * 2
    visitors.purge()
    assert first.busy and len(first.answers) == 1, "also if the page shows another conversation"
    assert len(ada.conversations) == 2
    engine.silent.set()
    finish(first)
    visitors.purge()
    assert first.messages() == [] and visitors.of("ada") is not ada


def test_the_longest_away_makes_room(visitors: Visitors, engine: ChatEngine, folder: Path, uploads: Uploads,
                                     clock: Clock) -> None:
    everybody = [visitors.of(f"visitor {number}") for number in range(MOST_VISITORS)]
    answered(everybody[1], engine)
    conversation, path = everybody[1].conversation, upload(folder, uploads, everybody[1])
    visitors.of("visitor 0")
    new = visitors.of("one more")
    assert conversation.messages() == [] and conversation.agent.pictures.ids() == () and not path.exists()
    assert visitors.of("visitor 0") is everybody[0] and visitors.of("one more") is new
    assert [visitors.of(f"visitor {number}") is everybody[number] for number in range(2, MOST_VISITORS)] == [
        True] * (MOST_VISITORS - 2)


def test_who_is_busy_keeps_their_place(visitors: Visitors, engine: ChatEngine, clock: Clock) -> None:
    ada = visitors.of("ada")
    busy(ada, engine)
    second = visitors.of("second")
    for number in range(MOST_VISITORS - 1):
        visitors.of(f"visitor {number}")
    assert ada.conversation.busy and visitors.of("ada") is ada
    assert visitors.of("second") is not second
    engine.silent.set()
    finish(ada.conversation)


def test_if_everybody_is_busy_nobody_comes_in(visitors: Visitors, engine: ChatEngine, clock: Clock,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VISITORS", 2)
    everybody = [visitors.of(name) for name in ("ada", "bob")]
    busy(everybody[0], engine)
    engine.script.append(erase())
    everybody[1].conversation.ask("Please erase Ada.")
    until(lambda: everybody[1].conversation.waiting is not None)
    with pytest.raises(QuestionError, match="come back later"):
        visitors.of("carol")
    assert [visitors.of(name) for name in ("ada", "bob")] == everybody
    everybody[1].conversation.stop()
    finish(everybody[1].conversation)
    assert visitors.of("carol").id == "carol" and visitors.of("ada") is everybody[0]
    engine.silent.set()
    finish(everybody[0].conversation)


def test_closing_stops_every_turn_and_forgets_everybody(visitors: Visitors, engine: ChatEngine, tools: FakeTools,
                                                        folder: Path, uploads: Uploads) -> None:
    ada, bob = visitors.of("ada"), visitors.of("bob")
    paths = [upload(folder, uploads, visitor) for visitor in (ada, bob)]
    busy(ada, engine)
    engine.script.append(erase())
    bob.conversation.ask("Please erase Ada.")
    until(lambda: bob.conversation.waiting is not None)
    visitors.close()
    engine.silent.set()
    try:
        for visitor in (ada, bob):
            finish(visitor.conversation)
            assert "was stopped" in str(lines(visitor.conversation)[-1][1])
    finally:
        bob.conversation.decide(Refused())
    assert tools.erased == [] and not any(path.exists() for path in paths)
    assert visitors.of("ada") is not ada


def test_many_threads_find_one_visitor(visitors: Visitors) -> None:
    found: list[Visitor] = []
    ready = threading.Barrier(8)

    def come() -> None:
        ready.wait(10)
        found.append(visitors.of("ada"))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert len(found) == 8 and len({id(visitor) for visitor in found}) == 1
