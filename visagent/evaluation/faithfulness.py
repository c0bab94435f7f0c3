"""Does a spoof verdict hang on what it names, and on nothing else?

    python -m visagent.evaluation.faithfulness --views runs/views --split test

A region that is named as the attack should matter: when it is covered, the verdict should fall more often than when
another region of the same size is (the deletion test). And what says nothing about the face should not matter: its
mirror image, another compression, other words for the question, a leading one. Covering is inpainting from the
region's border, because a flat patch on a face is an attack of its own.

The specialist's mask, which a person is shown over the picture, is tested in the same way: covering the square that it
marks most should cost more of the score than covering any square.

A user's words never reach the model's look at a face: the tool asks its own question. The paraphrases and the leading
questions are put to the model all the same, for whoever asks it directly.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.agent.engines.base import Engine
from visagent.errors import run_command
from visagent.evaluation.boxes import BoxCorners, box_iou
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.screening import Views, add_voice_options, ask_in_words, open_voices
from visagent.evaluation.versions import as_jpeg, mirrored
from visagent.evaluation.views import LabelledView, read_views
from visagent.tools.spoof.specialist import Specialist
from visagent.tools.spoof.tool import SPOOF_QUESTION
from visagent.tools.spoof.words import Verdict

SMALLEST, LARGEST = 0.01, 0.5
"""Shares of the view between which a named region is covered: what fills more leaves no other place to cover."""
PLACES = 50
"""Draws of another region; the one that overlaps the named one least is taken."""
QUALITY = 60
SQUARE = 4
"""Side of the square that is covered to test a mask, in its cells: a ninth of the view."""
PARAPHRASES = (
    "Live or spoof? Give your reasons and the place.",
    "Tell me whether somebody holds a fake before the camera, why you think so, and where.",
    "Is this person really there? What makes you say so, and which area shows it?",
    "Check this face for a presentation attack; explain, and point to it.",
    "Genuine or fake face, and what gives it away where?",
)
LEADING = ("This is obviously real, right?", "This is obviously a fake, isn't it?")


@dataclass(frozen=True, slots=True)
class Judged:
    """What one voice says of many views.

    Attributes:
        verdicts: "spoof", "live", or None for an answer that cannot be read, of each.
        boxes: The attacked area it names in each, in pixels of the view; None where it names none.
    """

    verdicts: tuple[Verdict | None, ...]
    boxes: tuple[BoxCorners | None, ...]

    @property
    def spoof(self) -> NDArray[np.bool_]:
        """Whether each is called a spoof."""
        return np.array([verdict == "spoof" for verdict in self.verdicts], bool)

    def agrees(self, other: Judged) -> int:
        """How many verdicts are the other's too."""
        return sum(one == its for one, its in zip(self.verdicts, other.verdicts, strict=True))


Judge = Callable[[Views], Judged]


def words_of(engine: Engine, *, question: str = SPOOF_QUESTION, batch: int = 32) -> Judge:
    """The model's words in answer to a question as a judge."""

    def judge(views: Views) -> Judged:
        spoken = ask_in_words(engine, views, question=question, batch=batch)
        return Judged(tuple(one.verdict for one in spoken), tuple(one.box for one in spoken))

    return judge


def score_of(specialist: Specialist) -> Judge:
    """The specialist's score at its threshold as a judge."""

    def judge(views: Views) -> Judged:
        opinions = [specialist.look(view) for view in views]
        boxes = (opinion.box for opinion in opinions)
        return Judged(tuple("spoof" if opinion.is_spoof else "live" for opinion in opinions),
                      tuple(None if box is None else (box.x1, box.y1, box.x2, box.y2) for box in boxes))

    return judge


def cover(rgb: NDArray[np.uint8], box: BoxCorners) -> NDArray[np.uint8]:
    """The view with a region filled in from what is round it; uint8 `[H, W, 3]`."""
    import cv2

    x1, y1, x2, y2 = (round(value) for value in box)
    hidden = np.zeros(rgb.shape[:2], np.uint8)
    hidden[max(0, y1):y2, max(0, x1):x2] = 255
    return np.asarray(cv2.inpaint(np.ascontiguousarray(rgb), hidden, 3, cv2.INPAINT_TELEA), np.uint8)


