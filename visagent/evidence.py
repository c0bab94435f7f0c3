"""What every tool returns: a frozen `Finding` with its scores, regions and artifacts.

A finding serialises to JSON (`Finding.to_json`). It never holds pixels, embeddings or host paths: pictures and plots
are named by handles (`image_1`, `artifact_1`) that the session resolves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
Handle = Annotated[str, Field(pattern=r"^(image|artifact)_[0-9]+$")]
"""Id of a picture of the session, or of one that a tool made."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class State(StrEnum):
    """Whether a finding carries an answer.

    `answered`: `Finding.answer` is set. `abstained`: the picture does not allow a verdict (no face, too blurred, two
    faces). `not_possible`: the request itself cannot be carried out (unknown picture, a tool failed).
    """

    answered = "answered"
    abstained = "abstained"
    not_possible = "not_possible"


class Direction(StrEnum):
    """How a score is read: which side of its threshold speaks for `Score.name`."""

    HIGHER = "higher"
    LOWER = "lower"  # upper case: str.lower is a method


class Box(_Frozen):
    """A box in absolute pixels of the upright original: x to the right, y down, `x1 < x2`, `y1 < y2`."""

    x1: Number
    y1: Number
    x2: Number
    y2: Number

    @model_validator(mode="after")
    def _has_area(self) -> Box:
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise ValueError("a box needs x1 < x2 and y1 < y2")
        return self

    def rounded(self) -> tuple[int, int, int, int]:
        """The corners as whole pixels, `(x1, y1, x2, y2)`."""
        return round(self.x1), round(self.y1), round(self.x2), round(self.y2)

    def __str__(self) -> str:
        return "[{}, {}, {}, {}]".format(*self.rounded())


class Score(_Frozen):
    """One number and what it is held against.

    Attributes:
        name: What is measured, in the field's words ("attack score", "descriptor distance").
        value: The number.
        direction: `higher` if values at or over the threshold speak for the name, `lower` if values at or under it do.
        threshold: The operating point; null for a number that decides nothing.
        threshold_source: Where the threshold comes from: data, split and error rate. Required with a threshold.
        model: Id of the model that made this number, where it is not the finding's own.
    """

    name: str
    value: Number
    direction: Direction = Direction.HIGHER
    threshold: Number | None = None
    threshold_source: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _threshold_has_source(self) -> Score:
        if self.threshold is not None and not self.threshold_source:
            raise ValueError("a threshold must say where it comes from")
        return self

    @property
    def passes(self) -> bool | None:
        """Whether the value is on the speaking side of its threshold (inclusive); null without a threshold."""
        if self.threshold is None:
            return None
        if self.direction is Direction.HIGHER:
            return self.value >= self.threshold
        return self.value <= self.threshold

    def __str__(self) -> str:
        text = f"{self.name} {self.value:.3f}"
        if self.threshold is not None:
            text += f" (threshold {self.threshold:.3f}, {self.direction} passes)"
        return text


class Region(_Frozen):
    """A part of one picture that the finding speaks of."""

    label: str
    image: Handle
    box: Box
    score: Number | None = None


class ArtifactKind(StrEnum):
    """How an artifact is shown: whoever knows these three can show what any tool draws.

    `picture`: by itself, a picture or a plot. `mask`: laid over a place of a picture, the stronger the brighter it is,
    and black not at all. `comparison`: before and after, this one against the same place of another picture.
    """

    picture = "picture"
    mask = "mask"
    comparison = "comparison"


class Artifact(_Frozen):
    """A picture or plot made on the way, by its handle in the session.

    Attributes:
        handle: Where the session keeps its pixels.
        kind: How it is shown.
        description: What it shows, as a caption and for who cannot see it.
        image: What it belongs to: the picture under a mask, the "before" of a comparison, where a picture comes from.
            Required for the first two.
        box: The place of `image` that it covers or shows, in its pixels; all of it if null.
    """

    handle: str = Field(pattern=r"^artifact_[0-9]+$")
    kind: ArtifactKind
    description: str = Field(min_length=1)
    image: Handle | None = None
    box: Box | None = None

    @model_validator(mode="after")
    def _belongs_somewhere(self) -> Artifact:
        if self.image is None and (self.kind is not ArtifactKind.picture or self.box is not None):
            raise ValueError("a mask, a comparison and a box need the picture that they belong to")
        if self.image == self.handle:
            raise ValueError("an artifact cannot belong to itself")
        return self


class ModelIdentity(_Frozen):
    """Which model spoke: its id, and the SHA-256 of its weights (first 16 hex digits), null for a remote model."""

    id: str
    digest: str | None = None


class Vote(_Frozen):
    """What one of several models said, before they were weighed."""

    model: ModelIdentity
    answer: str


class Finding(_Frozen):
    """What a tool found.

    Attributes:
        tool: Name of the tool.
        state: Answered, abstained or not possible.
        answer: The short machine-readable value in the field's words (live, spoof, same, different, unsure, happiness,
            a count); null unless answered.
        summary: One to three sentences that a model or a person can read on its own.
        images: Ids of the pictures this finding is about.
        scores: Numbers against their thresholds.
        regions: Boxes in the upright original.
        artifacts: Pictures and plots made on the way; none where nobody would see them.
        model: Model that decided.
        witnesses: Other models whose words the finding repeats or weighs.
        votes: What each model said, where several were asked the same.
        caveats: What the reader must know to not over-read the answer.
        reason: Why there is no answer; required when there is none.
        parts: One finding per face, where several faces of a picture were judged each on its own.
    """

    tool: str
    state: State = State.answered
    answer: str | None = None
    summary: str
    images: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    regions: tuple[Region, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    model: ModelIdentity | None = None
    witnesses: tuple[ModelIdentity, ...] = ()
    votes: tuple[Vote, ...] = ()
    caveats: tuple[str, ...] = ()
    reason: str | None = None
    parts: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _state_is_consistent(self) -> Finding:
        if (self.answer is not None) != (self.state is State.answered):
            raise ValueError("answer must be set exactly when the state is 'answered'")
        if self.state is not State.answered and not self.reason:
            raise ValueError("a finding without an answer must give its reason")
        return self

    def to_json(self) -> str:
        """The finding as one line of JSON."""
        return self.model_dump_json()

    @property
    def disagree(self) -> bool:
        """Whether the models that were asked said different things."""
        return len({vote.answer for vote in self.votes}) > 1

    def with_parts(self) -> tuple[Finding, ...]:
        """The finding itself and its parts, all that it says."""
        return (self, *(inner for part in self.parts for inner in part.with_parts()))


def abstain(tool: str, reason: str, *, images: tuple[str, ...] = (), regions: tuple[Region, ...] = (),
            scores: tuple[Score, ...] = (), caveats: tuple[str, ...] = ()) -> Finding:
    """A finding for a picture that does not allow a verdict."""
    return Finding(tool=tool, state=State.abstained, summary=f"No verdict: {reason}", reason=reason, images=images,
                   regions=regions, scores=scores, caveats=caveats)


def not_possible(tool: str, reason: str, *, images: tuple[str, ...] = ()) -> Finding:
    """A finding for a request that cannot be carried out."""
    return Finding(tool=tool, state=State.not_possible, summary=f"Not possible: {reason}", reason=reason,
                   images=images)
