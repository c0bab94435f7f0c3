"""What tools draw in a conversation: shown beside the answer, to nobody else, and really gone once it is cleared."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from visagent.errors import UnknownPicture
from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui.addresses import exact_address
from visagent.ui.badges import Badges
from visagent.ui.chat_page import evidence_of
from visagent.ui.conversation import ChatConversation
from visagent.ui.evidence_view import evidence_html
from visagent.ui.house import House
from visagent.ui.sessions import Sessions
from visagent.ui.uploads import Uploads
from visagent.ui.visitors import Visitors

from .fakes import SPOOF, Chat, ChatEngine, FakeTools, finish, picture, screen


def shade(value: int) -> np.ndarray:
    return np.full((9, 12, 3), value, np.uint8)


def ask(conversation: ChatConversation) -> None:
    conversation.ask("Is it live?", [picture()])
    finish(conversation)


def shows(html: str, value: int) -> bool:
    """Whether the page holds the plot of this shade."""
    return exact_address(shade(value)) in html


def test_what_a_tool_draws_stands_beside_the_answer(chat: Chat, tools: FakeTools) -> None:
    tools.drawing = shade(50)
    conversation, _ = chat(screen(), SPOOF)
    ask(conversation)
    html = evidence_of(conversation)
    assert shows(html, 50) and not shows(html, 60)
    assert html.count('class="va-mask"') == 1 and "A mask." in html


def test_each_answer_shows_its_own(chat: Chat, tools: FakeTools) -> None:
    conversation, _ = chat(screen("image_1"), SPOOF, screen("image_2"), SPOOF)
    for value in (50, 60):
        tools.drawing = shade(value)
        ask(conversation)
    assert shows(evidence_of(conversation), 60) and not shows(evidence_of(conversation), 50)
    conversation.page = 0
    assert shows(evidence_of(conversation), 50) and not shows(evidence_of(conversation), 60)


def test_clearing_drops_the_pixels_themselves(chat: Chat, tools: FakeTools) -> None:
    tools.drawing = shade(50)
    conversation, engine = chat(screen(), SPOOF)
    ask(conversation)
    evidence_of(conversation)
    pictures = conversation.agent.pictures
    held = [weakref.ref(pictures.pixels(handle)) for handle in ("image_1", "artifact_1", "artifact_2")]
    assert all(pixels() is not None for pixels in held) and len(conversation.addresses) == 3
    conversation.clear()
    gc.collect()
    assert [pixels() for pixels in held] == [None] * 3 and conversation.addresses == {}
    for handle in ("image_1", "artifact_1"):
        with pytest.raises(UnknownPicture):
            pictures.pixels(handle)
    tools.drawing = shade(60)
    engine.script += [screen(), SPOOF]
    ask(conversation)
    assert conversation.answers[0].findings[0].artifacts[0].handle == "artifact_1", "ids begin anew"
    assert shows(evidence_of(conversation), 60) and not shows(evidence_of(conversation), 50)


def test_a_page_that_is_drawn_while_it_is_cleared_leaves_nothing_behind(chat: Chat, tools: FakeTools) -> None:
    tools.drawing = shade(50)
    conversation, _ = chat(screen(), SPOOF)
    ask(conversation)
    being_drawn = conversation.addresses
    conversation.clear()
    being_drawn["image_1"] = "data:image/png;base64,OLD"
    assert conversation.addresses == {}


def test_no_visitor_sees_what_was_drawn_for_another(tools: FakeTools, uploads: Uploads, tmp_path: Path) -> None:
    engine, settings = ChatEngine(), Settings(engine="scripted", gallery=str(tmp_path / "gallery"))
    visitors = Visitors(settings, Models(lambda: engine), uploads, Sessions())
    for name, value in (("ada", 50), ("bob", 60)):
        tools.drawing = shade(value)
        engine.script += [screen(), SPOOF]
        ask(visitors.of(name).conversation)
    pages = {name: evidence_of(visitors.of(name).conversation) for name in ("ada", "bob")}
    assert shows(pages["ada"], 50) and not shows(pages["ada"], 60)
    assert shows(pages["bob"], 60) and not shows(pages["bob"], 50)
    visitors.clear(visitors.of("ada"))
    assert "va-empty" in evidence_of(visitors.of("ada").conversation)
    assert shows(evidence_of(visitors.of("bob").conversation), 60), "bob's stay"


def test_a_tool_on_its_own_page_draws_too(tools: FakeTools, uploads: Uploads, tmp_path: Path) -> None:
    tools.drawing = shade(50)
    settings, models = Settings(engine="scripted", gallery=str(tmp_path / "gallery")), Models()
    sessions = Sessions()
    visitors = Visitors(settings, models, uploads, sessions)
    house = House(settings, models, visitors, uploads, Badges(), sessions)
    finding, store = house.call(tools.all()[0], [picture()], {})
    assert shows(evidence_html("Spoof", [finding], store, panel="spoof"), 50)
