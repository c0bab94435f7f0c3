"""The guard before Gradio: what passes, what is refused, and whose files and sessions are whose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from visagent.ui.badges import COOKIE, Badges
from visagent.ui.guard import LOOPBACK_HOSTS, Guard
from visagent.ui.sessions import MOST_SESSIONS, Sessions
from visagent.ui.uploads import Uploads

HOME = "http://127.0.0.1"
UPLOAD = "/gradio_api/upload"
WELL_FORMED = f"{'x' * 43}.{'0' * 64}"
BADGES = Badges()

PASSES = [
    "/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/assets/index.js",
    "/static/img/logo.svg", "/svelte/svelte.js", "/gradio_api/startup-events", "/gradio_api/app_id",
    "/gradio_api/heartbeat/abc1", "/gradio_api/queue/data?session_hash=abc2", "/login", "/logout"]
REFUSED = [
    "/gradio_api/info", "/gradio_api/info/", "/info", "/gradio_api/openapi.json", "/gradio_api/api_info",
    "/gradio_api/runs", "/gradio_api/runs/x", "/gradio_api/call/x", "/gradio_api/call/x/y", "/call/x",
    "/gradio_api/run/x", "/gradio_api/run/predict", "/run/predict", "/gradio_api/api/predict", "/api/predict",
    "/gradio_api/proxy=http://example.org/", "/gradio_api/proxy=https://huggingface.co/x", "/proxy=http://x/",
    "/gradio_api/deep_link", "/deep_link", "/gradio_api/mcp/", "/gradio_api/mcp", "/gradio_api/mcp/sse",
    "/gradio_api/mcp/schema", "/monitoring", "/monitoring/x", "/gradio_api/monitoring", "/monitoring/summary",
    "/docs", "/redoc", "/openapi.json", "/gradio_api/stream/a/b/c/playlist.m3u8", "/gradio_api/file/etc/passwd",
    "/file/etc/passwd", "/gradio_api/component_server", "/gradio_api/queue/status", "/queue/join", "/queue/data",
    "/gradio_api/queue/join/x", "/gradio_api/heartbeat/", "/gradio_api/heartbeat/a/b", "/gradio_api/user",
    "/gradio_api/login_check", "/gradio_api/vibe-edit/", "/gradio_api/dev/reload", "/pwa_icon", "/custom_component/x",
    "/upload", "/static", "/assets/", "/config/x", "/gradio_api", "/gradio_api/", "/.git/config", "/%2e%2e/etc/passwd",
    "//", "/gradio_api//info", "/gradio_api/../gradio_api/info", "/%0a"]


@pytest.fixture
def guard(uploads: Uploads, folder: Path) -> Guard:
    return Guard(_everything(folder), BADGES, uploads, Sessions(), (*LOOPBACK_HOSTS, "Chat.Example"))


def _everything(folder: Path) -> Starlette:
    """An app that answers wherever it is asked, as Gradio does on more addresses than the page needs."""
    async def upload(request: Request) -> Response:
        paths = [str(_kept(folder, file.encode())) for file in (await request.body()).decode().split()]
        return JSONResponse(paths)

    async def file(request: Request) -> Response:
        return FileResponse(request.path_params["path"])

    async def page(request: Request) -> Response:
        return HTMLResponse("<p>page</p>", headers={"cache-control": "max-age=600"})

    async def static(request: Request) -> Response:
        return PlainTextResponse("code", headers={"cache-control": "max-age=600", "x-frame-options": "ALLOWALL"})

    async def anything(request: Request) -> Response:
        return JSONResponse({"reached": request.url.path})

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
    return Starlette(routes=[
        Route(UPLOAD, upload, methods=["POST"]), Route("/gradio_api/file={path:path}", file, methods=methods),
        Route("/file={path:path}", file, methods=methods), Route("/", page, methods=methods),
        Route("/assets/{path:path}", static, methods=methods), Route("/{path:path}", anything, methods=methods)])


def _kept(folder: Path, data: bytes) -> Path:
    path = folder / f"hash-of-{data.decode()}" / "face.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _sent(visitor: TestClient, *files: str) -> list[str]:
    paths: list[str] = visitor.post(UPLOAD, content=" ".join(files)).json()
    return paths


def _badge(visitor: TestClient) -> str:
    return BADGES.read(f"{COOKIE}={visitor.cookies[COOKIE]}") or ""


class TestHosts:
    @pytest.mark.parametrize("host", [
        "127.0.0.1", "127.0.0.1:7860", "localhost", "LocalHost:80", "[::1]", "[::1]:7860", "chat.example:443"])
    def test_the_names_of_the_page_are_served(self, guard: Guard, host: str) -> None:
        assert TestClient(guard, base_url=HOME).get("/", headers={"host": host}).status_code == 200

    @pytest.mark.parametrize("host", [
        "evil.example", "127.0.0.1.evil.example", "evil.example:7860", "127.0.0.1:7860.evil.example", "", "::1",
        "localhost.", "127.0.0.1:", "127.0.0.1:x", "user@127.0.0.1", "127.0.0.2", "0.0.0.0"])
    @pytest.mark.parametrize("path", ["/", "/assets/index.js", "/gradio_api/queue/join"])
    def test_another_name_that_leads_here_is_refused(self, visitor: TestClient, host: str, path: str) -> None:
        answer = visitor.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "set-cookie" not in answer.headers and "reached" not in answer.text


class TestCookie:
    def test_a_browser_gets_one_that_scripts_and_other_sites_cannot_use(self, guard: Guard) -> None:
        (cookie,) = TestClient(guard, base_url=HOME).get("/").headers.get_list("set-cookie")
        parts = [part.strip() for part in cookie.split(";")]
        assert re.fullmatch(rf"{COOKIE}=[A-Za-z0-9_-]{{43}}\.[0-9a-f]{{64}}", parts[0])
        assert set(parts[1:]) == {"Path=/", "HttpOnly", "SameSite=Lax"}

    def test_over_tls_it_never_travels_in_the_clear(self, guard: Guard) -> None:
        cookie = TestClient(guard, base_url="https://127.0.0.1").get("/").headers["set-cookie"]
        assert "Secure" in [part.strip() for part in cookie.split(";")]

    def test_it_is_given_once(self, visitor: TestClient) -> None:
        before = visitor.cookies[COOKIE]
        for path in ("/", "/config", "/assets/index.js", "/gradio_api/app_id"):
            assert "set-cookie" not in visitor.get(path).headers
        assert visitor.cookies[COOKIE] == before

    def test_every_browser_gets_another(self, guard: Guard) -> None:
        given = {TestClient(guard, base_url=HOME).get("/").cookies[COOKIE] for _ in range(20)}
        assert len(given) == 20

    @pytest.mark.parametrize("value", [
        "", "x", "x" * 42, "x" * 44, "x" * 42 + "/", "x" * 42 + ".", f'"{"x" * 42}\\""', "é" * 43, f"{'x' * 42} ",
        "visagent", "x" * 4000])
    def test_a_value_that_this_page_never_gives_is_replaced(self, guard: Guard, value: str) -> None:
        header = f"{COOKIE}={value}".encode()
        client = TestClient(guard, base_url=HOME)
        answer = client.get("/", headers={b"cookie": header})
        assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")
        assert client.post("/gradio_api/queue/join", headers={b"cookie": header}).status_code == 403

    def test_a_cookie_of_another_page_is_none(self, guard: Guard) -> None:
        answer = TestClient(guard, base_url=HOME).get("/", headers={"cookie": f"other={WELL_FORMED}"})
        assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")

    def test_it_is_found_among_others_however_odd(self) -> None:
        given = BADGES.give(secure=False).split(";")[0]
        badge = given.split("=")[1].split(".")[0]
        for header in (given, f"a=1; {given}; b=2", f"{given};x=1", f'foo={{"a":1}}; {given}', f"version=1; {given}",
                       f"a=b c; {given}", f"{COOKIE}={WELL_FORMED}; {given}"):
            assert BADGES.read(header) == badge
        for header in ("", "a=1", given.replace(COOKIE, f"{COOKIE}x"), f"{COOKIE}", ";;;", "=", f"a={given}"):
            assert BADGES.read(header) is None

    def test_one_that_this_process_never_gave_is_replaced(self, guard: Guard) -> None:
        """Another page of this machine could have set it, to know whose conversations to ask for."""
        for header in (f"{COOKIE}={WELL_FORMED}", Badges().give(secure=False).split(";")[0]):
            answer = TestClient(guard, base_url=HOME).get("/", headers={"cookie": header})
            assert answer.headers["set-cookie"].startswith(f"{COOKIE}=")

    def test_without_one_the_page_opens_and_nothing_else_works(self, guard: Guard, uploads: Uploads) -> None:
        for path in ("/", "/config", "/theme.css", "/assets/index.js", "/gradio_api/startup-events"):
            assert TestClient(guard, base_url=HOME).get(path).status_code == 200
        for path in ("/gradio_api/queue/join", UPLOAD, "/gradio_api/cancel", "/gradio_api/reset"):
            answer = TestClient(guard, base_url=HOME).post(path, content="face")
            assert answer.status_code == 403 and "Open the page first" in answer.text
        for path in ("/gradio_api/queue/data?session_hash=a", "/gradio_api/heartbeat/a", "/gradio_api/app_id"):
            assert TestClient(guard, base_url=HOME).get(path).status_code == 403


class TestAddresses:
    @pytest.mark.parametrize("path", PASSES)
    def test_what_the_page_uses_passes(self, visitor: TestClient, path: str) -> None:
        assert visitor.get(path).status_code == 200

    @pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"])
    def test_what_the_page_sends_passes(self, visitor: TestClient, path: str) -> None:
        assert visitor.post(path, json={"session_hash": "abc"}, headers={"origin": HOME}).json() == {"reached": path}

    @pytest.mark.parametrize("path", REFUSED)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_what_else_gradio_offers_is_not_found(self, visitor: TestClient, path: str, method: str) -> None:
        answer = visitor.request(method, HOME + path)
        assert (answer.status_code, answer.text) == (404, "Not found.")

    def test_the_unescaped_path_counts(self, guard: Guard, visitor: TestClient) -> None:
        """Percent signs hide nothing: an address that is read as another one is judged as that one."""
        assert visitor.get("/gradio_api/%69nfo").status_code == 404
        assert visitor.get("/%63onfig").json() == {"reached": "/config"}

    def test_a_line_end_hides_nothing(self, guard: Guard) -> None:
        assert TestClient(guard, base_url=HOME).get("/config%0a").status_code == 404
        assert TestClient(guard, base_url=HOME).get("/assets/x%0a/../../gradio_api/info").status_code == 404

    def test_no_web_socket_is_opened(self, guard: Guard) -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        import anyio
        scope: Scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"127.0.0.1")], "query_string": b""}
        anyio.run(guard, scope, receive, send)
        assert sent == []

    def test_starting_and_stopping_reach_the_app(self, uploads: Uploads) -> None:
        seen: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])
            for _ in range(2):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})

        with TestClient(Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS), base_url=HOME):
            assert seen == ["lifespan"]


class TestOtherSites:
    @pytest.mark.parametrize("origin", [
        "http://evil.example", "http://127.0.0.1:9999", "http://127.0.0.1.evil.example", "null", "", "http://localhost",
        "127.0.0.1", "http://user@127.0.0.1", "file://"])
    @pytest.mark.parametrize("path", ["/gradio_api/queue/join", UPLOAD, "/login", "/"])
    def test_a_post_from_another_origin_is_refused(self, visitor: TestClient, origin: str, path: str) -> None:
        answer = visitor.post(path, content="face", headers={"origin": origin})
        assert (answer.status_code, answer.text) == (403, "Requests of other sites are refused.")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
    def test_so_is_every_other_method_that_may_change_something(self, visitor: TestClient, method: str) -> None:
        answer = visitor.request(method, "/gradio_api/queue/join", headers={"origin": "http://evil.example"})
        assert answer.status_code == 403

    def test_the_pages_own_origin_passes_with_its_port(self, guard: Guard) -> None:
        with TestClient(guard, base_url="http://localhost:7860") as visitor:
            visitor.get("/")
            for origin, expected in (("http://localhost:7860", 200), ("http://localhost:7861", 403)):
                answer = visitor.post("/gradio_api/queue/join", json={"session_hash": "a"}, headers={"origin": origin})
                assert answer.status_code == expected

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
    @pytest.mark.parametrize(("method", "path"), [
        ("POST", "/gradio_api/queue/join"), ("POST", UPLOAD), ("GET", "/gradio_api/queue/data?session_hash=a"),
        ("GET", "/config"), ("GET", "/assets/index.js"), ("GET", "/logout"), ("POST", "/login")])
    def test_what_a_browser_marks_as_another_sites_is_refused(self, visitor: TestClient, site: str, method: str,
                                                              path: str) -> None:
        answer = visitor.request(method, path, headers={"sec-fetch-site": site})
        assert answer.status_code == 403

    def test_a_link_to_the_page_works_from_everywhere(self, visitor: TestClient) -> None:
        assert visitor.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_what_the_page_itself_asks_for_passes(self, visitor: TestClient, site: str) -> None:
        answer = visitor.post("/gradio_api/queue/join", json={"session_hash": "a"},
                              headers={"origin": HOME, "sec-fetch-site": site})
        assert answer.status_code == 200

    def test_a_refused_upload_belongs_to_nobody(self, visitor: TestClient, folder: Path) -> None:
        visitor.post(UPLOAD, content="face", headers={"origin": "http://evil.example"})
        assert list(folder.iterdir()) == []


class TestFiles:
    def test_an_upload_is_readable_by_who_sent_it_only(self, visitor: TestClient, other: TestClient,
                                                       guard: Guard) -> None:
        paths = _sent(visitor, "one", "two")
        for prefix in ("/gradio_api/file=", "/file="):
            assert [visitor.get(prefix + path).content for path in paths] == [b"one", b"two"]
            for stranger in (other, TestClient(guard, base_url=HOME)):
                answers = [stranger.get(prefix + path) for path in paths]
                assert [(answer.status_code, answer.text) for answer in answers] == [(404, "Not found.")] * 2

    def test_the_same_file_of_two_visitors_is_readable_by_both(self, visitor: TestClient, other: TestClient) -> None:
        (path,) = _sent(visitor, "one")
        _sent(other, "one")
        assert [client.get(f"/gradio_api/file={path}").status_code for client in (visitor, other)] == [200, 200]

    def test_it_is_gone_once_it_was_used(self, visitor: TestClient, uploads: Uploads) -> None:
        (path,) = _sent(visitor, "one")
        uploads.take(_badge(visitor), path)
        assert visitor.get(f"/gradio_api/file={path}").status_code == 404

    def test_other_files_of_the_machine_are_not_found(self, visitor: TestClient, tmp_path: Path,
                                                      folder: Path) -> None:
        (path,) = _sent(visitor, "one")
        secret = tmp_path / "private" / "secret.txt"
        secret.parent.mkdir()
        secret.write_text("secret")
        for name in (str(secret), "/etc/passwd", f"{Path(path).parent}/../../private/secret.txt", str(folder),
                     "http://evil.example/x", "", "%00", f"{path}%00", f"{path}%0a"):
            for prefix in ("/gradio_api/file=", "/file="):
                answer = visitor.get(prefix + name)
                assert (answer.status_code, answer.text) == (404, "Not found."), name

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
    def test_files_are_only_read(self, visitor: TestClient, method: str) -> None:
        (path,) = _sent(visitor, "one")
        assert visitor.request(method, f"/gradio_api/file={path}").status_code == 404
        assert visitor.head(f"/gradio_api/file={path}").status_code == 200

    @pytest.mark.parametrize("body", [
        b"", b"no json", b'{"detail": "refused"}', b"[1, null, {}]", b'"text"', b"\xff\xfe", b"null", b"17"])
    def test_an_answer_that_names_no_files_registers_none(self, uploads: Uploads, body: bytes) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse(body)(scope, receive, send)

        visitor = TestClient(Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS), base_url=HOME)
        visitor.get("/")
        assert visitor.post(UPLOAD).content == body

    def test_an_answer_that_comes_in_pieces_is_put_together(self, uploads: Uploads, folder: Path) -> None:
        path = _kept(folder, b"one")
        body = json.dumps([str(path), 3, None]).encode()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for place in range(0, len(body), 5):
                await send({"type": "http.response.body", "body": body[place:place + 5], "more_body": True})
            await send({"type": "http.response.body"})

        visitor = TestClient(Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS), base_url=HOME)
        visitor.get("/")
        visitor.post(UPLOAD)
        assert uploads.owns(_badge(visitor), str(path))

    def test_only_the_upload_address_makes_an_owner(self, uploads: Uploads, folder: Path) -> None:
        """Another answer may well name a path: that of a file that somebody else sent."""
        path = _kept(folder, b"one")

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await JSONResponse([str(path)])(scope, receive, send)

        visitor = TestClient(Guard(app, BADGES, uploads, Sessions(), LOOPBACK_HOSTS), base_url=HOME)
        visitor.get("/")
        visitor.post("/gradio_api/queue/join", json={"session_hash": "a"})
        visitor.get("/gradio_api/upload_progress")
        assert not uploads.owns(_badge(visitor), str(path))


@pytest.mark.parametrize("address", ["/gradio_api/queue/data?session_hash={}", "/gradio_api/heartbeat/{}",
                                     "/gradio_api/queue/data?a=b&session_hash={}"])
class TestSessions:
    def test_a_session_is_of_who_used_it_first(self, visitor: TestClient, other: TestClient, address: str) -> None:
        path = address.format("mine1")
        assert [visitor.get(path).status_code for _ in range(2)] == [200, 200]
        answer = other.get(path)
        assert (answer.status_code, answer.text) == (404, "Not found.")
        assert visitor.get(path).status_code == 200

    def test_a_session_of_one_address_is_one_of_the_other_too(self, visitor: TestClient, other: TestClient,
                                                              address: str) -> None:
        visitor.get(address.format("mine2"))
        for path in ("/gradio_api/queue/data?session_hash=mine2", "/gradio_api/heartbeat/mine2"):
            assert other.get(path).status_code == 404

    def test_each_visitor_may_have_several(self, visitor: TestClient, other: TestClient, address: str) -> None:
        for client, session in ((visitor, "a"), (other, "b"), (visitor, "c"), (other, "d")):
            assert client.get(address.format(session)).status_code == 200


def test_only_so_many_sessions_are_remembered(guard: Guard, visitor: TestClient) -> None:
    for number in range(MOST_SESSIONS + 10):
        guard._sessions.owner_of(f"session{number}", "somebody")
    assert len(guard._sessions._owners) == MOST_SESSIONS
    assert visitor.get(f"/gradio_api/heartbeat/session{MOST_SESSIONS + 9}").status_code == 404


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/assets/index.js", "/config", "/gradio_api/app_id", "/login"])
    def test_every_answer_of_the_page_carries_them(self, visitor: TestClient, path: str) -> None:
        headers = visitor.get(path).headers
        policy = _policy(headers)
        assert policy["frame-ancestors"] == ["'none'"] and policy["object-src"] == ["'none'"]
        assert policy["base-uri"] == policy["form-action"] == ["'self'"]
        assert headers["x-frame-options"] == "DENY", "also where the app itself says something else"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=(self)" in headers["permissions-policy"] and "microphone=()" in headers["permissions-policy"]

    def test_nothing_may_come_from_or_go_to_another_host(self, visitor: TestClient) -> None:
        sources = {source for part in _policy(visitor.get("/").headers).values() for source in part}
        assert sources <= {"'self'", "'unsafe-inline'", "'unsafe-eval'", "'none'", "data:", "blob:"}
        assert "default-src" in _policy(visitor.get("/").headers)

    def test_an_upload_carries_them_too(self, visitor: TestClient) -> None:
        (path,) = _sent(visitor, "one")
        headers = visitor.get(f"/gradio_api/file={path}").headers
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"

    def test_no_browser_keeps_what_is_not_meant_to_be_kept(self, visitor: TestClient) -> None:
        assert visitor.get("/").headers["cache-control"] == "no-store", "also if the app would let it be kept"
        assert visitor.get("/config").headers["cache-control"] == "no-store"
        assert visitor.get("/assets/index.js").headers["cache-control"] == "max-age=600"


def _policy(headers: Any) -> dict[str, list[str]]:
    text = Headers(headers)["content-security-policy"]
    return {name: sources for name, *sources in (part.split() for part in text.split(";"))}


def test_a_session_named_twice_is_not_found(visitor: TestClient, other: TestClient) -> None:
    """The guard and Gradio could take different ones for it."""
    other.get("/gradio_api/queue/data?session_hash=theirs")
    for address in ("session_hash=mine&session_hash=theirs", "session_hash=theirs&session_hash=mine"):
        assert visitor.get(f"/gradio_api/queue/data?{address}").status_code == 404


def test_refusals_carry_the_same_protection(visitor: TestClient) -> None:
    for answer in (visitor.get("/", headers={"host": "evil.example"}), visitor.get("/gradio_api/info"),
                   visitor.post("/gradio_api/queue/join", headers={"origin": "http://["})):
        assert answer.status_code in (421, 404, 403)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store" and "set-cookie" not in answer.headers
