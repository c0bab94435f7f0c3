"""The runners on a tiny random model and views made from one portrait: what is asked, counted and written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import torch
from langchain_core.messages import AIMessage

from visagent.agent import Agent
from visagent.agent.approval import Refused
from visagent.agent.engines import open_engine
from visagent.agent.engines.local import LocalEngine
from visagent.agent.engines.scripted import ScriptedEngine
from visagent.agent.views import Views, message_of
from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.sources import ExpressionPicture
from visagent.datasets.surroundings.packed import WideViews
from visagent.errors import PictureError
from visagent.evaluation import everyday, expression, report, routing, shortcuts, spoof, surroundings
from visagent.evaluation.batch import answer_many, look_many, score_many
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, command_line
from visagent.evaluation.screening import ask_in_words, named_clues, specialist_scores
from visagent.evaluation.views import LabelledView, read_views
from visagent.evidence import ModelIdentity
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools import TOOLS
from visagent.tools.expression.tool import EXPRESSION_QUESTION, OPTIONS
from visagent.tools.models import Models
from visagent.tools.spoof.network import SpoofNetwork, Vocabulary
from visagent.tools.spoof.specialist import OperatingPoint, Specialist
from visagent.tools.spoof.surroundings import BorderPoint, Surroundings
from visagent.tools.spoof.surroundings_network import SurroundingsNetwork, WideOutput
from visagent.tools.spoof.tool import SPOOF_QUESTION

from ..agent.tiny_model import build_tiny_model

COUNT = 20


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-vlm")


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Iterator[LocalEngine]:
    engine = open_engine(Settings(model=str(tiny_folder), device="cpu"))
    assert isinstance(engine, LocalEngine)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def packed(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty views of the portrait in the simulator's layout: live ones, and others with a bar over the eyes."""
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    views, rows = np.empty((COUNT, 192, 192, 3), np.uint8), []
    for number in range(COUNT):
        x, y = rng.integers(150, 180), rng.integers(60, 80)
        views[number] = cv2.resize(np.ascontiguousarray(astronaut[y:y + 130, x:x + 130]), (192, 192))
        kind = ATTACK_TYPES[number // 2 % 7] if number % 2 else None
        if kind:
            views[number, 60:90, 40:150] = rng.integers(0, 256, 3)
        rows.append({"attack": kind, "box": [40.0, 60.0, 150.0, 90.0] if kind else None,
                     "clues": [CLUES[0]] if kind else [], "source": "portrait", "key": str(number % 3)})
    for split in ("test", "train"):
        (folder / split).mkdir()
        np.save(folder / split / "views-000.npy", views)
        parquet.write_table(arrow.Table.from_pylist(rows), folder / split / "labels-000.parquet")
    return folder


@pytest.fixture(scope="module")
def held_out(packed: Path) -> list[LabelledView]:
    return read_views(packed, "test")


@pytest.fixture(scope="module")
def specialist() -> Specialist:
    torch.manual_seed(0)
    point = OperatingPoint(threshold=0.0, scale=1.0, offset=0.0, source="random weights, no split at all")
    return Specialist(SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES)).eval(), point, ModelIdentity(id="random"))


def test_views_are_read_as_packed(packed: Path, held_out: list[LabelledView]) -> None:
    assert len(held_out) == COUNT and sum(view.attack is None for view in held_out) == COUNT // 2
    assert held_out[1].box == (40, 60, 150, 90) and held_out[1].clues == {CLUES[0]} and held_out[0].box is None
    few = read_views(packed, "test", limit=5, seed=1)
    assert len(few) == 5 and [v.attack for v in few] == [v.attack for v in read_views(packed, "test", limit=5, seed=1)]
    with pytest.raises(PictureError, match="spoof_views"):
        read_views(packed, "dev")


def test_sixteen_answers_in_batches_are_those_of_the_engine(tiny: LocalEngine, held_out: list[LabelledView]) -> None:
    views = [view.rgb for view in held_out[:16]]
    looks = look_many(tiny, SPOOF_QUESTION, views, batch=6, max_tokens=12)
    assert looks == [tiny.look(SPOOF_QUESTION, [view], max_tokens=12) for view in views]
    assert len({look.text for look in looks}) > 1


def test_sixteen_scores_in_batches_are_those_of_the_engine(tiny: LocalEngine, held_out: list[LabelledView]) -> None:
    views = [view.rgb for view in held_out[:16]]
    scores = score_many(tiny, EXPRESSION_QUESTION, views, OPTIONS, batch=6)
    one_by_one = [tiny.score_options(EXPRESSION_QUESTION, [view], OPTIONS) for view in views]
    np.testing.assert_allclose(scores, one_by_one, atol=1e-3)


