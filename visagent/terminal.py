"""How an answer looks in a terminal: readable without colour, at 80 columns.

Everything written here may have been chosen by a stranger (a file name, a model's words), so control characters are
taken out before it reaches the terminal: no text can move the cursor, change colours or write the title bar.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from itertools import groupby
from textwrap import fill
from typing import IO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visagent.agent.answer import Answer
from visagent.evidence import Direction, Finding, ModelIdentity, Score, State
from visagent.media import PictureStore

MAX_WIDTH = 100
MAX_REGIONS = 12
_KEPT = {"\n", "\t", "\u200c", "\u200d"}  # the joiners are spelling in Persian and Hindi
_COUNTS = {Direction.HIGHER: "at or above", Direction.LOWER: "at or below"}


def clean(text: str) -> str:
    """The text without control and direction-changing characters (Unicode Cc, Cf, Cs), line ends and tabs kept."""
    return "".join(c for c in text if c in _KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def printable(name: str) -> str:
    """A file name as text that can be encoded: bytes that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def open_console(stream: IO[str] | None = None) -> Console:
    """A console on `stream` (stdout if None) that takes no markup from text and is at most 100 columns wide."""
    console = Console(file=stream or sys.stdout, markup=False, highlight=False, emoji=False)
    console.width = min(console.width, MAX_WIDTH)
    return console


class WordStream:
    """Writes pieces of text as they come, breaking lines between words at the console's width."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._word = ""
        self._space = False
        self._column = 0
        self.text = ""

    def write(self, piece: str) -> None:
        """Write the whole words of `piece`; the last one waits until it is complete."""
        self.text += piece
        for character in clean(piece).replace("\t", " "):
            if character not in " \n":
                self._word += character
                continue
            self._flush_word()
            self._space = self._column > 0
            if character == "\n":
                self._out("\n")
                self._column, self._space = 0, False
        self._console.file.flush()

    def close(self) -> None:
        """Write what waits, and end the line."""
        self._flush_word()
        if self._column:
            self._out("\n")
            self._column = 0
        self._console.file.flush()

    def _flush_word(self) -> None:
        if not self._word:
            return
        if self._space:
            fits = self._column + 1 + len(self._word) <= self._console.width
            self._out(" " if fits else "\n")
            self._column = self._column + 1 if fits else 0
        self._out(self._word)
        self._column += len(self._word)
        self._word, self._space = "", False

    def _out(self, text: str) -> None:
        # Straight to the file: the console would end every piece with a line break.
        if not self._console.quiet:
            self._console.file.write(text)


def show_heading(console: Console, text: str) -> None:
    """An empty line and a heading."""
    console.print()
    console.print(Text(text, style="bold"))


def show_pictures(console: Console, names: Mapping[str, str], pictures: PictureStore) -> None:
    """Which picture id is which of the person's files, with size and notes."""
    for picture_id, name in names.items():
        picture = pictures.get(picture_id)
        facts = "; ".join((f"{picture.width} x {picture.height} px", *picture.notes))
        console.print(Text(f"{picture_id}  {clean(name)}  ({facts})"))


def show_step(console: Console, arguments: Mapping[str, object], finding: Finding, seconds: float) -> None:
    """One tool call: name, arguments, time, outcome."""
    given = ", ".join(f"{name}={value}" for name, value in arguments.items())
    line = Text(f"  {finding.tool}({given})", style="dim")
    line.append(f"  {seconds:.2f} s  {outcome(finding)}")
    console.print(Text(clean(line.plain), style="dim"))


def show_answer(console: Console, answer: Answer, *, streamed: str) -> None:
    """What follows the streamed words: the checked answer if it differs, and the evidence."""
    if _words(streamed) != _words(answer.text):
        console.print(Text(clean(answer.text)))
    if not answer.grounded:
        console.print(Text("(The model's own words went beyond its findings; this answer is made from the findings.)",
                           style="dim"))
    if answer.findings:
        show_heading(console, "Evidence")
        for finding in answer.findings:
            show_finding(console, finding)
    console.print()
    console.print(Text(f"Answered in {answer.seconds:.1f} s.", style="dim"))


