"""`visagent embed`, `calibrate`, `fairness ...` and `drift ...`: what scores are worth, from the command line."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visagent.cli.options import complain, plain_help
from visagent.errors import SettingsError, VisagentError
from visagent.settings import Settings, load_settings

if TYPE_CHECKING:
    from visagent.evaluation.embedding import Embedded

_FAIRNESS_EXAMPLES = """
Examples:

\b
  visagent embed people/ --out embeddings.parquet   (a folder a person)
  visagent fairness report embeddings.parquet
  visagent fairness simulate --out made-up.parquet    (to try it on)
  visagent fairness train embeddings.parquet --out runs/fair
  visagent gallery re-encode --module runs/fair --into fair

The table has columns identity, group and embedding (or e0, e1, ...); CSV or parquet.
"""
_DRIFT_EXAMPLES = """
Examples:

\b
  visagent drift report scores.csv --out drift/   (person, time, score)
  visagent drift report --own --out drift/        (scores of your own gallery)
  visagent drift simulate --out scores.csv        (made-up, to try it on)

A column "device" lets steps of a device be told from ageing.
"""

fairness = typer.Typer(help="Does the matcher treat groups alike? Measure it, and repair it.", no_args_is_help=True,
                       rich_markup_mode=None, epilog=plain_help(_FAIRNESS_EXAMPLES))
drift = typer.Typer(help="Do scores change over the months? Day-to-day against whole-period variation.",
                    no_args_is_help=True, rich_markup_mode=None, epilog=plain_help(_DRIFT_EXAMPLES))

_Encoder = Annotated[Path | None, typer.Option("--encoder", metavar="FILE", help="ONNX file; dlib's network if left "
                                                                                 "out.")]
_Data = Annotated[Path, typer.Argument(metavar="DATA", help=(
    "A folder of pictures for each person, a parquet file with image, identity and maybe group, or (for calibrate) a "
    "table that embed wrote."))]
_Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where results are written.")]
_Table = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or parquet of labelled embeddings.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
_Errors = Annotated[Path | None, typer.Option("--label-errors", metavar="CSV", help=(
    "Pairs of names that are one person (identity_a, identity_b): not compared."))]


def embed(
    data: _Data,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table: .parquet or .csv.")],
    encoder: _Encoder = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; one for each core if left out.")] = None,
) -> None:
    """Embed the biggest face of every labelled picture. Goes on where it was stopped."""
    def work(settings: Settings) -> None:
        from visagent.datasets.embedding_table import write_table

        found = _embed(data, settings, out.with_suffix(".parts"), workers)
        write_table(found.table, out)
        typer.echo(f"{len(found.table):,} of {found.pictures:,} pictures embedded; without a face "
                   f"{found.without_face}, not good enough {found.unfit}, not readable {found.unread}. Saved: {out}")

    _run(work, {"encoder": encoder})


def calibrate(
    data: _Data,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The threshold file.")],
    encoder: _Encoder = None,
    data_name: Annotated[str | None, typer.Option("--data-name", metavar="TEXT", help="What the data are.")] = None,
    label_errors: _Errors = None,
    seed: Annotated[int, typer.Option("--seed", help="Which people are in which half.")] = 0,
    pictures: Annotated[int | None, typer.Option("--pictures", help="Pictures that a table was made of.")] = None,
) -> None:
    """Set thresholds on one half of the people, measure them on the other, and write a threshold file."""
    def work(settings: Settings) -> None:
        from visagent.datasets.embedding_table import read_table
        from visagent.evaluation.calibrate import calibrate as run_calibration
        from visagent.evaluation.comparisons import read_pairs

        failures, total = 0, pictures
        table = read_table(data) if _is_table(data) else None
        if table is None:
            found = _embed(data, settings, out.with_suffix(".parts"), None)
            table, failures, total = found.table, found.failures_to_enrol, found.pictures
        elif pictures is not None:
            failures = pictures - len(table)
        made = run_calibration(
            table, data=data_name or data.name, command=f"visagent {shlex.join(sys.argv[1:])}", pictures=total,
            failures_to_enrol=failures, leave_out=() if label_errors is None else read_pairs(label_errors), seed=seed)
        out.write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
        typer.echo(f"{'FMR':>8}  {'threshold (95 %)':<26}{'FMR on the other half':<28}FNMR on the other half")
        for point in made.points:
            typer.echo(f"{point.target_fmr:>8g}  {point.threshold:.4f} ({point.low:.4f}-{point.high:.4f})   "
                       f"{point.fmr!s:<28}{point.fnmr}")
        typer.echo(f"different under {made.different_below:.4f}; EER {made.eer}; failure to enrol "
                   f"{made.failure_to_enrol}. Rates under {made.smallest_supported_fmr:.1e} are extrapolated. "
                   f"Saved: {out}")

    _run(work, {"encoder": encoder})


@fairness.command("report")
def report_fairness(
    table: _Table,
    alpha: Annotated[list[float] | None, typer.Option("--far", help="FAR of the threshold; may be repeated.")] = None,
    rule: Annotated[Literal["global", "worst"], typer.Option("--rule", help=(
        "On all impostor pairs, or so that no group has more."))] = "global",
    label_errors: _Errors = None,
    resamples: Annotated[int, typer.Option("--resamples", help="Of people, for the intervals.")] = 500,
    as_json: _Json = False,
) -> None:
    """False accepts and rejects of each group at one threshold, and what they add up to."""
    def work(settings: Settings) -> None:
        from visagent.datasets.embedding_table import read_table
        from visagent.evaluation.comparisons import read_pairs
        from visagent.evaluation.fairness import compare_groups, fairness_report
        from visagent.evaluation.fairness_text import describe, for_json

        pairs = () if label_errors is None else read_pairs(label_errors)
        grouped = compare_groups(read_table(table), leave_out=pairs)
        for one in alpha or [1e-2, 1e-3]:
            found = fairness_report(grouped, one, rule=rule, resamples=resamples)
            typer.echo(json.dumps(for_json(found)) if as_json else describe(found))

    _run(work, {})


@fairness.command("train")
def train_fairness(
    table: _Table,
    out: _Out,
    reference: Annotated[str | None, typer.Option("--reference", metavar="GROUP", help=(
        "Group whose error rates the others shall have; the median one if left out."))] = None,
    epochs: Annotated[int, typer.Option("--epochs")] = 30,
    far: Annotated[float, typer.Option("--far", help="FAR at which before and after are compared.")] = 1e-3,
    seed: Annotated[int, typer.Option("--seed", help="Of the split and the training.")] = 0,
) -> None:
    """Train a fairness module on half of the people, and compare before and after on the other half."""
    def work(settings: Settings) -> None:
        _require("scikit-learn for training", "sklearn")
        from visagent.datasets.embedding_table import read_table
        from visagent.finetune.centroid_fairness import FairnessRecipe
        from visagent.finetune.fairness_run import train_and_compare

        recipe = FairnessRecipe(reference=reference, epochs=epochs, alpha=far, seed=seed)
        outcome = train_and_compare(read_table(table), recipe, out, lambda text: typer.echo(text, err=True))
        typer.echo(outcome)
        typer.echo(f"Saved: {out}")

    _run(work, {})


@fairness.command("simulate")
def simulate_fairness(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table: .parquet or .csv.")],
    people: Annotated[int, typer.Option("--people", help="Of each of the three groups.")] = 1000,
    pictures: Annotated[int, typer.Option("--pictures", help="Of each person.")] = 6,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Write made-up embeddings of three groups whose unfairness is known."""
    def work(settings: Settings) -> None:
        from dataclasses import replace

        from visagent.datasets.embedding_table import write_table
        from visagent.datasets.sphere_groups import UNFAIR, draw_groups

        groups = [replace(group, identities=people) for group in UNFAIR]
        table = draw_groups(groups, pictures=pictures, seed=seed)
        write_table(table, out)
        typer.echo(f"{len(table):,} embeddings of {3 * people:,} people in {len(groups)} groups. Saved: {out}")

    _run(work, {})


