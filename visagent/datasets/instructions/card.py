"""The data set's card: what is in it, counted from what was written, how it was filtered, and its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.instructions.answers import BoxStyle
from visagent.datasets.instructions.build import PARTS, Tallies
from visagent.datasets.instructions.clues import TYPE_WORDS
from visagent.datasets.instructions.pictures import SPLITS, Plan
from visagent.datasets.instructions.questions import SFT_TASKS

_HEAD: Final = """---
license: other
license_name: research-use-of-the-source-pictures
language: [en]
task_categories: [visual-question-answering, image-text-to-text]
tags: [face-anti-spoofing, presentation-attack-detection, synthetic]
configs:
- config_name: pretrain
  data_files:
  - {split: train, path: pretrain/train.parquet}
  - {split: dev, path: pretrain/dev.parquet}
  - {split: test, path: pretrain/test.parquet}
- config_name: sft
  data_files:
  - {split: train, path: sft/train.parquet}
  - {split: dev, path: sft/dev.parquet}
  - {split: test, path: sft/test.parquet}
---
# Instruction data on face presentation attacks

Simulated attacks on live faces, with questions and answers after FaceShield (arXiv 2505.09415): `pretrain` has one
description per picture, `sft` pairs for four tasks (coarse, fine, reasoning, localisation) and conversations of
several turns. Every answer was written from the label of its picture.
"""

_COLUMNS: Final = """## Columns

| column | what it is |
|---|---|
| `images` | one face view, square, PNG |
| `messages` | TRL's format: `{role, content: [{type: "image"}, {type: "text", text}]}`; an image's `text` is null |
| `task` | description, coarse, fine, reasoning, localisation; conversation where there are several turns |
| `turns` | the task of each turn |
| `attack` | attack type, null for a live face |
| `box` | attacked area, x1, y1, x2, y2 in pixels of the picture, y down; null for a live face |
| `clues` | what gives the attack away, all that are in the picture |
| `source`, `key` | set of the live picture, and the person (LFW) or content (UTKFace) that the split was made by |
| `picture` | number of the picture in its split: rows with one number show one picture |
| `seed` | seed of the build |
"""

_LIMITS: Final = """## Limits

- The attacks are simulated. What a model learns here must be measured on recorded attacks before anybody relies on it.
- The live faces are LFW's and UTKFace's: research data of real people. Keep the pictures private, and say in the card
  of what is trained on them where they come from. UTKFace names no people, so one person may be on both sides of a
  split in different pictures.
- Answers name clues that the simulator put into the picture. A small or blurred picture may not show all of them.
"""


def write_card(out: Path, plan: Plan, boxes: BoxStyle, tallies: Tallies, *, generator: str | None) -> Path:
    """Write `README.md` into the data set's folder, and give its path.

    Args:
        out: The data set's folder.
        plan: What pictures were drawn.
        boxes: How boxes are written.
        tallies: What is in each file.
        generator: The model that reworded, if any.
    """
    scale = {"pixels": "pixels of the picture with one decimal", "thousandths": "thousandths of the picture's side"}
    sections = [
        _HEAD,
        f"Built with `--pictures {plan.pictures} --seed {plan.seed} --renderer {plan.renderer} --boxes {boxes}`. "
        f"Boxes in answers are in {scale[boxes]}.\n",
        "## Counts\n",
        _rows_table(tallies),
        _attacks_table(tallies),
        "## Filters\n",
        "Checked: the black-list of refusals and hedging; the answer's verdict, attack type, clues, box and shape "
        "against the label; the same words about the same picture; near copies of a picture of the same person and "
        "label (difference hash); people in two splits (none).\n",
        _dropped_table(tallies),
    ]
    if generator is not None:
        sections += [
            "## Rewordings by a generator\n",
            f"`{generator}` was asked to reword the descriptions and all but the seed pairs.\n",
            _generator_table(tallies),
        ]
    path = out / "README.md"
    path.write_text("\n".join([*sections, _COLUMNS, _LIMITS]), encoding="utf-8")
    return path


def _rows_table(tallies: Tallies) -> str:
    tasks = ("description", *SFT_TASKS, "conversation")
    rows = [
        [
            f"{part}, {split}",
            tally.pictures,
            len(tally.people),
            sum(tally.rows.values()),
            *(tally.rows[task] for task in tasks),
            len(tally.questions),
        ]
        for part in PARTS
        for split in SPLITS
        for tally in [tallies[part, split]]
    ]
    return _table(["file", "pictures", "people", "rows", *tasks, "different questions"], rows)


def _attacks_table(tallies: Tallies) -> str:
    rows = [
        [
            TYPE_WORDS[kind].title if kind in TYPE_WORDS else "Bonafide",
            *(tallies["sft", split].attacks[kind] for split in SPLITS),
        ]
        for kind in ("live", *ATTACK_TYPES)
    ]
    return _table(["pictures by class", *SPLITS], rows)


def _dropped_table(tallies: Tallies) -> str:
    dropped = _summed(tally.dropped for tally in tallies.values())
    return _table(["dropped, in all files", "count"], sorted(dropped.items())) if dropped else "Nothing was dropped.\n"


def _generator_table(tallies: Tallies) -> str:
    outcomes = _summed(tally.generator for tally in tallies.values())
    return _table(["outcome (all but `reworded`: the pair stayed as it was)", "pairs"], sorted(outcomes.items()))


def _summed(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total += counter
    return total


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
