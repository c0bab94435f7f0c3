"""The hand-written routing questions, and the score of `visagent.evaluation.routing`, for the tests beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visagent.evaluation import routing
from visagent.evaluation.intervals import wilson_interval
from visagent.evaluation.routing import Call, Record, expected_tools, is_expected, routing_accuracy

__all__ = [
    "BLIND_QUESTIONS",
    "DEVELOPMENT_QUESTIONS",
    "FRESH_QUESTIONS",
    "QUESTIONS",
    "Call",
    "Record",
    "expected_tools",
    "is_expected",
    "load_questions",
    "routing_accuracy",
    "wilson_interval",
]

QUESTIONS = Path(__file__).with_name("routing_questions.jsonl")
DEVELOPMENT_QUESTIONS = Path(__file__).with_name("routing_development.jsonl")
"""A second set by another author, to choose between trainings with; the others are for final numbers only."""
FRESH_QUESTIONS = Path(__file__).with_name("routing_fresh.jsonl")
"""A third set, written when the misses of the first had been published."""
BLIND_QUESTIONS = Path(__file__).with_name("routing_blind.jsonl")
"""A fourth, written when nano began to learn from questions that were written whole."""


def load_questions(path: Path = QUESTIONS) -> list[dict[str, Any]]:
    """The records of `path`, one per line of JSON."""
    return routing.load_questions(path)
