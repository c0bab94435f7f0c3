"""Instruction data: every answer is true of its picture, readable by the tool's own rules, and made the same twice."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visagent.agent.boxes import box_space
from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.instructions.answers import PictureLabel, answer, listed, written_box
from visagent.datasets.instructions.clues import ABSENT, ATTRIBUTES, CLUE_WORDS, TYPE_WORDS
from visagent.datasets.instructions.filters import contradiction, refusal
from visagent.datasets.instructions.pairs import REWORDINGS, SEVERAL_TURNS, conversations_about
from visagent.datasets.instructions.questions import SFT_TASKS, Task, ask, ask_further
from visagent.datasets.sources import split_of
from visagent.errors import PictureError
from visagent.tools.spoof.words import read_words

datasets = pytest.importorskip("datasets")

TASKS: tuple[Task, ...] = ("description", *SFT_TASKS)
LIVE = PictureLabel(None, (), None, 192, True)
BUILD = ("--pictures", "30", "--seed", "5")


@st.composite
def attacked(draw: st.DrawFn) -> PictureLabel:
    clues = draw(st.lists(st.sampled_from(CLUES), min_size=1, max_size=6, unique=True))
    x1, y1 = draw(st.floats(0, 150)), draw(st.floats(0, 150))
    box = (x1, y1, draw(st.floats(x1 + 5, 192)), draw(st.floats(y1 + 5, 192)))
    return PictureLabel(draw(st.sampled_from(ATTACK_TYPES)), tuple(sorted(clues)), box, 192,
                        draw(st.sampled_from([None, False, True])))


labels = st.one_of(st.just(LIVE), attacked())
seeds = st.integers(0, 2**32)


def test_every_clue_and_type_has_words() -> None:
    assert set(CLUE_WORDS) == set(CLUES)
    assert set(TYPE_WORDS) == set(ATTACK_TYPES)
    assert set(ABSENT) < set(CLUES)
    assert {words.attribute for words in CLUE_WORDS.values()} == set(ATTRIBUTES)
    assert all(len(words.names) >= 2 for words in CLUE_WORDS.values())
    assert all(len(words.things) >= 2 for words in TYPE_WORDS.values())


@pytest.mark.parametrize("clue", CLUES)
def test_a_clue_is_recognised_by_its_names_and_by_no_other_clues(clue: str) -> None:
    for name in CLUE_WORDS[clue].names:
        assert [other for other, words in CLUE_WORDS.items() if words.marks.search(name)] == [clue], name


@pytest.mark.parametrize("kind", ATTACK_TYPES)
def test_the_words_for_a_type_name_no_clue(kind: str) -> None:
    """Whether there are rubber folds is the label's to say, not the word's for the mask."""
    for text in (*TYPE_WORDS[kind].things, TYPE_WORDS[kind].area):
        assert not [clue for clue, words in CLUE_WORDS.items() if words.marks.search(text)], text


@pytest.mark.parametrize("task", SFT_TASKS)
@given(label=labels, seed=seeds)
def test_the_spoof_tool_reads_the_true_verdict_and_type(task: Task, label: PictureLabel, seed: int) -> None:
    """`visagent.evaluation` reads models' answers by these rules, so what they learn to say must pass them."""
    words = read_words(answer(task, label, Random(seed)))
    assert words.verdict == ("live" if label.attack is None else "spoof")
    if task == "fine":
        assert words.attack == label.attack


@pytest.mark.parametrize("task", TASKS)
@given(label=labels, seed=seeds)
def test_answers_pass_the_filters_and_are_whole_sentences(task: Task, label: PictureLabel, seed: int) -> None:
    text = answer(task, label, Random(seed))
    assert contradiction(task, text, label) is None and refusal(text) is None
    assert text.endswith(".") and not re.search(r"[{}|]|  |\.\.| [.,:]", text)
    for sentence in re.split(r"(?<=\D\.) ", text):
        assert re.match(r"[A-Z\[\"]", sentence), sentence


