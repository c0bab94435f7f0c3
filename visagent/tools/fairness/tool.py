"""The tool `fairness`: error rates of each group of the calibration data at the threshold in use.

It tells what the calibration of the encoder measured; for data of one's own there is `visagent fairness report`.
"""

from __future__ import annotations

from visagent.evidence import Finding, Score, abstain
from visagent.tools.contract import Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import calibration_of, encoder_of, identity_of
from visagent.tools.recognition.calibration import GroupRates

ALIKE = 1.5
"""Rates whose greatest is under this many times the least are called alike, if their intervals overlap."""

RULE = f"from {ALIKE} times on, or with intervals apart, groups are called not alike; chosen, not measured"


class FairnessInput(ToolInput):
    """Nothing: the groups of the calibration."""


def run_fairness(request: FairnessInput, context: ToolContext) -> Finding:
    """Tell each group's error rates. Raises CalibrationError, WeightsError."""
    calibration, contract = calibration_of(context), encoder_of(context).contract
    target = min((group.target_fmr for group in calibration.groups),
                 key=lambda rate: abs(rate - context.settings.wanted_fmr), default=None)
    rows = [group for group in calibration.groups if group.target_fmr == target]
    if target is None or len(rows) < 2:
        return abstain("fairness", "the calibration in use has no groups; use `visagent fairness report` with data "
                                   "that name a group for each person.")
    false_matches, missed = _ratio([row.fmr.rate for row in rows]), _ratio([row.fnmr.rate for row in rows])
    apart = _apart([(row.fmr.low, row.fmr.high) for row in rows]) or _apart([(row.fnmr.low, row.fnmr.high)
                                                                             for row in rows])
    answer = "not alike" if apart or max(false_matches, missed) >= ALIKE else "alike"
    told = "; ".join(_tell(row) for row in rows)
    return Finding(
        tool="fairness", answer=answer,
        summary=f"The matcher treats the groups of its calibration data {answer} at one threshold for all "
                f"(false-match rate {target:g}): {told}. The greatest false-match rate is {false_matches:.1f} times "
                f"the least, and the greatest false non-match rate {missed:.1f} times.",
        scores=(Score(name="BFAR", value=false_matches, threshold=ALIKE, threshold_source=RULE),
                Score(name="BFRR", value=missed, threshold=ALIKE, threshold_source=RULE)),
        model=identity_of(contract),
        caveats=(f"Groups and pictures are those of: {calibration.data}. Other groups were not measured, and other "
                 "people may differ: measure on yours with `visagent fairness report`.",))


def _tell(row: GroupRates) -> str:
    return f"{row.group} ({row.identities:,} people): FMR {row.fmr}, FNMR {row.fnmr}"


def _ratio(rates: list[float]) -> float:
    return max(rates) / min(rates) if min(rates) > 0 else 1.0 if max(rates) == 0 else 1e6


def _apart(intervals: list[tuple[float, float]]) -> bool:
    return max(low for low, _ in intervals) > min(high for _, high in intervals)


FAIRNESS = Tool(
    name="fairness",
    description="Says whether the face matcher treats groups of people alike: false-match and false non-match rates "
                "of each group of its calibration data at one threshold.",
    input_model=FairnessInput,
    run=run_fairness,
)
