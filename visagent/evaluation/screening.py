"""What the two voices of the spoof tool say of many views: the model in words, the specialist by its score."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import CLUES
from visagent.evaluation.batch import look_many
from visagent.evaluation.boxes import BoxCorners
from visagent.settings import load_settings
from visagent.tools.spoof.specialist import Specialist, load_specialist, read_specialist
from visagent.tools.spoof.tool import SPOOF_QUESTION
from visagent.tools.spoof.words import Verdict, read_words

Views = Sequence[NDArray[np.uint8]]

_CLUE_WORDS = {clue: re.compile(r"\b" + re.escape(re.sub(r"^an? ", "", clue)) + r"\b", re.IGNORECASE)
               for clue in CLUES}


@dataclass(frozen=True, slots=True)
class Spoken:
    """One answer in words.

    Attributes:
        verdict: "live", "spoof", or None if it cannot be read.
        attack: The attack type it names, None if it names none.
        box: Its first box in pixels of the view, None if it names none.
        clues: The clues its reasons name; none if it is not a spoof to it.
        text: All of it.
    """

    verdict: Verdict | None
    attack: str | None
    box: BoxCorners | None
    clues: frozenset[str]
    text: str


def ask_in_words(engine: Engine, views: Views, *, question: str = SPOOF_QUESTION, batch: int = 32) -> list[Spoken]:
    """Put a question, the tool's own by default, about each view, uint8 `[H, W, 3]`; read the answers.

    Raises:
        EngineError: The model failed.
    """
    spoken = []
    for look in look_many(engine, question, views, batch=batch):
        words = read_words(look.text)
        spoken.append(Spoken(words.verdict, words.attack, look.boxes[0] if look.boxes else None,
                             named_clues(look.text) if words.verdict == "spoof" else frozenset(), look.text))
    return spoken


def named_clues(text: str) -> frozenset[str]:
    """The simulator's clues that a text names in its very words, the article aside."""
    return frozenset(clue for clue, words in _CLUE_WORDS.items() if words.search(text))


def add_voice_options(parser: argparse.ArgumentParser) -> None:
    """The options of runners that measure either voice: which specialist, and whether only one of the two."""
    parser.add_argument("--specialist", type=Path, default=None, help="its folder; the shipped one if left out")
    parser.add_argument("--only", choices=["words", "specialist"], default=None)


def open_voices(options: argparse.Namespace) -> tuple[Engine | None, Specialist | None]:
    """The model and the specialist that the options ask for. Raises EngineError, WeightsError."""
    engine = None if options.only == "specialist" else open_engine(load_settings({"model": options.model}))
    return engine, None if options.only == "words" else open_specialist(options.specialist)


def open_specialist(folder: Path | None) -> Specialist:
    """The specialist of a folder, or the shipped one. Raises WeightsError."""
    return load_specialist() if folder is None else read_specialist(folder)


def specialist_scores(specialist: Specialist, views: Views, *, batch: int = 64) -> NDArray[np.float64]:
    """`specialist.look(view).score` for each view, uint8 `[192, 192, 3]`: probabilities of an attack `[N]`."""
    import torch

    from visagent.tools.spoof.network import as_input

    log_odds: list[float] = []
    for start in range(0, len(views), batch):
        part = np.stack(views[start:start + batch])
        with torch.inference_mode():
            both = [specialist.network(as_input(side)).attack_score for side in (part, part[:, :, ::-1])]
        log_odds += ((both[0] + both[1]) / 2).tolist()
    return np.array([specialist.operating_point.probability(value) for value in log_odds])


def specialist_threshold(specialist: Specialist) -> float:
    """The probability from which on the specialist calls a view a spoof; chosen on the development split."""
    point = specialist.operating_point
    return point.probability(point.threshold)