@given(label=attacked(), seed=seeds)
def test_answers_name_clues_that_are_there_and_no_others(label: PictureLabel, seed: int) -> None:
    """By the very names, not by the filter's rules; what is denied ("neither printing dots nor ...") is no claim."""
    text = answer("coarse", label, Random(seed)).lower()
    named = {clue for clue, words in CLUE_WORDS.items() if any(name in text for name in words.names)}
    assert named and named <= set(label.clues)


@pytest.mark.parametrize("clue", CLUES)
def test_the_names_of_a_clue_are_all_plural_or_all_singular(clue: str) -> None:
    """By their head noun, the word before the first preposition, participle or relative clause."""
    after = r" (?:of|that|for|at|on|in|as|with|onto|around|across|along|cut|drawn|painted|moulded)\b"
    for name in CLUE_WORDS[clue].names:
        head = re.split(after, name)[0]
        assert head.endswith("s") == CLUE_WORDS[clue].plural, name
        assert not (CLUE_WORDS[clue].plural and re.match(r"(?:an?) ", name)), name


@pytest.mark.parametrize("clue", CLUES)
def test_sentences_agree_in_number(clue: str) -> None:
    """Eye holes are visible; a paper edge is."""
    label, rng = PictureLabel("print", (clue,), (0, 0, 192, 192), 192, None), Random(4)
    right, wrong = "is|shows|gives", "are|show|give"
    if CLUE_WORDS[clue].plural:
        right, wrong = wrong, right
    texts = [answer(task, label, rng) for task in ("coarse", "reasoning") for _ in range(150)]
    for name in CLUE_WORDS[clue].names:
        said = [text for text in texts if re.search(re.escape(name), text, re.IGNORECASE)]
        assert any(re.search(rf"{re.escape(name)} ({right})\b", text, re.IGNORECASE) for text in said), name
        assert not [text for text in said if re.search(rf"{re.escape(name)} ({wrong})\b", text, re.IGNORECASE)]


def test_several_clues_are_plural() -> None:
    label, rng = PictureLabel("print", ("a paper edge", "paper grain"), (0, 0, 192, 192), 192, None), Random(4)
    texts = [answer("coarse", label, rng) for _ in range(400)]
    assert any(re.search(r"\band [a-z ]*(edge|border|grain|texture|paper) are visible", text) for text in texts)
    assert not [text for text in texts if re.search(r"\w+ and \w[\w' ]* (is|shows|gives)\b", text)]


@given(label=labels, seed=seeds)
def test_reasoning_walks_the_four_attributes_in_order_with_clues_where_they_belong(
    label: PictureLabel, seed: int
) -> None:
    text = answer("reasoning", label, Random(seed))
    assert tuple(re.findall(r'"([^"]+)"', text)) == ATTRIBUTES
    remarks = re.split("|".join(re.escape(f'"{name}"') for name in ATTRIBUTES), text)[1:]
    for attribute, remark in zip(ATTRIBUTES, remarks, strict=True):
        here = {clue for clue in label.clues if CLUE_WORDS[clue].attribute == attribute}
        remark = remark.split(". ")[0].lower()
        named = {clue for clue, words in CLUE_WORDS.items() if any(name in remark for name in words.names)}
        assert named <= here and bool(named) == bool(here)


@given(label=attacked(), seed=seeds)
def test_a_located_box_is_read_back(label: PictureLabel, seed: int) -> None:
    """In pixels by any model's reader, in thousandths by those of the families that write them."""
    assert label.box is not None
    for style, space in (("pixels", box_space("any")), ("thousandths", box_space("qwen3_vl"))):
        text = answer("localisation", label, Random(seed), boxes=style)  # type: ignore[arg-type]
        numbers = re.search(r"\[([\d., ]+)\]", text)
        assert numbers is not None
        corners = [float(value) for value in numbers[1].split(",")]
        view = space.to_view((corners[0], corners[1], corners[2], corners[3]), 192, 192)
        assert view == pytest.approx(label.box, abs=0.051 if style == "pixels" else 0.097)


