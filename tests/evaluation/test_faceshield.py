"""FaceShield's four tasks: what is asked, how answers are read and counted, and what thresholds come from."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from visagent.agent.engines.scripted import ScriptedEngine
from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.spoof_benchmarks import SpoofPicture
from visagent.errors import EngineError, VisagentError
from visagent.evaluation import faceshield, faceshield_trials
from visagent.evaluation.faceshield_scores import SPOOF_ANSWERS, Scored, batches, score_trials, spoof_scores
from visagent.evaluation.faceshield_tasks import (
    COARSE,
    FINE,
    LOCALISATION,
    REASONING,
    ask_tasks,
    final_verdict,
    read_class,
)
from visagent.evaluation.faceshield_trials import Trial, drawn, of_pictures, read_set
from visagent.evaluation.intervals import Share, half_total
from visagent.evaluation.results import Row

BAR = (40.0, 60.0, 150.0, 90.0)
WALK = ('"Face Facial Lighting": the light is real. "Sense of Depth and Three-Dimensionality": flat. '
        '"Presence of Phone Screen or Paper Edges": an edge is there. So this face is a spoof.')


class Oracle(ScriptedEngine):
    """Sees the trial's number in the view's first pixel, and answers each task as `said` tells it."""

    said: dict[str, list[str]]
    weights: list[float] | None = None

    def complete(self, messages: Sequence[object], *, max_tokens: int = 256) -> str:
        number, question = self._asked(messages)
        task = next(name for name, wordings in TASKS.items() if question in wordings)
        return self.said[task][number]

    def score(self, messages: Sequence[object], options: Sequence[str], *, per_token: bool = False) -> list[float]:
        if self.weights is None:
            raise EngineError("This server does not weigh answers.")
        number, _ = self._asked(messages)
        return [0.0, *[self.weights[number] - math.log(len(options) - 1)] * (len(options) - 1)]

    def _asked(self, messages: Sequence[object]) -> tuple[int, str]:
        from visagent.agent.views import decode_part

        parts = messages[-1].content  # type: ignore[attr-defined]
        pixels = np.asarray(decode_part(next(part for part in parts if part["type"] == "image")))
        return int(pixels[0, 0, 0]), parts[-1]["text"]


TASKS = {"coarse": COARSE, "fine": FINE, "reasoning": REASONING, "localisation": LOCALISATION}


def made_trials(truth: Sequence[str | None], *, start: int = 0) -> list[Trial]:
    return [Trial(np.full((192, 192, 3), start + number, np.uint8), kind, BAR if kind else None, ("made", str(number)))
            for number, kind in enumerate(truth)]


TRUTH: list[str | None] = [None, None, None, None, "print", "print", "glasses", "glasses"]


def an_oracle(*, weights: list[float] | None = None) -> Oracle:
    """Right, but for one live face called a spoof, one print called live, one unreadable, and one box elsewhere."""
    return Oracle(weights=weights, said={
        "coarse": ["It is real.", "Live.", "A genuine face.", "This is a spoof.", "A spoof.", "A live face.",
                   "Spoof.", "Hmm."],
        "fine": ["This is a bona fide face.", "Live.", "Live.", "Live.", "This image represents a Print Attack.",
                 "This represents a Replay Attack.", "Glasses.", "I cannot say."],
        "reasoning": ["Natural. It is real.", "Live.", "Live.", "Live.", WALK, WALK, WALK, "The light is odd."],
        "localisation": ["", "", "", "", "At [40, 60, 150, 90].", "Nowhere.", "[40.0, 60.0, 150.0, 80.0]",
                         "[0, 0, 20, 20]"]})


@pytest.mark.parametrize(("text", "expected"), [
    ("This image represents a Paper Mask Attack.", "paper mask"), ("Print.", "print"), ("It is a live face.",
     "bona fide"), ("Bonafide.", "bona fide"), ("This is a spoof.", None), ("I see a portrait.", None),
    ("It is real, not a replay.", "bona fide"), ("A Partial Eye attack.", "partial eye")])
def test_classes_are_read_with_and_without_a_verdict(text: str, expected: str | None) -> None:
    assert read_class(text) == expected


@pytest.mark.parametrize("kind", ATTACK_TYPES)
def test_the_papers_answer_names_every_class(kind: str) -> None:
    assert read_class(f"The face represents a {kind.title()} Attack, as the surface is flat.") == kind


@pytest.mark.parametrize(("text", "expected"), [
    (WALK, "spoof"), ("The light looks fake. The depth is natural. So it is a real face.", "live"),
    ("A spoof. Why do I say so? Halftone dots.", "spoof"), ("Nothing to see.", None), ("", None)])
def test_reasons_are_scored_by_the_verdict_they_end_in(text: str, expected: str | None) -> None:
    assert final_verdict(text) == expected


class Listening(Oracle):
    """Also keeps which picture was asked what."""

    asked: list[tuple[int, str]]

    def complete(self, messages: Sequence[object], *, max_tokens: int = 256) -> str:
        self.asked.append(self._asked(messages))
        return super().complete(messages, max_tokens=max_tokens)


def test_every_task_is_asked_alone_in_its_wordings_and_boxes_only_of_attacks() -> None:
    engine = Listening(said=an_oracle().said, asked=[])
    answers = ask_tasks(engine, made_trials(TRUTH))
    assert len(engine.asked) == len(set(engine.asked)) == 8 + 8 + 8 + 4
    for name, wordings in TASKS.items():
        mine = {number: question for number, question in engine.asked if question in wordings}
        assert mine == {number: wordings[number % 4] for number in mine}
        assert set(mine) == ({4, 5, 6, 7} if name == "localisation" else set(range(8)))
        assert len(wordings) == len(set(wordings)) == 4
    assert answers[4].box == (40, 60, 150, 90) and answers[5].box is None and answers[0].box is None


def test_the_wording_of_a_picture_does_not_depend_on_the_batch() -> None:
    together, apart = (Listening(said=an_oracle().said, asked=[]) for _ in range(2))
    trials = made_trials(TRUTH)
    answers = ask_tasks(together, trials)
    assert answers == [answer for start in range(0, 8, 3)
                       for answer in ask_tasks(apart, trials[start:start + 3], start=start)]
    assert set(together.asked) == set(apart.asked)


def test_counts_worked_out_by_hand() -> None:
    found, scored = faceshield.measure(made_trials(TRUTH), an_oracle(), name="made", split="test", command="it",
                                       batch=3)
    value = {row.name: row.value for row in found.rows}
    assert value["coarse: accuracy"] == Share(5, 8) and value["coarse: BPCER"] == Share(1, 4)
    assert value["coarse: APCER, print"] == value["coarse: APCER, glasses"] == Share(1, 2)
    assert found.value("coarse: HTER") == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert value["coarse: answers that cannot be read"] == Share(1, 8)
    assert value["fine: ACC, 12 classes"] == Share(6, 8) and value["fine: answers that name no class"] == Share(1, 8)
    assert value["fine: recall, bona fide"] == Share(4, 4) and value["fine: recall, glasses"] == Share(1, 2)
    assert value["reasoning: accuracy"] == Share(7, 8)
    # Overlap 1, 20/30 and none; partial attacks are the two glasses.
    assert value["localisation: AP@50, all attacks with a box"] == Share(2, 4)
    assert value["localisation: AP@40, partial attacks"] == Share(1, 2)
    assert scored is None and not any(row.name.startswith("score") for row in found.rows)
    table = found.extra[faceshield.TABLE]
    assert table[0] == ("model", "test set", "coarse ACC", "coarse HTER", "fine ACC", "reasoning ACC",
                        "reasoning HTER", "AP@40", "AP@50")
    assert table[2] == ("scripted", "made", "0.625", "0.375", "0.750", "0.875", "0.125", "0.500", "0.500")
    assert table[1][0] == "FaceShield (paper)" and len(table[1]) == len(table[0])


def test_the_interval_of_hter_holds_the_rate_and_covers_it() -> None:
    both = half_total(Share(10, 100), Share(5, 50))
    assert both.value == pytest.approx(0.1) and both.low < 0.1 < both.high and both.trials == 150
    # With one rate known exactly, only the other one's width is left, halved.
    one = half_total(Share(10, 100), Share(0, 10**9))
    assert one.high - one.value == pytest.approx((Share(10, 100).high - 0.1) / 2, rel=1e-4)
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        interval = half_total(Share(int(rng.binomial(120, 0.08)), 120), Share(int(rng.binomial(60, 0.2)), 60))
        inside += interval.low <= (0.08 + 0.2) / 2 <= interval.high
    assert inside / 400 > 0.92
    with pytest.raises(ValueError, match="no trials"):
        half_total(Share(0, 0), Share(1, 2))
    assert Row("HTER", both).cells[2] == "150" and Row("HTER", both).to_json()["low"] is not None


def test_the_score_is_the_log_odds_of_the_closed_answers() -> None:
    trials = made_trials([None, "print"])
    engine = Oracle(said={}, weights=[-2.0, 3.0])
    assert spoof_scores(engine, [trial.rgb for trial in trials]) == pytest.approx([-2, 3])
    assert len(SPOOF_ANSWERS) == 11
    plain = ScriptedEngine(scores={"Live.": math.log(0.2), "Spoof: print attack.": math.log(0.5),
                                   "Spoof: replay attack.": math.log(0.3)})
    assert spoof_scores(plain, [trials[0].rgb])[0] == pytest.approx(math.log(0.8 / 0.2), abs=1e-6)


def test_thresholds_come_from_development_pictures_only() -> None:
    weights = [-3.0, -2.0, -1.0, 0.5, 2.0, 0.2, 3.0, 4.0, *([-1.5] * 19), 1.0, 5.0]  # 8 test, 21 dev
    dev = made_trials([None] * 20 + ["print"], start=8)
    engine = an_oracle(weights=weights)
    found, scored = faceshield.measure(made_trials(TRUTH), engine, dev=dev, name="made", split="test", command="it")
    assert scored is not None and scored.scores == pytest.approx(weights[:8])
    # One of twenty live development faces may be refused, the one at 1.0: the threshold lies just above -1.5.
    assert found.value(faceshield.THRESHOLD) == pytest.approx(-1.5)
    assert found.value(faceshield.THRESHOLD) > spoof_scores(engine, [dev[0].rgb])[0]
    value = {row.name: row.value for row in found.rows}
    assert value["score at the threshold: BPCER"] == Share(2, 4)
    assert value["score at the threshold: APCER, print"] == Share(0, 2)
    assert value["score: BPCER at APCER 1% of every type"] == Share(1, 4)  # no print may be missed: 0.2
    with pytest.raises(ValueError, match="may not be chosen"):
        faceshield.measure(made_trials(TRUTH), engine, dev=dev, name="made", split="dev", command="it")
    without, _ = faceshield.measure(made_trials(TRUTH), engine, name="made", split="test", command="it")
    assert not any("threshold" in row.name for row in without.rows)


def test_development_pictures_without_a_live_face_give_no_threshold() -> None:
    assert Scored(("print",), np.array([1.0])).threshold_for("test") is None
    assert score_trials(Oracle(said={}, weights=[1.0]), []) is None
    assert not Scored((None, None), np.zeros(2)).has_both


def test_no_picture_is_an_error_and_one_class_has_no_hter() -> None:
    with pytest.raises(VisagentError, match="no picture"):
        faceshield.measure([], an_oracle(), name="made", split="test", command="it")
    found, _ = faceshield.measure(made_trials([None, None]), an_oracle(weights=[0.0] * 2), name="made", split="test",
                                  command="it")
    assert found.extra[faceshield.TABLE][2][3] == "-" and found.value("coarse: accuracy") == 1


def test_pictures_are_read_a_batch_at_a_time() -> None:
    read: list[int] = []

    def reading() -> Iterator[Trial]:
        for number, trial in enumerate(made_trials(TRUTH)):
            read.append(number)
            yield trial

    lists = batches(reading(), 3)
    assert len(next(iter(lists))) == 3 and read == [0, 1, 2]
    assert [len(some) for some in batches(reading(), 3)] == [3, 3, 2]


PATCH = (120, 40, 60)


@pytest.fixture(scope="module")
def own_set(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table: in each split the portrait live, and with a patch on the forehead, of made-up people."""
    root = tmp_path_factory.mktemp("own")
    lines = ["picture,label,subject,split,box"]
    for number in range(6):
        split, kind = ("test", "dev", "train")[number % 3], "tattoo" if number > 2 else "live"
        rgb = np.array(astronaut[:300, 50:350])
        if kind != "live":
            rgb[80:95, 150:190] = PATCH
        Image.fromarray(rgb).save(root / f"{number}.png")
        lines.append(f"{number}.png,{kind},person {number},{split},{'150 80 190 95' if kind != 'live' else ''}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def test_a_sets_pictures_are_cut_to_the_face_and_boxes_go_along(own_set: Path) -> None:
    pictures = read_set("folder", own_set, table=own_set / "labels.csv")
    attack = next(picture for picture in pictures if picture.attack)
    for kind, side in (("face", 192), ("picture", 512)):
        (trial,) = of_pictures([attack], kind)  # type: ignore[arg-type]
        assert trial.rgb.shape == (side, side, 3) and trial.box is not None and not trial.is_whole
        x1, y1, x2, y2 = (round(value) for value in trial.box)
        inside = trial.rgb[y1 + 3:y2 - 3, x1 + 3:x2 - 3]
        assert np.abs(inside.astype(int).mean((0, 1)) - PATCH).max() < 12
    assert trial.subject == ("folder", attack.subject)


def test_a_picture_without_a_face_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faceshield_trials, "load_face_detector", lambda: None)
    monkeypatch.setattr(faceshield_trials, "detect_faces", lambda rgb, detector: ())
    Image.new("RGB", (128, 96), (90, 140, 60)).save(tmp_path / "a.png")
    picture = SpoofPicture(tmp_path / "a.png", None, "print", "1", "test", "own", box=(0, 0, 128, 96))
    (trial,) = of_pictures([picture], "face")
    assert trial.is_whole and trial.rgb.shape == (192, 192, 3)
    assert trial.box == pytest.approx((0, 24, 192, 168))  # 16 rows of padding above, half as much again
    (known,) = of_pictures([SpoofPicture(tmp_path / "a.png", None, None, "1", "test", "own", face=(30, 20, 90, 80))],
                           "face")
    assert not known.is_whole


