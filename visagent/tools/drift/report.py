"""The drift report: numbers as JSON, and one HTML file with plots that needs nothing else."""

from __future__ import annotations

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import visagent
from visagent.errors import AnalysisError
from visagent.tools.drift import plots
from visagent.tools.drift.changepoints import find_steps, robust_outliers
from visagent.tools.drift.components import estimate_components
from visagent.tools.drift.mixed import fit_mixed_model
from visagent.tools.drift.scores import ScoreTable, sessions_of
from visagent.tools.drift.series import (
    error_over_time,
    reenrolment,
    smallest_detectable_drift,
    successive_difference_sd,
)
from visagent.tools.drift.verdict import RULE, judge

MOST_LISTED = 20


def write_report(table: ScoreTable, out: Path, *, threshold: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Analyse scores and write `report.html` and `report.json`; what the latter holds.

    Args:
        table: Mated scores.
        out: Folder; made if it is not there.
        threshold: For error rates over time and re-enrolment; none if None.
        seed: Of every resampling; the same seed gives the same files.

    Raises:
        AnalysisError: Too few people or days, or the folder cannot be written.
    """
    estimate = estimate_components(table, seed=seed)
    mixed = fit_mixed_model(table, estimate)
    verdict, steps = judge(estimate), find_steps(table, seed=seed)
    advice, outliers = reenrolment(table, estimate, threshold), robust_outliers(table)
    rates = () if threshold is None else error_over_time(table, threshold, seed=seed)
    sessions = sessions_of(table)
    numbers: dict[str, Any] = {
        "answer": verdict.answer, "sentence": verdict.sentence, "rule": RULE,
        "people": estimate.people, "people_in_all": len(table.people), "sessions": estimate.sessions,
        "captures": estimate.captures, "years": estimate.components.years,
        "moments": estimate.components.values(), "intervals": estimate.intervals,
        "mixed_model": None if mixed is None else mixed.values(),
        "successive_difference_sd": successive_difference_sd(sessions, estimate.components.residual),
        "smallest_detectable_drift": smallest_detectable_drift(estimate, table),
        "device_steps": [{"device": step.device, "day": step.day.isoformat(), "shift": step.shift,
                          "p_value": step.p_value, "alarm": step.is_alarm} for step in steps],
        "unusual_sessions": [{"person": person, "day": day.isoformat(), "robust_z": value}
                             for person, day, value in outliers[:MOST_LISTED]],
        "enrol_anew": [{"person": one.person, "drift_per_year": one.slope, "expected_in_a_year": one.expected}
                       for one in advice[:MOST_LISTED]],
        "fnmr_over_time": [{"from": rate.from_years, "to": rate.to_years, "fnmr": rate.fnmr, "low": rate.low,
                            "high": rate.high, "scores": rate.scores} for rate in rates],
        "threshold": threshold, "seed": seed, "version": visagent.__version__,
    }
    pictures = [plots.components_bars(estimate, mixed), plots.spaghetti(table, estimate, threshold),
                plots.variogram_plot(table, estimate), plots.caterpillar(estimate), plots.allan_plot(table),
                plots.device_days(table, steps), *([plots.error_plot(rates)] if rates else [])]
    page = _page(numbers, pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(_finite(numbers), indent=2) + "\n", encoding="utf-8")
        (out / "report.html").write_text(page, encoding="utf-8")
    except OSError:
        raise AnalysisError("The report cannot be written there; choose another folder with --out.") from None
    return dict(_finite(numbers))


def _finite(value: Any) -> Any:
    """JSON knows neither infinity nor NaN."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def _page(numbers: dict[str, Any], pictures: list[bytes]) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("visagent.tools.drift", "templates"), autoescape=True)
    images = ["data:image/png;base64," + base64.b64encode(picture).decode() for picture in pictures]
    return environment.get_template("report.html").render(
        n=numbers, images=images, today=date.today().isoformat(),
        rows=[(name, numbers["moments"][name], numbers["intervals"][name],
               None if numbers["mixed_model"] is None else numbers["mixed_model"][name])
              for name in numbers["moments"] if numbers["moments"][name] == numbers["moments"][name]])
