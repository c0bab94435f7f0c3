"""Labelled pictures of people: a folder for each person, or a parquet file with `image`, `identity`, maybe `group`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from visagent.errors import AnalysisError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif")


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture, who is on it, and the person's group ("" where it is not known)."""

    source: Path | bytes
    identity: str
    group: str = ""


def read_labelled(data: Path, *, most: int | None = None, seed: int = 0) -> list[LabelledPicture]:
    """All pictures of a labelled set, by identity.

    Args:
        data: A folder with a folder of pictures for each person, or a parquet file.
        most: Pictures per person at most, drawn at random; all if None.
        seed: Of that draw.

    Raises:
        AnalysisError: Neither of the two, or no picture in it.
    """
    if data.is_dir():
        pictures = [LabelledPicture(path, person.name) for person in sorted(data.iterdir()) if person.is_dir()
                    for path in sorted(person.iterdir()) if path.suffix.lower() in SUFFIXES]
        layout = "a folder of pictures for each person"
    else:
        pictures = _of_parquet(data)
        layout = "rows with 'image' and 'identity'"
    if not pictures:
        raise AnalysisError(f"There is no labelled picture: expected was {layout}.")
    if most is None:
        return sorted(pictures, key=lambda picture: picture.identity)
    by_person: defaultdict[str, list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        by_person[picture.identity].append(picture)
    draw = Random(seed)
    return [picture for _, found in sorted(by_person.items()) for picture in draw.sample(found, min(most, len(found)))]


def _of_parquet(file: Path) -> list[LabelledPicture]:
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(file)
    except Exception:  # pyarrow raises its own kinds, of no common base
        raise AnalysisError("The labelled set is neither a folder nor a parquet file that can be read.") from None
    missing = {"image", "identity"} - set(table.column_names)
    if missing:
        raise AnalysisError(f"The parquet file has no column {' and '.join(sorted(missing))}; it has "
                            f"{', '.join(table.column_names[:12])}.")
    groups = table["group"].to_pylist() if "group" in table.column_names else [""] * table.num_rows
    pictures = []
    for image, identity, group in zip(table["image"].to_pylist(), table["identity"].to_pylist(), groups, strict=True):
        data = image["bytes"] if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise AnalysisError("The column 'image' of the parquet file holds no files ({'bytes': ...} or bytes).")
        pictures.append(LabelledPicture(data, str(identity), str(group or "")))
    return pictures
