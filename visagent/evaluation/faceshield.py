"""FaceShield's four tasks, asked one by one of any engine: coarse, fine, reasoning, localisation (fact sheet, 6 to 8).

    python -m visagent.evaluation.faceshield --views runs/views --split test --model visagent-nano
    python -m visagent.evaluation.faceshield --set folder --root DIR --csv labels.csv
    python -m visagent.evaluation.faceshield --set wmca --root W --train-set siw-mv2=S --train-set padisi=P

On packed views (simulated attacks), on an anti-spoofing set with its own splits, or on one set with the threshold of
others. An answer that cannot be read is an error. ACC and HTER are of what the words say; a model's words have no
threshold. APCER at a threshold and BPCER at an APCER are of a score (`visagent.evaluation.faceshield_scores`), whose
threshold is chosen on development pictures only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import ATTACK_TYPES, LOCALISED
from visagent.datasets.spoof_benchmarks.record import MOST_FRAMES
from visagent.errors import VisagentError, run_command
from visagent.evaluation.attack_errors import AttackErrors, attack_errors, bpcer_at_apcer, hard_answers
from visagent.evaluation.boxes import share_located
from visagent.evaluation.class_errors import class_errors
from visagent.evaluation.det import det_curve, worst_type_curve, write_det
from visagent.evaluation.faceshield_scores import (
    BPCER_ALLOWED,
    Scored,
    batches,
    can_weigh,
    score_trials,
    spoof_scores,
)
from visagent.evaluation.faceshield_tasks import BONA_FIDE, CLASSES, Answers, ask_tasks
from visagent.evaluation.faceshield_trials import SETS, Trial, drawn, of_pictures, of_views, read_set
from visagent.evaluation.intervals import Share, half_total
from visagent.evaluation.protocols import Protocol, cross_dataset, intra_dataset, with_development
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.spoof import error_rows
from visagent.evaluation.views import read_views
from visagent.settings import load_settings

APCERS = (0.01, 0.05, 0.10)
"""BPCER is given at these: BPCER100, BPCER20 and BPCER10 of ISO/IEC 30107-3."""

PAPER = ("FaceShield (paper)", "its own", "0.995", "0.005", "0.959", "0.992", "0.006", "0.979",
         "0.957")
"""Read off the authors' chart, retain ratio 10 %, mask ratio 5 %, to about 0.0005 (fact sheet, section 9)."""

THRESHOLD = f"score: threshold for BPCER {BPCER_ALLOWED:.0%} on development pictures"
TABLE = "The paper's table"
COLUMNS = {"coarse ACC": "coarse: accuracy", "coarse HTER": "coarse: HTER", "fine ACC": "fine: ACC, 12 classes",
           "reasoning ACC": "reasoning: accuracy", "reasoning HTER": "reasoning: HTER",
           "AP@40": "localisation: AP@40, partial attacks", "AP@50": "localisation: AP@50, partial attacks"}
"""The table's columns, and the rows that fill them."""


