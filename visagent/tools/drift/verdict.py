"""The BEZ question answered: do scores vary more between days than over the whole period?

The rule: R = day-to-day standard deviation / root-mean-square drift over the whole period. If its whole 95 % interval
lies over 1, day-to-day exceeds the whole period, as the BEZ study found (arXiv 2507.06858); if under 1, the whole
period exceeds day-to-day. Else it is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from visagent.tools.drift.components import Estimate

Answer = Literal["day-to-day exceeds whole period", "whole period exceeds day-to-day", "unsure"]
RULE = "the 95 % interval of the ratio, by resampling people, lies on one side of 1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and the line that says it."""

    answer: Answer
    sentence: str


def judge(estimate: Estimate) -> Verdict:
    """Answer the question for an estimate."""
    low, high = estimate.intervals["ratio"]
    found = estimate.components
    answer: Answer = "day-to-day exceeds whole period" if low > 1 else \
        "whole period exceeds day-to-day" if high < 1 else "unsure"
    day, period = estimate.intervals["day-to-day"], estimate.intervals["whole period"]
    sentence = (f"Day-to-day standard deviation {found.day_to_day:.4f} ({day[0]:.4f} to {day[1]:.4f}); drift over "
                f"{found.years:.1f} years {found.whole_period:.4f} ({period[0]:.4f} to {period[1]:.4f}); ratio "
                f"{found.ratio:.2g} ({low:.2g} to {high:.2g}).")
    return Verdict(answer, sentence)
