"""What stands before Gradio: who may ask for what.

Gradio itself lets every user of an app read every cached file, and answers on many more addresses than this page
needs. This middleware lets through what the page uses, gives every browser an id that its pictures and its sessions of
Gradio are bound to, and refuses requests that another site sends through a visitor's browser.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visagent.ui.badges import Badges
from visagent.ui.sessions import Sessions
from visagent.ui.uploads import Uploads

MOST_BODY_BYTES: Final = 1_000_000
"""A request of the page is words, numbers and names of uploads; a longer one is refused while it arrives."""
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")

_PAGES = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(?:assets|static|svelte)/.+|/login|/logout|"
    r"/gradio_api/(?:queue/(?:join|data)|upload|upload_progress|heartbeat/\w+|startup-events|app_id|reset|cancel|"
    r"token)")
"""What the page asks for; everything else that Gradio offers (its API, proxies, history, monitoring) is not found."""
_FILE = re.compile(r"/(?:gradio_api/)?file=(.+)")
_UPLOAD = "/gradio_api/upload"
_SESSION = re.compile(r"/gradio_api/heartbeat/(\w+)")
_JOIN: Final = "/gradio_api/queue/join"
_NAMES_SESSION: Final = (_JOIN, "/gradio_api/cancel")
"""Where the body says for which session something shall be done: its answer goes to whoever listens to that one."""
_STREAM: Final = "/gradio_api/queue/data"
_LAST_WORD: Final = b'"close_stream"'
"""What Gradio sends to a page at the end of a stream of results, when it knows of nothing more to tell."""
_HEADERS: Final = {
    # Gradio's page needs inline scripts and styles; nothing may come from, or go to, another host.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
                               "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        badges: Gives each browser its id.
        uploads: Whose files are whose.
        sessions: Whose pages are whose.
        hosts: Names that the page may be asked for by: others are sites that point their own name at this machine.
    """

    def __init__(self, app: ASGIApp, badges: Badges, uploads: Uploads, sessions: Sessions, hosts: Iterable[str]
                 ) -> None:
        self._app = app
        self._badges = badges
        self._uploads = uploads
        self._hosts = frozenset(host.lower() for host in hosts)
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the request through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a page of Gradio 6 opens no web socket
            return
        headers = Headers(scope=scope)
        visitor = self._badges.read(headers.get("cookie", ""))
        refusal = self._refusal(scope, headers, visitor)
        if refusal is not None:
            await refusal(scope, receive, _Answer(send, None).send)
            return
        if visitor is not None and scope["method"] == "POST" and scope["path"] in _NAMES_SESSION:
            body = await _read(receive)
            if body is None:
                return
            refusal = self._refusal_of(body, visitor)
            if refusal is not None:
                await refusal(scope, receive, _Answer(send, None).send)
                return
            receive = _again(body, receive)
            if scope["path"] == _JOIN:
                # A page that reads the answer to a question before the last word of the stream waits in that stream
                # for the result, and for ever: it takes its stream for an open one. The question waits, not only its
                # answer: a page makes nothing of results that come before it.
                await asyncio.sleep(self._sessions.seconds_to_hold(_session_in(body) or ""))
        for session in _sessions(scope):  # one at most
            send = self._noting_the_last_word(session, send)
        badge = None if visitor is not None else self._badges.give(secure=scope["scheme"] == "https")
        answer = _Answer(send, badge)
        if scope["path"] == _UPLOAD and visitor is not None:
            answer.keep_body()
        await self._app(scope, receive, answer.send)
        if visitor is not None and answer.kept:
            self._uploads.register(visitor, _paths(answer.kept))

    def _refusal(self, scope: Scope, headers: Headers, visitor: str | None) -> PlainTextResponse | None:
        path, reading = scope["path"], scope["method"] in ("GET", "HEAD")
        if _host(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("This page is not served under that name.", 421)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and path != "/":
            return PlainTextResponse("Requests of other sites are refused.", 403)
        origin = headers.get("origin")
        if not reading and origin is not None and _site(origin) != headers.get("host"):
            return PlainTextResponse("Requests of other sites are refused.", 403)
        if match := _FILE.fullmatch(path):
            if not reading or visitor is None or not self._uploads.owns(visitor, match[1]):
                return _not_found()
        elif not _PAGES.fullmatch(path):
            return _not_found()
        elif path.startswith("/gradio_api/") and path != "/gradio_api/startup-events" and visitor is None:
            return PlainTextResponse("Open the page first: it gives your browser an id.", 403)
        sessions = _sessions(scope)
        # Twice the parameter: Gradio would take the other one.
        if visitor is not None and (len(sessions) > 1
                                    or any(self._sessions.owner_of(one, visitor) != visitor for one in sessions)):
            return _not_found()
        return None

    def _refusal_of(self, body: bytes, visitor: str) -> PlainTextResponse | None:
        """Why a request with this body is refused: it is too long, or names no session of this visitor's."""
        if len(body) > MOST_BODY_BYTES:
            return PlainTextResponse("That is too long.", 413)
        session = _session_in(body)
        if session is None:
            return PlainTextResponse("The request names no session of the page.", 400)
        return None if self._sessions.owner_of(session, visitor) == visitor else _not_found()

    def _noting_the_last_word(self, session: str, send: Send) -> Send:
        """Sends the stream of a session, and remembers when it ends."""
        async def noting(message: Message) -> None:
            if _LAST_WORD in message.get("body", b""):
                self._sessions.stream_ends(session)
            await send(message)

        return noting


class _Answer:
    """Passes the response on, with the headers and a cookie if one is given, and keeps its body where asked to."""

    def __init__(self, send: Send, badge: str | None) -> None:
        self._send = send
        self._badge = badge
        self._keeping = False
        self.kept = b""

    def keep_body(self) -> None:
        self._keeping = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if "cache-control" not in headers or headers.get("content-type", "").startswith("text/html"):
                headers["cache-control"] = "no-store"
            if self._badge is not None:
                headers.append("set-cookie", self._badge)
        elif self._keeping:
            self.kept += message.get("body", b"")
        await self._send(message)


def _host(header: str) -> str:
    return re.sub(r":\d+$", "", header).lower()


def _site(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _sessions(scope: Scope) -> list[str]:
    """Gradio's sessions that the request listens to or keeps alive: one, if it is a request of the page."""
    if match := _SESSION.fullmatch(scope["path"]):
        return [match[1]]
    if scope["path"] == _STREAM:
        return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
    return []


async def _read(receive: Receive) -> bytes | None:
    """The body of a request, or a beginning of it that is longer than it may be; None if its sender left."""
    body = bytearray()
    more = True
    while more and len(body) <= MOST_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read to who reads next, and then what comes after it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _session_in(body: bytes) -> str | None:
    """The session that a body names, read as Gradio does; None if it names none, or one name stands twice."""
    try:
        told = json.loads(body, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return None
    session = told.get("session_hash") if isinstance(told, dict) else None
    return session if isinstance(session, str) and re.fullmatch(r"\w+", session) else None


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):  # whoever reads it next might take the other one
        raise ValueError("a name stands twice")
    return dict(pairs)


def _paths(body: bytes) -> list[str]:
    try:
        paths = json.loads(body)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _not_found() -> PlainTextResponse:
    return PlainTextResponse("Not found.", 404)