def test_engines_without_batches_are_asked_one_by_one(held_out: list[LabelledView]) -> None:
    engine = ScriptedEngine(looks=["A live face.", "A spoof: a print attack with halftone dots and a paper edge at "
                                   "[10, 20, 90, 100].", "I see a portrait."])
    live, attack, neither = ask_in_words(engine, [view.rgb for view in held_out[:3]])
    assert (live.verdict, live.clues) == ("live", frozenset())
    assert (attack.verdict, attack.attack, attack.box) == ("spoof", "print", (10, 20, 90, 100))
    assert attack.clues == {"halftone dots", "a paper edge"} and neither.verdict is None
    assert named_clues("Papered edges of a screenplay") == frozenset()


def test_the_specialist_says_the_same_in_batches(specialist: Specialist, held_out: list[LabelledView]) -> None:
    scores = specialist_scores(specialist, [view.rgb for view in held_out[:5]], batch=2)
    np.testing.assert_allclose(scores, [specialist.look(view.rgb).score for view in held_out[:5]], atol=1e-5)


def test_spoof_counts_words_that_are_right_wrong_and_unreadable(held_out: list[LabelledView],
                                                               specialist: Specialist) -> None:
    said = []
    for view in held_out:
        said.append(f"This is a spoof, a {view.attack} attack with halftone dots at [40, 60, 150, 90]." if view.attack
                    else "This is a live face.")
    said[0], said[1] = "This is a spoof with glossy reflection.", "What a picture!"
    found = spoof.measure(held_out, ScriptedEngine(looks=said), specialist, split="test", command="it")
    assert found.value("words: accuracy") == pytest.approx(18 / 20)
    assert found.value("words: BPCER") == 0.1 and found.value("words: answers that cannot be read") == 0.05
    assert found.value("words: APCER, print") == 0.5 and found.value("words: APCER, worst type (print)") == 0.5
    assert found.value("words: attack type right") == 0.9
    assert found.value("words: box IoU >= 0.5 (AP@50), all attacks") == 0.9
    assert found.value("words: box IoU >= 0.5 (AP@50), localised attacks") == 1
    assert found.value("words: reasons, precision") == 0.9 and found.value("words: reasons, recall") == 0.9
    assert 0 <= found.value("specialist: AUC") <= 1 and 0 <= found.value("agreement of words and specialist") <= 1
    with pytest.raises(ValueError, match="fixed on the split"):
        spoof.measure(held_out, None, specialist, split="dev", command="it")


def test_shortcuts_finds_the_measure_that_gives_the_class_away(held_out: list[LabelledView]) -> None:
    darker = [LabelledView((view.rgb * (0.4 if view.attack else 1)).astype(np.uint8), view.attack, view.box,
                           view.clues, view.person) for view in held_out]
    found = shortcuts.measure(darker, split="train", command="it")
    assert found.value("AUC of brightness") < 0.1 and found.value("AUC of brightness, whichever class is higher") > 0.9
    assert found.value("AUC of width") == 0.5
    assert "outside the asked range" in found.notes[0] and "brightness" in found.notes[0]


def test_expression_counts_the_tools_own_answers() -> None:
    pictures = [ExpressionPicture(np.full((48, 48), 9, np.uint8), np.zeros(8, np.float32), label)
                for label in ("happiness", "happiness", "happiness", "fear")]
    engine = ScriptedEngine(scores={**dict.fromkeys(OPTIONS, -9.0), "happiness": -0.1})
    found = expression.measure(pictures, engine, split="test", command="it")
    assert found.value("accuracy (WAR)") == 0.75 and found.value("unweighted average recall (UAR)") == 0.5
    assert found.value("accuracy of always naming the most frequent class") == 0.75
    assert found.value('answered, not "unsure" (coverage)') == 1
    assert found.value("recall, fear") == 0
    flat = expression.measure(pictures, ScriptedEngine(scores=dict.fromkeys(OPTIONS, -1.0)), split="test", command="")
    assert flat.value('answered, not "unsure" (coverage)') == 0
    assert expression.view_of(pictures[0]).shape == (192, 192, 3)


def test_everyday_counts_each_version(astronaut: np.ndarray, specialists: Models, specialist: Specialist) -> None:
    faces = [face for version, change in everyday.VERSIONS.items()
             for face in everyday.faces_of(change(np.asarray(astronaut)), f"photos, {version}", specialists)]
    assert {face.group: face.view is not None for face in faces} == {
        "photos, original": True, "photos, JPEG quality 40": True, "photos, gray": True, "photos, mirrored": True,
        "photos, blurred": True, "photos, half size": False}  # 44 pixels wide: too small for the tool
    looks = ["A live face.", "This is a spoof.", "A live face.", "A live face.", "A live face."]
    found = everyday.measure(faces, ScriptedEngine(looks=looks), specialist, command="it")
    assert found.value("photos, JPEG quality 40: called spoof by words") == 1
    assert found.value("photos, all versions: called spoof by words") == 0.2
    assert found.value("photos, all versions: tool abstains") == pytest.approx(1 / 6)
    assert np.isnan(found.value("photos, half size: called spoof by words"))


