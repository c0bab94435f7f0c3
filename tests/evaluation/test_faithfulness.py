"""The deletion and consistency tests tell a judge that looks where it points from one that does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.agent.engines.scripted import ScriptedEngine
from visagent.evaluation import faithfulness
from visagent.evaluation.boxes import BoxCorners, box_iou
from visagent.evaluation.faithfulness import (
    LEADING,
    PARAPHRASES,
    Judge,
    Judged,
    consistency_rows,
    cover,
    deletion_rows,
    mask_rows,
    most_marked,
)
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Row
from visagent.evaluation.views import LabelledView
from visagent.tools.spoof.specialist import Opinion, Specialist

BAR = (30, 60, 120, 90)


@pytest.fixture(scope="module")
def attacks() -> list[LabelledView]:
    """Twenty soft gray views with a white bar across, each a little different."""
    views = []
    for number in range(20):
        rng = np.random.default_rng(number)
        rgb = rng.integers(95, 115, (192, 192, 3)).astype(np.uint8)
        rgb[BAR[1]:BAR[3], BAR[0]:BAR[2]] = 250
        views.append(LabelledView(rgb, "partial eye", BAR, frozenset(), ("portrait", str(number))))
    return views


def _sees_the_bar(views: Sequence[NDArray[np.uint8]]) -> Judged:
    boxes: list[BoxCorners | None] = []
    for rgb in views:
        rows, columns = np.nonzero(rgb[..., 0] > 200)
        boxes.append((float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
                     if len(rows) > 200 else None)
    return Judged(tuple("live" if box is None else "spoof" for box in boxes), tuple(boxes))


def _points_beside_it(views: Sequence[NDArray[np.uint8]]) -> Judged:
    seen = _sees_the_bar(views)
    return Judged(seen.verdicts, tuple((40.0, 130.0, 150.0, 160.0) if spoof else None for spoof in seen.spoof))


def _deleted(judge: Judge, views: Sequence[LabelledView]) -> list[Row]:
    return deletion_rows("judge", judge, views, judge([view.rgb for view in views]))


def _changed(judge: Judge, views: Sequence[LabelledView]) -> list[Row]:
    return consistency_rows("judge", judge, views, judge([view.rgb for view in views]))


def _values(rows: Sequence[Row]) -> list[float]:
    return [row.value.value if isinstance(row.value, Share) else float(row.value)  # type: ignore[arg-type]
            for row in rows]


def test_a_judge_that_looks_where_it_points_passes_the_deletion_test(attacks: list[LabelledView]) -> None:
    fell, fell_elsewhere, chance = _values(_deleted(_sees_the_bar, attacks))
    assert (fell, fell_elsewhere) == (1.0, 0.0) and chance == pytest.approx(0.5**20)


def test_a_judge_that_points_beside_what_it_sees_does_not(attacks: list[LabelledView]) -> None:
    fell, _, chance = _values(_deleted(_points_beside_it, attacks))
    assert fell == 0.0 and chance == 1.0


def test_only_attacks_with_a_place_are_covered(attacks: list[LabelledView]) -> None:
    def nowhere(views: Sequence[NDArray[np.uint8]]) -> Judged:
        return Judged(("spoof",) * len(views), (None,) * len(views))

    def everywhere(views: Sequence[NDArray[np.uint8]]) -> Judged:
        return Judged(("spoof",) * len(views), ((0.0, 0.0, 192.0, 192.0),) * len(views))

    for judge in (nowhere, everywhere):
        (row,) = _deleted(judge, attacks)
        assert row.value == Share(0, 0)


def test_covering_takes_the_region_and_leaves_the_rest(attacks: list[LabelledView]) -> None:
    rgb = attacks[0].rgb
    covered = cover(rgb, BAR)
    inside = np.zeros(rgb.shape[:2], bool)
    inside[BAR[1]:BAR[3], BAR[0]:BAR[2]] = True
    assert np.array_equal(covered[~inside], rgb[~inside])
    assert 90 < covered[inside].mean() < 120


def test_the_other_region_is_as_large_inside_and_apart() -> None:
    for seed in range(20):
        place = faithfulness.elsewhere(BAR, 192, np.random.default_rng(seed))
        assert (place[2] - place[0], place[3] - place[1]) == pytest.approx((90, 30))
        assert min(place) >= 0 and max(place) <= 192 and box_iou(place, BAR) == 0


class _MarksTheBar(Specialist):
    """Its score is the brightness of the view, its mask where the view is bright, or that turned round."""

    def __init__(self, *, turned: bool) -> None:
        object.__setattr__(self, "turned", turned)

    def look(self, view: NDArray[np.uint8]) -> Opinion:
        bright = (view[..., 0] > 200).reshape(12, 16, 12, 16).mean((1, 3))
        score = 1 / (1 + np.exp(-20 * bright.mean()))
        marked = bright[::-1, ::-1] if self.turned else bright  # type: ignore[attr-defined]
        return Opinion(score=float(score), threshold=0.5, attack="print", clues={}, box=None, attacked=marked)


@pytest.mark.parametrize("turned", [False, True])
def test_a_mask_that_marks_what_matters_is_told_from_one_that_does_not(attacks: list[LabelledView], turned: bool
                                                                       ) -> None:
    live = LabelledView(attacks[0].rgb, None, None, frozenset(), ("portrait", "live"))
    lost, lost_anywhere, more, chance = _values(mask_rows(_MarksTheBar(turned=turned), [*attacks, live]))
    if turned:
        assert lost < lost_anywhere and more < 0.5 and chance > 0.5
    else:
        assert lost > lost_anywhere + 0.2 and more > 0.8 and chance < 0.01


def test_the_most_marked_square_is_found() -> None:
    cells = np.zeros((12, 12))
    cells[7:11, 2:6] = 0.9
    cells[0, 11] = 1.0
    assert most_marked(cells) == (2, 7)


def test_mirror_and_compression_move_a_judge_of_one_side_only(attacks: list[LabelledView]) -> None:
    """The bar lies left of the middle: its seer keeps verdict and place, one that wants it there loses both."""
    assert _values(_changed(_sees_the_bar, attacks)) == [1.0, 1.0, 1.0]

    def one_sided(views: Sequence[NDArray[np.uint8]]) -> Judged:
        spoof = [bool(rgb[75, 45, 0] > 200) for rgb in views]
        return Judged(tuple("spoof" if one else "live" for one in spoof),
                      tuple((30.0, 60.0, 120.0, 90.0) if one else None for one in spoof))

    same, _, at_low_quality = _values(_changed(one_sided, attacks))
    assert (same, at_low_quality) == (0.0, 1.0)


def test_a_model_that_gives_in_to_a_leading_question_is_found_out(attacks: list[LabelledView]) -> None:
    spoof, live = "A spoof: a print attack.", "A live face."
    paraphrased = [spoof] * (2 * len(PARAPHRASES) - 1) + [live]
    engine = ScriptedEngine(looks=[*paraphrased, live, live, spoof, spoof])
    rows = faithfulness.question_rows(engine, attacks[:2], Judged(("spoof", "spoof"), (None, None)))
    assert [row.value for row in rows] == [Share(2 * len(PARAPHRASES) - 1, 2 * len(PARAPHRASES)), Share(0, 2),
                                           Share(2, 2)]
    assert [LEADING[0] in rows[1].name, LEADING[1] in rows[2].name] == [True, True]