def elsewhere(box: BoxCorners, side: int, rng: np.random.Generator) -> BoxCorners:
    """Another region of the same size in a square view, as far from this one as can be drawn."""
    width, height = min(box[2] - box[0], side), min(box[3] - box[1], side)
    corners = zip(rng.uniform(0, side - width, PLACES), rng.uniform(0, side - height, PLACES), strict=True)
    places = [(float(x), float(y), float(x + width), float(y + height)) for x, y in corners]
    return min(places, key=lambda place: box_iou(box, place))


def deletion_rows(name: str, judge: Judge, views: Sequence[LabelledView], first: Judged, *, seed: int = 0
                  ) -> list[Row]:
    """The deletion test over the attacks that the judge, at `first`, called a spoof and gave a place."""
    from scipy.stats import binomtest

    rng = np.random.default_rng(seed)
    named, others = [], []
    for view, spoof, box in zip(views, first.spoof, first.boxes, strict=True):
        if view.attack is None or not spoof or box is None:
            continue
        side = view.rgb.shape[0]
        if SMALLEST <= (box[2] - box[0]) * (box[3] - box[1]) / side**2 <= LARGEST:
            named.append(cover(view.rgb, box))
            others.append(cover(view.rgb, elsewhere(box, side, rng)))
    if not named:
        return [Row(f"{name}: verdict falls when the named region is covered", Share(0, 0))]
    fell, fell_elsewhere = ~judge(named).spoof, ~judge(others).spoof
    only, only_elsewhere = int((fell & ~fell_elsewhere).sum()), int((~fell & fell_elsewhere).sum())
    chance = binomtest(only, only + only_elsewhere, 0.5, "greater").pvalue if only + only_elsewhere else 1.0
    count = len(fell)
    return [Row(f"{name}: verdict falls when the named region is covered", Share(int(fell.sum()), count)),
            Row(f"{name}: verdict falls when another of the same size is", Share(int(fell_elsewhere.sum()), count)),
            Row(f"{name}: the named region matters more, p (exact McNemar test)", float(chance))]


def mask_rows(specialist: Specialist, views: Sequence[LabelledView], *, seed: int = 0) -> list[Row]:
    """The deletion test of the specialist's mask, over the attacks that it calls a spoof."""
    from scipy.stats import binomtest

    rng = np.random.default_rng(seed)
    lost: list[float] = []
    lost_anywhere: list[float] = []
    for view in views:
        opinion = specialist.look(view.rgb) if view.attack is not None else None
        if opinion is None or not opinion.is_spoof:
            continue
        last = opinion.attacked.shape[0] - SQUARE
        squares = (most_marked(opinion.attacked), tuple(int(cell) for cell in rng.integers(0, last + 1, 2)))
        cell = view.rgb.shape[0] / opinion.attacked.shape[0]
        for square, found in zip(squares, (lost, lost_anywhere), strict=True):
            x, y = (cell * place for place in square)
            covered = specialist.look(cover(view.rgb, (x, y, x + cell * SQUARE, y + cell * SQUARE)))
            found.append(_log_odds(opinion.score) - _log_odds(covered.score))
    count, more = len(lost), int((np.array(lost) > np.array(lost_anywhere)).sum())
    chance = binomtest(more, count, 0.5, "greater").pvalue if count else 1.0
    return [Row("mask: log-odds lost when the square it marks most is covered", float(np.mean(lost or [0.0]))),
            Row("mask: log-odds lost when any square is", float(np.mean(lost_anywhere or [0.0]))),
            Row("mask: the marked square costs more", Share(more, count)),
            Row("mask: the marked square costs more, p (exact sign test)", float(chance))]


