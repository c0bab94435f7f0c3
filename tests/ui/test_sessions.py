"""Gradio's sessions: what it remembers of a page goes with the page, with its visitor, and with what is cleared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui import visitors as visitors_module
from visagent.ui.badges import COOKIE, Badges
from visagent.ui.chat_page import evidence_of
from visagent.ui.house import House
from visagent.ui.server import Address, build_app
from visagent.ui.sessions import MOST_SESSIONS, Sessions
from visagent.ui.uploads import Uploads
from visagent.ui.visitors import Visitor, Visitors

from .fakes import SPOOF, ChatEngine, FakeTools, finish, picture, screen

Paint = Callable[[str], None]


class TestOwners:
    def test_a_session_is_of_who_used_it_first(self) -> None:
        sessions = Sessions()
        assert [sessions.owner_of("s1", "ada"), sessions.owner_of("s1", "bob")] == ["ada", "ada"]
        assert sessions.owner_of("s2", "bob") == "bob"

    def test_only_so_many_are_remembered_the_newest(self) -> None:
        sessions = Sessions()
        for number in range(MOST_SESSIONS + 1):
            sessions.owner_of(f"s{number}", "ada")
        assert sessions.owner_of(f"s{MOST_SESSIONS}", "bob") == "ada" and sessions.owner_of("s0", "bob") == "bob"

    def test_before_there_is_a_page_there_is_nothing_to_drop(self) -> None:
        sessions = Sessions()
        sessions.owner_of("s1", "ada")
        sessions.drop("s1")
        sessions.forget("ada")
        assert sessions.owner_of("s1", "bob") == "ada"


@pytest.fixture
def house(tools: FakeTools, uploads: Uploads, tmp_path: Path) -> House:
    """A page whose model follows a script, and whose tool draws."""
    tools.drawing = np.full((9, 12, 3), 77, np.uint8)
    engine = ChatEngine(script=[screen(), SPOOF] * 2)
    settings, models = Settings(engine="scripted", gallery=str(tmp_path / "gallery")), Models(lambda: engine)
    sessions = Sessions()
    return House(settings, models, Visitors(settings, models, uploads, sessions), uploads, Badges(), sessions)


@pytest.fixture
def app(house: House) -> FastAPI:
    async def build() -> FastAPI:
        return build_app(house, Address())  # without a loop that runs, Gradio makes dozens and closes none

    return asyncio.run(build())


@pytest.fixture
def browser(app: FastAPI) -> Iterator[TestClient]:
    """A browser that has opened the page."""
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        opened.get("/")
        yield opened


@pytest.fixture
def visitor(house: House, browser: TestClient) -> Visitor:
    """Who uses it, with an answer that has evidence."""
    made = house.visitors.of(house.badges.read(f"{COOKIE}={browser.cookies[COOKIE]}") or "")
    made.conversation.ask("Is it live?", [picture()])
    finish(made.conversation)
    return made


@pytest.fixture
def paint(browser: TestClient, visitor: Visitor) -> Paint:
    """Loads the page in a session, as a browser's script does."""
    load = next(one["id"] for one in browser.get("/config").json()["dependencies"]
                if any(target[1] == "load" for target in one["targets"]))

    def loaded(session: str) -> None:
        told = {"data": [], "fn_index": load, "session_hash": session}
        assert browser.post("/gradio_api/queue/join", json=told).status_code == 200
        address = f"/gradio_api/queue/data?session_hash={session}"
        with browser.stream("GET", address) as events:
            lines = [line for line in events.iter_lines() if "process_completed" in line]
        assert "A plot." in lines[0]

    return loaded


def remembered(house: House) -> dict[str, str]:
    """What Gradio remembers of each session, as text."""
    kept: Any = house.sessions._kept
    return {session: json.dumps(state.config_values, default=str) for session, state in kept.session_data.items()}


def addresses(visitor: Visitor) -> list[str]:
    """The pictures that its evidence shows."""
    evidence_of(visitor.conversation)
    return list(visitor.conversation.addresses.values())


def test_gradio_does_remember_what_a_page_shows(house: House, visitor: Visitor, paint: Paint) -> None:
    """Without this, the tests below would hold for nothing."""
    paint("s1")
    assert all(address in remembered(house)["s1"] for address in addresses(visitor))


def test_it_goes_when_everything_is_cleared_in_all_of_the_visitors_pages(house: House, visitor: Visitor, paint: Paint
                                                                         ) -> None:
    paint("s1")
    paint("s2")
    shown = addresses(visitor)
    house.visitors.clear(visitor)
    assert len(shown) == 3 and not any(address in text for text in remembered(house).values() for address in shown)


def test_it_goes_when_a_visitor_is_forgotten(house: House, visitor: Visitor, paint: Paint,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    paint("s1")
    monkeypatch.setattr(visitors_module, "IDLE_SECONDS", -1.0)
    house.visitors.purge()
    assert "s1" not in remembered(house)


def test_it_goes_when_the_page_is_left_and_others_stay(house: House, app: FastAPI, browser: TestClient,
                                                       visitor: Visitor, paint: Paint) -> None:
    paint("s1")
    paint("s2")
    _leave(app, browser, "s1")
    assert list(remembered(house)) == ["s2"]
    paint("s1")  # it had only been out of reach for a moment
    assert "A plot." in remembered(house)["s1"]


def test_nobody_else_can_have_it_dropped(house: House, app: FastAPI, browser: TestClient, paint: Paint) -> None:
    paint("s1")
    with TestClient(app, base_url="http://127.0.0.1") as other:
        other.get("/")
        assert other.get("/gradio_api/heartbeat/s1").status_code == 404
    assert "s1" in remembered(house)


def test_a_page_that_was_dropped_from_memory_goes_on(house: House, browser: TestClient, visitor: Visitor, paint: Paint
                                                     ) -> None:
    """Choosing a conversation works although Gradio no longer knows that there are several."""
    house.visitors.begin(visitor)
    first = next(iter(visitor.conversations))
    paint_choose = next(one["id"] for one in browser.get("/config").json()["dependencies"]
                        if any(target[1] == "input" for target in one["targets"]))
    house.sessions.drop("s1")
    told = {"data": [first], "fn_index": paint_choose, "session_hash": "s1"}
    assert browser.post("/gradio_api/queue/join", json=told).status_code == 200
    with browser.stream("GET", "/gradio_api/queue/data?session_hash=s1") as events:
        lines = [line for line in events.iter_lines() if "process_completed" in line]
    assert '"success":true' in lines[-1].replace(" ", "") and visitor.current == first


def _leave(app: FastAPI, browser: TestClient, session: str) -> None:
    """The page's heartbeat begins, and ends with the page."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    cookie = f"{COOKIE}={browser.cookies[COOKIE]}".encode()
    scope: Scope = {"type": "http", "method": "GET", "path": f"/gradio_api/heartbeat/{session}", "query_string": b"",
                    "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1", "root_path": "",
                    "headers": [(b"host", b"127.0.0.1"), (b"cookie", cookie)]}
    assert browser.portal is not None
    browser.portal.call(app, scope, receive, send)
    assert sent and sent[0]["status"] == 200