@drift.command("report")
def report_drift(
    scores: Annotated[Path | None, typer.Argument(metavar="SCORES", help="CSV or parquet: person, time, "
                                                                         "score.")] = None,
    out: _Out = Path("drift"),
    own: Annotated[bool, typer.Option("--own", help="The scores that your gallery has kept.")] = False,
    distances: Annotated[bool, typer.Option("--distances", help="The scores are distances: lower is more "
                                                                "alike.")] = False,
    threshold: Annotated[float | None, typer.Option("--threshold", help="For error rates over time.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the resampling.")] = 0,
    as_json: _Json = False,
) -> None:
    """Variance components, the BEZ question, device steps, whom to enrol anew; with plots in one HTML file."""
    def work(settings: Settings) -> None:
        _require("the extra 'analysis'", "pandas", "statsmodels", "matplotlib")
        from visagent.tools.drift.report import write_report
        from visagent.tools.drift.scores import read_scores
        from visagent.tools.drift.tool import gallery_scores

        if own == (scores is not None):
            raise SettingsError("Name a file of scores, or say --own for those of your gallery.")
        if own:
            from visagent.cli.gallery import open_own_gallery

            with open_own_gallery(settings) as gallery:
                table = gallery_scores(gallery)
        else:
            assert scores is not None
            table = read_scores(scores, distances=distances)
        limit = -threshold if threshold is not None and distances else threshold
        found = write_report(table, out, threshold=limit, seed=seed)
        typer.echo(json.dumps(found) if as_json else "\n".join([
            found["sentence"], f"Answer: {found['answer']}.", f"Report: {out / 'report.html'}"]))

    _run(work, {})


