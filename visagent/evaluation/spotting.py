"""Micro-expressions found in long simulated films, as files: detection, tracking, alignment, network and all.

    python -m visagent.datasets.micro_expression.faces --data ../shared/data --out runs/mol/photos.npz --whole
    python -m visagent.evaluation.spotting --faces runs/mol/photos.npz --split test

An event is found if a find overlaps it by half of their union (IoU 0.5), as in MEGC; each event and each find counts
once. F1 is of all films together. The table shows it by threshold: the shipped operating point is the best one of the
development split.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, cast

import numpy as np
from tqdm import tqdm

from visagent.datasets.micro_expression.faces import load_faces
from visagent.datasets.micro_expression.films import Event, encode, make_film
from visagent.datasets.sources import Split
from visagent.errors import run_command
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.tools.micro_expression.movement import Movement, movements
from visagent.tools.micro_expression.preparation import CannotJudge, prepare
from visagent.tools.micro_expression.reader import Reader, load_reader, read_reader
from visagent.tools.micro_expression.spotting import Curve, Spotted, read_curve, spot
from visagent.vision.detect import FaceDetector, load_face_detector
from visagent.vision.micro_expression import class_of, grouped

OVERLAP: Final = 0.5
PROBABILITIES: Final = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
EXPLAINED: Final = (0.05, 0.07, 0.1, 0.13, 0.15, 0.2, 0.25, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """One film: what is in it, and what was seen in each stretch of it."""

    events: tuple[Event, ...]
    stretches: tuple[tuple[list[Movement], Curve], ...]
    seconds: float
    length: float

    def found(self, probability: float, explained: float) -> list[Spotted]:
        """The finds by an operating point."""
        return [spotted for moved, curve in self.stretches
                for spotted in spot(moved, curve, probability=probability, explained=explained)]


@dataclass(frozen=True, slots=True)
class EventErrors:
    """Counts over films.

    Attributes:
        hits: Events that were found.
        events: All of them.
        finds: All finds.
        right: Hits whose class of three is right.
        off: Distances of the apex in seconds, of the hits.
    """

    hits: int
    events: int
    finds: int
    right: int
    off: tuple[float, ...]

    @property
    def f1(self) -> float:
        """`2 TP / (2 TP + FP + FN)`."""
        return 2 * self.hits / max(self.events + self.finds, 1)


def overlap(event: Event, found: Spotted) -> float:
    """Intersection over union of two times."""
    common = min(event.offset, found.offset) - max(event.onset, found.onset)
    union = max(event.offset, found.offset) - min(event.onset, found.onset)
    return max(0.0, common) / union if union > 0 else 0.0


def event_errors(films: Sequence[Played], probability: float, explained: float, *, smallest: float = 0.0
                 ) -> EventErrors:
    """Match finds to events, the most overlapping pairs first.

    Args:
        films: What was found in them.
        probability, explained: Which finds.
        smallest: Events of fewer pixels are left out, and so are finds that hit them.
    """
    hits = events = finds = right = 0
    off: list[float] = []
    for film in films:
        spotted = film.found(probability, explained)
        pairs = sorted(((overlap(event, found), i, j) for i, event in enumerate(film.events)
                        for j, found in enumerate(spotted)), reverse=True)
        taken_events: dict[int, int] = {}
        taken_finds: set[int] = set()
        for share, i, j in pairs:
            if share >= OVERLAP and i not in taken_events and j not in taken_finds:
                taken_events[i] = j
                taken_finds.add(j)
        small = {i for i, event in enumerate(film.events) if event.amplitude < smallest}
        ignored = {j for i, j in taken_events.items() if i in small}
        events += len(film.events) - len(small)
        finds += len(spotted) - len(ignored)
        for i, j in taken_events.items():
            if i in small:
                continue
            hits += 1
            event, found = film.events[i], spotted[j]
            right += _class_of_find(found) == class_of(event.emotion, "3")
            off.append(abs(found.apex - event.apex))
    return EventErrors(hits, events, finds, right, tuple(off))


def _class_of_find(found: Spotted) -> str:
    from visagent.vision.micro_expression import THREE

    return tuple(THREE)[int(grouped(found.probabilities, "3").argmax())]


def play(data: bytes, events: tuple[Event, ...], detector: FaceDetector, reader: Reader) -> Played:
    """Look through one film, as the tool does."""
    begun = time.perf_counter()
    try:
        prepared = prepare(data, detector)
    except CannotJudge:
        return Played(events, (), time.perf_counter() - begun, 0.0)
    stretches = []
    for stretch in prepared.stretches:
        curve = read_curve(stretch.crops, stretch.seconds, reader.look)
        frame = np.clip(np.searchsorted(stretch.seconds, curve.seconds), 0, len(stretch.seconds) - 1)
        moved = list(movements(stretch.crops, stretch.seconds, stretch.landmarks))
        stretches.append((moved, curve.without(stretch.restless[frame])))
    return Played(events, tuple(stretches), time.perf_counter() - begun, prepared.whole.seconds)


def best_point(films: Sequence[Played]) -> tuple[float, float]:
    """The probability and the share explained with the best F1."""
    return max(product(PROBABILITIES, EXPLAINED), key=lambda point: event_errors(films, *point).f1)


def measure(films: Sequence[Played], point: tuple[float, float], *, command: str, seed: int, split: str,
            reader: Reader, description: str) -> Result:
    """F1 and what lies behind it."""
    whole, larger = event_errors(films, *point), event_errors(films, *point, smallest=1.0)
    length = max(sum(film.length for film in films), 1e-6)
    rows = [Row("event F1 (IoU 0.5)", whole.f1, "at least 0.7"),
            Row("events found (recall)", Share(whole.hits, whole.events)),
            Row("finds that are events (precision)", Share(whole.hits, whole.finds)),
            Row("event F1, movements of at least 1 pixel", larger.f1),
            Row("class of three right, of events found", Share(whole.right, whole.hits)),
            Row("false finds a minute", (whole.finds - whole.hits) / (length / 60)),
            Row("seconds for a second of film", sum(film.seconds for film in films) / length)]
    if whole.off:
        rows.append(Row("apex off by, median, seconds", float(np.median(whole.off))))
    table = [["probability", *(f"explained {explained:g}" for explained in EXPLAINED)]]
    for probability in PROBABILITIES:
        table.append([f"{probability:g}", *(f"{event_errors(films, probability, explained).f1:.3f}"
                                            for explained in EXPLAINED)])
    return Result(title="Micro-expressions found in films", command=command, rows=tuple(rows), split=split, seed=seed,
                  models={"MOL": reader.identity}, extra={"F1 by operating point": table}, notes=(description,))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--weights", type=Path, help="a folder; the shipped network if left out")
    parser.add_argument("--count", type=int, default=60, help="films of ten seconds")
    parser.add_argument("--frames-per-second", type=int, default=100)
    parser.add_argument("--best", action="store_true", help="take the operating point that is best here; for dev")
    parser.add_argument("--still", action="store_true", help="leave the distractors out")
    add_common_options(parser, model=False)
    options = parser.parse_args(arguments)
    reader = load_reader() if options.weights is None else read_reader(options.weights)
    faces, detector = load_faces(options.faces, cast(Split, options.split)), load_face_detector()
    rng = np.random.default_rng(options.seed)
    films = []
    count = options.limit or options.count
    for number in tqdm(range(count), desc="films", mininterval=10):
        who = int(rng.integers(len(faces.photos)))
        film = make_film(faces.photos[who], faces.landmarks[who], options.seed * 10_007 + number,
                         distracts=not options.still)
        films.append(play(encode(film, options.frames_per_second), film.events, detector, reader))
    own = reader.operating_point
    point = best_point(films) if options.best else (own.threshold, own.explained)
    command = command_line("spotting", faces=options.faces, split=options.split, weights=options.weights, count=count,
                           frames_per_second=options.frames_per_second, best=options.best,
                           still=options.still, seed=options.seed)
    measure(films, point, command=command, seed=options.seed, split=options.split, reader=reader,
            description=f"{count} films of ten seconds, {options.frames_per_second} frames a second, H.264; movements "
                        "of 0.5 to 3 pixels of the crop, none to three a film"
                        + ("." if options.still else ", beside blinks, drift of the head and slow expressions.")
            ).show(as_json=options.json)

if __name__ == "__main__":
    run_command(main)
