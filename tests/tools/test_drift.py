"""Drift: known components come back, the BEZ question is answered both ways, device steps are told from ageing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from visagent.datasets.score_series import SeriesPlan, draw_series
from visagent.errors import AnalysisError
from visagent.evaluation.drift_components import measure
from visagent.tools.drift.changepoints import find_steps, robust_outliers
from visagent.tools.drift.components import estimate_components
from visagent.tools.drift.mixed import fit_mixed_model
from visagent.tools.drift.report import write_report
from visagent.tools.drift.scores import ScoreTable, make_scores, read_scores, sessions_of, write_scores
from visagent.tools.drift.series import (
    allan_deviation,
    error_over_time,
    reenrolment,
    successive_difference_sd,
    variogram,
)
from visagent.tools.drift.verdict import judge

PLAN = SeriesPlan()
AGEING = SeriesPlan(drift=-0.02, slope=0.01, person_day=0.006)


def drawn(plan: SeriesPlan, seed: int = 0) -> ScoreTable:
    series = draw_series(plan, seed)
    return ScoreTable(series.person, tuple(f"p{number}" for number in range(plan.people)), series.day, series.score,
                      series.device, ("a", "b"))


@pytest.mark.parametrize("plan", [PLAN, AGEING, replace(PLAN, calendar_day=0.01),
                                  replace(PLAN, missed=0.4, captures=2)])
def test_known_components_come_back(plan: SeriesPlan) -> None:
    estimates = [estimate_components(drawn(plan, seed), resamples=40).components for seed in range(4)]
    for name in ("person", "person_day", "residual"):
        mean = np.mean([getattr(found, name) for found in estimates])
        assert mean == pytest.approx(getattr(plan, name), rel=0.12), name
    assert np.mean([found.calendar_day for found in estimates]) == pytest.approx(plan.calendar_day, rel=0.2)
    assert np.mean([found.drift for found in estimates]) == pytest.approx(plan.drift, abs=0.0015)


@pytest.mark.slow
def test_the_mixed_model_agrees_with_the_moments() -> None:
    table = drawn(AGEING, 3)
    moments = estimate_components(table, resamples=200)
    mixed = fit_mixed_model(table, moments)
    assert mixed is not None
    for name in ("person", "person_day", "residual", "slope"):
        assert getattr(mixed, name) == pytest.approx(getattr(AGEING, name), rel=0.15), name
        assert getattr(mixed, name) == pytest.approx(getattr(moments.components, name), rel=0.1), name


def test_the_bez_question_is_answered_both_ways() -> None:
    answers = {judge(estimate_components(drawn(plan, seed), resamples=200)).answer
               for plan in (PLAN,) for seed in range(3)}
    assert answers == {"day-to-day exceeds whole period"}
    other = {judge(estimate_components(drawn(AGEING, seed), resamples=200)).answer for seed in range(3)}
    assert other == {"whole period exceeds day-to-day"}


def test_the_order_of_rows_and_an_affine_change_do_not_matter() -> None:
    table = drawn(PLAN)
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = ScoreTable(table.person[order], table.people, table.day[order], table.score[order], table.device[order],
                          table.devices)
    changed = replace(table, score=3 * table.score - 5)
    one, other, scaled = (estimate_components(t, resamples=20).components for t in (table, shuffled, changed))
    for name, value in one.values().items():
        assert other.values()[name] == pytest.approx(value, rel=1e-6), name
        factor = 1 if name == "ratio" else 3
        assert scaled.values()[name] == pytest.approx(factor * value, rel=1e-6), name


def test_dates_shuffled_within_a_person_leave_no_drift() -> None:
    table, draw = drawn(AGEING), np.random.default_rng(1)
    day = table.day.copy()
    for person in np.unique(table.person):
        rows = np.flatnonzero(table.person == person)
        days, place = np.unique(day[rows], return_inverse=True)
        day[rows] = draw.permutation(days)[place]
    found = estimate_components(replace(table, day=day), resamples=20).components
    assert abs(found.drift) < 0.004 and found.slope < 0.006
    assert found.day_to_day > 2 * AGEING.person_day, "what was drift now looks like days"


def test_a_device_step_is_told_from_ageing() -> None:
    for seed in range(3):
        stepped = find_steps(drawn(replace(PLAN, device_shift=-0.012), seed), resamples=199)
        assert [step.is_alarm for step in stepped] == [False, True], "device b alone shifts"
        assert stepped[1].shift == pytest.approx(-0.012, abs=0.004)
        middle = datetime(1970, 1, 1) + timedelta(days=19_000 + 365.25 * PLAN.years / 2)
        assert abs((datetime.combine(stepped[1].day, datetime.min.time()) - middle).days) < 60
        assert not any(step.is_alarm for step in find_steps(drawn(replace(AGEING, calendar_day=0), seed),
                                                            resamples=199))


def test_an_unusual_day_is_found() -> None:
    table = drawn(PLAN)
    rows = (table.person == 7) & (table.day == table.day[table.person == 7][0])
    score = table.score.copy()
    score[rows] -= 0.15
    assert robust_outliers(replace(table, score=score))[0][0] == "p7"


def test_views_without_a_model_agree() -> None:
    table = drawn(replace(PLAN, calendar_day=0.0))
    sessions = sessions_of(table)
    assert successive_difference_sd(sessions, PLAN.residual) == pytest.approx(PLAN.person_day, rel=0.06)
    flat = variogram(sessions, PLAN.residual)
    assert flat.gamma == pytest.approx(np.full(len(flat.gamma), PLAN.person_day ** 2), rel=0.35)
    rising = variogram(sessions_of(drawn(AGEING)), AGEING.residual)
    assert rising.gamma[-1] > 4 * rising.gamma[0]
    windows, values = allan_deviation(sessions)
    assert values[1] == pytest.approx(values[0] / np.sqrt(windows[1]), rel=0.1), "day noise averages out"


def test_errors_over_time_and_who_should_be_enrolled_anew() -> None:
    table = drawn(AGEING)
    threshold = 0.92
    rates = error_over_time(table, threshold, resamples=50)
    assert rates[-1].fnmr > 2 * rates[0].fnmr and all(rate.low <= rate.fnmr <= rate.high for rate in rates)
    assert sum(rate.scores for rate in rates) == len(table)
    estimate = estimate_components(table, resamples=20)
    advice = reenrolment(table, estimate, threshold)
    assert advice and all(one.slope < 0 for one in advice)
    assert advice == tuple(sorted(advice, key=lambda one: one.expected))


def test_scores_are_read_and_what_lacks_is_said(tmp_path: Path) -> None:
    table = drawn(replace(PLAN, people=8))
    write_scores(table, tmp_path / "s.csv")
    back = read_scores(tmp_path / "s.csv")
    assert len(back) == len(table) and sorted(back.score) == pytest.approx(sorted(table.score), abs=1e-5)
    distances = read_scores(tmp_path / "s.csv", distances=True)
    assert distances.score == pytest.approx(-back.score)
    for text, words in (("person,score\na,1\n", "no column time"), ("person,time,score\na,yesterday,1\n", "dates"),
                        ("person,time,score\na,2026-01-01,high\n", "numbers"), ("", "cannot be read")):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(AnalysisError, match=words):
            read_scores(tmp_path / "bad.csv")


def test_too_little_is_refused() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(AnalysisError, match="no scores"):
        make_scores([], [], [])
    few = make_scores(["a", "b"] * 6, [now + timedelta(days=k) for k in range(12)], np.linspace(0.9, 0.8, 12).tolist())
    with pytest.raises(AnalysisError, match="at least 5 people"):
        estimate_components(few)
    with pytest.raises(AnalysisError, match="not a finite"):
        make_scores(["a"], [now], [float("nan")])


@pytest.mark.slow
def test_the_report_is_one_page_with_plots_and_the_same_again(tmp_path: Path) -> None:
    table = drawn(replace(AGEING, people=40, device_shift=-0.02))
    found = write_report(table, tmp_path / "one", threshold=0.9)
    page = (tmp_path / "one" / "report.html").read_text()
    assert found["answer"][1:] in page and page.count("data:image/png;base64,") == 7
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert json.loads((tmp_path / "one" / "report.json").read_text()) == found
    again = write_report(table, tmp_path / "two", threshold=0.9)
    assert again == found
    assert found["enrol_anew"] and found["fnmr_over_time"]


def test_the_page_of_numbers_holds_the_components_and_both_answers() -> None:
    found = measure(2)
    for study in ("day to day", "ageing"):
        for component in ("person", "person x day", "residual"):
            assert found.value(f"{study}: {component}, estimated over true") == pytest.approx(1, abs=0.15)
    answers = dict(found.extra["The BEZ question"][1:])
    assert answers["day to day"].startswith("day-to-day") and answers["ageing"].startswith("whole period")