@drift.command("simulate")
def simulate_drift(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV.")],
    people: Annotated[int, typer.Option("--people")] = 200,
    days: Annotated[int, typer.Option("--days", help="Visits of each.")] = 20,
    years: Annotated[float, typer.Option("--years")] = 2.5,
    day_sd: Annotated[float, typer.Option("--day-sd", help="Standard deviation of a person's day.")] = 0.012,
    change: Annotated[float, typer.Option("--change", help="Population drift per year.")] = -0.001,
    device_shift: Annotated[float, typer.Option("--device-shift", help="Step of a second device.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Write made-up scores with known components."""
    def work(settings: Settings) -> None:
        from visagent.datasets.score_series import SeriesPlan, draw_series
        from visagent.tools.drift.scores import ScoreTable, write_scores

        drawn = draw_series(SeriesPlan(people=people, days=days, years=years, person_day=day_sd, drift=change,
                                       device_shift=device_shift), seed)
        names = tuple(f"p{number:04d}" for number in range(people))
        write_scores(ScoreTable(drawn.person, names, drawn.day, drawn.score, drawn.device, ("a", "b")), out)
        typer.echo(f"{len(drawn.score):,} scores of {people} people. Saved: {out}")

    _run(work, {})


def _embed(data: Path, settings: Settings, parts: Path, workers: int | None) -> Embedded:
    from rich.progress import Progress

    from visagent.datasets.labelled_faces import read_labelled
    from visagent.evaluation.embedding import embed_set
    from visagent.terminal import open_console
    from visagent.tools.subject import limits_of

    pictures = read_labelled(data)
    console = open_console(sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("embedding", total=len(pictures))
        return embed_set(pictures, limits_of("identify"), encoder=settings.encoder, parts=parts, workers=workers,
                         progress=lambda done: bar.advance(task, done))


def _is_table(data: Path) -> bool:
    """Whether a file holds embeddings, not pictures."""
    if data.is_dir() or data.suffix.lower() != ".parquet":
        return data.suffix.lower() == ".csv"
    import pyarrow.parquet as parquet

    try:
        return "image" not in parquet.read_schema(data).names
    except (OSError, ValueError):
        return False


def _require(what: str, *modules: str) -> None:
    import importlib.util

    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise SettingsError(f"This needs {what}: pip install 'visagent[analysis]' ({', '.join(missing)} missing).")


def _run(work: Callable[[Settings], None], overrides: dict[str, object]) -> None:
    """Run with the settings of the person; a `VisagentError` ends with one line on stderr and status 1."""
    try:
        work(load_settings(overrides))
    except VisagentError as error:
        complain(str(error))
        raise typer.Exit(1) from None
