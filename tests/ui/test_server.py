"""What the server gives away and what it does not: asked by plain HTTP, as anybody on the machine could."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from visagent.errors import SettingsError
from visagent.settings import load_settings
from visagent.ui.blocks import page_arguments
from visagent.ui.server import Address, _absolute, is_loopback

from .page_server import ASSETS, Server, serving

Visit = Callable[[Server], httpx.Client]

pytestmark = pytest.mark.slow


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Opens the page as a new browser."""
    with ExitStack() as opened:
        def visitor(server: Server) -> httpx.Client:
            client = opened.enter_context(httpx.Client(base_url=server.url, timeout=30))
            assert client.get("/").status_code == 200
            assert client.cookies
            return client

        yield visitor


def test_gradio_is_told_to_share_record_and_send_nothing(tmp_path: Path) -> None:
    arguments = page_arguments(Address(), [tmp_path / "gallery"])
    assert {key: arguments[key] for key in arguments if key not in ("theme", "css", "js")} == {
        "server_name": "127.0.0.1", "auth": None, "allowed_paths": [], "blocked_paths": [str(tmp_path / "gallery")],
        "show_error": False, "max_file_size": 100_000_000, "ssr_mode": False, "run_history": False,
        "enable_monitoring": False, "pwa": False, "mcp_server": False, "footer_links": []}
    assert "http" not in arguments["css"] and "http" not in arguments["js"]
    with_user = page_arguments(Address("0.0.0.0", user="ada", password="correct horse battery"), [])
    assert with_user["auth"] == ("ada", "correct horse battery")


def test_no_file_of_the_machine_is_served(server: Server, visit: Visit) -> None:
    client = visit(server)
    server.gallery.mkdir(exist_ok=True)
    secret = server.gallery / "master.key"
    if not secret.exists():
        secret.write_text("secret")
    settings = server.gallery.parent / "config" / "visagent" / "visagent.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("")
    for path in (secret, settings, Path("/etc/passwd"), Path(__file__), ASSETS / "astronaut.jpg"):
        for address in (f"/gradio_api/file={path}", f"/file={path}", f"/gradio_api/file=/..{path}",
                        f"/static/../../..{path}", f"/assets/..%2f..%2f..{path}", f"/gradio_api/proxy={path}",
                        f"/gradio_api/stream/{path}"):
            assert client.get(address).status_code in (403, 404), address


def test_an_upload_is_its_owners_alone(server: Server, visit: Visit) -> None:
    one, other = visit(server), visit(server)
    files = {"files": ("secret name.jpg", (ASSETS / "astronaut.jpg").read_bytes() + b"one")}
    (path,) = one.post("/gradio_api/upload", files=files).json()
    assert one.get(f"/gradio_api/file={path}").status_code == 200
    assert other.get(f"/gradio_api/file={path}").status_code == 404
    assert httpx.get(f"{server.url}gradio_api/file={path}").status_code == 404
    assert Path(path).stat().st_mode & 0o077 == 0 or Path(path).parents[2].stat().st_mode & 0o077 == 0
    assert httpx.post(f"{server.url}gradio_api/upload", files=files).status_code == 403  # never opened the page


def test_a_percent_sign_in_a_files_name_is_one(server: Server, visit: Visit) -> None:
    client = visit(server)
    (path,) = client.post("/gradio_api/upload", files={"files": ("a%41.jpg", b"data of its own")}).json()
    assert client.get(f"/gradio_api/file={path.replace('%', '%25')}").status_code == 200