def measure(trials: Iterable[Trial], engine: Engine, *, dev: Iterable[Trial] = (), name: str, split: str,
            command: str, note: str = "", seed: int = 0, batch: int = 32) -> tuple[Result, Scored | None]:
    """Ask all tasks, and weigh the closed answers where the engine can.

    Args:
        trials: What is asked about; read a batch at a time.
        engine: Who is asked.
        dev: Development pictures, which only the score's threshold is chosen on; none for no threshold.
        name: The test set, as the table calls it.
        split: Its split.
        command: What measures it again.
        note: What else a reader must know of the set.
        seed: Of whatever was drawn to choose the trials.
        batch: Pictures that go through the model together.

    Returns:
        The result, and the scores of the pictures; None if the engine weighs no answers.

    Raises:
        EngineError: The model failed.
        VisagentError: There is no picture.
        ValueError: Development pictures are given, and `split` is "dev".
    """
    answers: list[Answers] = []
    values: list[NDArray[np.float64]] = []
    weighs: bool | None = None
    for some in batches(trials, batch):
        weighs = can_weigh(engine, some[0]) if weighs is None else weighs
        answers += ask_tasks(engine, some, start=len(answers), batch=batch)
        if weighs:
            values.append(spoof_scores(engine, [trial.rgb for trial in some], batch=batch))
    if not answers:
        raise VisagentError("There is no picture to ask about: the split is empty.")
    truth = tuple(answer.attack for answer in answers)
    scored = Scored(truth, np.concatenate(values)) if weighs else None
    rows = [*_verdict_rows("coarse", attack_errors(truth, [answer.coarse for answer in answers])),
            *_class_rows(answers),
            *_verdict_rows("reasoning", attack_errors(truth, [answer.reasoning for answer in answers])),
            *_box_rows(answers)]
    if scored is not None and scored.has_both:
        rows += _score_rows(scored, score_trials(engine, dev, batch=batch), split)
    rows.append(Row("pictures without a face found, shown whole", Share(sum(a.is_whole for a in answers),
                                                                        len(answers))))
    cells = {row.name: row.cells[0] for row in rows}
    table = [("model", "test set", *COLUMNS), PAPER,
             (engine.identity.id, name, *(cells.get(row, "-") for row in COLUMNS.values()))]
    return Result(title=f"FaceShield's four tasks, {name}", command=command, rows=tuple(rows), split=split, seed=seed,
                  models={"words": engine.identity}, extra={TABLE: table}, notes=_notes(answers, note)), scored


def _verdict_rows(task: str, errors: AttackErrors) -> list[Row]:
    """As `spoof.error_rows`, with an interval for HTER, which the paper reports."""
    rows = [row for row in error_rows(task, errors) if "HTER" not in row.name]
    if errors.apcer and errors.bpcer.trials:
        rows.insert(1, Row(f"{task}: HTER", half_total(errors.missed, errors.bpcer)))
    return rows


def _class_rows(answers: Sequence[Answers]) -> list[Row]:
    fine = class_errors([answer.attack or BONA_FIDE for answer in answers], [answer.fine for answer in answers],
                        CLASSES)
    return [Row("fine: ACC, 12 classes", fine.accuracy),
            *(Row(f"fine: recall, {kind}", recall) for kind, recall in fine.recalls.items()),
            Row("fine: answers that name no class", fine.unknown)]


def _box_rows(answers: Sequence[Answers]) -> list[Row]:
    rows = []
    for name, kinds in (("partial attacks", LOCALISED), ("all attacks with a box", ATTACK_TYPES)):
        boxes = [(answer.right_box, answer.box) for answer in answers
                 if answer.right_box is not None and answer.attack in kinds]
        rows += [Row(f"localisation: AP@{percent}, {name}",
                     share_located([right for right, _ in boxes], [said for _, said in boxes], percent / 100))
                 for percent in (40, 50) if boxes]
    return rows


def _score_rows(scored: Scored, dev: Scored | None, split: str) -> list[Row]:
    rows = [Row(f"score: BPCER at APCER {rate:.0%} of every type", bpcer_at_apcer(scored.scores, scored.truth, rate))
            for rate in APCERS]
    threshold = None if dev is None else dev.threshold_for(split)
    if threshold is None:
        return rows
    errors = attack_errors(scored.truth, [*hard_answers(scored.scores, threshold)])
    # A score is always read: the last row, of answers that cannot be, says nothing.
    return [*rows, Row(THRESHOLD, threshold), *_verdict_rows("score at the threshold", errors)[:-1]]


def _notes(answers: Sequence[Answers], note: str) -> tuple[str, ...]:
    live = sum(answer.attack is None for answer in answers)
    people = len({answer.subject for answer in answers})
    return (*([note] if note else []),
            f"{len(answers)} pictures: {live} live, {len(answers) - live} attacks, of {people} people (or pictures or "
            "clips, where a set names nobody). Intervals take pictures as independent; several of one person are not.",
            "The paper's row is of other pictures and another model: the rows cannot be ranked.",
            f"Partial attacks are {', '.join(LOCALISED)}: those whose box is a part of the face, as in the paper. "
            "With one box and no confidence, AP is the share of boxes that overlap enough.",
            "BPCER at an APCER uses a threshold of these very pictures: it describes the score and is no operating "
            "point.")


