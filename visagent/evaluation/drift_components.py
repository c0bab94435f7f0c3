"""Do known variance components of scores come back? Drawn studies of two kinds, estimated by the drift tool's moments.

    python -m visagent.evaluation.drift_components

One study varies from day to day and hardly drifts, the other ages: the answers to the BEZ question (arXiv 2507.06858)
must be the opposite.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from visagent.datasets.score_series import SeriesPlan, draw_series
from visagent.errors import run_command
from visagent.evaluation.intervals import Estimate
from visagent.evaluation.results import Result, Row, command_line
from visagent.tools.drift.components import estimate_components
from visagent.tools.drift.scores import ScoreTable
from visagent.tools.drift.verdict import judge

STUDIES: Final = {"day to day": SeriesPlan(), "ageing": SeriesPlan(drift=-0.02, slope=0.01, person_day=0.006)}
COMPONENTS: Final = {"person": "person", "person_day": "person x day", "calendar_day": "calendar day",
                     "residual": "residual", "slope": "slope", "drift": "drift"}


def measure(draws: int = 8, *, command: str = "", seed: int = 0) -> Result:
    """Estimate over true component in each study, and what the BEZ question is answered.

    Args:
        draws: Studies of each kind.
        command: What prints this result.
        seed: Of the first study; the others follow.
    """
    rows: list[Row] = []
    answers = [("study", "answers")]
    for name, plan in STUDIES.items():
        estimates = [estimate_components(_table(plan, seed + number), resamples=200, seed=number)
                     for number in range(draws)]
        for component, words in COMPONENTS.items():
            ratios = np.array([getattr(one.components, component) for one in estimates]) / getattr(plan, component)
            found = Estimate(float(ratios.mean()), float(ratios.min()), float(ratios.max()), draws)
            rows.append(Row(f"{name}: {words}, estimated over true", found, "0.85 to 1.15"))
        counted = Counter(judge(one).answer for one in estimates)
        answers.append((name, ", ".join(f"{answer}: {count}" for answer, count in counted.most_common())))
    return Result(title="Variance components of made-up scores", command=command, rows=tuple(rows),
                  split="200 people, 20 visits of 4 captures in 2.5 years", seed=seed,
                  extra={"The BEZ question": answers},
                  notes=("The value is the mean over studies, the interval their least and greatest.",
                         "The slopes and the drift of the first study, 0.001 a year, lie under what one study of this "
                         "size can see."))


def _table(plan: SeriesPlan, seed: int) -> ScoreTable:
    drawn = draw_series(plan, seed)
    return ScoreTable(drawn.person, tuple(f"p{number}" for number in range(plan.people)), drawn.day, drawn.score,
                      drawn.device, ("a", "b"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(arguments)
    command = command_line("drift_components", draws=options.draws, seed=options.seed)
    measure(options.draws, command=command, seed=options.seed).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
