"""The tool `micro_expression`: was there a micro-expression in a clip, when, and where on the face?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from visagent.evidence import Artifact, ArtifactKind, Finding, Score, abstain
from visagent.tools.contract import ClipId, Tool, ToolContext, ToolInput
from visagent.tools.micro_expression.movement import Movement, movements
from visagent.tools.micro_expression.preparation import CannotJudge, PreparedClip, Stretch, prepare
from visagent.tools.micro_expression.reader import OperatingPoint, Reader, load_reader
from visagent.tools.micro_expression.regions import in_words, motions, strongest
from visagent.tools.micro_expression.spotting import Curve, Spotted, read_curve, spot
from visagent.tools.subject import FaceNumber
from visagent.vision.detect import load_face_detector
from visagent.vision.micro_expression import GROUPINGS, Grouping, grouped

NAME: Final = "micro_expression"
NOT_FELT: Final = ("A movement of the face, not a proof of a feeling; the network learned from simulated movements of "
                   "single photos.")
LEAST_SEEN: Final = 0.5
"""Share of a clip that must be judged for "none" to be an answer."""
MOST_TOLD: Final = 5


class MicroExpressionInput(ToolInput):
    """Which face of which clip."""

    clip: ClipId
    face: FaceNumber = None
    classes: Annotated[Grouping, Field(description="How many classes to name: 3 (surprise, positive, negative) or 5 "
                                                   "(surprise, happiness, disgust, repression, others).")] = "3"


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """One stretch of the clip, and what was found in it."""

    stretch: Stretch
    curve: Curve
    moved: list[Movement]
    found: list[Spotted]


def run_micro_expression(request: MicroExpressionInput, context: ToolContext) -> Finding:
    """Look through a clip. Raises UnknownPicture, ClipError, WeightsError."""
    clip = context.pictures.clip(request.clip)
    detector = context.models.get(load_face_detector)
    reader = context.models.get(load_reader)
    try:
        prepared = prepare(clip, detector, number=request.face,
                           told=lambda seconds: context.progress("reading the clip", round(10 * seconds), 0))
    except CannotJudge as why:
        return abstain(NAME, str(why), images=context.pictures.frames_of(request.clip), caveats=(NOT_FELT,))
    looks = [_look(stretch, reader, context) for stretch in prepared.stretches]
    return _finding(request, context, prepared, looks, reader)


def _look(stretch: Stretch, reader: Reader, context: ToolContext) -> _Look:
    curve = read_curve(stretch.crops, stretch.seconds, lambda crops, windows: reader.look(
        crops, windows, lambda done, of: context.progress("looking at the face", done, of)))
    # Where the head moves fast nothing is said, neither that there is one nor that there is none.
    frame = np.clip(np.searchsorted(stretch.seconds, curve.seconds), 0, len(stretch.seconds) - 1)
    kept = curve.without(stretch.restless[frame])
    moved = list(movements(stretch.crops, stretch.seconds, stretch.landmarks))
    point = reader.operating_point
    return _Look(stretch, kept, moved, spot(moved, kept, probability=point.threshold, explained=point.explained))


def _finding(request: MicroExpressionInput, context: ToolContext, prepared: PreparedClip, looks: Sequence[_Look],
             reader: Reader) -> Finding:
    unseen = _unseen(prepared, looks)
    length = max(prepared.whole.seconds, 1e-6)
    judged = 1 - min(1.0, sum(end - start for start, end in unseen) / length)
    found = [(look, spotted) for look in looks for spotted in look.found]
    caveats = [NOT_FELT, *_notes(prepared, unseen, judged)]
    images = context.pictures.frames_of(request.clip)
    point = reader.operating_point
    if not found and judged < LEAST_SEEN:
        why = "the face is out of sight or moves too fast" if unseen else "the clip is too short"
        return abstain(NAME, f"{why} in {100 * (1 - judged):.0f} % of the clip.", images=images,
                       caveats=tuple(caveats))
    probability, explained = _closest(looks, point)
    scores = [Score(name="probability of a micro-expression", value=probability, threshold=point.threshold,
                    threshold_source=point.source),
              Score(name="share of the motion explained", value=explained, threshold=point.explained,
                    threshold_source=point.source)]
    artifacts = _drawn(request, context, looks, found, reader, unseen, length) if context.draws else ()
    if not found:
        summary = (f"None: no micro-expression in the {judged * length:.1f} s that could be judged; what comes "
                   f"closest has a probability of {probability:.2f} (threshold {point.threshold:.2f}) and explains "
                   f"{explained:.2f} of what moves (threshold {point.explained:.2f}).")
        return Finding(tool=NAME, answer="none", summary=summary, scores=tuple(scores), images=images,
                       artifacts=artifacts, model=reader.identity, caveats=tuple(caveats))
    first = max(found, key=lambda pair: pair[1].score)
    names = tuple(GROUPINGS[request.classes])
    likely = grouped(first[1].probabilities, request.classes)
    answer = names[int(likely.argmax())]
    scores += [Score(name=name, value=float(value)) for name, value in zip(names, likely, strict=True)]
    told = sorted(found, key=lambda pair: -pair[1].score)[:MOST_TOLD]
    told.sort(key=lambda pair: pair[1].onset)
    parts = " ".join(_sentence(look, spotted, request.classes) for look, spotted in told)
    more = f" {len(found) - len(told)} weaker ones are left out." if len(found) > len(told) else ""
    count = "1 micro-expression" if len(found) == 1 else f"{len(found)} micro-expressions"
    return Finding(tool=NAME, answer=answer, summary=f"{count}. {parts}{more}", scores=tuple(scores),
                   images=images, artifacts=artifacts, model=reader.identity, caveats=tuple(caveats))


def _closest(looks: Sequence[_Look], point: OperatingPoint) -> tuple[float, float]:
    """Probability and share explained of the best find; without one, of the brief movement closest to being one."""
    kept = [look.found for look in looks]
    for least in (point.explained, 0.0):
        if any(kept):
            break
        kept = [spot(look.moved, look.curve, probability=0.0, explained=least) for look in looks]
    closest = max((one for some in kept for one in some), key=lambda one: one.score, default=None)
    if closest is not None:
        return closest.score, closest.movement.explained
    return max((float(look.curve.score.max()) for look in looks if len(look.curve.score)), default=0.0), 0.0


def _sentence(look: _Look, spotted: Spotted, classes: Grouping) -> str:
    names = tuple(GROUPINGS[classes])
    likely = grouped(spotted.probabilities, classes)
    best = int(likely.argmax())
    finer = spotted.emotion
    detail = f", most like {finer}" if finer != names[best] else ""
    moved = in_words(strongest(motions(spotted.movement.flow, _landmarks_at(look.stretch, spotted.apex))))
    return (f"{names[best].capitalize()} ({likely[best]:.2f}{detail}) from {spotted.onset:.2f} to "
            f"{spotted.offset:.2f} s with its apex at {spotted.apex:.2f} s, probability {spotted.score:.2f}: "
            + (f"{moved} pixels of the 128-pixel crop." if moved else "hardly any motion."))


def _landmarks_at(stretch: Stretch, seconds: float) -> NDArray[np.float64]:
    near = np.abs(stretch.seconds - seconds) <= 0.15
    return np.asarray(stretch.landmarks[near].mean(0))  # they tremble from frame to frame


def _unseen(prepared: PreparedClip, looks: Sequence[_Look]) -> list[tuple[float, float]]:
    """The times in which nothing is said: no face, or one that moves too fast."""
    times, before = [], 0.0
    for look in looks:
        seconds = look.stretch.seconds
        if seconds[0] - before > 0.2:
            times.append((before, float(seconds[0])))
        times += _runs(seconds, look.stretch.restless)
        before = float(seconds[-1])
    if prepared.whole.seconds - before > 0.2:
        times.append((before, prepared.whole.seconds))
    return times


def _runs(seconds: NDArray[np.float64], flags: NDArray[np.bool_]) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(float(seconds[start]), float(seconds[min(end, len(seconds) - 1)]))
            for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _notes(prepared: PreparedClip, unseen: Sequence[tuple[float, float]], judged: float) -> list[str]:
    notes = [f"Clip: {note}." for note in prepared.whole.notes if note != "sound ignored"]
    if unseen and judged < 0.95:
        notes.append(f"{100 * judged:.0f} % of the clip could be judged: elsewhere the face is out of sight or moves "
                     "too fast.")
    return notes


def _drawn(request: MicroExpressionInput, context: ToolContext, looks: Sequence[_Look],
           found: Sequence[tuple[_Look, Spotted]], reader: Reader, unseen: Sequence[tuple[float, float]], length: float
           ) -> tuple[Artifact, ...]:
    from visagent.tools.micro_expression.drawing import draw_apex, draw_timeline

    moved = [movement for look in looks for movement in look.moved]
    timeline = draw_timeline([look.curve for look in looks], moved, [spotted for _, spotted in found],
                             reader.operating_point, request.classes, unseen, length)
    artifacts = [context.keep(timeline, ArtifactKind.picture, "timeline of the clip: the probability of a "
                              "micro-expression, and how much of the motion each brief movement explains, against "
                              "their thresholds, and the times found")]
    for look, spotted in sorted(found, key=lambda pair: -pair[1].score)[:MOST_TOLD]:
        frame = int(np.abs(look.stretch.seconds - spotted.apex).argmin())
        title = f"apex at {spotted.apex:.2f} s ({spotted.emotion})"
        picture = draw_apex(look.stretch.crops[frame], _landmarks_at(look.stretch, spotted.apex),
                             spotted.movement.flow, title)
        artifacts.append(context.keep(picture, ArtifactKind.picture, f"{title}: arrows show how the skin has moved "
                                      "since the onset, dots are the landmarks"))
    return tuple(artifacts)


MICRO_EXPRESSION = Tool(
    name=NAME,
    description="Looks for micro-expressions (under half a second) in a clip: which class, from when to when, and "
                "which parts of the face moved.",
    input_model=MicroExpressionInput,
    run=run_micro_expression,
)