def test_boxes_are_written_as_in_the_paper() -> None:
    assert written_box((92, 339, 352, 507), 512) == "[92.0, 339.0, 352.0, 507.0]"
    assert written_box((0, 96, 192, 191.95), 192, "thousandths") == "[0, 500, 1000, 1000]"


def test_lists_of_names() -> None:
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c" and listed(["a", "b"], "or") == "a or b"
    with pytest.raises(ValueError, match="nothing"):
        listed([])


@pytest.mark.parametrize("task", TASKS)
def test_hundreds_of_questions_per_task(task: Task) -> None:
    rng = Random(3)
    asked = {ask(task, rng) for _ in range(2500)}
    assert len(asked) >= 700
    assert not [text for text in asked if re.search(r"[{}|]|  ", text) or text[0].islower()]
    assert len({ask_further(task, rng) for _ in range(500)}) >= 60


@pytest.mark.parametrize("label", [LIVE, PictureLabel("glasses", ("a thick paper frame", "opaque lenses"),
                                                      (20, 50, 160, 90), 192, None)])
def test_a_picture_gives_one_seed_pair_and_one_more_for_its_box_three_times_over(label: PictureLabel) -> None:
    """FaceShield: (12,091 pictures + 3,139 boxes) x 3 = its 45 thousand pairs."""
    tasks, several = Counter[str](), 0
    for seed in range(150):
        dropped: Counter[str] = Counter()
        told = conversations_about(label, Random(seed), dropped)
        assert len(told) == (1 if label.box is None else 2) * (1 + REWORDINGS) and not dropped
        assert [one.original for one in told] == [True, False, False] * (len(told) // 3)
        assert all(one.tasks == told[3 * (place // 3)].tasks for place, one in enumerate(told))
        said = [pair.answer for one in told for pair in one.pairs]
        assert len(set(said)) == len(said)
        assert len({one.pairs[0].question for one in told}) == len(told)
        tasks.update(one.tasks[0] for one in told)
        several += sum(len(one.tasks) > 1 for one in told)
    share = several / tasks.total()
    assert abs(share - SEVERAL_TURNS) < 0.09
    assert set(tasks) == set(SFT_TASKS)
    assert (tasks["localisation"] < 0.3 * tasks.total()) == (label.box is None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like docs/data.md's, of crops of one public-domain portrait under many names."""
    from skimage.data import astronaut

    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def crop(side: int) -> dict[str, object]:
        left, top = rng.integers(140, 160), rng.integers(50, 70)
        picture = Image.fromarray(astronaut()[top:top + 150, left:left + 150]).resize((side, side))
        file = io.BytesIO()
        picture.save(file, "JPEG")
        return {"bytes": file.getvalue(), "path": None}

    names = [f"person_{number}" for number in range(80)]
    lfw = [{"image": crop(224), "identity": name} for name in names]
    parquet.write_table(arrow.Table.from_pylist(lfw), folder / "lfw.parquet")
    parquet.write_table(arrow.Table.from_pylist([{"image": crop(176)} for _ in range(40)]), folder / "utkface.parquet")
    return folder


def _run(data: Path, out: Path, *options: str) -> None:
    from visagent.datasets.instructions.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["instructions", "--data", str(data), "--out", str(out), *options])
        main()


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    _run(data, out, *BUILD, "--workers", "1")
    return out


@pytest.fixture(scope="module")
def sets(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    cache = tmp_path_factory.mktemp("cache")
    yield {part: datasets.load_dataset("parquet", cache_dir=str(cache), data_files={
        split: str(built / part / f"{split}.parquet") for split in ("train", "dev", "test")})
        for part in ("pretrain", "sft")}


def test_the_library_loads_pictures_and_messages(sets: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    for part in ("pretrain", "sft"):
        for split in ("train", "dev", "test"):
            assert len(sets[part][split])
            for row in sets[part][split]:
                picture, messages = row["images"][0], row["messages"]
                assert len(row["images"]) == 1 and picture.size == (192, 192) and picture.mode == "RGB"
                assert [message["role"] for message in messages] == ["user", "assistant"] * len(row["turns"])
                assert [part["type"] for part in messages[0]["content"]] == ["image", "text"]
                assert all([part["type"] for part in message["content"]] == ["text"] for message in messages[1:])
                assert row["task"] == (row["turns"][0] if len(row["turns"]) == 1 else "conversation")
                assert (part == "pretrain") == (row["task"] == "description")


def test_rows_carry_their_labels_and_speak_the_truth(sets: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    for split in ("train", "dev", "test"):
        for row in sets["sft"][split]:
            assert (row["attack"] is None) == (row["box"] is None) == (row["clues"] == []) and row["seed"] == 5
            box = None if row["box"] is None else tuple(row["box"])
            label = PictureLabel(row["attack"], tuple(row["clues"]), box, 192, None)
            for task, message in zip(row["turns"], row["messages"][1::2], strict=True):
                assert contradiction(task, message["content"][0]["text"], label) is None
    kinds = {row["attack"] for row in sets["pretrain"]["train"]}
    assert None in kinds and len(kinds) > 4


def test_splits_share_no_person(sets: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    people = {}
    for split in ("train", "dev", "test"):
        people[split] = {(row["source"], row["key"]) for part in ("pretrain", "sft") for row in sets[part][split]}
        assert all(split_of(key) == split for _, key in people[split])
    assert not people["train"] & people["dev"] and not people["train"] & people["test"]
    assert not people["dev"] & people["test"]


def test_words_and_pictures_are_the_same_again_with_other_workers(data: Path, built: Path, tmp_path: Path) -> None:
    _run(data, tmp_path, *BUILD, "--workers", "2")
    for part in ("pretrain", "sft"):
        for split in ("train", "dev", "test"):
            file = f"{part}/{split}.parquet"
            assert parquet.read_table(tmp_path / file).equals(parquet.read_table(built / file))
    assert (tmp_path / "README.md").read_text() == (built / "README.md").read_text()


def test_a_stopped_build_draws_only_what_is_missing_and_refuses_another_plan(data: Path, built: Path) -> None:
    before = parquet.read_table(built / "sft" / "train.parquet")
    (built / "parts" / "dev-0000.parquet").unlink()
    (built / "sft" / "train.parquet").unlink()
    drawn = (built / "parts" / "train-0000.parquet").stat().st_mtime_ns
    _run(data, built, *BUILD, "--workers", "1")
    assert (built / "parts" / "train-0000.parquet").stat().st_mtime_ns == drawn
    assert parquet.read_table(built / "sft" / "train.parquet").equals(before)
    with pytest.raises(PictureError, match="another"):
        _run(data, built, "--pictures", "30", "--seed", "6")


def test_the_card_counts_what_was_written(
    built: Path, sets: dict[str, dict[str, list[dict[str, object]]]]
) -> None:
    card = (built / "README.md").read_text()
    tasks = ("description", *SFT_TASKS, "conversation")
    for part in ("pretrain", "sft"):
        for split in ("train", "dev", "test"):
            rows = sets[part][split]
            counts = Counter(row["task"] for row in rows)
            people = {(row["source"], row["key"]) for row in rows}
            wanted = [len({row["picture"] for row in rows}), len(people), len(rows), *(counts[task] for task in tasks)]
            assert f"| {part}, {split} | " + " | ".join(map(str, wanted)) + " |" in card
    assert "Nothing was dropped." in card and "--pictures 30 --seed 5 --renderer optical" in card
    config = card.split("---")[1]
    assert all(f"path: {part}/{split}.parquet" in config for part in ("pretrain", "sft") for split in ("dev", "test"))
