"""Errors of presentation attack detection, as ISO/IEC 30107-3 names them.

APCER is given for each attack type (the standard's "species") and its worst; BPCER is the share of live faces refused.
An answer that cannot be read refuses nobody and passes nobody: it counts as an error of its class, and is reported.
ACER and HTER are conventions of the literature, not headline numbers of the standard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagent.evaluation.intervals import Share

Scores = NDArray[np.floating]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AttackErrors:
    """Errors of hard answers.

    Attributes:
        apcer: For each attack type, the share of its attacks not called a spoof.
        bpcer: The share of live faces not called live.
        missed: The share of all attacks not called a spoof, types pooled.
        unreadable: The share of all answers without a verdict.
    """

    apcer: Mapping[str, Share]
    bpcer: Share
    missed: Share
    unreadable: Share

    @property
    def worst(self) -> str:
        """The attack type with the highest APCER; of several, the one with the fewest attacks. Raises ValueError."""
        if not self.apcer:
            raise ValueError("there are no attacks")
        return max(self.apcer, key=lambda kind: (self.apcer[kind].value, -self.apcer[kind].trials))

    @property
    def accuracy(self) -> Share:
        """The share of right answers."""
        trials = self.bpcer.trials + self.missed.trials
        return Share(trials - self.bpcer.hits - self.missed.hits, trials)

    @property
    def acer(self) -> float:
        """Mean of the worst APCER and BPCER, 0 to 1."""
        return (self.apcer[self.worst].value + self.bpcer.value) / 2

    @property
    def hter(self) -> float:
        """Mean of the pooled share of missed attacks and BPCER, 0 to 1."""
        return (self.missed.value + self.bpcer.value) / 2


def attack_errors(truth: Sequence[str | None], said: Sequence[str | None]) -> AttackErrors:
    """Count the errors.

    Args:
        truth: The attack type of each picture, None for a live face.
        said: "live", "spoof", or None for an answer that cannot be read.

    Raises:
        ValueError: Other words, or another number of answers.
    """
    if set(said) - {"live", "spoof", None}:
        raise ValueError("an answer is 'live', 'spoof' or None")
    pairs = list(zip(truth, said, strict=True))
    kinds = sorted({kind for kind in truth if kind is not None})
    apcer = {kind: _share([answer != "spoof" for right, answer in pairs if right == kind]) for kind in kinds}
    return AttackErrors(
        apcer=apcer,
        bpcer=_share([answer != "live" for right, answer in pairs if right is None]),
        missed=_share([answer != "spoof" for right, answer in pairs if right is not None]),
        unreadable=_share([answer is None for answer in said]))


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score from which on a picture is called a spoof, and the split that it was chosen on."""

    value: float
    split: str


def choose_threshold(scores: Scores, is_attack: Flags, *, bpcer: float, split: str, reported: str) -> Threshold:
    """The lowest attack score at which at most this share of live faces is refused.

    Args:
        scores: Attack scores `[N]`, higher speaks for an attack.
        is_attack: `[N]`.
        bpcer: Share of live faces that may be refused, 0 to 1.
        split: Name of the split that these scores are of.
        reported: Name of the split that the errors will be reported on.

    Raises:
        ValueError: Both splits are one (the errors would be those of a lucky threshold), or there is no live face.
    """
    if split == reported:
        raise ValueError(f"the threshold may not be chosen on the split it is reported on ({split!r})")
    live = np.sort(scores[~is_attack])[::-1]
    if len(live) == 0:
        raise ValueError("a threshold needs live faces")
    # A face is refused from the threshold on, ends included: it lies just above the first that must pass.
    allowed = int(np.floor(bpcer * len(live)))
    return Threshold(-np.inf if allowed >= len(live) else float(np.nextafter(live[allowed], np.inf)), split)


def hard_answers(scores: Scores, threshold: float) -> list[str]:
    """ "spoof" from the threshold on, ends included, else "live"."""
    return ["spoof" if score >= threshold else "live" for score in scores]


def bpcer_at_apcer(scores: Scores, truth: Sequence[str | None], apcer: float) -> Share:
    """BPCER at the highest threshold at which no attack type is missed more often than `apcer`.

    It describes the score on these pictures. It is no operating point: the threshold is chosen on the very same ones.

    Raises:
        ValueError: No attack or no live face.
    """
    kinds = np.array([kind or "" for kind in truth])
    live = scores[kinds == ""]
    if len(live) == 0 or len(live) == len(scores):
        raise ValueError("BPCER at a given APCER needs attacks and live faces")
    thresholds = []
    for kind in sorted(set(kinds) - {""}):
        ordered = np.sort(scores[kinds == kind])
        thresholds.append(ordered[int(np.floor(apcer * len(ordered)))] if apcer < 1 else np.inf)
    return Share(int((live >= min(thresholds)).sum()), len(live))


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve with its bootstrap interval at 95 %."""

    value: float
    low: float
    high: float
    trials: int


def auc(scores: Scores, is_positive: Flags, *, rounds: int = 1000, seed: int = 0) -> Auc:
    """Area under the ROC curve; both classes are drawn anew, apart from each other, in every bootstrap round.

    Args:
        scores: `[N]`, finite; higher speaks for the positive class.
        is_positive: `[N]`.
        rounds: Bootstrap rounds; the interval is of their 2.5 and 97.5 percentiles.
        seed: Of the bootstrap.

    Raises:
        ValueError: Only one class, or a score that is not finite.
    """
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(scores).all():
        raise ValueError("every score must be finite")
    value = roc_auc_score(is_positive, scores) if 0 < is_positive.sum() < len(is_positive) else None
    if value is None:
        raise ValueError("an AUC needs both classes")
    positive, negative = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    rng = np.random.default_rng(seed)
    drawn = [_rank_auc(rng.choice(positive, len(positive)), np.sort(rng.choice(negative, len(negative))))
             for _ in range(rounds)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Auc(float(value), float(low), float(high), len(scores))


def _rank_auc(positive: Scores, negative: Scores) -> float:
    """The same number by ranks (Mann and Whitney), many times faster than with a curve; `negative` is sorted."""
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def _share(flags: Sequence[bool]) -> Share:
    return Share(sum(flags), len(flags))
