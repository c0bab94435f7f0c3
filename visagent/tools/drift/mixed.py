"""The same components by restricted maximum likelihood: statsmodels' `MixedLM`, calendar days taken out before."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from visagent.tools.drift.components import LEAST_DAYS, Components, Estimate
from visagent.tools.drift.scores import DAYS_PER_YEAR, ScoreTable


def fit_mixed_model(table: ScoreTable, estimate: Estimate) -> Components | None:
    """score ~ time, a level and a slope for each person, a level for each person's day.

    Args:
        table: All scores; people with too few days are left out.
        estimate: By moments: its calendar days are taken out, and its values are where the fit begins.

    Returns:
        The components; None if the fit does not converge, which happens where a variance is 0.
    """
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    days: dict[int, set[int]] = {}
    for person, day in zip(table.person.tolist(), table.day.tolist(), strict=True):
        days.setdefault(person, set()).add(day)
    rows = np.array([len(days[person]) >= LEAST_DAYS for person in table.person.tolist()])
    person, day = table.person[rows], table.day[rows]
    first = np.full(len(table.people), np.iinfo(np.int64).max)
    np.minimum.at(first, person, day)
    # Scores near 1 vary by thousandths: in units of the residual the optimiser's steps are of the right size.
    scale = max(estimate.components.residual, estimate.components.person_day, 1e-9)
    score = (table.score[rows] - np.array([estimate.calendar.get(int(d), 0.0) for d in day])) / scale
    frame = pd.DataFrame({"score": score, "time": (day - first[person]) / DAYS_PER_YEAR, "person": person, "day": day})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of boundaries and of steps that were halved
        try:
            model: Any = MixedLM.from_formula("score ~ time", frame, groups="person", re_formula="~time",
                                              vc_formula={"day": "0 + C(day)"})
            fitted = model.fit(reml=True, method=["lbfgs", "bfgs"])
        except (np.linalg.LinAlgError, ValueError):
            return None
    if not np.isfinite(fitted.scale) or not np.isfinite(fitted.fe_params).all():
        return None
    variances = {"residual": fitted.scale, "person": np.asarray(fitted.cov_re)[0, 0],
                 "slope": np.asarray(fitted.cov_re)[1, 1], "person_day": fitted.vcomp[0]}
    return replace(
        estimate.components, level=float(fitted.fe_params["Intercept"]) * scale,
        drift=float(fitted.fe_params["time"]) * scale,
        **{name: max(0.0, float(variance)) ** 0.5 * scale for name, variance in variances.items()})