def test_a_limit_draws_the_same_pictures_in_their_order(own_set: Path) -> None:
    pictures = read_set("folder", own_set, table=own_set / "labels.csv")
    few = drawn(pictures, 4, 3)
    assert few == drawn(pictures, 4, 3) and few == [one for one in pictures if one in few] and len(few) == 4
    assert drawn(pictures, None, 0) == pictures


@pytest.mark.parametrize(("arguments", "expected"), [
    ({"name": "folder"}, "add --csv"), ({"name": "siw-mv2", "protocol": "2"}, "only Protocol I"),
    ({"name": "padisi", "protocol": "3"}, "folds 0, 1 and 2"), ({"name": "casia"}, "no reader for 'casia'")])
def test_a_set_that_cannot_be_read_says_why(arguments: dict[str, str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(VisagentError, match=expected):
        read_set(root=tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """What the commands open instead of a model: it calls everything live, and knows nothing when it weighs."""
    engine = ScriptedEngine(looks=["A live face."] * 40, scores={"Live.": -1.0})
    monkeypatch.setattr(faceshield, "open_engine", lambda settings: engine)
    return engine


def test_the_command_on_a_set_writes_tables_and_a_plot(own_set: Path, tmp_path: Path, scripted: ScriptedEngine,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    faceshield.main(["--set", "folder", "--root", str(own_set), "--csv", str(own_set / "labels.csv"),
                     "--out", str(tmp_path / "out"), "--json"])
    line = json.loads(capsys.readouterr().out)
    assert line["split"] == "test" and str(tmp_path.parent) not in line["command"]
    assert line["extra"][faceshield.TABLE][2][:4] == ["scripted", "folder", "0.500", "0.500"]
    assert faceshield.THRESHOLD in {row["name"] for row in line["rows"]}
    assert json.loads((tmp_path / "out" / "faceshield.json").read_text())["rows"] == line["rows"]
    assert "The paper's table:" in (tmp_path / "out" / "faceshield.md").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"faceshield.md", "faceshield.json", "det.svg",
                                                                    "det.png", "det.csv"}
    assert "in use:" in (tmp_path / "out" / "det.svg").read_text()
    assert 40 - len(scripted.looks) == 2 * 3 + 1  # two pictures of the test split; a box is asked for of the attack


def test_the_command_on_packed_views(tmp_path: Path, scripted: ScriptedEngine,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("dev", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "views-000.npy", np.zeros((4, 192, 192, 3), np.uint8))
        rows = [{"attack": "print" if number % 2 else None, "box": [*BAR] if number % 2 else None, "clues": [],
                 "source": "portrait", "key": f"{split}{number}"} for number in range(4)]
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / split / "labels-000.parquet")
    faceshield.main(["--views", str(tmp_path), "--json"])
    line = json.loads(capsys.readouterr().out)
    assert line["title"] == "FaceShield's four tasks, packed views"
    assert line["notes"][0] == "All attacks are simulated."
    assert faceshield.THRESHOLD in {row["name"] for row in line["rows"]}
    faceshield.main(["--views", str(tmp_path), "--split", "dev", "--json"])
    assert faceshield.THRESHOLD not in capsys.readouterr().out


def test_a_command_that_cannot_run_ends_with_a_sentence() -> None:
    line = f"{sys.executable} -m visagent.evaluation.faceshield --set padisi --root nowhere"
    done = subprocess.run(line.split(), check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("PADISI-Face: expected files")


def test_options_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (("--set wmca", "go together"), ("--views a --set padisi --root b", "not allowed with"),
                            ("--set casia --root a", "invalid choice"), ("", "one of the arguments")):
        with pytest.raises(SystemExit):
            faceshield.main(words.split())
        assert expected in capsys.readouterr().err
    with pytest.raises(VisagentError, match="make them with"):
        faceshield.main(["--views", str(tmp_path)])


def test_a_cross_dataset_run_takes_the_threshold_of_the_other_sets(own_set: Path, tmp_path: Path) -> None:
    with pytest.raises(VisagentError, match="name=folder, not 'padisi'"):
        faceshield.main(["--set", "folder", "--root", str(own_set), "--csv", str(own_set / "labels.csv"),
                         "--train-set", "padisi", "--model", str(tmp_path)])
    with pytest.raises(VisagentError, match="SiW-Mv2"):
        faceshield.main(["--set", "folder", "--root", str(own_set), "--csv", str(own_set / "labels.csv"),
                         "--train-set", f"siw-mv2={tmp_path}", "--model", str(tmp_path)])


def test_a_picture_on_its_side_is_cut_upright(tmp_path: Path, astronaut: np.ndarray) -> None:
    """As the spoof tool does; else a set without EXIF orientation would be judged lying down."""
    cuts = []
    for name, turns in (("up", 0), ("side", 1)):
        Image.fromarray(np.ascontiguousarray(np.rot90(astronaut, -turns))).save(tmp_path / f"{name}.png")
        record = SpoofPicture(tmp_path / f"{name}.png", None, None, "1", "test", "own")
        cuts.append(next(iter(of_pictures([record], "face"))).rgb.astype(int))
    assert np.abs(cuts[0] - cuts[1]).mean() < 15
