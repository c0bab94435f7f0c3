"""Fairness reports as text and for JSON, and before beside after."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from visagent.evaluation.fairness import FairnessReport


def for_json(report: FairnessReport) -> dict[str, Any]:
    """Everything, with None for what is infinite or not defined: JSON has no word for it."""
    found = _finite(asdict(report))
    assert isinstance(found, dict)
    return found


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def describe(report: FairnessReport) -> str:
    """One report as a table: every group, then what they add up to."""
    lines = [f"At one threshold for all, {report.threshold:.4f}: FAR {report.alpha:g} "
             f"{'over all impostor pairs' if report.rule == 'global' else 'in the group with most'}; "
             f"FRR {report.frr} (95 % intervals by resampling people)",
             f"  {'group':<12}{'people':>8}  {'FAR':<34}{'FRR':<30}"]
    for row in report.rows:
        mark = "  (few people: says little)" if row.is_small else ""
        lines.append(f"  {row.group:<12}{row.people:>8}  {row.far!s:<34}{row.frr!s:<30}{mark}")
    for name, value in report.measures.items():
        low, middle, high = report.by_chance[name]
        lines.append(f"  {name:<18}{value!s:<30} by chance {middle:.3g} ({low:.3g}-{high:.3g})")
    if not report.supported:
        lines.append("  A group has fewer than 30 expected false accepts at this FAR: its rate is uncertain.")
    if report.unseen:
        lines.append("  A group has no error of a kind: its ratio is a lower bound.")
    return "\n".join(lines)


def compare(before: FairnessReport, after: FairnessReport) -> str:
    """Before and after side by side, for every group; thresholds set anew for each."""
    lines = [f"FAR {before.alpha:g} over all impostor pairs, thresholds {before.threshold:.4f} before and "
             f"{after.threshold:.4f} after; 95 % intervals by resampling people", "",
             "| | before | after |", "|---|---|---|", f"| FRR, everybody | {before.frr} | {after.frr} |"]
    for one, other in zip(before.rows, after.rows, strict=True):
        lines.append(f"| FAR, {one.group} ({one.people:,} people) | {one.far} | {other.far} |")
        lines.append(f"| FRR, {one.group} | {one.frr} | {other.frr} |")
    for name, value in before.measures.items():
        lines.append(f"| {name} | {value} | {after.measures[name]} |")
    return "\n".join(lines)