def write(out: Path, result: Result, scored: Scored | None) -> None:
    """Write `faceshield.md`, `faceshield.json` and, where there is a score, `det.svg`, `det.png` and `det.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "faceshield.md").write_text(result.to_markdown(), encoding="utf-8")
    (out / "faceshield.json").write_text(json.dumps(result.to_json(), ensure_ascii=False, indent=1) + "\n",
                                         encoding="utf-8")
    if scored is None or not scored.has_both:
        return
    curves = {"worst type": worst_type_curve(scored.scores, scored.truth),
              "types pooled": det_curve(scored.scores, scored.is_attack)}
    thresholds = [row.value for row in result.rows if row.name == THRESHOLD and isinstance(row.value, float)]
    for ending in (".svg", ".png"):
        write_det((out / "det").with_suffix(ending), curves, points={name: value for value in thresholds
                                                                     for name in curves}, title=result.title)


def _protocol(options: argparse.Namespace) -> Protocol:
    """The protocol that the options name. Raises VisagentError."""
    own = with_development(read_set(options.set, options.root, table=options.csv, protocol=options.protocol,
                                    frames=options.frames))
    others = []
    for named in options.train_set:
        name, _, folder = named.partition("=")
        if not folder:
            raise VisagentError(f"A training set is written name=folder, not {named!r}.")
        others.append(with_development(read_set(name, Path(folder), frames=options.frames)))
    return cross_dataset(others, own) if others else intra_dataset(own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--views", type=Path, help="folder of packed views, with a folder per split")
    what.add_argument("--set", choices=SETS, help="an anti-spoofing set; its test split is reported")
    parser.add_argument("--split", default="test", help="of packed views")
    parser.add_argument("--root", type=Path, help="folder of the set")
    parser.add_argument("--csv", type=Path, help="table of the set 'folder'")
    parser.add_argument("--protocol", help="the set's own protocol or fold; its main one if left out")
    parser.add_argument("--frames", type=int, choices=range(1, MOST_FRAMES + 1), default=MOST_FRAMES,
                        help="frames of each clip")
    parser.add_argument("--train-set", action="append", metavar="NAME=FOLDER", default=[],
                        help="cross-dataset: another set, whose development split the threshold comes from")
    parser.add_argument("--out", type=Path, help="folder for the tables, the DET plot and its data")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    if (options.set is None) != (options.root is None):
        parser.error("--set and --root go together")
    command = command_line("faceshield", views=options.views, split=options.split if options.views else None,
                           set=options.set, root=options.root, csv=options.csv, protocol=options.protocol,
                           frames=options.frames if options.set else None, model=options.model, limit=options.limit,
                           seed=options.seed)
    command += "".join(f" --train-set {named.partition('=')[0]}=FOLDER" for named in options.train_set)
    # The readers complain in seconds; a model takes longer to open.
    protocol = _protocol(options) if options.set else None
    views = read_views(options.views, options.split, limit=options.limit, seed=options.seed) if options.views else []
    has_dev = bool(views) and options.split != "dev" and any((options.views / "dev").glob("views-???.npy"))
    engine = open_engine(load_settings({"model": options.model}))
    if protocol is not None:
        name, split = protocol.name, "test"
        note = f"Sets as their owners split them; the {len(protocol.train)} training pictures were not looked at."
        trials: Iterable[Trial] = of_pictures(drawn(protocol.test, options.limit, options.seed), engine.view)
        dev: Iterable[Trial] = of_pictures(drawn(protocol.dev, options.limit, options.seed), engine.view)
    else:
        name, split, note = "packed views", options.split, "All attacks are simulated."
        trials = of_views(views)
        dev = of_views(read_views(options.views, "dev", limit=options.limit, seed=options.seed)) if has_dev else ()
    result, scored = measure(trials, engine, dev=dev, name=name, split=split, command=command, note=note,
                             seed=options.seed, batch=options.batch)
    if options.out is not None:
        write(options.out, result, scored)
    result.show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
