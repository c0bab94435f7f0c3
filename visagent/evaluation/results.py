"""What a runner measured: named numbers with intervals, and all that is needed to measure them again.

A result is shown as a table, written as one line of JSON, or as a part of a Markdown page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visagent.evaluation.attack_errors import Auc
from visagent.evaluation.intervals import Estimate, Share
from visagent.evidence import ModelIdentity

Number = Share | Auc | Estimate | float


@dataclass(frozen=True, slots=True)
class Row:
    """One number.

    Attributes:
        name: What it is.
        value: A share, an AUC or an estimate, with their intervals, or a bare number.
        limit: What the project asks of it ("at least 0.90"), "" if nothing.
    """

    name: str
    value: Number
    limit: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The value, its interval, the counts behind it, and the limit, as text."""
        if isinstance(self.value, float):
            return _digits(self.value), "", "", self.limit
        interval = f"{_digits(self.value.low)} to {_digits(self.value.high)}" if self.value.trials else ""
        counts = f"{self.value.hits}/{self.value.trials}" if isinstance(self.value, Share) else str(self.value.trials)
        return _digits(self.value.value), interval, counts, self.limit

    def to_json(self) -> dict[str, object]:
        """The row for JSON; a number that does not exist is null."""
        row: dict[str, object] = {"name": self.name, "limit": self.limit or None}
        if isinstance(self.value, float):
            return row | {"value": _finite(self.value)}
        row |= {"value": _finite(self.value.value), "low": _finite(self.value.low), "high": _finite(self.value.high),
                "trials": self.value.trials}
        return row | {"hits": self.value.hits} if isinstance(self.value, Share) else row


@dataclass(frozen=True, slots=True)
class Result:
    """What one run measured.

    Attributes:
        title: What was measured, on what.
        command: What prints it again.
        rows: The numbers.
        split: Which split of the data the numbers are of.
        seed: Of whatever was drawn.
        models: The models by what they did.
        notes: What a reader must know to not over-read the numbers.
        extra: Further tables as lists of cells, by title; the first row is the heading.
        date: Day of the run.
    """

    title: str
    command: str
    rows: tuple[Row, ...]
    split: str
    seed: int
    models: Mapping[str, ModelIdentity] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def value(self, name: str) -> float:
        """The number of a row. Raises KeyError, with the names there are."""
        for row in self.rows:
            if row.name == name:
                return row.value if isinstance(row.value, float) else row.value.value
        raise KeyError(f"there is no {name!r}; there are {', '.join(row.name for row in self.rows)}")

    @property
    def origin(self) -> tuple[str, ...]:
        """Split, seed, date and models, one line each."""
        models = tuple(f"{role}: {model.id}" + (f" ({model.digest})" if model.digest else "")
                       for role, model in self.models.items())
        return (f"split: {self.split}", f"seed: {self.seed}", f"date: {self.date}", *models)

    def to_json(self) -> dict[str, object]:
        """Everything, for one line of JSON."""
        return {"title": self.title, "command": self.command, "split": self.split, "seed": self.seed,
                "date": self.date, "models": {role: model.model_dump(mode="json") for role, model in
                                              self.models.items()},
                "rows": [row.to_json() for row in self.rows], "notes": list(self.notes),
                "extra": {title: [list(cells) for cells in table] for title, table in self.extra.items()}}

    def to_markdown(self) -> str:
        """A section of a page."""
        parts = [f"## {self.title}", f"```\n{self.command}\n```", "; ".join(self.origin) + ".",
                 _markdown_table([_HEADING, *((row.name, *row.cells) for row in self.rows)])]
        parts += [f"{title}:\n\n{_markdown_table(table)}" for title, table in self.extra.items()]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def show(self, *, as_json: bool = False) -> None:
        """Print as tables, or as one line of JSON."""
        if as_json:
            sys.stdout.write(json.dumps(self.to_json(), ensure_ascii=False) + "\n")
            return
        from rich.console import Console

        console = Console(markup=False, highlight=False, emoji=False)
        console.print(_rich_table(self.title, [_HEADING, *((row.name, *row.cells) for row in self.rows)]))
        for title, table in self.extra.items():
            console.print(_rich_table(title, table))
        for line in (*self.origin, *self.notes):
            console.print(line)


def add_common_options(parser: argparse.ArgumentParser, *, model: bool = True) -> None:
    """The options that all runners share."""
    if model:
        parser.add_argument("--model", default="visagent-nano", help="a name, a folder or a hub id")
        parser.add_argument("--batch", type=int, default=32, help="pictures that go through the model together")
    parser.add_argument("--limit", type=int, default=None, help="take at most this many, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def command_line(module: str, **options: object) -> str:
    """The command that runs a module of this package again; options that are None or False are left out."""
    words = [f"python -m visagent.evaluation.{module}"]
    for name, value in options.items():
        if value is not None and value is not False:
            flag = f"--{name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {_portable(value)}")
    return " ".join(words)


def _portable(value: object) -> str:
    """A path of another machine means nothing here: only its last two parts are kept."""
    if isinstance(value, Path) and value.is_absolute():
        return "/".join(value.parts[-2:])
    text = str(value)
    return "/".join(Path(text).parts[-2:]) if text.startswith("/") else text


_HEADING = ("measure", "value", "95 % interval", "counts", "asked")


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _finite(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _rich_table(title: str, rows: Sequence[Sequence[str]]) -> object:
    from rich.table import Table

    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows[1:]:
        table.add_row(*row)
    return table
