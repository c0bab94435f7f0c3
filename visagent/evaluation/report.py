"""All measurements on one Markdown page.

    python -m visagent.evaluation.report --views runs/views --data ../shared/data --out docs/measured.md

Every number stands under the command that prints it. A part that cannot be measured (no weights, no data) is written
down as not measured, with the reason, and the others go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.surroundings.packed import read_wide_views
from visagent.errors import VisagentError, run_command
from visagent.evaluation import everyday, expression, routing, shortcuts, spoof, surroundings
from visagent.evaluation.results import Result, add_common_options, command_line
from visagent.evaluation.screening import open_specialist
from visagent.evaluation.views import read_views
from visagent.settings import load_settings
from visagent.tools.spoof.specialist import Specialist
from visagent.tools.spoof.surroundings import load_surroundings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and on what.

    Attributes:
        views: Folder of packed views.
        data: Folder of the public pictures.
        surroundings: Folder of packed wide views; None leaves that part out.
        questions: The routing questions.
        model: Name or folder of the vision-language model.
        specialist: Folder of the specialist, None for the shipped one.
        limit: At most this many pictures or questions in each part, None for all.
        pictures: Pictures of LFW and UTKFace, each.
        shortcut_views: Training views for the shortcut check.
        seed: Of whatever is drawn.
        batch: Pictures that go through the model together.
    """

    views: Path
    data: Path
    surroundings: Path | None = None
    questions: Path = routing.QUESTIONS
    model: str = "visagent-nano"
    specialist: Path | None = None
    limit: int | None = None
    pictures: int = 400
    shortcut_views: int = 4000
    seed: int = 0
    batch: int = 32


def run(plan: Plan) -> tuple[list[Result], dict[str, str]]:
    """Measure everything: the results, and why each missing part is missing."""
    engine: Engine = open_engine(load_settings({"model": plan.model}))
    specialist: Specialist | None = None
    missing: dict[str, str] = {}
    try:
        specialist = open_specialist(plan.specialist)
    except VisagentError as error:
        missing["The specialist's numbers"] = str(error)
    wide = [] if plan.surroundings is None else [(split, plan.surroundings) for split in _tests(plan.surroundings)]
    parts: Mapping[str, Callable[[], Result]] = {
        **{f"Live or spoof, {split}": partial(_spoof, split, plan, engine, specialist)
           for split in _tests(plan.views)},
        **{f"A border around the face, {split}": partial(_surroundings, split, folder, plan.seed)
           for split, folder in wide},
        "Live faces called a spoof": lambda: _everyday(plan, engine, specialist),
        "Shortcuts": lambda: _shortcuts(plan),
        "Expression shown": lambda: _expression(plan, engine),
        "Routing": lambda: _routing(plan.questions, plan, engine),
        **{f"Routing, {path.stem}": partial(_routing, plan.questions.with_name(path.name), plan, engine)
           for path in routing.LATER_QUESTIONS},
    }
    results = []
    for name, measure in parts.items():
        started = time.perf_counter()
        try:
            results.append(measure())
        except (VisagentError, OSError, ValueError) as error:
            _LOG.warning("%s was not measured: %s", name, error)
            missing[name] = str(error) if isinstance(error, VisagentError) else f"{type(error).__name__}: see the log"
        _LOG.info("%s took %.0f s", name, time.perf_counter() - started)
    return results, missing


def page(results: Sequence[Result], missing: Mapping[str, str], *, command: str, commit: str) -> str:
    """The Markdown page."""
    asked = [(result, row) for result in results for row in result.rows if row.limit]
    lines = ["# Measured", "", "Written by the command below; every number stands under the command that prints it "
             "alone. All attacks are simulated: nothing here is a number of real attacks.", "",
             f"```\n{command}\n```", "", f"Commit {commit}; {machine()}.", "", "## What was asked, in short", "",
             "| part | measure | value | 95 % interval | counts | asked |", "|---|---|---|---|---|---|"]
    lines += [f"| {result.title} ({result.split}) | {row.name} | {' | '.join(row.cells)} |" for result, row in asked]
    lines += [""]
    if missing:
        lines += ["Not measured:", "", *(f"- {name}: {reason}" for name, reason in missing.items()), ""]
    return "\n".join(lines) + "\n" + "\n".join(result.to_markdown() for result in results)


