"""One labelled clip of a micro-expression set, and what the readers of all sets share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from visagent.datasets.layout import LayoutError, found_in
from visagent.vision.micro_expression import EMOTIONS, Grouping, class_of

FRAME_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp")
_LAST_NUMBER: Final = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True)
class MicroExpressionClip:
    """One clip, cut to its expression.

    Attributes:
        frames: From onset to offset, in order.
        name: Of the clip, within its set.
        subject: Who is seen, as the set numbers people.
        label: The set's own word, in small letters: an emotion, "others", or one of SMIC's three classes.
        source: "casme2", "samm" or "smic".
        frames_per_second: Of the camera.
        apex: Number of the apex within `frames`; None if the set does not give it.
    """

    frames: tuple[Path, ...]
    name: str
    subject: str
    label: str
    source: str
    frames_per_second: float
    apex: int | None = None


def class_in(label: str, source: str, grouping: Grouping) -> str | None:
    """The class of a set's own label among three or five.

    None if it has none there and is left out, as MEGC leaves "others" out.
    """
    if source == "smic":
        return label if grouping == "3" else None
    if label in EMOTIONS:
        return class_of(label, grouping)
    return "others" if grouping == "5" and label == "others" else None


def frames_in(folder: Path) -> dict[int, Path]:
    """The frames of a folder by the number at the end of their names, in order. Raises LayoutError."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        number = _LAST_NUMBER.search(path.stem)
        if path.suffix.lower() in FRAME_SUFFIXES and number:
            found[int(number[1])] = path
    if not found:
        raise LayoutError(f"expected numbered pictures (img1.jpg, ...), but {found_in(folder)}.")
    return dict(sorted(found.items()))


def cut(folder: Path, onset: int, offset: int) -> tuple[Path, ...]:
    """The frames of a folder with numbers from onset to offset. Raises LayoutError if there is none."""
    frames = tuple(path for number, path in frames_in(folder).items() if onset <= number <= offset)
    if not frames:
        raise LayoutError(f"expected frames {onset} to {offset} in {folder.name!r}, but {found_in(folder)}.")
    return frames


def read_coding(root: Path, pattern: str, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of a set's coding table, an .xlsx or a .csv saved from it, by column.

    The released tables begin with notes; the heading is the first row that names all columns. Empty rows are left out.

    Args:
        root: Where the table lies.
        pattern: Of its name, without ending.
        columns: Their names, in small letters; a heading counts with its spaces taken out.

    Raises:
        LayoutError: No such table, or none with these columns.
    """
    import pandas

    tables = sorted(path for ending in ("xlsx", "csv") for path in root.glob(f"{pattern}.{ending}"))
    if not tables:
        raise LayoutError(f"the coding table: expected {pattern + '.xlsx'!r} (or .csv), but {found_in(root)}.")
    read = pandas.read_excel if tables[0].suffix == ".xlsx" else pandas.read_csv
    cells = read(tables[0], header=None, dtype=str, keep_default_na=False).values.tolist()
    for number, row in enumerate(cells):
        heading = [str(cell).lower().replace(" ", "") for cell in row]
        if set(columns) <= set(heading):
            places = {column: heading.index(column) for column in columns}
            rows = [{column: str(line[place]).strip() for column, place in places.items()}
                    for line in cells[number + 1:]]
            return [line for line in rows if all(line[column] for column in columns[:2])]
    raise LayoutError(f"the coding table: expected columns {', '.join(columns)}, and no row of "
                      f"{tables[0].name!r} names them all.")


def as_number(text: str) -> int | None:
    """A frame's number; None for what the tables write where there is none ("/")."""
    return int(float(text)) if re.fullmatch(r"\d+(\.0+)?", text) else None
