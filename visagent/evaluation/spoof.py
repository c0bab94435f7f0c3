"""Live or spoof on packed views of people who were never trained on, simulated attacks included.

    python -m visagent.evaluation.spoof --views runs/views --split test

The model's words: verdict, attack type, box, reasons. The specialist: its score, and its verdict at the threshold it
ships with, which was fixed on the development split. Every attack is simulated; no number here is one of real attacks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import LOCALISED
from visagent.errors import run_command
from visagent.evaluation.attack_errors import AttackErrors, attack_errors, auc, bpcer_at_apcer, hard_answers
from visagent.evaluation.boxes import share_located
from visagent.evaluation.class_errors import mentions
from visagent.evaluation.intervals import Share, rule_of_three
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.screening import (
    Spoken,
    add_voice_options,
    ask_in_words,
    open_voices,
    specialist_scores,
    specialist_threshold,
)
from visagent.evaluation.views import LabelledView, read_views
from visagent.tools.spoof.specialist import Specialist

SPLIT_OF_THRESHOLD = "dev"
"""Where `visagent.finetune.spoof_specialist` fixes the specialist's threshold."""


def measure(views: Sequence[LabelledView], engine: Engine | None, specialist: Specialist | None, *, split: str,
            command: str, seed: int = 0, batch: int = 32) -> Result:
    """Measure whichever voice is given.

    Raises:
        ValueError: The split is the one that the specialist's threshold was fixed on, or has only one class.
        EngineError: The model failed.
    """
    if specialist is not None and split == SPLIT_OF_THRESHOLD:
        raise ValueError(f"the specialist's threshold was fixed on the split {split!r}: report on another one")
    truth = [view.attack for view in views]
    rows: list[Row] = []
    models = {}
    verdicts: list[list[str | None]] = []
    if engine is not None:
        spoken = ask_in_words(engine, [view.rgb for view in views], batch=batch)
        models["words"] = engine.identity
        said: list[str | None] = [answer.verdict for answer in spoken]
        verdicts.append(said)
        rows += error_rows("words", attack_errors(truth, said), limit="at least 0.90") + words_rows(views, spoken)
    if specialist is not None:
        scores = specialist_scores(specialist, [view.rgb for view in views])
        models["specialist"] = specialist.identity
        answers: list[str | None] = [*hard_answers(scores, specialist_threshold(specialist))]
        verdicts.append(answers)
        is_attack = np.array([kind is not None for kind in truth])
        rows.append(Row("specialist: AUC", auc(scores, is_attack, seed=seed), "at least 0.97"))
        rows += error_rows("specialist", attack_errors(truth, answers))
        rows += [Row(f"specialist: BPCER at APCER {rate:.0%} of every type", bpcer_at_apcer(scores, truth, rate))
                 for rate in (0.05, 0.01)]
    if len(verdicts) == 2:
        same = sum(first == second for first, second in zip(*verdicts, strict=True))
        rows.append(Row("agreement of words and specialist", Share(same, len(views))))
    people = len({view.person for view in views})
    attacks = sum(kind is not None for kind in truth)
    return Result(
        title="Live or spoof, simulated attacks", command=command, rows=tuple(rows), split=split, seed=seed,
        models=models, notes=(
            f"{len(views)} views: {len(views) - attacks} live, {attacks} attacks, of {people} people or pictures that "
            "are in no other split. All attacks are simulated.",
            "ACER is the mean of the worst type's APCER and BPCER, a convention of the literature. A Wilson interval "
            "takes views as independent; several views of one person are not.",
            "An unreadable answer counts as an error of its class. BPCER at an APCER uses a threshold of these very "
            "views: it describes the score and is no operating point.",
            f"No error in n trials leaves error rates up to about 3/n possible: {rule_of_three(150):.3f} for 150."))


def error_rows(who: str, errors: AttackErrors, *, limit: str = "") -> list[Row]:
    """The rows of one voice: accuracy, APCER of every type, the worst, BPCER, ACER, HTER."""
    rows = [Row(f"{who}: accuracy", errors.accuracy, limit)]
    rows += [Row(f"{who}: APCER, {kind}", share) for kind, share in errors.apcer.items()]
    if errors.apcer:
        rows.append(Row(f"{who}: APCER, worst type ({errors.worst})", errors.apcer[errors.worst]))
    rows.append(Row(f"{who}: BPCER", errors.bpcer))
    if errors.apcer:
        rows += [Row(f"{who}: ACER (worst type)", errors.acer), Row(f"{who}: HTER (types pooled)", errors.hter)]
    return [*rows, Row(f"{who}: answers that cannot be read", errors.unreadable)]


def words_rows(views: Sequence[LabelledView], spoken: Sequence[Spoken]) -> list[Row]:
    """The rows of what the words say beyond the verdict: type, boxes, reasons. Over attacks, missed ones included."""
    attacks = [(view, answer) for view, answer in zip(views, spoken, strict=True) if view.attack is not None]
    boxed = [(view.attack, view.box, answer.box) for view, answer in attacks if view.box is not None]
    rows = [Row("words: attack type right", Share(sum(v.attack == a.attack for v, a in attacks), len(attacks)))]
    for name, kinds, limit in (("localised attacks", LOCALISED, "at least 0.60"), ("all attacks", None, "")):
        chosen = [(right, said) for kind, right, said in boxed if kinds is None or kind in kinds]
        rights, saids = [right for right, _ in chosen], [said for _, said in chosen]
        rows += [Row(f"words: box IoU >= 0.5 (AP@50), {name}", share_located(rights, saids, 0.5), limit),
                 Row(f"words: box IoU >= 0.4 (AP@40), {name}", share_located(rights, saids, 0.4))]
    for kind in LOCALISED:
        chosen = [(right, said) for its, right, said in boxed if its == kind]
        rows.append(Row(f"words: box IoU >= 0.5, {kind}", share_located([r for r, _ in chosen], [s for _, s in chosen],
                                                                        0.5)))
    reasons = mentions([view.clues for view in views], [answer.clues for answer in spoken])
    return [*rows, Row("words: reasons, precision", reasons.precision), Row("words: reasons, recall", reasons.recall)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--split", default="test")
    add_voice_options(parser)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    if options.only != "words" and options.split == SPLIT_OF_THRESHOLD:
        parser.error(f"the specialist's threshold was fixed on the split {options.split!r}: take another one, or "
                     "--only words")
    views = read_views(options.views, options.split, limit=options.limit, seed=options.seed)
    engine, specialist = open_voices(options)
    command = command_line("spoof", views=options.views, split=options.split, model=options.model,
                           specialist=options.specialist, only=options.only, limit=options.limit, seed=options.seed)
    measure(views, engine, specialist, split=options.split, command=command, seed=options.seed,
            batch=options.batch).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
