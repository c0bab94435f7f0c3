"""A score beside FaceShield's words: how much likelier a model holds "Spoof: ... attack." than "Live."."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import ATTACK_TYPES
from visagent.errors import EngineError
from visagent.evaluation.attack_errors import choose_threshold
from visagent.evaluation.batch import score_many
from visagent.evaluation.faceshield_tasks import COARSE
from visagent.evaluation.faceshield_trials import Trial

BPCER_ALLOWED: Final = 0.05
"""Share of live faces that the threshold may refuse on the development pictures."""

LIVE_ANSWER: Final = "Live."
SPOOF_ANSWERS: Final = tuple(f"Spoof: {kind} attack." for kind in ATTACK_TYPES)
"""The closed answers that are weighed, in the form that visagent-nano is taught."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Attack scores of some pictures.

    Attributes:
        truth: The attack type of each, None for a live face.
        scores: float64 `[N]`, higher speaks for an attack.
    """

    truth: tuple[str | None, ...]
    scores: NDArray[np.float64]

    @property
    def is_attack(self) -> NDArray[np.bool_]:
        """Which are attacks, `[N]`."""
        return np.array([kind is not None for kind in self.truth], bool)

    @property
    def has_both(self) -> bool:
        """Whether there are attacks and live faces."""
        return len(set(self.is_attack.tolist())) == 2

    def threshold_for(self, reported: str) -> float | None:
        """The threshold at which 5 % of these live faces are refused, for use on the split `reported`.

        Returns:
            The threshold, None if there is no live face.

        Raises:
            ValueError: `reported` is "dev", the split that these pictures are of.
        """
        if bool(self.is_attack.all()):
            return None
        return choose_threshold(self.scores, self.is_attack, bpcer=BPCER_ALLOWED, split="dev", reported=reported).value


def spoof_scores(engine: Engine, views: Sequence[NDArray[np.uint8]], *, batch: int = 32) -> NDArray[np.float64]:
    """How much likelier each view is a spoof than live to the engine, as a difference of log-likelihoods `[N]`.

    Likelihoods of the spoof answers, one for each attack type, are added up. All views have one size.

    Raises:
        EngineError: The model failed, or cannot weigh closed answers.
    """
    weighed = score_many(engine, COARSE[0], views, [LIVE_ANSWER, *SPOOF_ANSWERS], batch=batch)
    return np.asarray(np.logaddexp.reduce(weighed[:, 1:], axis=1) - weighed[:, 0])


def score_trials(engine: Engine, trials: Iterable[Trial], *, batch: int = 32) -> Scored | None:
    """The scores of pictures that are read a batch at a time; None for no pictures.

    Raises:
        EngineError: The model failed, or cannot weigh closed answers.
    """
    truth: list[str | None] = []
    values: list[NDArray[np.float64]] = []
    for some in batches(trials, batch):
        truth += [trial.attack for trial in some]
        values.append(spoof_scores(engine, [trial.rgb for trial in some], batch=batch))
    return Scored(tuple(truth), np.concatenate(values)) if values else None


def can_weigh(engine: Engine, trial: Trial) -> bool:
    """Whether the engine weighs closed answers: not every server does."""
    try:
        spoof_scores(engine, [trial.rgb])
    except EngineError:
        return False
    return True


def batches(trials: Iterable[Trial], size: int) -> Iterator[list[Trial]]:
    """The pictures in lists of `size`, the last one shorter; no more than one list is in memory."""
    kept: list[Trial] = []
    for trial in trials:
        kept.append(trial)
        if len(kept) == size:
            yield kept
            kept = []
    if kept:
        yield kept
