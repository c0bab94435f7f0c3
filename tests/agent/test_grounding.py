"""What the grounding check lets through, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.agent.claims import boxes_of, numbers_of
from visagent.agent.grounding import ground, ungrounded
from visagent.agent.prompts import CAPABILITIES, NO_EVIDENCE
from visagent.evidence import Box, Direction, Finding, Region, Score, abstain

from .conftest import spoof_finding

SPOOF = spoof_finding()
LIVE = Finding(
    tool="spoof", answer="live", images=("image_2",),
    summary="Screening of image_2: live; attack score 0.120 (threshold 0.500). No sign of an attack.",
    scores=(Score(name="attack score", value=0.12, threshold=0.5, threshold_source="development split"),))
SAME = Finding(
    tool="verify", answer="same", images=("image_1", "image_2"),
    summary="Same person: face 1 in image_1 and face 1 in image_2 have a distance of 0.412, not over 0.600.",
    scores=(Score(name="descriptor distance", value=0.412, direction=Direction.LOWER, threshold=0.6,
                  threshold_source="LFW"),))
TWO = Finding(
    tool="faces", answer="2", images=("image_1",),
    summary="2 faces in image_1. Face 1 (left) at [1, 2, 30, 40]. Face 2 (right) at [50, 60, 90, 99], 40 px wide.",
    scores=(Score(name="faces", value=2),),
    regions=(Region(label="face 1", image="image_1", box=Box(x1=1, y1=2, x2=30, y2=40)),))
NONE = Finding(tool="faces", answer="0", images=("image_1",), summary="No face was found in image_1.")
HAPPY = Finding(tool="expression", answer="happiness", images=("image_1",),
                summary="Expression shown in image_1: happiness (0.730).",
                scores=(Score(name="happiness", value=0.73),))
BLURRED = abstain("spoof", "the face in image_1 is too blurred.", images=("image_1",))
SPLIT = Finding(tool="spoof", answer="spoof", images=("image_1",),
                summary="Spoof, by the specialist. The language model's own look says live: they disagree.")
UNSURE = Finding(
    tool="spoof", answer="unsure", images=("image_1",),
    summary="Unsure: the specialist says live (attack score 0.29, threshold 0.94), the language model says spoof.")
MASK = Finding(
    tool="spoof", answer="spoof", images=("image_1",),
    summary="Spoof: paper mask attack. I see bent paper, eyes that do not match and a screen edge. Attack score 0.98.")
UNFIT = Finding(
    tool="faces", answer="1", images=("image_1",),
    summary="1 face in image_1. Face 1 at [9, 9, 60, 60], 51 px wide, not good enough for spoof and verify: too dark.")


@pytest.mark.parametrize(("text", "findings"), [
    ("The specialist says live, but the language model says spoof, so I am unsure.", [UNSURE]),
    ("It is a paper mask: I see bent paper and eyes that do not match.", [MASK]),
    ("The face is not good enough for spoof and verify.", [UNFIT]),
    ("This is a spoof, a replay, with an attack score of 0.83 against a threshold of 0.5.", [SPOOF]),
    ("It is a spoof (83 %). There is glare at [12, 30, 58, 50].", [SPOOF]),
    ("It is a spoof with 83 percent; the glare is from (12, 30) to (58, 50).", [SPOOF]),
    ("It is not a live face.", [SPOOF]),
    ("No, it is a spoof, not live.", [SPOOF]),
    ("1. It is a spoof.\n2. The attack score is 0.831.", [SPOOF]),
    ("It is live, not a spoof: the attack score of 0.12 is below the threshold of 0.5.", [LIVE]),
    ("image_1 is a spoof, and image_2 is live.", [SPOOF, LIVE]),
    ("The first picture is a spoof and the second is live.", [SPOOF, LIVE]),
    ("Yes, both pictures show the same person; the distance is 0.41.", [SAME]),
    ("The two faces are of the same person.", [SAME]),
    ("There are two faces in the picture.", [TWO]),
    ("There is no face in image_1.", [NONE]),
    ("She looks happy.", [HAPPY]),
    ("The expression shown is happiness, with 73 percent.", [HAPPY]),
    ("The face is too blurred, so I cannot say whether it is live or a spoof.", [BLURRED]),
    ("The screening says spoof, but the language model says live.", [SPLIT]),
    ("Please attach a picture first.", []),
    ("Hello! I am happy to help with pictures of faces.", []),
    (CAPABILITIES, []),
    (NO_EVIDENCE, []),
])
def test_what_the_findings_say_stands(text: str, findings: list[Finding]) -> None:
    assert not ungrounded(text, findings)
    assert ground(text, findings) == (text, True)


@pytest.mark.parametrize(("text", "findings"), [
    ("It is a spoof with a score of 0.91.", [SPOOF]),
    ("It is a spoof with a score of 0.84.", [SPOOF]),
    ("The score is 1.", [SPOOF]),
    ("The score is about ninety percent.", [SPOOF]),
    ("The score is zero point nine.", [SPOOF]),
    ("It is eighty-five out of a hundred.", [SPOOF]),
    ("Half of the face is covered.", [SPOOF]),
    ("There is glare at [10, 10, 50, 50].", [SPOOF]),
    ("There is glare at [12, 30, 58, 500].", [SPOOF]),
    ("There is glare from (12, 30) to (99, 50).", [SPOOF]),
    ("The glare starts at pixel 58.", [SPOOF]),
    ("It is live.", [SPOOF]),
    ("It is live, with a score of 0.83.", [SPOOF]),
    ("It is real.", [SPOOF]),
    ("It is not a spoof.", [SPOOF]),
    ("It is a mask attack.", [SPOOF]),
    ("image_3 is a spoof.", [SPOOF]),
    ("image_1 is live and image_2 is a spoof.", [SPOOF, LIVE]),
    ("The first picture is live and the second one is a spoof.", [SPOOF, LIVE]),
    ("The score of image_2 is 0.83.", [SPOOF, LIVE]),
    ("It is live.", [BLURRED]),
    ("It is not a spoof.", [BLURRED]),
    ("It is live.", [SPLIT]),
    ("It is live.", [UNSURE]),
    ("The specialist says live.", [UNSURE]),
    ("image_1 is a spoof, and image_2 is live.", [UNSURE, LIVE]),
    ("It is a print attack.", [MASK]),
    ("It is a rigid mask.", [MASK]),
    ("It is a replay attack.", [MASK]),
    ("They are different people.", [SAME]),
    ("They are not the same person.", [SAME]),
    ("There are three faces.", [TWO]),
    ("There is one face.", [TWO]),
    ("There is no face.", [HAPPY]),
    ("She looks sad.", [HAPPY]),
    ("She is 30 years old.", [HAPPY]),
    ("This is Tom Hanks.", [HAPPY]),
    ("Angela is happy.", [HAPPY]),
    ("It is live.", []),
    ("There is one face.", []),
    ("The faces match.", []),
    ("The attack score is 0.2.", []),
    ("", [SPOOF]),
])
def test_what_no_finding_says_falls_back_to_the_findings(text: str, findings: list[Finding]) -> None:
    answer, grounded = ground(text, findings)
    assert not grounded
    assert answer == (" ".join(finding.summary for finding in findings) or NO_EVIDENCE)


@pytest.mark.parametrize("text", [
    "Es ist eine F\u00e4lschung.", "El rostro es falso.", "C'est un visage vivant.",
    "\u042d\u0442\u043e \u0436\u0438\u0432\u043e\u0435 \u043b\u0438\u0446\u043e.",  # Russian: this is a live face
    "\u3053\u308c\u306f\u672c\u7269\u306e\u9854\u3067\u3059",  # Japanese: this is a real face
])
@pytest.mark.parametrize("findings", [[LIVE], []], ids=["with a finding", "without"])
def test_a_language_that_cannot_be_checked_is_not_grounded(text: str, findings: list[Finding]) -> None:
    assert not ground(text, findings)[1]


@pytest.mark.parametrize("finding", [SPOOF, LIVE, SAME, TWO, NONE, HAPPY, BLURRED, SPLIT, UNSURE, MASK, UNFIT],
                         ids=lambda f: f.summary[:20])
def test_every_summary_is_grounded_in_its_own_finding(finding: Finding) -> None:
    assert not ungrounded(finding.summary, [finding])


def test_an_unknown_name_passes_where_a_finding_tells_it() -> None:
    known = Finding(tool="identify", answer="Ada Lovelace", images=("image_1",), summary="image_1 shows Ada Lovelace.")
    assert not ungrounded("This is Ada Lovelace.", [known])
    assert ungrounded("This is Ada Byron.", [known])


@given(st.floats(0.001, 0.999), st.integers(2, 4))
def test_a_score_may_be_rounded_and_nothing_else(value: float, digits: int) -> None:
    finding = Finding(tool="spoof", answer="spoof", summary="Spoof.", images=("image_1",),
                      scores=(Score(name="attack score", value=value),))
    step = 10.0 ** -digits
    assert not ungrounded(f"The attack score is {value:.{digits}f}.", [finding])
    assert ungrounded(f"The attack score is {value + 2 * step:.{digits}f}.", [finding])


def test_numbers_are_read_as_people_write_them() -> None:
    text = "image_3: 12,345 of 0,5 or 83 % in the two photos; picture 2, twenty-one, 1e-3, [1, 2, 3, 4]"
    numbers = {number.text.strip(): number.value for number in numbers_of(text)}
    assert numbers == {"12,345": 12345, "0,5": 0.5, "83 %": 0.83, "two": 2, "twenty-one": 21, "1e-3": 0.001}
    assert boxes_of(text) == [(1, 2, 3, 4)]
