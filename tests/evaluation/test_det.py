"""DET curves against scikit-learn and brute force, and what is drawn of them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import ndtri
from sklearn.metrics import det_curve as sklearn_det_curve

from visagent.errors import VisagentError
from visagent.evaluation import det
from visagent.evaluation.attack_errors import attack_errors, hard_answers

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, "print", "replay"])), min_size=2, max_size=60)


def made_scores(seed: int = 0) -> tuple[np.ndarray, list[str | None]]:
    rng = np.random.default_rng(seed)
    truth: list[str | None] = [None] * 300 + ["print"] * 200 + ["tattoo"] * 100
    return np.concatenate([rng.normal(0, 1, 300), rng.normal(3, 1, 200), rng.normal(1.5, 1, 100)]), truth


@given(PAIRS)
def test_rates_are_those_of_answers_at_each_threshold(pairs: list[tuple[int, str | None]]) -> None:
    scores, truth = np.array([score for score, _ in pairs], float), [kind for _, kind in pairs]
    assume(None in truth and any(truth))
    worst, pooled = det.worst_type_curve(scores, truth), det.det_curve(scores, np.array([kind is not None
                                                                                        for kind in truth]))
    for threshold in (*range(-1, 11), 4.5, math.inf):
        errors = attack_errors(truth, [*hard_answers(scores, threshold)])
        assert worst.at(threshold) == pytest.approx((errors.apcer[errors.worst].value, errors.bpcer.value))
        assert pooled.at(threshold) == pytest.approx((errors.missed.value, errors.bpcer.value))
    assert (np.diff(worst.missed) >= 0).all() and (np.diff(worst.false_alarms) <= 0).all()
    assert (worst.missed >= pooled.missed - 1e-12).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=50))
def test_the_pooled_curve_is_sklearns(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([score for score, _ in pairs], float), np.array([flag for _, flag in pairs])
    assume(0 < positive.sum() < len(positive))
    curve = det.det_curve(scores, positive)
    false_alarms, missed, thresholds = sklearn_det_curve(positive, scores)
    for fmr, fnmr, threshold in zip(false_alarms, missed, thresholds, strict=True):
        if np.isfinite(threshold):
            assert curve.at(threshold) == pytest.approx((fnmr, fmr))


def test_the_equal_error_rate_is_where_both_are_equal() -> None:
    # Normal scores one standard deviation apart on each side: the EER is Phi(-1) = 0.1587.
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(-1, 1, 40_000), rng.normal(1, 1, 40_000)])
    assert det.det_curve(scores, np.arange(80_000) >= 40_000).equal_error_rate == pytest.approx(0.1587, abs=0.005)
    clean = det.det_curve(np.array([0.0, 1.0]), np.array([False, True]))
    assert clean.equal_error_rate == 0
    turned = det.det_curve(np.array([1.0, 0.0]), np.array([False, True]))
    assert turned.equal_error_rate == 1
    ties = det.det_curve(np.zeros(4), np.array([False, True, False, True]))
    assert ties.equal_error_rate == 0.5


def test_one_class_or_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        det.det_curve(np.ones(3), np.ones(3, bool))
    with pytest.raises(ValueError, match="finite"):
        det.worst_type_curve(np.array([np.nan, 1.0]), [None, "print"])


def test_axes_are_normal_deviates() -> None:
    """A normal score is a straight line on them: equal steps of the deviate are equal steps of the page."""
    assert det.deviate([0.02275013, 0.15865525, 0.5, 0.84134475]) == pytest.approx([-2, -1, 0, 1], abs=1e-6)
    assert det.deviate([0.0, 1.0]) == pytest.approx(ndtri([0.001, 0.999]))  # at infinity: drawn at the corner
    assert det.deviate([0.0, 1.0], (1e-5, 0.4)) == pytest.approx(ndtri([1e-5, 0.4]))


def test_svg_png_and_data_show_the_curve_and_its_operating_point(tmp_path: Path) -> None:
    import matplotlib

    scores, truth = made_scores()
    curve = det.worst_type_curve(scores, truth)
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words stay words
        for ending in (".svg", ".png"):
            det.write_det(tmp_path / f"det{ending}", {"nano": curve}, points={"nano": 0.8}, title="A & B")
    missed, alarms = curve.at(0.8)
    text = (tmp_path / "det.svg").read_text()
    assert "A &amp; B" in text and f"in use: APCER {missed:.1%}, BPCER {alarms:.1%}" in text
    picture = np.asarray(Image.open(tmp_path / "det.png").convert("RGB"))
    assert (np.abs(picture.astype(int) - [0, 114, 178]).max(-1) < 20).sum() > 200  # the curve is drawn
    rows = list(csv.DictReader((tmp_path / "det.csv").read_text().splitlines()))
    assert [float(row["APCER"]) for row in rows] == curve.missed.tolist() and rows[-1]["threshold"] == "inf"


def test_a_plot_without_a_known_ending_or_with_too_many_curves_is_refused(tmp_path: Path) -> None:
    curve = det.worst_type_curve(*made_scores())
    with pytest.raises(VisagentError, match=r"not as \.pdf"):
        det.write_det(tmp_path / "det.pdf", {"a": curve})
    with pytest.raises(VisagentError, match="at most 6 curves"):
        det.write_det(tmp_path / "det.svg", {str(number): curve for number in range(7)})


def test_the_command_draws_scores_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, truth = made_scores()
    table = tmp_path / "scores.csv"
    table.write_text("score,label\n" + "".join(f"{score},{kind or 'live'}\n" for score, kind in
                                               zip(scores, truth, strict=True)))
    det.main(["--scores", str(table), "--out", str(tmp_path / "det.png"), "--threshold", "1"])
    said = capsys.readouterr().out
    assert f"worst type: EER {det.worst_type_curve(scores, truth).equal_error_rate:.4f}" in said
    assert (tmp_path / "det.png").stat().st_size > 5000


@pytest.mark.parametrize(("text", "expected"), [
    ("value,label\n1,live\n", "columns score"), ("score,label\nx,live\n", "columns score"),
    ("score,label\ninf,live\n", "not finite"), ("score,label\n1,live\n", "attacks and live")])
def test_a_table_of_scores_that_does_not_fit_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(text)
    with pytest.raises(VisagentError, match=expected):
        det.main(["--scores", str(table), "--out", str(tmp_path / "det.svg")])
