"""`visagent private ...` from keys to answers, with both servers as processes, and the tool in a conversation."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from visagent.agent import Agent
from visagent.agent.engines.scripted import ScriptedEngine
from visagent.cli import app
from visagent.media import load_picture
from visagent.settings import Settings
from visagent.tools import tool_by_name
from visagent.tools.private_match.local import LocalServers

PORTRAIT = str(files("visagent") / "assets" / "astronaut.jpg")
MAN = str(files("visagent") / "assets" / "astronaut-replay.jpg")
ENROL = ["--purpose", "a test", "--consent", "form 7"]
IDENTIFY = '<tool_call>{"name": "identify", "arguments": {"image": "image_1"}}</tool_call>'


def run(words: list[str], *, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["private", *words])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of all parties, with the astronaut enrolled."""
    where = tmp_path_factory.mktemp("private")
    run(["keygen", "--folder", str(where), "--server-1", f"127.0.0.1:{free_port()}",
         "--server-2", f"localhost:{free_port()}"])
    said = run(["enrol", PORTRAIT, "--person", "Eileen Collins", *ENROL, "--folder", str(where), "--queries", "20"])
    assert "1 person encrypted for both servers (shared), good for 20 questions" in said.stdout
    return where


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[LocalServers]:
    with LocalServers(folder) as both:
        yield both


@pytest.mark.slow
def test_who_is_enrolled_is_named(folder: Path, servers: LocalServers) -> None:
    said = run(["identify", PORTRAIT, "--folder", str(folder)]).stdout
    assert "private_identify: Eileen Collins" in said and "Neither server saw the face" in " ".join(said.split())
    line = json.loads(run(["identify", PORTRAIT, "--folder", str(folder / "user"), "--json"]).stdout)
    assert line["answer"] == "Eileen Collins" and line["input"] == [PORTRAIT]
    assert [score["name"] for score in line["scores"]] == ["attack score", "border score"], "no similarity is told"
    assert "spoof" in run(["identify", MAN, "--folder", str(folder)]).stdout
    assert "Eileen" not in (folder / "user" / "terms.json").read_text()


@pytest.mark.slow
def test_a_conversation_asks_privately_where_the_words_do(folder: Path, servers: LocalServers) -> None:
    settings = Settings(engine="scripted", private=folder / "user", gallery=str(folder / "own"))
    picture = load_picture(PORTRAIT)
    nobody = str(folder / "own")

    def ask(question: str) -> str:
        engine = ScriptedEngine(script=[IDENTIFY, ""], hands_on_findings=True,
                                known_tools=("identify",))
        return Agent(settings, engine=engine).ask(question, [picture]).text

    assert "Eileen Collins" in ask("Who is this? Ask without showing anybody the face.")
    assert "Eileen Collins" in ask("Who is she, by the private gallery?")
    assert "nobody is enrolled" in ask("Who is this?"), nobody


def test_without_a_private_gallery_the_tool_says_so_and_is_not_offered() -> None:
    engine = ScriptedEngine(script=["No."])
    agent = Agent(Settings(engine="scripted"), engine=engine)
    agent.ask("Who is this, privately?", [load_picture(PORTRAIT)])
    assert "private_identify" not in engine.tools_seen[0] and "identify" in engine.tools_seen[0]
    assert tool_by_name("private_identify").is_set_up(Settings(private=Path("x")))


@pytest.mark.parametrize(("words", "message"), [
    (["identify", PORTRAIT], "make the keys"), (["publish"], "make the keys"),
    (["enrol", PORTRAIT, "--person", "Ada", *ENROL], "make the keys"),
    (["forget", "--person", "Ada"], "make the keys"), (["serve", "--party", "1"], "keys"),
    (["keygen", "--bits", "512"], "2048 or 3072"), (["keygen", "--bits", "big"], "not a number"),
    (["keygen", "--server-1", "somewhere"], "HOST:PORT")])
def test_what_cannot_be_done_is_said_in_a_line(words: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["private", *words, "--folder", str(tmp_path / "none")])
    assert result.exit_code in (1, 2) and message in " ".join(result.output.split())
    assert not (tmp_path / "none" / "authority" / "gallery").exists()


@pytest.mark.slow
def test_a_person_forgotten_is_gone_from_both_servers(tmp_path: Path) -> None:
    run(["keygen", "--folder", str(tmp_path)])
    run(["enrol", PORTRAIT, "--person", "Ada", *ENROL, "--folder", str(tmp_path), "--queries", "1"])
    said = run(["forget", "--person", "Ada", "--folder", str(tmp_path)]).output
    assert "Nobody is enrolled" in said and "Old copies" in said
    assert not list(tmp_path.glob("server-*/records.sqlite"))


def test_servers_that_cannot_start_say_why(tmp_path: Path) -> None:
    run(["keygen", "--folder", str(tmp_path)])
    said = run(["identify", PORTRAIT, "--folder", str(tmp_path), "--start"], status=1).output
    assert "did not start" in said and "publish" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_server_outlives_the_command_that_started_it(number: signal.Signals, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    for role, ports in (("server-1", (1, 2)), ("server-2", (2, 1))):
        file = tmp_path / "copy" / role / "key.json"
        content = json.loads(file.read_text())
        content["here"]["port"], content["peer"]["port"] = (free_port() for _ in ports)
        file.write_text(json.dumps(content))
    command = [sys.executable, "-m", "visagent", "private", "serve", "--folder", str(tmp_path / "copy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "Both servers listen" in process.stdout.readline()
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        children = [int(child) for child in listed.split()]
        assert len(children) == 2
        process.send_signal(number)
        process.wait(20)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}/cmdline").exists()]
