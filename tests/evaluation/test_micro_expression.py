"""Numbers of micro-expressions: events against finds by hand, windows against scikit-learn, flow against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score

from visagent.datasets.micro_expression.faces import AlignedFaces, aligned
from visagent.datasets.micro_expression.films import Event
from visagent.demo import demo_photo
from visagent.errors import WeightsError
from visagent.evaluation import micro_expression
from visagent.evaluation.micro_expression import errors_in, farneback, held_out_windows, measure
from visagent.evaluation.results import Result
from visagent.evaluation.spotting import Played, best_point, event_errors
from visagent.finetune.checkpoint import save_checkpoint
from visagent.tools.micro_expression.movement import Movement
from visagent.tools.micro_expression.network import MOL
from visagent.tools.micro_expression.spotting import Curve
from visagent.vision.detect import load_face_detector
from visagent.vision.micro_expression import EMOTIONS, NONE, THREE, class_of, grouped


def movement(onset: float, offset: float, explained: float) -> Movement:
    return Movement(onset, (onset + offset) / 2, offset, explained, np.ones((32, 32, 2), np.float32), 0.0)


def played(events: tuple[Event, ...], *moved: Movement, happy: tuple[float, float] = (0, 10)) -> Played:
    """Ten seconds in which the network sees happiness in a part of the time."""
    seconds = np.arange(0, 10, 0.05)
    probabilities = np.full((len(seconds), NONE + 1), 0.01, np.float32)
    inside = (seconds >= happy[0]) & (seconds <= happy[1])
    probabilities[inside, EMOTIONS.index("happiness")] = 0.9
    probabilities[~inside, NONE] = 0.9
    return Played(events, ((list(moved), Curve(seconds, probabilities)),), 1.0, 10.0)


SMILE = Event("happiness", 1.0, 1.2, 1.4, 2.0)
FROWN = Event("anger", 5.0, 5.2, 5.4, 0.7)


def test_events_and_finds_are_matched_once_each_by_half_of_their_union() -> None:
    film = played((SMILE, FROWN), movement(1.05, 1.4, 0.5), movement(5.3, 5.6, 0.4), movement(8.0, 8.3, 0.3))
    errors = event_errors([film], 0.5, 0.1)
    assert (errors.hits, errors.events, errors.finds, errors.right) == (1, 2, 3, 1)
    assert errors.f1 == pytest.approx(2 * 1 / (2 + 3)) and errors.off == pytest.approx((0.025,))
    assert event_errors([film], 0.5, 0.35).finds == 2, "weaker movements are none"
    assert event_errors([film], 0.995, 10).finds == 0, "nor is what the network does not see as one"
    assert event_errors([film, played((), movement(2, 2.3, 0.2))], 0.5, 0.1).f1 == pytest.approx(2 / 6)


def test_a_wrong_class_is_a_hit_that_is_not_right() -> None:
    errors = event_errors([played((FROWN,), movement(5.0, 5.4, 0.5))], 0.5, 0.1)
    assert (errors.hits, errors.right) == (1, 0)


def test_small_events_are_neither_missed_nor_found() -> None:
    film = played((SMILE, FROWN), movement(1.0, 1.4, 0.5), movement(5.0, 5.4, 0.4))
    errors = event_errors([film], 0.5, 0.1, smallest=1.0)
    assert (errors.hits, errors.events, errors.finds) == (1, 1, 1)


def test_the_best_point_leaves_out_what_is_wrong() -> None:
    films = [played((SMILE,), movement(1.0, 1.4, 0.5), movement(7, 7.3, 0.12), happy=(0, 3)),
             played((), movement(4, 4.3, 0.12))]
    probability, explained = best_point(films)
    assert event_errors(films, probability, explained).f1 == 1
    assert explained > 0.12 and probability < 0.9


def test_the_classes_are_counted_as_scikit_learn_counts_them() -> None:
    rng = np.random.default_rng(0)
    said, right = rng.dirichlet(np.ones(NONE + 1), 200).astype(np.float32), rng.integers(0, NONE, 200)
    errors, classes = errors_in(said, right, "3"), list(THREE)
    truth = [class_of(EMOTIONS[number], "3") for number in right]
    guess = [classes[number] for number in grouped(said, "3").argmax(1)]
    assert errors.uar == pytest.approx(recall_score(truth, guess, average="macro"))
    assert errors.macro_f1 == pytest.approx(f1_score(truth, guess, average="macro"))
    assert errors.weighted_f1 == pytest.approx(f1_score(truth, guess, average="weighted"))
    assert errors.accuracy.value == pytest.approx(accuracy_score(truth, guess))


@pytest.fixture(scope="module")
def faces() -> AlignedFaces:
    """The bundled portrait."""
    shown = aligned(demo_photo().rgb, load_face_detector())
    assert shown is not None
    photo, landmarks = shown
    return AlignedFaces(photo[None], landmarks[None], ("Eileen Collins",))


def value(result: Result, start: str) -> float:
    number = next(row.value for row in result.rows if row.name.startswith(start))
    return number if isinstance(number, float) else number.value


def test_windows_are_measured_with_their_flow(faces: AlignedFaces) -> None:
    torch.manual_seed(0)
    network = MOL(NONE + 1).eval()
    with torch.no_grad():  # one that says that nothing moves
        assert network.flow is not None
        network.flow.predict.weight.zero_()
    result = measure(network, faces, count=12, seed=3, command="c")
    still = value(result, "flow: end-point error (AEPE) in pixels, no motion")
    assert value(result, "flow: end-point error (AEPE) in pixels, MOL") == pytest.approx(still) and still > 0
    assert value(result, "landmarks: mean error") > 0.2
    assert value(result, "3 classes: UAR") <= 1


def test_the_windows_are_the_same_each_time(faces: AlignedFaces) -> None:
    first, again, other = (next(iter(held_out_windows(faces, 4, seed, (0.5, 3.0), share_without=0.3))).clips
                           for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_farneback_finds_a_shift() -> None:
    y, x = np.mgrid[0:128, 0:128]
    first = (128 + 60 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)
    second = (128 + 60 * np.sin((x - 1) / 5) * np.cos(y / 7)).astype(np.uint8)
    assert np.abs(farneback(first, second)[30:-30, 30:-30, 0].mean() - 1) < 0.2


def test_a_training_is_measured_with_its_flow_head(tmp_path: Path) -> None:
    network = MOL(NONE + 1, with_landmarks=False)
    save_checkpoint(tmp_path / "c.safetensors", network, [], 1)
    read, identity = micro_expression._trained(tmp_path / "c.safetensors")
    assert read.flow is not None and read.landmarks is None and identity.digest is None
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no checkpoint"):
        micro_expression._trained(tmp_path / "c.safetensors")