def test_what_the_page_does_not_need_is_not_there(server: Server, visit: Visit) -> None:
    client = visit(server)
    for address in ("/gradio_api/info", "/gradio_api/runs", "/gradio_api/openapi.json", "/docs", "/openapi.json",
                    "/monitoring", "/gradio_api/mcp/", "/gradio_api/mcp/sse", "/gradio_api/deep_link",
                    "/gradio_api/call/submit/x", "/gradio_api/vibe-code/", "/gradio_api/proxy=https://example.org",
                    "/gradio_api/component_server", "/pwa_icon", "/monitoring/x"):
        assert client.get(address).status_code == 404, address
    for address in ("/gradio_api/call/submit", "/gradio_api/run/submit", "/gradio_api/api/submit",
                    "/gradio_api/process_recording", "/gradio_api/component_server"):
        assert client.post(address, json={"data": []}).status_code == 404, address


def test_other_names_and_other_sites_are_refused(server: Server, visit: Visit) -> None:
    client = visit(server)
    assert client.get("/", headers={"host": "evil.example:7860"}).status_code == 421
    join = {"data": [], "fn_index": 0, "session_hash": "abc"}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert client.post("/gradio_api/queue/join", json=join, headers=headers).status_code == 403
    answer = client.get("/")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert "set-cookie" not in answer.headers
    given = httpx.get(server.url).headers["set-cookie"]
    assert "HttpOnly" in given and "SameSite=Lax" in given


@pytest.mark.parametrize(("address", "problem"), [
    (Address("0.0.0.0"), "set a user and a password"), (Address("192.168.1.5"), "set a user"),
    (Address("::"), "set a user"), (Address("example.org"), "set a user"),
    (Address(user="ada"), "password"), (Address(user="ada", password="short"), "12 characters"),
    (Address(certificate=Path("c.pem")), "key")])
def test_faces_are_not_served_to_everybody(address: Address, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        address.check()


def test_loopback_and_passwords_are_accepted() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert is_loopback(host)
        Address(host).check()
    Address("0.0.0.0", user="ada", password="correct horse battery").check()
    assert "horse" not in repr(Address(password="correct horse battery"))


def test_paths_of_the_settings_stay_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    whole = _absolute(load_settings({"gallery": "people", "calibration": Path("c.json"), "model": "model"}))
    assert whole.gallery == str(tmp_path / "people")
    assert whole.calibration == tmp_path / "c.json"
    assert whole.model == str(tmp_path / "model")
    assert _absolute(load_settings({"gallery": "postgresql://h/x"})).gallery == "postgresql://h/x"


def test_another_host_asks_for_the_password(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse battery\n")
    with serving(tmp_path, "--host", "0.0.0.0", "--user", "ada", "--password-file",
                 str(tmp_path / "secret")) as running, httpx.Client(base_url=running.url) as client:
        client.get("/")
        assert client.get("/config").status_code == 401
        assert client.post("/login", data={"username": "ada", "password": "wrong"}).status_code == 400
        assert client.post("/login", data={"username": "ada", "password": "correct horse battery"}).status_code == 200
        assert client.get("/config").status_code == 200


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(tmp_path: Path, visit: Visit, end: signal.Signals) -> None:
    with serving(tmp_path) as running:
        (folder,) = tmp_path.glob("visagent-chat-*")
        visit(running).post("/gradio_api/upload", files={"files": ("a.jpg", (ASSETS / "astronaut.jpg").read_bytes())})
        assert list((folder / "uploads").rglob("a.jpg"))
        running.process.send_signal(end)
        running.process.wait(20)
        assert not folder.exists()


def test_what_a_killed_page_left_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        (folder,) = tmp_path.glob("visagent-chat-*")
        running.process.kill()
        running.process.wait(20)
    assert folder.exists()
    with serving(tmp_path):
        assert not folder.exists()


def test_the_folder_is_private_and_a_taken_port_is_said(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        (folder,) = tmp_path.glob("visagent-chat-*")
        assert folder.stat().st_mode & 0o077 == 0
        port = running.url.rsplit(":", 1)[1].strip("/")
        second = subprocess.run([sys.executable, "-m", "visagent", "chat", "--no-browser", "--port", port],
                                capture_output=True, text=True, timeout=60)
        assert second.returncode == 1 and "port is taken" in second.stderr
