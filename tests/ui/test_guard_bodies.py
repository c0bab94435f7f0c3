"""Whose session a request names in its body: nobody has something done, or shown, on the page of another."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visagent.ui.badges import Badges
from visagent.ui.guard import LOOPBACK_HOSTS, MOST_BODY_BYTES, Guard
from visagent.ui.sessions import Sessions
from visagent.ui.uploads import Uploads

from .page_server import Server

HOME = "http://127.0.0.1"
JOIN, CANCEL = "/gradio_api/queue/join", "/gradio_api/cancel"
BADGES = Badges()

both = pytest.mark.parametrize("address", [JOIN, CANCEL])


async def _echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"got": body.decode(), "gone": await request.is_disconnected()})


@pytest.fixture
def guard(uploads: Uploads) -> Guard:
    app = Starlette(routes=[Route("/{path:path}", _echo, methods=["GET", "POST"])])
    return Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS)


@both
def test_a_session_is_of_who_used_it_first(visitor: TestClient, other: TestClient, address: str) -> None:
    told = {"data": ["a question"], "fn_index": 3, "session_hash": "mine1"}
    for _ in range(2):
        assert json.loads(visitor.post(address, json=told).json()["got"]) == told
    answer = other.post(address, json=told)
    assert (answer.status_code, answer.text) == (404, "Not found.")
    assert other.post(address, json={**told, "session_hash": "theirs1"}).status_code == 200


@both
def test_it_is_the_same_session_as_the_one_that_is_listened_to(visitor: TestClient, other: TestClient, address: str
                                                               ) -> None:
    assert visitor.get("/gradio_api/heartbeat/mine2").status_code == 200
    assert other.post(address, json={"session_hash": "mine2"}).status_code == 404
    assert other.post(address, json={"session_hash": "theirs2"}).status_code == 200
    assert visitor.get("/gradio_api/queue/data?session_hash=theirs2").status_code == 404


@both
@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"null", b"mine", b'"mine"', b'{"session_hash": null}', b'{"session_hash": 7}',
    b'{"session_hash": ["mine"]}', b'{"session_hash": ""}', b'{"session_hash": "mine\\n"}', b'{"data": [',
    b'{"session_hash": "../mine"}', b'{"data": {"session_hash": "mine"}}', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_body_that_names_none_is_refused(visitor: TestClient, address: str, body: bytes) -> None:
    answer = visitor.post(address, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.text) == (400, "The request names no session of the page.")


def test_a_session_named_twice_is_refused(visitor: TestClient, other: TestClient) -> None:
    """The guard and Gradio could take different ones for it."""
    other.post(JOIN, json={"session_hash": "theirs"})
    for one, two in (("mine", "theirs"), ("theirs", "mine")):
        body = f'{{"session_hash": "{one}", "session_hash": "{two}"}}'
        assert visitor.post(JOIN, content=body).status_code == 400


def test_another_encoding_is_read_as_gradio_reads_it(visitor: TestClient, other: TestClient) -> None:
    other.post(JOIN, json={"session_hash": "theirs"})
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        body = json.dumps({"session_hash": "theirs"}).encode(encoding)
        assert visitor.post(JOIN, content=body).status_code in (400, 404)


def test_a_body_reaches_the_app_whole_however_it_comes(guard: Guard, visitor: TestClient) -> None:
    told = json.dumps({"session_hash": "mine", "data": ["\u00e9" * 5000]}).encode()
    parts = [told[place:place + 777] for place in range(0, len(told), 777)]
    assert visitor.post(JOIN, content=iter(parts)).json() == {"got": told.decode(), "gone": False}


@both
def test_a_long_body_is_refused_before_all_of_it_has_come(guard: Guard, visitor: TestClient, address: str) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b'{"session_hash": "mine", "data": ["'
        for _ in range(100):
            taken += 1
            yield b"x" * (MOST_BODY_BYTES // 10)

    sent: list[Message] = []
    parts = endless()

    async def receive() -> Message:
        return {"type": "http.request", "body": next(parts), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    scope: Scope = {"type": "http", "method": "POST", "path": address, "query_string": b"", "scheme": "http",
                    "headers": [(b"host", b"127.0.0.1"), (b"cookie", cookie.encode())]}
    anyio.run(guard, scope, receive, send)
    assert sent[0]["status"] == 413 and taken <= 11
    headers = dict(sent[0]["headers"])
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]


def test_a_body_of_just_the_most_passes(visitor: TestClient) -> None:
    frame = len(json.dumps({"session_hash": "mine", "data": ""}))
    assert visitor.post(JOIN, content=json.dumps({"session_hash": "mine", "data": "x" * (MOST_BODY_BYTES - frame)})
                        ).status_code == 200
    assert visitor.post(JOIN, content=json.dumps({"session_hash": "mine", "data": "x" * (MOST_BODY_BYTES - frame + 1)})
                        ).status_code == 413


def _asked(app: ASGIApp, uploads: Uploads, visitor: TestClient, messages: list[Message]) -> None:
    """A request whose sender does what `messages` say."""
    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there to be answered")

    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    scope: Scope = {"type": "http", "method": "POST", "path": JOIN, "query_string": b"", "scheme": "http",
                    "headers": [(b"host", b"127.0.0.1"), (b"cookie", cookie.encode())]}
    anyio.run(Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS), scope, receive, send)


def test_who_leaves_in_the_middle_reaches_nothing(uploads: Uploads, visitor: TestClient) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the app was reached")

    _asked(app, uploads, visitor, [{"type": "http.request", "body": b'{"session', "more_body": True},
                                   {"type": "http.disconnect"}])


def test_who_leaves_later_is_noticed(uploads: Uploads, visitor: TestClient) -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([await receive(), await receive()])

    body = b'{"session_hash": "mine"}'
    _asked(app, uploads, visitor, [{"type": "http.request", "body": body[:9], "more_body": True},
                                   {"type": "http.request", "body": body[9:]}, {"type": "http.disconnect"}])
    assert heard == [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]


@pytest.mark.slow
def test_the_running_page_lets_nobody_join_the_session_of_another(server: Server) -> None:
    """Asked over HTTP, as somebody would who has read another's session off a screen."""
    with httpx.Client(base_url=server.url) as ada, httpx.Client(base_url=server.url) as eve:
        for client in (ada, eve):
            client.get("/")
        example = next(dependency for dependency in ada.get("/config").json()["dependencies"]
                       if any(target[1] == "load" for target in dependency["targets"]))
        told = {"data": [], "fn_index": example["id"], "trigger_id": None, "event_data": None}
        assert ada.post(JOIN, json={**told, "session_hash": "adas"}).status_code == 200
        for address in (JOIN, CANCEL):
            answer = eve.post(address, json={**told, "event_id": "x", "session_hash": "adas"})
            assert (answer.status_code, answer.text) == (404, "Not found.")
        assert eve.post(JOIN, json={**told, "session_hash": "eves"}).status_code == 200
        assert eve.get("/gradio_api/queue/data", params={"session_hash": "adas"}).status_code == 404
        with ada.stream("GET", "/gradio_api/queue/data", params={"session_hash": "adas"}) as events:
            assert any("process_completed" in line for line in events.iter_lines())
