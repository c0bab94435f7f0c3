"""What is kept out of the instruction data, and what of a generator's words is let in."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.datasets.instructions.answers import PictureLabel, answer
from visagent.datasets.instructions.filters import (
    BLACKLIST,
    NEAR_COPY_BITS,
    NearCopies,
    contradiction,
    difference_hash,
    refusal,
    verdicts,
)
from visagent.datasets.instructions.generator import Pair, Rewriter
from visagent.datasets.instructions.questions import Task
from visagent.errors import EngineError, EngineUnavailable
from visagent.settings import Settings

from ..agent.openai_server import OpenAIServer, running_server

PRINT = PictureLabel("print", ("a paper edge", "halftone dots"), (12.04, 30.0, 180.5, 192.0), 192, None)
LIVE = PictureLabel(None, (), None, 192, None)
WALK = (
    'For "Face Facial Lighting", it is even. For "Global Shape Consistency of Facial Features", fine. '
    'For "Sense of Depth and Three-Dimensionality", halftone dots are visible. '
    'For "Presence of Phone Screen or Paper Edges", a paper edge is visible. ')


@pytest.mark.parametrize("text", [
    "As an AI language model, I see a face.", "It is difficult to determine the type.", "It is NOT  possible to say.",
    "I\u2019m sorry, I can't help with that.", "I am unable to tell.", "It could be a print.", "Perhaps a spoof.",
])
def test_refusals_and_hedging_are_found(text: str) -> None:
    assert refusal(text) in BLACKLIST


def test_plain_statements_are_no_refusals() -> None:
    assert refusal("This is a spoof face: halftone dots can be seen, and a paper edge gives it away.") is None


@pytest.mark.parametrize(("text", "said"), [
    ("This is a spoof.", {"spoof"}), ("The face is real.", {"live"}), ("This is not a real face.", {"spoof"}),
    ("No sign of an attack is visible.", {"live"}), ("It isn't fake. It is genuine.", {"live"}),
    ("A real face, but it is a spoof.", {"live", "spoof"}), ("Dots are visible.", set()),
    ("Bona fide; without any attack.", {"live"}),
])
def test_verdicts_with_denials(text: str, said: set[str]) -> None:
    assert verdicts(text) == said


@pytest.mark.parametrize(("task", "text", "label", "why"), [
    ("coarse", "This is a spoof: halftone dots are visible.", PRINT, None),
    ("coarse", "This is a real face: no halftone dots are visible.", LIVE, None),
    ("coarse", "This is a real face: nothing odd.", PRINT, "the other verdict"),
    ("coarse", "This is a spoof. No, it is genuine.", PRINT, "the other verdict"),
    ("coarse", "Halftone dots are visible.", PRINT, "no verdict"),
    ("coarse", "This is a spoof: moire is visible.", PRINT, "a clue that is not there"),
    ("coarse", "A real face, with a glossy reflection.", LIVE, "a clue that is not there"),
    ("coarse", "This is a spoof at [12.0, 30.0, 180.5, 192.0].", PRINT, "a box that was not asked for"),
    ("description", "A sheet of paper with a face.", PRINT, None),
    ("description", "A face. Nothing else.", LIVE, None),
    ("description", "A fake face.", LIVE, "the other verdict"),
    ("fine", "It represents a Print Attack.", PRINT, None),
    ("fine", "It represents a print attack: halftone dots.", PRINT, None),
    ("fine", "It represents a Replay Attack.", PRINT, "another attack type"),
    ("fine", "It represents a Print Attack or a Replay Attack.", PRINT, "another attack type"),
    ("fine", "It represents a spoof.", PRINT, "no attack type"),
    ("fine", "It represents a Bonafide face.", LIVE, None),
    ("fine", "It represents a Print Attack.", LIVE, "the other verdict"),
    ("localisation", "The spoof area is [12.0, 30.0, 180.5, 192.0]: paper.", PRINT, None),
    ("localisation", "The spoof area is [12.0 30.0 180.5 192.0]: paper.", PRINT, None),
    ("localisation", "The spoof area is [12.1, 30.0, 180.5, 192.0]: paper.", PRINT, "another box"),
    ("localisation", "The spoof is all over the face.", PRINT, "another box"),
    ("localisation", "The spoof is [12.0, 30.0, 180.5, 192.0], [0, 0, 1, 1].", PRINT, "another box"),
    ("localisation", "The face is real.", LIVE, None),
    ("localisation", "The face is real: [0.0, 0.0, 1.0, 1.0].", LIVE, "a box that was not asked for"),
    ("reasoning", WALK + "So it is a spoof.", PRINT, None),
    ("reasoning", WALK + "So it is a real face.", PRINT, "the other verdict"),
    ("reasoning", WALK + "So it is a real face.", LIVE, "a clue that is not there"),
    ("reasoning", 'For "Face Facial Lighting", it is even. It is a spoof.', PRINT, "another walk"),
])
def test_answers_are_held_to_the_label(task: Task, text: str, label: PictureLabel, why: str | None) -> None:
    assert contradiction(task, text, label) == why


def test_boxes_in_thousandths_are_held_to_the_label_too() -> None:
    assert contradiction("localisation", "A spoof at [63, 156, 940, 1000].", PRINT, boxes="thousandths") is None
    assert contradiction("localisation", "A spoof at [64, 156, 940, 1000].", PRINT, boxes="thousandths") is not None


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63)))
def test_near_copies_are_pictures_that_differ_in_few_signs(digest: int, flipped: set[int]) -> None:
    copies, other = NearCopies(), digest ^ sum(1 << bit for bit in flipped)
    assert copies.is_new(digest, "anna", "print")
    assert copies.is_new(other, "anna", "print") == (len(flipped) > NEAR_COPY_BITS)
    assert copies.is_new(digest, "anna", None) and copies.is_new(digest, "bert", "print")
    assert not copies.is_new(digest, "anna", "print")


def test_the_hash_survives_noise_and_scale_and_tells_pictures_apart(astronaut: np.ndarray) -> None:
    face, rng = astronaut[60:210, 150:300], np.random.default_rng(0)
    noisy = np.clip(face + rng.normal(0, 4, face.shape), 0, 255).astype(np.uint8)
    scaled = cv2.resize(face, (192, 192), interpolation=cv2.INTER_AREA)
    for copy in (noisy, scaled):
        assert (difference_hash(face) ^ difference_hash(np.asarray(copy))).bit_count() <= NEAR_COPY_BITS
    assert (difference_hash(face) ^ difference_hash(np.ascontiguousarray(face[:, ::-1]))).bit_count() > 10


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def rewriter(server: OpenAIServer, tmp_path: Path) -> Iterator[Rewriter]:
    made = Rewriter(server.url, Settings(), tmp_path / "memory.jsonl")
    yield made
    made.close()


SEED = Pair("Is the face real or a spoof?", "This is a spoof: halftone dots are visible.")


def _says(question: str, answer: str) -> dict[str, Any]:
    return {"content": "Sure:\n```json\n" + json.dumps({"question": question, "answer": answer}) + "\n```"}


def test_a_true_rewording_is_taken(server: OpenAIServer, rewriter: Rewriter) -> None:
    server.replies = [_says("Would you call it genuine?", "It is a spoof face, given away by its halftone dots.")]
    pair, outcome = rewriter.reword("coarse", SEED, PRINT, b"png")
    assert outcome == "reworded"
    assert pair == Pair("Would you call it genuine?", "It is a spoof face, given away by its halftone dots.")


def test_the_model_sees_the_picture_the_label_and_the_pair(server: OpenAIServer, rewriter: Rewriter) -> None:
    server.replies = [_says("Is it?", "It is a spoof.")]
    rewriter.reword("coarse", SEED, PRINT, b"png")
    asked = server.requests[0]
    image, text = asked["messages"][-1]["content"]
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(b"png").decode()
    assert all(part in text["text"] for part in ("Print", "halftone dots", "a paper edge", *SEED))
    assert asked["model"] == "tiny-vlm" and asked["temperature"] == 0


@pytest.mark.parametrize(("reply", "outcome"), [
    (_says("Is it?", "This is a real face."), "contradiction"),
    (_says("Is it?", "This is a spoof: a screen's bezel is visible."), "contradiction"),
    (_says("Is it?", "It is difficult to determine whether this is a spoof."), "refusal"),
    (_says("As an AI language model, I ask: is it?", "This is a spoof."), "refusal"),
    ({"content": "I will not."}, "unreadable"), ({"content": '{"question": "Is it?"}'}, "unreadable"),
    ({"content": ""}, "unreadable"), (_says("Is it?", "This is a spoof. " * 100), "unreadable"),
    (500, "refused by the server"),
])
def test_the_pair_stays_when_the_words_do_not_pass(
    reply: dict[str, Any] | int, outcome: str, server: OpenAIServer, rewriter: Rewriter
) -> None:
    server.replies = [reply]
    assert rewriter.reword("coarse", SEED, PRINT, b"png") == (SEED, outcome)


def test_nothing_is_asked_twice_but_what_the_server_refused(
    server: OpenAIServer, rewriter: Rewriter, tmp_path: Path
) -> None:
    server.replies = [_says("Is it?", "It is a spoof."), 503, _says("Is it?", "It is real.")]
    first = [rewriter.reword("coarse", SEED, label, b"png") for label in (PRINT, LIVE)]
    with (tmp_path / "memory.jsonl").open("a") as file:
        file.write('{"request": "cut sho')  # as a stopped build leaves it
    again = Rewriter(server.url, Settings(), tmp_path / "memory.jsonl")
    assert again.reword("coarse", SEED, PRINT, b"png") == first[0] and len(server.requests) == 2
    assert first[1] == (SEED, "refused by the server")
    assert again.reword("coarse", SEED, LIVE, b"png") == (Pair("Is it?", "It is real."), "reworded")
    again.close()


def test_a_model_is_named_by_itself_or_by_its_server(server: OpenAIServer, tmp_path: Path) -> None:
    settings = Settings(server_url=server.url, api_key="secret")  # type: ignore[arg-type]
    named = Rewriter("tiny-vlm", settings, tmp_path / "memory.jsonl")
    assert named.model == "tiny-vlm" and server.keys[-1] == "Bearer secret"
    named.close()
    with pytest.raises(EngineError, match="tiny-vlm"):
        Rewriter("another", settings, tmp_path / "memory.jsonl")
    server.models = [{"id": "one"}, {"id": "two"}]
    with pytest.raises(EngineError, match="one, two"):
        Rewriter(server.url, settings, tmp_path / "memory.jsonl")


def test_a_silent_server_ends_the_build(tmp_path: Path) -> None:
    with running_server() as server:
        rewriter = Rewriter(server.url, Settings(), tmp_path / "memory.jsonl")
        rewriter.close()
        url = server.url
    with pytest.raises(EngineUnavailable, match="does not answer"):
        Rewriter(url, Settings(), tmp_path / "memory.jsonl")


def test_a_build_rewords_all_but_seeds_and_counts_what_came_of_it(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: np.ndarray
) -> None:
    datasets = pytest.importorskip("datasets")
    from visagent.datasets.instructions import pictures
    from visagent.datasets.instructions.build import build
    from visagent.datasets.instructions.card import write_card
    from visagent.datasets.sources import FacePicture, split_of
    from visagent.datasets.surfaces import SCENE_SIDE

    turn = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2)).astype(np.float32)

    def few(data: Path, split: str, limit: int) -> tuple[list[FacePicture], np.ndarray]:
        keys = [key for key in map(str, range(60)) if split_of(key) == split][:4]
        faces = [FacePicture(astronaut[60 + 4 * n:210, 150:300 - 4 * n], "utkface", key, False)
                 for n, key in enumerate(keys)]
        return faces, np.repeat(turn[None] * SCENE_SIDE, len(faces), 0)

    def reply(body: dict[str, Any]) -> dict[str, Any] | int:
        pair = json.loads(body["messages"][-1]["content"][1]["text"].split("\n", 1)[1])
        said = {"question": "Well? " + pair["question"], "answer": pair["answer"]}
        if "real" in pair["answer"]:
            said["answer"] = "This is a spoof."
        else:
            said["answer"] += " That is what is visible."
        return {"choices": [{"message": {"role": "assistant", "content": json.dumps(said)}}]}

    monkeypatch.setattr(pictures, "people_of", few)
    monkeypatch.setattr(server, "completion", reply)
    plan = pictures.Plan(26, 2, "layered")
    plain, worded = (tmp_path / name for name in ("plain", "worded"))
    build(tmp_path, plain, plan, workers=1)
    rewriter = Rewriter(server.url, Settings(), tmp_path / "memory.jsonl")
    tallies = build(tmp_path, worded, plan, workers=1, rewriter=rewriter)
    rewriter.close()

    def rows(out: Path) -> list[dict[str, Any]]:
        files = [str(out / "sft" / f"{split}.parquet") for split in ("train", "dev", "test")]
        loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"), split="train")
        return list(loaded.remove_columns("images"))

    before, after = rows(plain), rows(worded)
    assert len(before) == len(after)
    counted = {"reworded": 0, "contradiction": 0}
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        single, real = old["task"] != "conversation", "real" in old["messages"][1]["content"][0]["text"]
        if single and place % 3:
            counted["contradiction" if real else "reworded"] += 1
        assert (old != new) == (single and place % 3 > 0 and not real)
        if old != new:
            assert new["messages"][1]["content"][0]["text"].endswith("That is what is visible.")
    generator = sum((tally.generator for (part, _), tally in tallies.items() if part == "sft"), start=Counter())
    assert dict(generator) == counted and min(counted.values()) > 3
    card = write_card(worded, plan, "pixels", tallies, generator=rewriter.model).read_text()
    total = sum(tally.generator["reworded"] for tally in tallies.values())
    assert f"| reworded | {total} |" in card and "`tiny-vlm`" in card


def test_templates_are_never_refusals() -> None:
    rng = Random(1)
    for label in (PRINT, LIVE):
        for task in ("coarse", "fine", "reasoning", "localisation", "description"):
            assert not [text for text in (answer(task, label, rng) for _ in range(300)) if refusal(text)]
