"""Does a spoof verdict hang on what it names, and on nothing else?

    python -m visagent.evaluation.faithfulness --views runs/views --split test

A region that is named as the attack should matter: when it is covered, the verdict should fall more often than when
another region of the same size is (the deletion test). And what says nothing about the face should not matter: its
mirror image, another compression, other words for the question, a leading one. Covering is inpainting from the
region's border, because a flat patch on a face is an attack of its own.

A user's words never reach the model's look at a face: the tool asks its own question. The paraphrases and the leading
questions are put to the model all the same, for whoever asks it directly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.errors import run_command
from visagent.evaluation.boxes import BoxCorners, box_iou
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.screening import Views, ask_in_words, open_specialist
from visagent.evaluation.views import LabelledView, read_views
from visagent.settings import load_settings
from visagent.tools.spoof.specialist import Specialist

SMALLEST, LARGEST = 0.01, 0.5
"""Shares of the view between which a named region is covered: what fills more leaves no other place to cover."""
PLACES = 50
"""Draws of another region; the one that overlaps the named one least is taken."""
QUALITY = 60
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
        spoof: Whether each is called a spoof.
        boxes: The attacked area it names in each, in pixels of the view; None where it names none.
    """

    spoof: NDArray[np.bool_]
    boxes: tuple[BoxCorners | None, ...]


Judge = Callable[[Views], Judged]


def words_of(engine: Engine, *, batch: int = 32) -> Judge:
    """The model's words as a judge."""

    def judge(views: Views) -> Judged:
        spoken = ask_in_words(engine, views, batch=batch)
        return Judged(np.array([one.verdict == "spoof" for one in spoken]), tuple(one.box for one in spoken))

    return judge


def score_of(specialist: Specialist) -> Judge:
    """The specialist's score at its threshold as a judge."""

    def judge(views: Views) -> Judged:
        opinions = [specialist.look(view) for view in views]
        boxes = (opinion.box for opinion in opinions)
        return Judged(np.array([opinion.is_spoof for opinion in opinions]),
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


def deletion_rows(name: str, judge: Judge, views: Sequence[LabelledView], *, seed: int = 0) -> list[Row]:
    """The deletion test over the attacks that the judge calls a spoof and gives a place."""
    from scipy.stats import binomtest

    attacks = [view.rgb for view in views if view.attack is not None]
    first = judge(attacks)
    rng = np.random.default_rng(seed)
    named, others = [], []
    for rgb, spoof, box in zip(attacks, first.spoof, first.boxes, strict=True):
        side = rgb.shape[0]
        if spoof and box is not None and SMALLEST <= (box[2] - box[0]) * (box[3] - box[1]) / side**2 <= LARGEST:
            named.append(cover(rgb, box))
            others.append(cover(rgb, elsewhere(box, side, rng)))
    if not named:
        return [Row(f"{name}: verdict falls when the named region is covered", Share(0, 0))]
    fell, fell_elsewhere = ~judge(named).spoof, ~judge(others).spoof
    only, only_elsewhere = int((fell & ~fell_elsewhere).sum()), int((~fell & fell_elsewhere).sum())
    chance = binomtest(only, only + only_elsewhere, 0.5, "greater").pvalue if only + only_elsewhere else 1.0
    count = len(fell)
    return [Row(f"{name}: verdict falls when the named region is covered", Share(int(fell.sum()), count)),
            Row(f"{name}: verdict falls when another of the same size is", Share(int(fell_elsewhere.sum()), count)),
            Row(f"{name}: the named region matters more, p (exact McNemar test)", float(chance))]


def consistency_rows(name: str, judge: Judge, views: Sequence[LabelledView]) -> list[Row]:
    """Whether verdict and place survive a mirror and a compression."""
    import cv2

    pictures = [view.rgb for view in views]
    first = judge(pictures)
    mirrored = judge([np.ascontiguousarray(rgb[:, ::-1]) for rgb in pictures])
    packed = [cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1] for rgb in pictures]
    unpacked = [np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1] for data in packed]
    pairs = [(box, (rgb.shape[1] - other[2], other[1], rgb.shape[1] - other[0], other[3]))
             for rgb, box, other in zip(pictures, first.boxes, mirrored.boxes, strict=True) if box and other]
    return [Row(f"{name}: same verdict for the mirror image", _same(first, mirrored)),
            Row(f"{name}: its region is mirrored too (IoU >= 0.5)",
                Share(sum(box_iou(one, other) >= 0.5 for one, other in pairs), len(pairs))),
            Row(f"{name}: same verdict at JPEG quality {QUALITY}", _same(first, judge(unpacked)))]


def question_rows(engine: Engine, views: Sequence[LabelledView], *, batch: int = 32) -> list[Row]:
    """Whether the words keep their verdict when the question is worded otherwise, or leads."""
    pictures = [view.rgb for view in views]
    ask = partial(ask_in_words, engine, pictures, batch=batch)
    first = [spoken.verdict for spoken in ask()]

    def kept(question: str) -> int:
        return sum(one.verdict == verdict for one, verdict in zip(ask(question=question), first, strict=True))

    rows = [Row("words: same verdict to another wording",
                Share(sum(map(kept, PARAPHRASES)), len(PARAPHRASES) * len(pictures)))]
    return rows + [Row(f"words: same verdict to \"{question}\"", Share(kept(question), len(pictures)))
                   for question in LEADING]


def measure(views: Sequence[LabelledView], engine: Engine | None, specialist: Specialist | None, *, split: str,
            command: str, seed: int = 0, batch: int = 32) -> Result:
    """Measure whichever voice is given. Raises EngineError if the model failed."""
    rows: list[Row] = []
    models = {}
    if engine is not None:
        models["words"] = engine.identity
        judge = words_of(engine, batch=batch)
        rows += deletion_rows("words", judge, views, seed=seed) + consistency_rows("words", judge, views)
        rows += question_rows(engine, views, batch=batch)
    if specialist is not None:
        models["specialist"] = specialist.identity
        judge = score_of(specialist)
        rows += deletion_rows("specialist", judge, views, seed=seed) + consistency_rows("specialist", judge, views)
    return Result(
        title="Faithfulness of spoof verdicts, simulated attacks", command=command, rows=tuple(rows), split=split,
        seed=seed, models=models, notes=(
            f"Deletion: attacks that are called a spoof with a region of {SMALLEST:.0%} to {LARGEST:.0%} of the view. "
            "A region is covered by inpainting from its border.",
            f"Wordings: {len(PARAPHRASES)} beside the tool's own question. A user's words never reach the model's "
            "look at a face; these are put to the model directly."))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--split", default="test")
    parser.add_argument("--specialist", type=Path, default=None, help="its folder; the shipped one if left out")
    parser.add_argument("--only", choices=["words", "specialist"], default=None)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    views = read_views(options.views, options.split, limit=options.limit, seed=options.seed)
    engine = None if options.only == "specialist" else open_engine(load_settings({"model": options.model}))
    specialist = None if options.only == "words" else open_specialist(options.specialist)
    command = command_line("faithfulness", views=options.views, split=options.split, model=options.model,
                           specialist=options.specialist, only=options.only, limit=options.limit, seed=options.seed)
    measure(views, engine, specialist, split=options.split, command=command, seed=options.seed,
            batch=options.batch).show(as_json=options.json)


def _same(first: Judged, second: Judged) -> Share:
    return Share(int((first.spoof == second.spoof).sum()), len(first.spoof))


if __name__ == "__main__":
    run_command(main)
