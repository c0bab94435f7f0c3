"""Findings: strict, frozen, and the same after a trip through JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visagent.evidence import (
    Artifact,
    ArtifactKind,
    Box,
    Direction,
    Finding,
    ModelIdentity,
    Region,
    Score,
    State,
    abstain,
    not_possible,
)

BOX = Box(x1=10, y1=20, x2=110, y2=140)
FULL = Finding(
    tool="spoof", answer="spoof", summary="A screen.", images=("image_1",),
    scores=(Score(name="attack score", value=0.9, threshold=0.5, threshold_source="development split"),),
    regions=(Region(label="moire", image="image_1", box=BOX, score=0.7),),
    artifacts=(Artifact(handle="artifact_1", kind=ArtifactKind.picture, description="boxes drawn"),),
    model=ModelIdentity(id="specialist", digest="0123456789abcdef"), caveats=("Not certified liveness.",),
)

text = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
boxes = st.builds(lambda x, y, w, h: Box(x1=x, y1=y, x2=x + w, y2=y + h), st.integers(0, 5000), st.integers(0, 5000),
                  st.integers(1, 5000), st.integers(1, 5000))
scores = st.builds(Score, name=text, value=numbers, direction=st.sampled_from(Direction))
regions = st.builds(Region, label=text, image=st.from_regex(r"\Aimage_[0-9]{1,4}\Z"), box=boxes,
                    score=st.none() | numbers)
findings = st.builds(Finding, tool=text, answer=text, summary=text, scores=st.tuples(scores, scores),
                     regions=st.tuples(regions), caveats=st.tuples(text))


@given(findings)
def test_a_finding_is_the_same_after_json(finding: Finding) -> None:
    assert Finding.model_validate_json(finding.to_json()) == finding
    assert "\n" not in finding.to_json()


def test_a_full_finding_is_the_same_after_json() -> None:
    assert Finding.model_validate_json(FULL.to_json()) == FULL


def artifact(**facts: object) -> Artifact:
    return Artifact.model_validate({"handle": "artifact_1", "kind": "picture", "description": "a plot", **facts})


@pytest.mark.parametrize("facts", [
    {}, {"image": "image_1"}, {"image": "artifact_2", "box": BOX}, {"kind": "mask", "image": "image_1"},
    {"kind": "mask", "image": "image_1", "box": BOX}, {"kind": "comparison", "image": "artifact_2"},
    {"kind": "comparison", "image": "image_2", "box": BOX}])
def test_an_artifact_may_be_shown(facts: dict[str, object]) -> None:
    made = artifact(**facts)
    assert Artifact.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("facts", [
    {"kind": "heat map"}, {"kind": "mask"}, {"kind": "comparison"}, {"box": BOX}, {"description": ""},
    {"kind": "comparison", "image": "artifact_1"}, {"image": "photo.jpg"}, {"handle": "image_1"},
    {"kind": "mask", "image": "image_1", "box": {"x1": 5, "y1": 0, "x2": 5, "y2": 9}}, {"pixels": [[0, 0, 0]]}])
def test_an_artifact_that_nobody_could_show_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        artifact(**facts)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        Finding.model_validate({"tool": "t", "answer": "a", "summary": "s", "embedding": [0.1]})


def test_a_finding_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        FULL.answer = "live"  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_is_a_number(value: float) -> None:
    with pytest.raises(ValidationError):
        Score(name="distance", value=value)


@pytest.mark.parametrize("corners", [(5, 0, 5, 9), (0, 5, 9, 5), (9, 0, 0, 9), (0, 9, 9, 0), (0, 0, float("nan"), 9)])
def test_a_box_has_an_area(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValidationError):
        Box(x1=corners[0], y1=corners[1], x2=corners[2], y2=corners[3])


def test_a_box_reads_as_whole_pixels() -> None:
    assert str(Box(x1=1.4, y1=2.6, x2=10, y2=20)) == "[1, 3, 10, 20]"


def test_a_threshold_says_where_it_comes_from() -> None:
    with pytest.raises(ValidationError, match="where it comes from"):
        Score(name="distance", value=0.4, threshold=0.6)


@pytest.mark.parametrize(("direction", "value", "passes"), [
    (Direction.HIGHER, 0.5, True), (Direction.HIGHER, 0.49, False),
    (Direction.LOWER, 0.5, True), (Direction.LOWER, 0.51, False),
])
def test_the_threshold_itself_passes(direction: Direction, value: float, passes: bool) -> None:
    score = Score(name="s", value=value, direction=direction, threshold=0.5, threshold_source="test")
    assert score.passes is passes
    assert direction in str(score)


def test_a_score_without_threshold_decides_nothing() -> None:
    assert Score(name="blur", value=3).passes is None


@pytest.mark.parametrize("handle", ["/etc/passwd", "image_", "image_1/..", "artifact_x", "image_1\n"])
def test_pictures_are_named_by_handles_only(handle: str) -> None:
    with pytest.raises(ValidationError):
        Region(label="face", image=handle, box=BOX)
    with pytest.raises(ValidationError):
        Artifact(handle=handle, kind="plot", description="")


@pytest.mark.parametrize("fields", [
    {"state": State.answered, "answer": None},
    {"state": State.abstained, "answer": "live", "reason": "blurred"},
    {"state": State.abstained, "answer": None},
    {"state": State.not_possible, "answer": None, "reason": ""},
])
def test_state_answer_and_reason_agree(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Finding.model_validate({"tool": "t", "summary": "s"} | fields)


def test_abstaining_keeps_reason_and_evidence() -> None:
    finding = abstain("spoof", "the face is too blurred", images=("image_1",), caveats=("c",))
    assert finding.state is State.abstained
    assert finding.answer is None
    assert finding.reason == "the face is too blurred"
    assert finding.reason in finding.summary
    assert finding.images == ("image_1",)
    assert finding.caveats == ("c",)


def test_what_cannot_be_done_says_why() -> None:
    finding = not_possible("verify", "there is no image_7")
    assert finding.state is State.not_possible
    assert finding.reason in finding.summary