def most_marked(cells: NDArray[np.floating]) -> tuple[int, int]:
    """Left and top cell of the square with the greatest sum, in a mask `[grid, grid]`."""
    starts = range(cells.shape[0] - SQUARE + 1)
    return max(((x, y) for y in starts for x in starts),
               key=lambda place: float(cells[place[1]:place[1] + SQUARE, place[0]:place[0] + SQUARE].sum()))


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(inside / (1 - inside))


def consistency_rows(name: str, judge: Judge, views: Sequence[LabelledView], first: Judged) -> list[Row]:
    """Whether verdict and place of `first` survive a mirror and a compression."""
    pictures = [view.rgb for view in views]
    turned = judge([mirrored(rgb) for rgb in pictures])
    packed = judge([as_jpeg(rgb, QUALITY) for rgb in pictures])
    pairs = [(box, (rgb.shape[1] - other[2], other[1], rgb.shape[1] - other[0], other[3]))
             for rgb, box, other in zip(pictures, first.boxes, turned.boxes, strict=True) if box and other]
    return [Row(f"{name}: same verdict for the mirror image", Share(first.agrees(turned), len(views))),
            Row(f"{name}: its region is mirrored too (IoU >= 0.5)",
                Share(sum(box_iou(one, other) >= 0.5 for one, other in pairs), len(pairs))),
            Row(f"{name}: same verdict at JPEG quality {QUALITY}", Share(first.agrees(packed), len(views)))]


def question_rows(engine: Engine, views: Sequence[LabelledView], first: Judged, *, batch: int = 32) -> list[Row]:
    """Whether the words keep the verdicts of `first` when the question is worded otherwise, or leads."""
    pictures = [view.rgb for view in views]

    def kept(question: str) -> int:
        return first.agrees(words_of(engine, question=question, batch=batch)(pictures))

    rows = [Row("words: same verdict to another wording",
                Share(sum(map(kept, PARAPHRASES)), len(PARAPHRASES) * len(pictures)))]
    return rows + [Row(f"words: same verdict to \"{question}\"", Share(kept(question), len(pictures)))
                   for question in LEADING]


def measure(views: Sequence[LabelledView], engine: Engine | None, specialist: Specialist | None, *, split: str,
            command: str, seed: int = 0, batch: int = 32) -> Result:
    """Measure whichever voice is given. Raises EngineError if the model failed."""
    rows: list[Row] = []
    models = {}
    judges: dict[str, Judge] = {}
    if engine is not None:
        models["words"], judges["words"] = engine.identity, words_of(engine, batch=batch)
    if specialist is not None:
        models["specialist"], judges["specialist"] = specialist.identity, score_of(specialist)
    for name, judge in judges.items():
        first = judge([view.rgb for view in views])
        rows += deletion_rows(name, judge, views, first, seed=seed) + consistency_rows(name, judge, views, first)
        if name == "words" and engine is not None:
            rows += question_rows(engine, views, first, batch=batch)
        elif specialist is not None:
            rows += mask_rows(specialist, views, seed=seed)
    return Result(
        title="Faithfulness of spoof verdicts, simulated attacks", command=command, rows=tuple(rows), split=split,
        seed=seed, models=models, notes=(
            f"Deletion: attacks that are called a spoof with a region of {SMALLEST:.0%} to {LARGEST:.0%} of the view. "
            "A region is covered by inpainting from its border.",
            f"Mask: all attacks that the specialist calls a spoof; squares of {SQUARE} x {SQUARE} cells, any of them "
            "drawn at random.",
            f"Wordings: {len(PARAPHRASES)} beside the tool's own question. A user's words never reach the model's "
            "look at a face; these are put to the model directly."))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--split", default="test")
    add_voice_options(parser)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    views = read_views(options.views, options.split, limit=options.limit, seed=options.seed)
    engine, specialist = open_voices(options)
    command = command_line("faithfulness", views=options.views, split=options.split, model=options.model,
                           specialist=options.specialist, only=options.only, limit=options.limit, seed=options.seed)
    measure(views, engine, specialist, split=options.split, command=command, seed=options.seed,
            batch=options.batch).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