def machine() -> str:
    """Processor cores, architecture, Python and torch, in words; no host name."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return (f"{os.cpu_count()} {platform.machine()} cores{gpu}, Python {platform.python_version()}, "
            f"torch {torch.__version__}")


def commit_of(folder: Path) -> str:
    """The git commit of a folder, with "and changes" if files differ from it; "unknown" without git."""
    try:
        sha, changes = (subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout
                        for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno")))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return sha.strip() + (" and changes" if changes.strip() else "")


def _tests(views: Path) -> list[str]:
    """The test splits that are packed: one of each renderer, and of held-out techniques."""
    return sorted(folder.name for folder in views.glob("test*") if folder.is_dir()) or ["test"]


def _spoof(split: str, plan: Plan, engine: Engine, specialist: Specialist | None) -> Result:
    views = read_views(plan.views, split, limit=plan.limit, seed=plan.seed)
    command = command_line("spoof", views=plan.views, split=split, model=plan.model, specialist=plan.specialist,
                           limit=plan.limit, seed=plan.seed)
    return spoof.measure(views, engine, specialist, split=split, command=command, seed=plan.seed, batch=plan.batch)


def _everyday(plan: Plan, engine: Engine, specialist: Specialist | None) -> Result:
    faces = everyday.read_faces(plan.data, pictures=plan.pictures, limit=plan.limit, seed=plan.seed)
    command = command_line("everyday", data=plan.data, pictures=plan.pictures, model=plan.model,
                           specialist=plan.specialist, limit=plan.limit, seed=plan.seed)
    return everyday.measure(faces, engine, specialist, load_surroundings(), command=command, seed=plan.seed,
                            batch=plan.batch)


def _surroundings(split: str, folder: Path, seed: int) -> Result:
    command = command_line("surroundings", views=folder, split=split, seed=seed)
    return surroundings.measure(read_wide_views(folder / split), load_surroundings(), split=split, command=command,
                                seed=seed)


def _shortcuts(plan: Plan) -> Result:
    views = read_views(plan.views, "train", limit=plan.shortcut_views, seed=plan.seed)
    command = command_line("shortcuts", views=plan.views, split="train", limit=plan.shortcut_views, seed=plan.seed)
    return shortcuts.measure(views, split="train", command=command, seed=plan.seed)


def _expression(plan: Plan, engine: Engine) -> Result:
    pictures = expression.read_pictures(plan.data, "test", limit=plan.limit, seed=plan.seed)
    command = command_line("expression", data=plan.data, split="test", model=plan.model, limit=plan.limit,
                           seed=plan.seed)
    return expression.measure(pictures, engine, split="test", command=command, seed=plan.seed, batch=plan.batch)


def _routing(questions: Path, plan: Plan, engine: Engine) -> Result:
    records = routing.load_questions(questions)[:plan.limit]
    command = command_line("routing", questions=questions, model=plan.model, seed=plan.seed)
    return routing.measure(records, engine, command=command, name=questions.stem, batch=plan.batch, seed=plan.seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public pictures")
    parser.add_argument("--surroundings", type=Path, default=None, help="folder of packed wide views, if any")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--specialist", type=Path, default=None, help="its folder; the shipped one if left out")
    parser.add_argument("--pictures", type=int, default=400, help="pictures of LFW and of UTKFace, each")
    parser.add_argument("--questions", type=Path, default=routing.QUESTIONS)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Plan(views=options.views, data=options.data, surroundings=options.surroundings,
                questions=options.questions, model=options.model, specialist=options.specialist, limit=options.limit,
                pictures=options.pictures, seed=options.seed, batch=options.batch)
    results, missing = run(plan)
    command = command_line("report", views=options.views, data=options.data, surroundings=options.surroundings,
                           out=options.out, model=options.model, specialist=options.specialist,
                           pictures=options.pictures, limit=options.limit, seed=options.seed)
    options.out.write_text(page(results, missing, command=command, commit=commit_of(Path(__file__).parent)),
                           encoding="utf-8")
    for result in results:
        result.show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
