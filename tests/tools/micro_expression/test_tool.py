"""The tool on files: what it answers, and when it says that it cannot judge. The network is a stand-in here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.clips import pictures_in
from visagent.evidence import Finding, State
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.micro_expression import tool as tool_module
from visagent.tools.micro_expression.tool import MICRO_EXPRESSION
from visagent.tools.models import Models

from .films import SIDE, ScriptedReader, as_file, film

RATE = 30
Ask = Callable[..., Finding]
Smile = tuple[list[NDArray[np.uint8]], float, float, float]


@pytest.fixture(scope="module")
def smile() -> Smile:
    """The frames of a film in which the portrait moves once; onset, apex, offset."""
    made = film()
    (event,) = made.events
    return list(made.frames(RATE)), event.onset, event.apex, event.offset


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture
def store() -> PictureStore:
    return PictureStore()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, models: Models, store: PictureStore) -> Ask:
    """Asks about a clip, with a network that speaks at given moments."""
    def asked(data: bytes, moments: dict[float, str] | None = None, *, rate: float = RATE, draws: bool = False,
              **fields: object) -> Finding:
        scripted = ScriptedReader(moments or {}, rate)
        monkeypatch.setattr(tool_module, "load_reader", lambda: scripted)
        context = ToolContext(pictures=store, models=models, settings=Settings(), draws=draws)
        return MICRO_EXPRESSION.call({"clip": store.add_clip(data), **fields}, context)

    return asked


def test_a_movement_has_its_times_its_class_and_where_it_was(ask: Ask, store: PictureStore, smile: Smile) -> None:
    frames, onset, apex, offset = smile
    finding = ask(as_file(frames), {(onset + offset) / 2: "contempt"}, draws=True)
    assert finding.state is State.answered and finding.answer == "negative"
    assert finding.summary.startswith("1 micro-expression. Negative (0.9") and "most like contempt" in finding.summary
    words = finding.summary.split()
    start, end = float(words[words.index("from") + 1]), float(words[words.index("to") + 1])
    assert abs(start - onset) < 0.15 and abs(end - offset) < 0.15
    assert " by " in finding.summary and "pixels of the 128-pixel crop" in finding.summary
    assert {score.name for score in finding.scores} == {
        "probability of a micro-expression", "share of the motion explained", "surprise", "positive",
        "negative"}
    assert all(score.passes and score.threshold_source for score in finding.scores[:2])
    timeline, shown = finding.artifacts
    assert "timeline" in timeline.description and "apex" in shown.description
    assert all(store.artifact(artifact.handle).std() > 10 for artifact in finding.artifacts)
    assert "simulated" in finding.caveats[0]
    assert apex > onset


def test_five_classes_are_named_if_asked_for(ask: Ask, smile: Smile) -> None:
    frames, onset, _, offset = smile
    finding = ask(as_file(frames), {(onset + offset) / 2: "contempt"}, classes="5")
    assert finding.answer == "others" and not finding.artifacts
    assert len(finding.scores) == 7


def test_nothing_over_the_threshold_is_none(ask: Ask, smile: Smile) -> None:
    finding = ask(as_file(smile[0]), draws=True)
    assert finding.answer == "none" and "a probability of 0.16 (threshold 0.50)" in finding.summary
    assert len(finding.artifacts) == 1 and not finding.scores[0].passes and finding.scores[1].passes


def test_several_are_told_in_order(ask: Ask, smile: Smile) -> None:
    finding = ask(as_file(smile[0]), {0.6: "surprise", 1.8: "happiness"})
    assert finding.summary.startswith("2 micro-expressions.")
    assert finding.summary.index("Surprise") < finding.summary.index("Positive")


def still(count: int) -> list[NDArray[np.uint8]]:
    (frame,) = [next(iter(film(events=0, seconds=0.1).frames(RATE)))]
    return [frame] * count


def nobody(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(100, 140, (SIDE, SIDE), np.uint8) for _ in range(count)]


def doubled(count: int) -> list[NDArray[np.uint8]]:
    return [np.hstack([frame, frame]) for frame in still(count)]


def tiny(count: int) -> list[NDArray[np.uint8]]:
    far = np.full((SIDE, SIDE), 128, np.uint8)
    far[100:172, 100:172] = still(1)[0][::4, ::4]
    return [far] * count


@pytest.mark.parametrize(("make", "rate", "why"), [
    (lambda: still(3), 30, "3 frames"), (lambda: still(40), 10, "10 frames a second"),
    (lambda: nobody(40), 30, "no face"), (lambda: doubled(40), 30, "2 faces"), (lambda: tiny(40), 30, "no face|eyes"),
    (lambda: still(5) + nobody(30), 30, "eight frames in a row")])
def test_a_clip_that_cannot_be_judged_is_abstained_from(
        ask: Ask, make: Callable[[], list[NDArray[np.uint8]]], rate: int, why: str) -> None:
    finding = ask(as_file(make(), rate), rate=rate)
    assert finding.state is State.abstained
    assert finding.reason is not None and re.search(why, finding.reason)


def test_one_of_two_faces_can_be_named(ask: Ask) -> None:
    two = as_file(doubled(40))
    assert ask(two, face=2).answer == "none"
    assert "there is no face 3" in str(ask(two, face=3).reason)


def test_where_the_face_is_out_of_sight_nothing_is_said(ask: Ask, smile: Smile) -> None:
    frames = smile[0]
    gone = frames[:40] + nobody(50)
    finding = ask(as_file(gone))
    assert finding.state is State.abstained and "out of sight" in str(finding.reason)
    finding = ask(as_file(frames + nobody(30)))
    assert finding.answer == "none" and any("% of the clip could be judged" in note for note in finding.caveats)


def test_a_clip_with_uneven_frames_is_judged_and_says_so(ask: Ask, smile: Smile) -> None:
    frames, onset, _, offset = smile
    times = [number / RATE + 0.012 * (number % 3 == 1) + 0.05 * (number // 20) for number in range(len(frames))]
    finding = ask(as_file(frames, times=times))
    assert finding.answer == "none" and any("variable frame rate" in note for note in finding.caveats)
    assert onset < offset


def test_a_corrupt_tail_is_told(ask: Ask, smile: Smile) -> None:
    data = bytearray(as_file(smile[0]))
    place = data.index(b"mdat")
    length = int.from_bytes(data[place - 4:place], "big")
    start = place + length * 3 // 4
    data[start:place + length - 4] = os.urandom(place + length - 4 - start)
    finding = ask(bytes(data))
    assert any("damaged" in note for note in finding.caveats) or "damaged" in finding.summary


def test_a_clip_that_cannot_be_read_is_not_possible(ask: Ask, smile: Smile) -> None:
    finding = ask(as_file(smile[0])[:300])
    assert finding.state is State.not_possible and "corrupt" in str(finding.reason)


def test_it_speaks_of_the_frames_that_were_taken_from_the_clip_in_order(models: Models, store: PictureStore,
                                                                        smile: Smile) -> None:
    store.add(picture_from_array(np.zeros((64, 64, 3), np.uint8)))
    frames = [frame for frame, _ in pictures_in(as_file(smile[0]), 3)]
    store.add_all(frames)
    context = ToolContext(pictures=store, models=models, settings=Settings())
    finding = MICRO_EXPRESSION.call({"clip": "clip_1"}, context)
    assert finding.state is State.answered and finding.images == ("image_2", "image_3", "image_4")


def test_a_clip_that_is_not_there_is_asked_for(ask: Ask, models: Models, store: PictureStore) -> None:
    context = ToolContext(pictures=store, models=models, settings=Settings())
    finding = MICRO_EXPRESSION.call({"clip": "clip_7"}, context)
    assert finding.state is State.not_possible and "attach a clip, not a picture" in finding.summary
    finding = MICRO_EXPRESSION.call({"clip": "image_1"}, context)
    assert finding.state is State.not_possible
