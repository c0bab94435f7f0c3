"""Errors of answers with several classes: accuracy, recalls, F1, confusion, calibration.

An answer that cannot be read is "unknown": a column of the confusion matrix of its own, and wrong everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagent.evaluation.intervals import Share

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ClassErrors:
    """Counts of right classes against answers.

    Attributes:
        classes: The classes, in order.
        confusion: int `[K, K + 1]`: rows are the right classes, columns the answers, the last one unknown.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def accuracy(self) -> Share:
        """Share of right answers; the expression literature's WAR."""
        return Share(int(self.confusion[:, :-1].trace()), int(self.confusion.sum()))

    @property
    def recalls(self) -> Mapping[str, Share]:
        """Share of each class that is named right; classes without pictures are left out."""
        rows = self.confusion.sum(1)
        return {name: Share(int(self.confusion[row, row]), int(rows[row]))
                for row, name in enumerate(self.classes) if rows[row]}

    @property
    def uar(self) -> float:
        """Mean of the recalls (unweighted average recall), 0 to 1."""
        return float(np.mean([recall.value for recall in self.recalls.values()]))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have pictures or answers, 0 to 1."""
        either = self.confusion.sum(1) + self.confusion[:, :-1].sum(0)
        return float(self._f1[either > 0].mean())

    @property
    def weighted_f1(self) -> float:
        """Mean F1, each class by how many pictures it has (WF1), 0 to 1."""
        return float(np.average(self._f1, weights=self.confusion.sum(1)))

    @property
    def _f1(self) -> NDArray[np.float64]:
        hits = self.confusion[:, :-1].diagonal()
        either = self.confusion.sum(1) + self.confusion[:, :-1].sum(0)
        return np.asarray(2 * hits / np.maximum(either, 1))

    @property
    def majority(self) -> Share:
        """The share that always naming the most frequent class would get right."""
        return Share(int(self.confusion.sum(1).max()), int(self.confusion.sum()))

    @property
    def unknown(self) -> Share:
        """Share of answers that name no class."""
        return Share(int(self.confusion[:, -1].sum()), int(self.confusion.sum()))


def class_errors(truth: Sequence[str], said: Sequence[str | None], classes: Sequence[str]) -> ClassErrors:
    """Count answers.

    Args:
        truth: The right class of each picture.
        said: The answers; what is not one of the classes is unknown.
        classes: The classes, in the order of the confusion matrix.

    Raises:
        ValueError: A right class that is not listed, no picture, or another number of answers.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    if not truth or set(truth) - set(numbers):
        raise ValueError("every right class must be one of the classes, and there must be one")
    confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
    for right, answer in zip(truth, said, strict=True):
        confusion[numbers[right], numbers.get(answer or UNKNOWN, len(classes))] += 1
    return ClassErrors(tuple(classes), confusion)


def calibration_error(confidence: NDArray[np.floating], is_right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: mean gap of confidence and accuracy in bins of equal width (Guo et al. 2017).

    Args:
        confidence: Probability given to each answer, `[N]`, 0 to 1.
        is_right: `[N]`.
        bins: Bins over 0 to 1.

    Raises:
        ValueError: No answers, or a confidence outside 0 to 1.
    """
    if len(confidence) == 0 or confidence.min() < 0 or confidence.max() > 1:
        raise ValueError("confidences lie between 0 and 1, and there must be one")
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    total = np.bincount(number, minlength=bins)
    gap = np.bincount(number, confidence, bins) - np.bincount(number, is_right.astype(float), bins)
    return float(np.abs(gap[total > 0]).sum() / len(confidence))


@dataclass(frozen=True, slots=True)
class Mentions:
    """How many of several labels each answer names, all answers pooled.

    Attributes:
        precision: Share of the named labels that are really there.
        recall: Share of the labels there that are named.
    """

    precision: Share
    recall: Share


def mentions(truth: Sequence[frozenset[str]], said: Sequence[frozenset[str]]) -> Mentions:
    """Compare sets of labels (what gives an attack away against what the reasons name)."""
    both = sum(len(right & named) for right, named in zip(truth, said, strict=True))
    return Mentions(Share(both, sum(map(len, said))), Share(both, sum(map(len, truth))))
