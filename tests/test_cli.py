"""The command line as a person meets it: what is printed where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import typer
from PIL import Image
from pydantic import Field
from typer.testing import CliRunner

import visagent
from visagent.agent.engines.scripted import ScriptedEngine
from visagent.cli import app
from visagent.cli.options import takes_settings
from visagent.cli.tools import tool_command, tool_examples
from visagent.errors import EngineError, EngineUnavailable
from visagent.evidence import ArtifactKind, Box, Direction, Finding, ModelIdentity, Region, Score, abstain
from visagent.tools import TOOLS
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput

ROOT = Path(__file__).parents[1]
# The package under test, also where it is not installed and the test works in another folder.
ENVIRONMENT = {**{name: value for name, value in os.environ.items() if not name.startswith("VISAGENT_")},
               "PYTHONPATH": str(Path(visagent.__file__).parents[1])}
CALL = '<tool_call>{"name": "glow", "arguments": {"image": "image_1"}}</tool_call>'
CALL_2 = CALL.replace("image_1", "image_2")


class GlowInput(ToolInput):
    """One picture, and how to look."""

    image: ImageId
    mode: Literal["fast", "slow"] = Field(default="fast", description="How to look.")
    least: float | None = Field(default=None, description="Smallest glow.")
    twice: bool = Field(default=False, description="Look twice.")


class PairInput(ToolInput):
    """Two pictures."""

    first: ImageId
    second: ImageId


def glow(request: GlowInput, context: ToolContext) -> Finding:
    """The mean of the picture, with one region; abstains on black."""
    rgb = context.pictures.get(request.image).rgb
    value = float(rgb.mean())
    if value == 0:
        return abstain("glow", "the picture is black", images=(request.image,))
    least = 128.0 if request.least is None else request.least
    score = Score(name="glow", value=value, threshold=least, threshold_source="chosen for the test")
    answer = "bright" if score.passes else "dim"
    region = Region(label="glow", image=request.image, box=Box(x1=5, y1=6, x2=30, y2=35), score=0.5)
    return Finding(tool="glow", answer=answer, summary=f"The picture is {answer}, {request.mode}, {request.twice}.",
                   images=(request.image,), scores=(score, Score(name="distance", value=0.25,
                                                                direction=Direction.LOWER)),
                   regions=(region,), model=ModelIdentity(id="glow-net", digest="0123456789abcdef"),
                   caveats=("It only sees light.",))


def pair(request: PairInput, context: ToolContext) -> Finding:
    """Whether two pictures have the same pixels; draws a plot, a mask over the first and a comparison of both."""
    first, second = (context.pictures.get(name).rgb for name in (request.first, request.second))
    drawn = () if not context.draws else (
        context.keep(np.full((20, 30, 3), 9, np.uint8), ArtifactKind.picture, "A plot."),
        context.keep(np.full((4, 4, 3), 255, np.uint8), ArtifactKind.mask, "Where.", image=request.first,
                     box=Box(x1=0, y1=0, x2=30, y2=40)),
        context.keep(second, ArtifactKind.comparison, "Both.", image=request.first))
    return Finding(tool="pair", answer="same" if np.array_equal(first, second) else "different", summary="Compared.",
                   artifacts=drawn)


GLOW: Tool[GlowInput] = Tool("glow", "How much light there is.", GlowInput, glow)
PAIR: Tool[PairInput] = Tool("pair", "Whether two pictures are the same.", PairInput, pair)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with light.png, dim.png, black.png and broken.jpg."""
    for name, value in (("light", 200), ("dim", 100), ("black", 0)):
        Image.fromarray(np.full((40, 60, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def tools_app() -> typer.Typer:
    """A command line with the two tools above, made the way the real one is."""
    made = typer.Typer(rich_markup_mode=None)
    for tool in (GLOW, PAIR):
        made.command(tool.name, help=tool.description, epilog=tool_examples(tool))(takes_settings(tool_command(tool)))
    return made


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedEngine]:
    """Lets the agent say these lines, with GLOW as its only tool."""

    def say(*lines: Any) -> ScriptedEngine:
        engine = ScriptedEngine(script=list(lines))
        monkeypatch.setattr("visagent.agent.agent.open_engine", lambda settings: engine)
        monkeypatch.setattr("visagent.tools.TOOLS", (GLOW,))
        return engine

    return say


def run(arguments: list[str], made: typer.Typer = app, **options: Any) -> Any:
    return CliRunner().invoke(made, arguments, prog_name="visagent", **options)


# Tools

def test_a_tool_shows_its_evidence(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", "light.png"], tools_app)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "light.png: glow: bright"
    assert any(line.split()[:5] == ["glow", "200.000", "128.000", "at", "or"] for line in lines)
    for words in ("threshold of glow: chosen for the test", "[5, 6, 30, 35]", "glow-net (0123456789abcdef)",
                  "note: It only sees light."):
        assert words in result.stdout
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    assert "\x1b" not in result.output
    assert not (pictures / "visagent-answers").exists()


def test_json_is_one_line_per_picture_under_its_name(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", "light.png", "black.png", "dim.png", "--json"], tools_app)
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["input"] for line in found] == ["light.png", "black.png", "dim.png"]
    assert [line["answer"] for line in found] == ["bright", None, "dim"]
    assert [line["state"] for line in found] == ["answered", "abstained", "answered"]
    Finding.model_validate({key: value for key, value in found[0].items() if key != "input"})


def test_a_bad_picture_is_said_and_the_rest_go_on(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", "broken.jpg", "absent.png", "light.png"], tools_app)
    assert result.exit_code == 1
    assert "broken.jpg: glow: not possible" in result.stdout
    assert "absent.png: glow: not possible" in result.stdout
    assert "light.png: glow: bright" in result.stdout
    assert "Traceback" not in result.output


def test_folders_and_patterns_are_expanded(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", ".", "l*.png", "--json"], tools_app)
    names = [json.loads(line)["input"] for line in result.stdout.splitlines()]
    assert names == ["black.png", "broken.jpg", "dim.png", "light.png", "light.png"]


def test_a_pair_tool_compares_the_first_with_each_other(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["pair", "light.png", "light.png", "dim.png", "--json"], tools_app)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["input"] for line in found] == [["light.png", "light.png"], ["light.png", "dim.png"]]
    assert [line["answer"] for line in found] == ["same", "different"]


def test_too_few_pictures_are_wrong_usage(pictures: Path, tools_app: typer.Typer) -> None:
    for arguments in (["pair", "light.png"], ["glow"]):
        result = run(arguments, tools_app)
        assert result.exit_code == 2
        assert "Usage" in result.stderr
    assert "at least 2 pictures; 1 given" in run(["pair", "light.png"], tools_app).stderr


def test_plain_fields_of_a_tool_are_its_options(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", "light.png", "--mode", "slow", "--least", "250", "--twice"], tools_app)
    assert "light.png: glow: dim" in result.stdout
    assert "The picture is dim, slow, True." in result.stdout
    assert run(["glow", "light.png", "--mode", "sideways"], tools_app).exit_code == 2
    help_text = run(["glow", "--help"], tools_app).stdout
    for words in ("--mode", "How to look.", "--least", "Smallest glow.", "visagent glow photo.jpg"):
        assert words in help_text


def test_annotated_pictures_go_where_they_are_asked(pictures: Path, tools_app: typer.Typer) -> None:
    result = run(["glow", "light.png", "black.png", "--json", "--out", "drawn"], tools_app)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    [saved] = first["saved"]
    assert "saved" not in second
    with Image.open(saved) as drawn:
        assert drawn.width / drawn.height == 60 / 40
        assert np.asarray(drawn.convert("RGB")).std() > 0
    assert [path.name for path in (pictures / "drawn").iterdir()] == [Path(saved).name]


def test_what_a_tool_draws_is_saved_where_it_is_asked_and_else_not_drawn(pictures: Path, tools_app: typer.Typer
                                                                         ) -> None:
    [line] = run(["pair", "light.png", "dim.png", "--out", "drawn", "--json"], tools_app).stdout.splitlines()
    plot, mask, comparison = (np.asarray(Image.open(path)) for path in json.loads(line)["saved"])
    assert [Path(path).name[-14:] for path in json.loads(line)["saved"]] == [
        f"artifact_{number}.png" for number in (1, 2, 3)]
    assert plot.shape == (20, 30, 3) and (plot == 9).all()
    assert mask.shape == (40, 60, 3) and (mask[:, 30:] == 200).all() and (mask[:, :30] != 200).any(axis=2).all()
    assert (comparison[:, :60] == 200).all() and (comparison[:, -60:] == 100).all()
    [line] = run(["pair", "light.png", "dim.png", "--json"], tools_app).stdout.splitlines()
    assert json.loads(line)["artifacts"] == [] and "saved" not in json.loads(line)
    text = run(["pair", "light.png", "dim.png", "--out", "drawn"], tools_app).stdout
    assert "artifact_2: Where." in text and "picture saved: drawn" in text


# Questions

def test_ask_prints_steps_then_words_then_evidence_and_saves_the_picture(
        pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script(CALL, "The picture glows at 200.000, over the threshold 128.000.")
    result = run(["ask", "light.png", "How bright is it?"])
    assert result.exit_code == 0, result.output
    text = result.stdout
    order = [text.index(words) for words in ("image_1  light.png", "glow(image=image_1)", "Answer", "glows at 200",
                                             "Evidence", "glow: bright", "128.000  at or above", "[5, 6, 30, 35]",
                                             "Picture saved: visagent-answers")]
    assert order == sorted(order)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(line == line.rstrip() for line in text.splitlines())
    [saved] = (pictures / "visagent-answers").iterdir()
    assert saved.name.endswith("-image_1.png")
    assert saved.stat().st_mode & 0o077 == 0
    assert str(saved.relative_to(pictures)) in text


def test_ask_saves_nothing_when_told_and_never_over_a_file(pictures: Path, script: Callable[..., ScriptedEngine],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    script(CALL, "It is dim.", CALL, "It is dim.", CALL, "It is dim.")
    assert run(["ask", "dim.png", "How bright is it?", "--no-picture"]).exit_code == 0
    assert not (pictures / "visagent-answers").exists()
    for _ in range(2):
        assert run(["ask", "dim.png", "How bright is it?", "--out", "here"]).exit_code == 0
    assert len(list((pictures / "here").iterdir())) == 2


def test_ask_json_is_one_line(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script(CALL, "It is bright.")
    result = run(["ask", "light.png", "dim.png", "How bright is the first?", "--json", "--no-picture"])
    [line] = result.stdout.splitlines()
    answer = json.loads(line)
    assert answer["input"] == ["light.png", "dim.png"]
    assert answer["question"] == "How bright is the first?"
    assert answer["findings"][0]["answer"] == "bright"
    assert answer["saved"] == []
    assert result.stderr == ""


def test_an_invented_number_never_reaches_the_screen(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script(CALL, "The glow is 987.654 and rising.")
    result = run(["ask", "light.png", "How bright is it?", "--no-picture"])
    assert result.exit_code == 0
    assert "987" not in result.stdout
    assert "200.000" in result.stdout
    assert "went beyond its findings" in result.stdout


def test_words_of_the_model_cannot_drive_the_terminal(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script("I answer questions\x1b[2J about \u202efaces\x07 in pictures.")
    odd = pictures / "a\x1b]0;title\x07.png"
    odd.write_bytes((pictures / "light.png").read_bytes())
    result = run(["ask", odd.name, "What can you do?", "--no-picture"])
    assert not set(result.output) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize(("arguments", "message"), [
    (["ask"], "write a question"),
    (["ask", "light.png"], "the last word is a picture"),
    (["ask", "light.png", "Why?", "--engine", "cloud"], "cloud"),
    (["nonsense"], "nonsense"),
])
def test_wrong_usage_ends_with_2_and_says_why(pictures: Path, arguments: list[str], message: str) -> None:
    result = run(arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (["ask", "broken.jpg", "How bright?"], "broken.jpg: "),
    (["ask", "absent.png", "How bright?"], "absent.png: "),
    (["ask", "light.png", "is", "it bright?"], "put the question in quotes"),
    (["ask", "light.png", "   "], "question is empty"),
    (["ask", "light.png", "why " * 10_000], "over the limit"),
])
def test_an_error_ends_with_1_one_line_and_no_trace(pictures: Path, script: Callable[..., ScriptedEngine],
                                                    arguments: list[str], message: str) -> None:
    script()
    result = run(arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("visagent: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (pictures / "visagent-answers").exists()


def test_debug_shows_the_trace(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script(EngineUnavailable("The server does not answer."))
    plain = run(["ask", "light.png", "How bright?"])
    assert (plain.exit_code, "Traceback" in plain.stderr) == (1, False)
    script(EngineUnavailable("The server does not answer."))
    shown = run(["ask", "light.png", "How bright?", "--debug"])
    assert (shown.exit_code, "Traceback" in shown.stderr) == (1, True)


def test_flags_reach_the_settings(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def open_engine(settings: Any) -> None:
        seen.append(settings)
        raise EngineError("not in this test")

    monkeypatch.setattr("visagent.agent.agent.open_engine", open_engine)
    monkeypatch.setenv("VISAGENT_LOAD_IN_4BIT", "true")
    run(["ask", "Why?", "--model", "m", "--adapter", "a", "--device", "cpu"])
    run(["ask", "Why?", "--engine", "vllm", "--server-url", "http://127.0.0.1:9/v1"])
    assert (seen[0].model, seen[0].adapter, seen[0].device, seen[0].load_in_4bit) == ("m", Path("a"), "cpu", True)
    assert (seen[1].engine, seen[1].server_url) == ("vllm", "http://127.0.0.1:9/v1")


# Conversations

def test_chat_remembers_adds_and_forgets(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    engine = script(CALL, "It is bright.", CALL_2, "It is dim.")
    typed = "How bright is it?\n/add dim.png\n/pictures\nAnd this one?\n/pictures\n/clear\n/pictures\n/quit\nunread\n"
    result = run(["ask", "--chat", "light.png", "--no-picture"], input=typed)
    assert result.exit_code == 0, result.output
    for words in ("> How bright is it?", "image_1  light.png", "(next)   dim.png", "image_2  dim.png",
                  "glow(image=image_2)", "Forgotten", "No pictures yet"):
        assert words in result.stdout
    assert "unread" not in result.stdout
    assert any("How bright is it?" in message.text for message in engine.inputs[2])


def test_chat_takes_a_first_question_and_goes_on_after_an_error(pictures: Path,
                                                                script: Callable[..., ScriptedEngine]) -> None:
    script(CALL, "It is bright.", CALL, "It is bright.")
    typed = "/add absent.png\n/dance\n\nAnd now?\n"
    result = run(["ask", "--chat", "light.png", "How bright is it?", "--no-picture"], input=typed)
    assert result.exit_code == 1
    assert "absent.png: " in result.stderr
    assert "no command /dance" in result.stdout
    assert result.stdout.count("glow: bright") == 2


def test_chat_json_has_answers_only_on_stdout(pictures: Path, script: Callable[..., ScriptedEngine]) -> None:
    script(CALL, "It is bright.", CALL, "It is bright.")
    result = run(["ask", "--chat", "light.png", "--json", "--no-picture"], input="One?\n/pictures\nTwo?\n")
    assert [json.loads(line)["question"] for line in result.stdout.splitlines()] == ["One?", "Two?"]


# The program

def test_help_teaches_every_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    top = run(["--help"]).stdout
    # Groups: their verbs measure, or need servers; the tools tell what is known.
    groups = {"drift": "report", "fairness": "report", "private": "identify"}
    for verb in ("ask", "demo", *(tool.name.removesuffix("_identify").replace("_", "-") for tool in TOOLS)):
        assert f"\n  {verb} " in top
        text = run([verb, "--help"]).stdout
        assert all(len(line) <= 80 for line in text.splitlines())
        if verb in groups:
            assert f"visagent {verb} {groups[verb]}" in text
            continue
        if verb != "demo":
            assert f"visagent {verb} " in text.split("Options:")[1], "examples follow the options"
        for flag in ("--model", "--engine", "--adapter", "--load-in-4bit", "--server-url", "--device", "--debug"):
            assert flag in text


def test_the_command_line_page_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "make_command_line.py"), "--check"],
                          capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def program(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "visagent", *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=ENVIRONMENT, **options)


def test_version() -> None:
    with program("--version") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out.decode(), err) == (0, f"visagent {visagent.__version__}\n", b"")


def test_a_reader_who_leaves_gets_no_trace(pictures: Path) -> None:
    with program("faces", *["broken.jpg"] * 2000, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert err == b""


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal are POSIX")
def test_ctrl_c_ends_with_130_and_no_trace(pictures: Path) -> None:
    # A test run that was started in the background of a script ignores the signal, and so would its children.
    with program("ask", "--chat", stdin=subprocess.PIPE, preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"/help\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"> /help\n"
        time.sleep(0.5)  # back in readline
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in err