def test_a_border_around_live_faces_is_counted_where_it_can_be_seen(astronaut: np.ndarray, specialists: Models,
                                                                    specialist: Specialist) -> None:
    rgb = np.asarray(astronaut)
    crops = list(everyday.tight_crops(rgb, specialists))
    assert len(crops) == 1 and max(crops[0].shape) < 200
    faces = [*everyday.faces_of(rgb, "photos, original", specialists),
             *everyday.faces_of(crops[0], "photos, cropped tightly", specialists)]
    assert [face.wide is None for face in faces] == [False, True]
    torch.manual_seed(0)
    network = SurroundingsNetwork().eval()
    point = BorderPoint(threshold=-99, certain=99, scale=1, offset=0, source="every border is likely, none certain")
    always = Surroundings(network, point, ModelIdentity(id="test"))
    found = everyday.measure(faces, None, specialist, always, command="it")
    assert found.value("photos, original: a border seen around it") == 1
    assert np.isnan(found.value("photos, cropped tightly: a border seen around it"))
    assert found.value("photos, all versions: a border seen around it") == 1


def test_borders_are_measured_by_kind_and_place() -> None:
    class Bright(SurroundingsNetwork):
        """A border around whatever is not black: a screen where it is blue, a sheet where it is not."""

        def forward(self, views: torch.Tensor) -> WideOutput:
            bright = views.amax((1, 2, 3))
            blue = views[:, 2].amax((1, 2)) > views[:, 0].amax((1, 2))
            kinds = torch.stack([-9 * bright, 9 * bright + blue, 9 * bright + ~blue], 1)
            return WideOutput(kinds, 9 * torch.nn.functional.avg_pool2d(views.amax(1, keepdim=True), 8)[:, 0])

    views, masks = np.zeros((4, 96, 96, 3), np.uint8), np.zeros((4, 12, 12), np.float32)
    views[1, 32:64, 32:64, 2] = views[2, 32:64, 32:64, 0] = 255
    masks[1, 4:8, 4:8], masks[3, 4:8, 4:8], masks[2, :2, :2] = 1, 1, 1
    packed = WideViews(views, np.array([0, 1, 1, 2]), masks, np.zeros(4, np.float32))
    point = BorderPoint(threshold=0, certain=50, scale=1, offset=0, source="bright views have a border")
    bright = Surroundings(Bright(1), point, ModelIdentity(id="test"))
    found = surroundings.measure(packed, bright, split="test", command="it")
    assert found.value("likely: BPCER") == 0
    assert found.value("likely: APCER, screen") == 0 and found.value("likely: APCER, sheet") == 1
    assert found.value("certain: APCER, screen") == 1
    assert found.value("screen or sheet right, of borders seen") == 0.5
    assert found.value("what it encloses located (IoU of at least 0.5), of borders seen") == 0.5
    with pytest.raises(ValueError, match="fixed on the split"):
        surroundings.measure(packed, bright, split="dev", command="it")


@pytest.mark.parametrize(("said", "called", "answer"), [
    ("live", False, "live"), ("spoof", True, "spoof"), ("spoof", False, "unsure"), ("live", True, "unsure"),
    (None, True, "spoof"), (None, False, "live"), ("spoof", None, None)])
def test_the_tools_answer_follows_from_both_voices(said: str | None, called: bool | None, answer: str | None) -> None:
    assert everyday.tool_answer(said, called) == answer


def test_the_router_gets_what_the_agent_gives_the_model(specialists: Models) -> None:
    """Question by question: the runner builds the very messages that reach an engine inside the agent."""
    engine = ScriptedEngine(script=["I answer questions about faces in pictures."], view="face")
    portrait = routing.portraits().get("image_1")
    agent = Agent(Settings(), engine=engine, models=specialists, tools=TOOLS, approve=lambda _: Refused())
    agent.ask("Is it live?", [portrait, portrait])
    store = PictureStore()
    store.add(portrait)
    store.add(portrait)
    record = {"question": "Is it live?", "pictures": 2, "history": []}
    built = routing.conversation_of(record, engine, Views("face", store, specialists))
    assert [(m.type, m.content) for m in engine.inputs[0]] == [(m.type, m.content) for m in built]
    assert engine.tools_seen[0] == tuple(tool.name for tool in TOOLS if tool.needs_setting is None)