def show_finding(console: Console, finding: Finding, *, title: str | None = None, summary: bool = False) -> None:
    """One finding: outcome, scores against thresholds, regions, model, caveats.

    Args:
        console: Where to.
        finding: What.
        title: Stands before the outcome; the tool's name if None.
        summary: Whether to write the finding's summary too; a reader of an agent's answer has it already.
    """
    line = Text(f"{clean(title or finding.tool)}: ")
    line.append(clean(outcome(finding)), style="bold")
    console.print(line)
    if summary and finding.state is State.answered:
        _indented(console, finding.summary)
    if finding.scores:
        _print_table(console, _score_table(finding))
        for source, scores in groupby(finding.scores, lambda score: score.threshold_source):
            if source:
                names = " and ".join(score.name for score in scores)
                _indented(console, f"threshold of {names}: {source}")
    if finding.regions:
        _print_table(console, _region_table(finding))
        if len(finding.regions) > MAX_REGIONS:
            _indented(console, f"and {len(finding.regions) - MAX_REGIONS} more; --json gives all")
    for artifact in finding.artifacts:
        _indented(console, f"{artifact.handle}: {artifact.description}")
    if finding.model is not None:
        _indented(console, f"model: {_model(finding.model)}")
    for witness in finding.witnesses:
        _indented(console, f"also asked: {_model(witness)}")
    for caveat in finding.caveats:
        _indented(console, f"note: {caveat}")


def outcome(finding: Finding) -> str:
    """The answer in a word, or why there is none."""
    if finding.state is State.answered:
        return finding.answer or ""
    return f"{'no verdict' if finding.state is State.abstained else 'not possible'} - {finding.reason}"


def _score_table(finding: Finding) -> Table:
    # The finding's own model stands below the table; a column for it only where a score comes from another.
    models = ("model",) if any(score.model for score in finding.scores) else ()
    table = _table("score", "value", "threshold", "counts", "reached", *models, right=("value", "threshold"))
    for score in finding.scores:
        decides = score.threshold is not None
        cells: list[str | Text] = [
            Text(clean(score.name)), _value(score), f"{score.threshold:.3f}" if decides else "-",
            _COUNTS[score.direction] if decides else _direction(score), _reached(score)]
        if models:
            cells.append(Text(clean(score.model or (finding.model.id if finding.model else "-"))))
        table.add_row(*cells)
    return table


def _region_table(finding: Finding) -> Table:
    table = _table("region", "picture", "box [x1, y1, x2, y2] px", "score", right=("score",))
    for region in finding.regions[:MAX_REGIONS]:
        table.add_row(Text(clean(region.label)), region.image, Text(str(region.box)),
                      "-" if region.score is None else f"{region.score:.3f}")
    return table


def _table(*headings: str, right: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(Text(heading), justify="right" if heading in right else "left",
                         no_wrap=heading not in ("score", "model", "region"), overflow="fold")
    return table


def _print_table(console: Console, table: Table) -> None:
    with console.capture() as captured:
        console.print(Padding(table, (0, 0, 0, 2), expand=False))
    # Without the spaces that fill the last column: they would follow every line into a file or a clipboard.
    for line in captured.get().splitlines():
        console.print(Text.from_ansi(line.rstrip()))


def _value(score: Score) -> str:
    counted = score.threshold is None and score.value.is_integer()
    return f"{score.value:.0f}" if counted else f"{score.value:.3f}"


def _direction(score: Score) -> str:
    return "more if higher" if score.direction is Direction.HIGHER else "more if lower"


def _reached(score: Score) -> str:
    return "-" if score.passes is None else ("yes" if score.passes else "no")


def _model(model: ModelIdentity) -> str:
    return model.id if model.digest is None else f"{model.id} ({model.digest})"


def _indented(console: Console, text: str) -> None:
    console.print(Text(fill(clean(text), console.width, initial_indent="  ", subsequent_indent="  ")))


def _words(text: str) -> list[str]:
    return text.split()
