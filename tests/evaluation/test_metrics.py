"""Every metric against scikit-learn, SciPy or numbers worked out by hand; invariants on drawn examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, roc_auc_score

from visagent.evaluation.attack_errors import attack_errors, auc, bpcer_at_apcer, choose_threshold, hard_answers
from visagent.evaluation.boxes import box_iou, share_located
from visagent.evaluation.class_errors import calibration_error, class_errors, mentions
from visagent.evaluation.intervals import Share, clopper_pearson_interval, rule_of_three, wilson_interval

COUNTS = st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


@settings(max_examples=25)
@given(COUNTS)
def test_intervals_agree_with_scipy(counts: tuple[int, int]) -> None:
    test = binomtest(*counts)
    for mine, name in ((wilson_interval(*counts), "wilson"), (clopper_pearson_interval(*counts), "exact")):
        theirs = test.proportion_ci(0.95, method=name)
        assert mine == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        assert 0 <= mine[0] <= counts[0] / counts[1] <= mine[1] <= 1


def test_no_error_in_150_leaves_two_percent() -> None:
    assert rule_of_three(150) == pytest.approx(0.0198, abs=5e-5)
    assert rule_of_three(150) == pytest.approx(3 / 150, rel=0.02)
    # It is the one-sided exact bound: the two-sided one at 90 %.
    assert rule_of_three(150) == pytest.approx(clopper_pearson_interval(0, 150, 0.90)[1])


def test_a_share_needs_trials_to_have_a_value() -> None:
    assert np.isnan(Share(0, 0).value) and np.isnan(Share(0, 0).high)
    assert str(Share(81, 263)) == "81/263 = 0.308 [0.255, 0.366]"
    for bad in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="hits"):
            Share(*bad)
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match="confidence"):
        rule_of_three(10, 1.0)


def test_attack_errors_worked_out_by_hand() -> None:
    truth = [None] * 4 + ["print"] * 4 + ["replay"] * 2
    said = ["live", "live", "spoof", None, "spoof", "spoof", "spoof", "live", "live", None]
    errors = attack_errors(truth, said)
    assert errors.apcer == {"print": Share(1, 4), "replay": Share(2, 2)}
    assert errors.worst == "replay"
    assert errors.bpcer == Share(2, 4) and errors.missed == Share(3, 6)
    assert errors.accuracy == Share(5, 10) and errors.unreadable == Share(2, 10)
    assert errors.acer == pytest.approx((1.0 + 0.5) / 2)  # the worst type, not the mean of types
    assert errors.hter == pytest.approx((0.5 + 0.5) / 2)
    with pytest.raises(ValueError, match="'live'"):
        attack_errors([None], ["maybe"])
    with pytest.raises(ValueError, match="no attacks"):
        _ = attack_errors([None], ["live"]).worst


@given(st.lists(st.tuples(st.sampled_from([None, "print", "replay"]), st.sampled_from(["live", "spoof", None])),
                min_size=1, max_size=60))
def test_the_worst_type_is_never_better_than_the_pooled_one(pairs: list[tuple[str | None, str | None]]) -> None:
    errors = attack_errors(*zip(*pairs, strict=True))
    assert errors.accuracy.trials == len(pairs)
    if errors.apcer:
        assert errors.apcer[errors.worst].value >= errors.missed.value - 1e-12
        assert sum(share.hits for share in errors.apcer.values()) == errors.missed.hits


def test_a_threshold_is_never_chosen_on_the_split_it_is_reported_on() -> None:
    scores, is_attack = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, False, False, True])
    with pytest.raises(ValueError, match="may not be chosen"):
        choose_threshold(scores, is_attack, bpcer=0.1, split="test", reported="test")
    chosen = choose_threshold(scores, is_attack, bpcer=0.0, split="dev", reported="test")
    assert chosen.split == "dev" and hard_answers(scores, chosen.value) == ["live", "live", "live", "spoof"]


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60), st.floats(0, 1))
def test_a_chosen_threshold_keeps_its_promise_with_ties(pairs: list[tuple[int, bool]], bpcer: float) -> None:
    scores, is_attack = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    live = scores[~is_attack]
    assume(len(live))
    at = choose_threshold(scores, is_attack, bpcer=bpcer, split="dev", reported="test").value
    assert (live >= at).mean() <= bpcer
    # A lower one, at the next live score, would refuse too many.
    below = live[live < at]
    assert not len(below) or (live >= below.max()).mean() > bpcer


def test_bpcer_at_an_apcer_holds_for_every_type() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.25, 0.9])
    truth = [None, None, None, None, "print", "print", "print", "replay", "replay"]
    # No replay may be missed: the threshold is 0.25, at which two of four live faces are refused.
    assert bpcer_at_apcer(scores, truth, 0.0) == Share(2, 4)
    # Half of the replays may be missed (0.9), one of three prints may be missed (0.7): no live face is that high.
    assert bpcer_at_apcer(scores, truth, 0.5) == Share(0, 4)
    with pytest.raises(ValueError, match="live faces"):
        bpcer_at_apcer(scores[4:], truth[4:], 0.1)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=50))
def test_auc_is_sklearns_and_turns_round(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    assume(0 < positive.sum() < len(positive))
    found = auc(scores, positive, rounds=20)
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    assert auc(-scores, positive, rounds=20).value == pytest.approx(1 - found.value)
    assert 0 <= found.low <= found.high <= 1


def test_the_bootstrap_interval_of_an_auc_is_about_the_right_width() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(400) < 200
    found = auc(rng.normal(size=400) + positive, positive, rounds=500)
    # Hanley and McNeil (1982), with the value found.
    a = found.value
    spread = np.sqrt((a * (1 - a) + 199 * (a / (2 - a) - a * a) + 199 * (2 * a * a / (1 + a) - a * a)) / 200**2)
    assert found.low < a < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    with pytest.raises(ValueError, match="both classes"):
        auc(np.ones(3), np.ones(3, bool))
    with pytest.raises(ValueError, match="finite"):
        auc(np.array([np.nan, 1.0]), np.array([True, False]))


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=4, max_size=60))
def test_class_errors_are_sklearns(pairs: list[tuple[str, str]]) -> None:
    truth, said = map(list, zip(*pairs, strict=True))
    errors = class_errors(truth, said, "abc")
    assert (errors.confusion[:, :3] == confusion_matrix(truth, said, labels=list("abc"))).all()
    assert errors.accuracy.value == pytest.approx(accuracy_score(truth, said))
    assert errors.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    if set(said) <= set(truth) and len(set(truth)) > 1:  # scikit-learn warns otherwise
        assert errors.uar == pytest.approx(balanced_accuracy_score(truth, said))


def test_an_unknown_answer_has_its_column_and_is_wrong() -> None:
    errors = class_errors(["a", "a", "b"], ["a", None, "something"], ["a", "b"])
    assert errors.confusion.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert errors.accuracy == Share(1, 3) and errors.unknown == Share(2, 3) and errors.majority == Share(2, 3)
    assert errors.uar == pytest.approx(0.25) and errors.recalls == {"a": Share(1, 2), "b": Share(0, 1)}
    with pytest.raises(ValueError, match="right class"):
        class_errors(["c"], ["a"], ["a", "b"])


def test_calibration_error_by_hand() -> None:
    confidence, right = np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True])
    assert calibration_error(confidence, right, bins=10) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration_error(np.array([1.2]), np.array([True]))


def test_mentions_are_pooled() -> None:
    found = mentions([frozenset("ab"), frozenset()], [frozenset("bc"), frozenset("d")])
    assert found.precision == Share(1, 3) and found.recall == Share(1, 2)


BOXES = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])))


@given(BOXES, BOXES)
def test_iou_equals_counted_pixels(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    grids = np.zeros((2, 40, 40), bool)
    for grid, box in zip(grids, (first, second), strict=True):
        x1, y1, x2, y2 = map(int, box)
        grid[y1:y2, x1:x2] = True
    counted = (grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum()
    assert box_iou(first, second) == pytest.approx(counted)
    assert box_iou(second, first) == box_iou(first, second)
    assert box_iou(first, first) == 1


def test_a_missing_box_is_a_miss_and_an_empty_one_an_error() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    assert share_located([box] * 3, [box, None, (0.0, 0.0, 10.0, 4.5)], 0.5) == Share(1, 3)
    assert share_located([box] * 3, [box, None, (0.0, 0.0, 10.0, 4.5)], 0.4) == Share(2, 3)
    with pytest.raises(ValueError, match="x1 < x2"):
        box_iou(box, (5.0, 5.0, 5.0, 9.0))