def test_earlier_turns_are_calls_with_their_results(specialists: Models) -> None:
    record = {"question": "Why?", "pictures": 1, "history": [
        {"question": "Live?", "tools": [{"name": "spoof", "arguments": {"image": "image_1"}}]}]}
    store = PictureStore()
    store.add(picture_from_array(np.zeros((64, 64, 3), np.uint8)))
    built = routing.conversation_of(record, ScriptedEngine(), Views("picture", store, specialists))
    assert [message.type for message in built] == ["system", "human", "ai", "tool", "ai", "human"]
    assert isinstance(built[2], AIMessage) and built[2].tool_calls[0]["args"] == {"image": "image_1"}
    assert built[3].text == built[4].text != "" and built[5].text == "Why?"
    assert ("image_1" in str(built[1].content) and len(built[5].content) == 4) or built[5].content == "Why?"


def test_routing_is_counted_by_style_and_matter(tiny: LocalEngine, specialists: Models) -> None:
    records = [{"question": question, "pictures": pictures, "history": [], "style": "plain", "about": "verdict",
                "expect": expect} for question, pictures, expect in (
        ("Is it live?", 1, {"calls": [{"name": "spoof"}]}), ("What is the time?", 0, {"answer": "direct"}),
        ("Same person?", 2, {"calls": [{"name": "verify"}]}))]
    script = ['<tool_call>{"name": "spoof", "arguments": {"image": "image_1"}}</tool_call>', "Sorry.", "Yes."]
    found = routing.measure(records, ScriptedEngine(script=script), command="it", models=specialists, misses=True)
    assert found.value("right tool or direct answer") == pytest.approx(2 / 3)
    assert found.value("tool:direct") == 1 and found.value("about:verdict") == pytest.approx(2 / 3)
    assert found.extra["Misses"][1] == ("Same person?", "verify()", "words: Yes.")
    blind = routing.measure(records, ScriptedEngine(script=script), command="it", models=specialists)
    assert "Same person?" not in blind.to_markdown()
    assert len(routing.route_all(records, tiny, models=specialists)) == 3


def test_answers_to_prompts_of_many_lengths_are_those_of_the_engine(tiny: LocalEngine) -> None:
    conversations = [[message_of("live? " * times, [])] for times in (1, 7, 3)]
    together = answer_many(tiny, conversations, [], batch=3)
    assert [answer.text for answer in together] == [tiny.invoke(list(c)).text for c in conversations]


def test_a_result_is_a_table_a_line_of_json_and_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(title="T", command="python -m x", rows=(Row("share", Share(1, 4), "at most 0.5"), Row("bare", 0.5),
                                                            Row("none", Share(0, 0))),
                    split="test", seed=3, models={"words": ModelIdentity(id="m", digest="ab" * 8)}, date="2026-11-23")
    assert "| share | 0.250 | 0.046 to 0.699 | 1/4 | at most 0.5 |" in result.to_markdown()
    assert "| none | - |  | 0/0 |  |" in result.to_markdown()
    result.show(as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["rows"][2]["value"] is None and line["seed"] == 3 and line["models"]["words"]["digest"] == "ab" * 8
    result.show()
    assert "words: m (abababababababab)" in capsys.readouterr().out
    with pytest.raises(KeyError, match="share, bare"):
        result.value("other")


def test_a_command_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    command = command_line("spoof", views=tmp_path, limit=None, json=False, seed=0)
    assert command == f"python -m visagent.evaluation.spoof --views {'/'.join(tmp_path.parts[-2:])} --seed 0"


def test_the_page_says_what_could_not_be_measured(packed: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured.md"
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "hi", "pictures": 0, "history": [], "expect": {"answer": "direct"},
                                     "style": "terse", "about": "smalltalk"}) + "\n")
    report.main(["--views", str(packed), "--data", str(tmp_path), "--out", str(out), "--model", str(tiny_folder),
                 "--specialist", str(tmp_path), "--limit", "4", "--json", "--questions", str(questions)])
    text = out.read_text()
    assert "## Live or spoof, simulated attacks" in text and "## Shortcuts" in text and "## Routing" in text
    assert "Not measured:" in text and "- Expression shown: ferplus.parquet is not in the data folder" in text
    assert "- The specialist's numbers: " in text and str(tmp_path) not in text


@pytest.mark.parametrize(("command", "advice"),
                         [("shortcuts", "make them with"), ("spoof --split dev", "--only words")])
def test_a_command_ends_with_a_sentence_and_no_trace(command: str, advice: str) -> None:
    line = f"{sys.executable} -m visagent.evaluation.{command} --views nowhere"
    done = subprocess.run(line.split(), check=False, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr and advice in done.stderr
