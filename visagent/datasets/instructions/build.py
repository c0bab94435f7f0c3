"""The instruction data as files: pictures in, conversations out, in the format that TRL and `visagent finetune` read.

Rows are written in batches to a file of another name, which takes its own when it is complete: a stopped build leaves
no half data set. The pictures' shards stay in `parts/` and are used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import datasets
import pyarrow as arrow
import pyarrow.parquet as parquet
from tqdm import tqdm

from visagent.datasets.instructions.answers import BoxStyle
from visagent.datasets.instructions.filters import NearCopies
from visagent.datasets.instructions.generator import IN_FLIGHT, Pair, Rewriter
from visagent.datasets.instructions.pairs import Conversation, conversations_about, description_of, reworded
from visagent.datasets.instructions.pictures import SPLITS, DrawnPicture, Plan, draw_split, read_shards
from visagent.datasets.sources import Split
from visagent.errors import PictureError

Part = Literal["pretrain", "sft"]
PARTS: Final[tuple[Part, ...]] = ("pretrain", "sft")
_BATCH: Final = 64
"""Pictures whose rows are in memory at a time."""

_TEXT = datasets.Value("string")
FEATURES: Final = datasets.Features(
    {
        "images": datasets.List(datasets.Image()),
        "messages": datasets.List({"role": _TEXT, "content": datasets.List({"type": _TEXT, "text": _TEXT})}),
        "task": _TEXT,
        "turns": datasets.List(_TEXT),
        "attack": _TEXT,
        "box": datasets.List(datasets.Value("float64")),
        "clues": datasets.List(_TEXT),
        "source": _TEXT,
        "key": _TEXT,
        "picture": datasets.Value("int64"),
        "seed": datasets.Value("int64"),
    }
)
"""Columns of every file; the card describes them."""


@dataclass(slots=True)
class Tally:
    """What went into one file, and what did not.

    Attributes:
        pictures: Pictures with at least one row.
        rows: Rows by task.
        attacks: Pictures by attack type, "live" for live faces.
        dropped: What the filters stopped, by reason.
        generator: What came of the generator's rewordings.
        people: Keys of the people and pictures.
        questions: Different questions.
    """

    pictures: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    generator: Counter[str] = field(default_factory=Counter)
    people: set[tuple[str, str]] = field(default_factory=set)
    questions: set[str] = field(default_factory=set)


Tallies = dict[tuple[Part, Split], Tally]


def build(
    data: Path,
    out: Path,
    plan: Plan,
    *,
    workers: int = 2,
    boxes: BoxStyle = "pixels",
    rewriter: Rewriter | None = None,
) -> Tallies:
    """Write `pretrain/{train,dev,test}.parquet` and `sft/{train,dev,test}.parquet`.

    Args:
        data: Folder of the picture sets (docs/data.md).
        out: Folder to write into.
        plan: What pictures to draw.
        workers: Processes that draw.
        boxes: How boxes are written, see `answers.written_box`.
        rewriter: A model that rewords all but the seed pairs.

    Returns:
        What is in each file.

    Raises:
        PictureError: A set is not in the folder, `out` holds another plan's pictures, or a person is in two splits.
        WeightsError: The landmark model is missing or altered.
        EngineUnavailable: The rewriter's server stopped answering; what it said is kept.
    """
    tallies: Tallies = {}
    for split in SPLITS:
        shards = draw_split(data, out / "parts", split, plan, workers)
        for part in PARTS:
            tally = tallies[part, split] = Tally()
            pictures = tqdm(read_shards(shards), total=plan.count(split), unit="picture", desc=f"{part}, {split}")
            _write(
                out / part / f"{split}.parquet", _rows(part, split, iter(pictures), plan.seed, boxes, rewriter, tally)
            )
    require_disjoint({split: tallies["sft", split].people for split in SPLITS})
    return tallies


def require_disjoint(people: dict[Split, set[tuple[str, str]]]) -> None:
    """Raises PictureError if a person (or a set's picture) is in two splits."""
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if shared := people[first] & people[second]:  # type: ignore[index]
            raise PictureError(
                f"{len(shared)} people are in both {first} and {second}; the pictures were read with "
                "other splits. Delete `parts` and build again."
            )


def _rows(
    part: Part,
    split: Split,
    pictures: Iterator[DrawnPicture],
    seed: int,
    boxes: BoxStyle,
    rewriter: Rewriter | None,
    tally: Tally,
) -> Iterator[list[dict[str, Any]]]:
    """Batches of rows."""
    copies = NearCopies()
    while batch := list(islice(pictures, _BATCH)):
        made: list[tuple[DrawnPicture, Conversation]] = []
        for picture in batch:
            if picture.label.attack is not None and not picture.label.clues:
                tally.dropped["an attack without a clue"] += 1
            elif not copies.is_new(picture.digest, f"{picture.source} {picture.key}", picture.label.attack):
                tally.dropped["a near copy of another picture"] += 1
            else:
                rng = Random(f"{seed} {part} {split} {picture.number}")
                made += [(picture, told) for told in _told(part, picture, rng, boxes, tally.dropped)]
        if rewriter is not None:
            made = _reword(made, rewriter, boxes, tally)
        _count(made, tally)
        yield [_row(picture, told, seed) for picture, told in made]


def _told(
    part: Part, picture: DrawnPicture, rng: Random, boxes: BoxStyle, dropped: Counter[str]
) -> list[Conversation]:
    if part == "sft":
        return conversations_about(picture.label, rng, dropped, boxes=boxes)
    description = description_of(picture.label, rng, dropped)
    return [] if description is None else [description]


def _reword(
    made: list[tuple[DrawnPicture, Conversation]], rewriter: Rewriter, boxes: BoxStyle, tally: Tally
) -> list[tuple[DrawnPicture, Conversation]]:
    """Everything but seeds and conversations of several turns in the generator's words."""
    said = {(picture.number, text.lower()) for picture, told in made for pair in told.pairs for text in pair}
    wanted = [place for place, (_, told) in enumerate(made) if not told.original and len(told.pairs) == 1]

    def ask(place: int) -> tuple[Pair, str]:
        picture, told = made[place]
        return rewriter.reword(told.tasks[0], told.pairs[0], picture.label, picture.png, boxes=boxes)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for place, (pair, outcome) in zip(wanted, pool.map(ask, wanted), strict=True):
            picture, told = made[place]
            words = {(picture.number, text.lower()) for text in pair}
            if outcome == "reworded" and words & said:
                pair, outcome = told.pairs[0], "the same words again"
            tally.generator[outcome] += 1
            said |= words
            made[place] = picture, reworded(told, pair)
    return made


def _count(made: list[tuple[DrawnPicture, Conversation]], tally: Tally) -> None:
    for picture in {picture.number: picture for picture, _ in made}.values():
        tally.pictures += 1
        tally.attacks[picture.label.attack or "live"] += 1
        tally.people.add((picture.source, picture.key))
    tally.rows.update(told.name for _, told in made)
    tally.questions |= {pair.question for _, told in made for pair in told.pairs}


def _row(picture: DrawnPicture, told: Conversation, seed: int) -> dict[str, Any]:
    messages = []
    for number, pair in enumerate(told.pairs):
        shown = [{"type": "image"}] if number == 0 else []
        messages += [
            {"role": "user", "content": [*shown, {"type": "text", "text": pair.question}]},
            {"role": "assistant", "content": [{"type": "text", "text": pair.answer}]},
        ]
    label = picture.label
    return {
        "images": [{"bytes": picture.png, "path": None}],
        "messages": messages,
        "task": told.name,
        "turns": list(told.tasks),
        "attack": label.attack,
        "box": None if label.box is None else list(label.box),
        "clues": list(label.clues),
        "source": picture.source,
        "key": picture.key,
        "picture": picture.number,
        "seed": seed,
    }


def _write(target: Path, batches: Iterator[list[dict[str, Any]]]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    # A picture's rows stand together, so that compression stores it once.
    with parquet.ParquetWriter(unfinished, FEATURES.arrow_schema, compression="zstd") as writer:
        for rows in batches:
            if rows:
                writer.write_table(arrow.Table.from_pylist(rows, schema=FEATURES.arrow_schema))
    unfinished.rename(target)
