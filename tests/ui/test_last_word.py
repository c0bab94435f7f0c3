"""A question asked in the very moment in which the page's stream of results ends is answered.

Gradio's page opens a new stream only if it knows that the last one has ended. What tells it so travels on another
connection than the answer to the question, and may be the slower one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from visagent.ui.badges import Badges
from visagent.ui.guard import LOOPBACK_HOSTS, Guard
from visagent.ui.sessions import HOLD_SECONDS, Sessions
from visagent.ui.uploads import Uploads

from .page_server import Server
from .test_browser import wait_for_answer

if TYPE_CHECKING:

    from playwright.sync_api import Page

LATE_SECONDS = HOLD_SECONDS / 2
LAST_WORD = b'"close_stream"'
CLICK_WHEN_PAINTED = """new MutationObserver((_, observer) => {
    if (!document.querySelector('#va-evidence .va-empty')) return;
    observer.disconnect();
    document.querySelector('#va-example-1').click();
}).observe(document, {childList: true, subtree: true});"""


@contextmanager
def slow_last_word(port: int) -> Iterator[int]:
    """The port of a line to a server on which the last word of a stream is late, and nothing else is."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = [listener]

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                at = data.rfind(b"data:", 0, data.find(LAST_WORD) + 1) if LAST_WORD in data else len(data)
                target.sendall(data[:at])
                if data[at:]:
                    time.sleep(LATE_SECONDS)
                    target.sendall(data[at:])
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def take() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                called = socket.create_connection(("127.0.0.1", port))
                open_sockets.extend((caller, called))
                for ends in ((caller, called), (called, caller)):
                    threading.Thread(target=carry, args=ends, daemon=True).start()

    threading.Thread(target=take, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for end in open_sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.mark.slow
def test_an_example_clicked_as_soon_as_the_page_is_painted(server: Server, open_page: Callable[..., Page]) -> None:
    with slow_last_word(int(server.url.rstrip("/").rsplit(":", 1)[1])) as port:
        page = open_page(f"http://127.0.0.1:{port}/", script=CLICK_WHEN_PAINTED)
        wait_for_answer(page)
        page.goto("about:blank")


@pytest.fixture
def reached() -> list[float]:
    """When questions came through the guard."""
    return []


@pytest.fixture
def guard(uploads: Uploads, reached: list[float]) -> Guard:
    """Before a stream that tells its last word when it is read."""
    async def stream(request: Request) -> Response:
        return PlainTextResponse('data: {"msg":"close_stream","event_id":null}\n\n')

    async def join(request: Request) -> Response:
        reached.append(time.monotonic())
        return PlainTextResponse('{"event_id": "e"}')

    paths = ["/gradio_api/queue/join", "/gradio_api/cancel", "/"]
    app = Starlette(routes=[Route("/gradio_api/queue/data", stream), *(Route(path, join, methods=["GET", "POST"])
                                                                       for path in paths)])
    return Guard(app, Badges(), uploads, Sessions(), LOOPBACK_HOSTS)


def test_a_question_waits_until_its_own_page_has_heard_the_last_word(visitor: TestClient, reached: list[float]
                                                                    ) -> None:
    def ask(session: str, path: str = "queue/join") -> float:
        begun = time.monotonic()
        assert visitor.post(f"/gradio_api/{path}", json={"session_hash": session}).status_code == 200
        return reached[-1] - begun

    assert ask("mine") < HOLD_SECONDS / 2
    begun = time.monotonic()
    assert visitor.get("/gradio_api/queue/data?session_hash=mine").text
    assert max(ask("other"), ask("mine", "cancel")) < HOLD_SECONDS / 2
    ask("mine")
    assert reached[-1] - begun >= HOLD_SECONDS
    assert ask("mine") < HOLD_SECONDS / 2
