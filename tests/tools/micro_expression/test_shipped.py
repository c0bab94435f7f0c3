"""The tool with its own weights, on films of a portrait that it was not trained on."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.datasets.micro_expression.films import Event
from visagent.evidence import Finding
from visagent.media import PictureStore
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.micro_expression.tool import MICRO_EXPRESSION
from visagent.tools.models import Models
from visagent.vision.micro_expression import class_of

from .films import as_file, film

pytestmark = pytest.mark.weights
Frames = list[NDArray[np.uint8]]
SMILE, SURPRISE, DISGUST = 11, 8, 13
RATE = 60


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


def filmed(seed: int, **changes: object) -> tuple[Frames, tuple[Event, ...]]:
    """Three seconds with blinks and a drifting head, in which the portrait moves once by two pixels of the crop."""
    made = film(seed, size=2.0, distracts=True, **changes)  # type: ignore[arg-type]
    return list(made.frames(RATE)), made.events


def ask(frames: Frames, models: Models, *, rate: int = RATE, **fields: object) -> Finding:
    store = PictureStore()
    context = ToolContext(pictures=store, models=models, settings=Settings(), draws=False)
    return MICRO_EXPRESSION.call({"clip": store.add_clip(as_file(frames, rate)), **fields}, context)


def times(finding: Finding) -> list[tuple[float, float]]:
    """Onset and offset of each find that the summary tells of."""
    return [(float(onset), float(offset))
            for onset, offset in re.findall(r"from (\d+\.\d+) to (\d+\.\d+) s with its apex", finding.summary)]


def overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    common = min(first[1], second[1]) - max(first[0], second[0])
    return common / (max(first[1], second[1]) - min(first[0], second[0]))


@pytest.mark.parametrize("seed", [SMILE, SURPRISE, DISGUST])
def test_a_movement_is_found_in_its_time_and_named(seed: int, models: Models) -> None:
    frames, (event,) = filmed(seed)
    finding = ask(frames, models)
    (found,) = times(finding)
    assert overlap(found, (event.onset, event.offset)) >= 0.5
    assert finding.answer == class_of(event.emotion, "3")
    assert all(score.passes for score in finding.scores[:2])


@pytest.fixture(scope="module")
def smile(models: Models) -> tuple[Frames, Finding]:
    """A film and what is found in it."""
    frames, _ = filmed(SMILE)
    return frames, ask(frames, models)


@pytest.mark.parametrize("change", ["fewer frames", "mirrored", "brighter", "later"])
def test_the_same_event_is_found_in_another_recording_of_it(change: str, smile: tuple[Frames, Finding], models: Models
                                                                 ) -> None:
    frames, before = smile
    later, rate = 0.0, RATE
    if change == "fewer frames":
        frames, rate = frames[::2], RATE // 2
    elif change == "mirrored":
        frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
    elif change == "brighter":
        frames = [(20 + 0.8 * frame.astype(np.float32)).astype(np.uint8) for frame in frames]
    else:
        later = 0.4
        frames = [frames[0]] * round(later * RATE) + frames
    after = ask(frames, models, rate=rate)
    assert after.answer == before.answer
    ((onset, offset),), (found,) = times(before), times(after)
    assert overlap(found, (onset + later, offset + later)) >= 0.7


def test_a_face_that_only_blinks_and_drifts_shows_none(models: Models) -> None:
    frames, events = filmed(SMILE, events=0)
    finding = ask(frames, models)
    assert not events and finding.answer == "none"
    assert not all(score.passes for score in finding.scores[:2])


def test_a_clip_that_was_cut_to_one_expression_is_read_whole(models: Models) -> None:
    frames, (event,) = filmed(SURPRISE)
    finding = ask(frames[round(event.onset * RATE) - 3:round(event.offset * RATE) + 3], models)
    assert finding.answer == "surprise"
