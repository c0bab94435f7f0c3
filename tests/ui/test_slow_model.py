"""While a model takes its time: watch it, leave and come back, stop it, and wait for one another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ..agent.openai_server import OpenAIServer, running_server
from .page_server import ASSETS, Server, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    OpenPage = Callable[..., Page]

WITH_PICTURE = "#va-example-2"
SENTENCES = " ".join(f"I am {word} a long story." for word in ("beginning", "telling", "drawing out", "ending") * 12)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIServer]:
    """A model behind a server of its own, which writes three letters a tenth of a second."""
    with running_server() as running:
        running.pause = 0.1
        yield running


@pytest.fixture(scope="module")
def slow(model: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page in front of it."""
    with serving(tmp_path_factory.mktemp("slow"), "--engine", "vllm", "--server-url", model.url, "--model",
                 "tiny-vlm") as running:
        yield running


def stories(count: int) -> list[dict[str, Any]]:
    """The model's messages for as many questions: a tool is called, then the story of what it found is told."""
    call = {"content": "", "tool_calls": [{"id": "1", "function": {
        "name": "faces", "arguments": '{"image": "image_1"}'}}]}
    return [call, {"content": SENTENCES}] * count


def ask(page: Page, question: str) -> None:
    page.fill("#va-question textarea", question)
    page.press("#va-question textarea", "Enter")


def test_an_answer_streams_survives_a_reload_and_stops(slow: Server, model: OpenAIServer, open_page: OpenPage) -> None:
    model.replies[:] = [*stories(1), {"content": "Now I am here."}]
    broken_off = model.broken_off
    page = open_page(slow.url)
    page.click(WITH_PICTURE)
    page.wait_for_selector("text=I am beginning a long story.")
    before = page.inner_text("#va-chat")
    page.wait_for_function("n => document.querySelector('#va-chat').innerText.length > n", arg=len(before))
    page.reload()
    page.wait_for_selector("text=I am telling a long story.")
    after = page.inner_text("#va-chat")
    page.wait_for_function("n => document.querySelector('#va-chat').innerText.length > n", arg=len(after))
    page.click("#va-stop")
    page.wait_for_selector("text=The answer was stopped")
    page.wait_for_function("document.querySelector('#va-stop').disabled")
    deadline = time.monotonic() + 10
    while model.broken_off == broken_off and time.monotonic() < deadline:
        time.sleep(0.05)
    assert model.broken_off == broken_off + 1  # the model was told, it did not write on for nobody
    ask(page, "Are you there?")
    page.wait_for_selector("text=Now I am here.")


def test_a_turn_that_nobody_watches_blocks_nobody(slow: Server, model: OpenAIServer, open_page: OpenPage) -> None:
    """A visitor who leaves while asked for approval holds no place in the queue."""
    model.replies[:] = [{"content": "", "tool_calls": [{"id": "1", "function": {
        "name": "people", "arguments": "{}"}}]}] + [{"content": "I am here."}] * 2
    gone = open_page(slow.url)
    ask(gone, "Who is enrolled?")
    gone.wait_for_selector("#va-approve-people", state="visible")
    gone.context.close()
    page = open_page(slow.url)
    ask(page, "Are you there?")
    page.wait_for_selector("text=I am here.")


def test_questions_wait_for_each_other_and_say_so(slow: Server, model: OpenAIServer, open_page: OpenPage) -> None:
    model.replies[:] = stories(4)
    *first, last = [open_page(slow.url) for _ in range(5)]
    for page in first:
        page.click(WITH_PICTURE)
        page.wait_for_selector("text=I am beginning a long story.")
    last.click(WITH_PICTURE)
    last.wait_for_selector("text=Waiting: 1 question before this one")
    last.click("#va-stop")
    last.wait_for_selector("text=The question was taken back.")
    for page in first:
        page.click("#va-stop")
        page.wait_for_selector("text=The answer was stopped")


def test_other_pages_go_on_meanwhile(slow: Server, model: OpenAIServer, open_page: OpenPage) -> None:
    model.replies[:] = stories(1)
    page = open_page(slow.url)
    page.click(WITH_PICTURE)
    page.wait_for_selector("text=I am beginning a long story.")
    page.click("button[role=tab]:has-text('Tools')")
    page.click("#va-tools button[role=tab]:has-text('Faces')")
    page.set_input_files("#va-tool-faces-image input[type=file]", ASSETS / "astronaut.jpg")
    page.wait_for_selector("#va-tool-faces-image img")
    page.click("#va-run-faces")
    page.wait_for_selector("#va-result-faces .va-region")
    page.click("button[role=tab]:has-text('Chat')")
    assert page.is_enabled("#va-stop")
    page.click("#va-stop")
    page.wait_for_selector("text=The answer was stopped")
