"""Does the border of a screen or sheet enclose a face? On composed scenes with people who were never trained on.

    python -m visagent.evaluation.surroundings --views runs/surroundings --split test
    python -m visagent.evaluation.surroundings --views runs/surroundings --split test-held-out

`test-held-out` has places and carriers that no training scene shows. All scenes are composed: real live pictures are
measured by `visagent.evaluation.everyday`, and there are no real attacks to measure.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visagent.datasets.surroundings.packed import WideViews, read_wide_views
from visagent.errors import run_command
from visagent.evaluation.attack_errors import auc
from visagent.evaluation.boxes import box_iou
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.tools.spoof.specialist import attacked_box
from visagent.tools.spoof.surroundings import Surroundings, judge, load_surroundings, read_surroundings
from visagent.tools.spoof.surroundings_network import ENCLOSURES
from visagent.vision.crop import WIDE_SIDE

SPLIT_OF_THRESHOLDS = "dev"


def measure(views: WideViews, surroundings: Surroundings, *, split: str, command: str, seed: int = 0) -> Result:
    """Errors at both thresholds, the kind of border, and where it is.

    Raises:
        ValueError: The split is the one that the thresholds were fixed on.
    """
    if split == SPLIT_OF_THRESHOLDS:
        raise ValueError(f"the thresholds were fixed on the split {split!r}: report on another one")
    scores, kinds, located = np.empty(len(views)), np.empty(len(views), np.int64), np.zeros(len(views), bool)
    for number, view in enumerate(views.views):
        scores[number], chances, mask = judge(surroundings.network, view)
        kinds[number] = 1 + int(chances[1:].argmax())
        found, right = (attacked_box(cells, WIDE_SIDE) for cells in (mask, views.masks[number]))
        located[number] = found is not None and right is not None and box_iou(
            (found.x1, found.y1, found.x2, found.y2), (right.x1, right.y1, right.x2, right.y2)) >= 0.5
    attacked, point = views.kinds > 0, surroundings.operating_point
    rows = [Row("AUC", auc(scores, attacked, seed=seed))]
    for name, threshold in (("likely", point.threshold), ("certain", point.certain)):
        called = scores >= threshold
        rows.append(Row(f"{name}: BPCER", _share(called[~attacked])))
        rows += [Row(f"{name}: APCER, {ENCLOSURES[kind]}", _share(~called[views.kinds == kind])) for kind in (1, 2)]
    seen = attacked & (scores >= point.threshold)
    rows += [Row("screen or sheet right, of borders seen", _share(kinds[seen] == views.kinds[seen])),
             Row("what it encloses located (IoU of at least 0.5), of borders seen", _share(located[seen]))]
    return Result(
        title="A border around the face, composed scenes", command=command, rows=tuple(rows), split=split, seed=seed,
        models={"surroundings": surroundings.identity}, notes=(
            f"{len(views)} scenes: {int((~attacked).sum())} live, {int(attacked.sum())} attacks, with heads of people "
            "who are in no other split. Live scenes hold screens, sheets, frames and hands too, beside and behind.",))


def _share(right: np.ndarray) -> Share:
    return Share(int(right.sum()), len(right))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed wide views")
    parser.add_argument("--split", default="test")
    parser.add_argument("--surroundings", type=Path, default=None, help="the network's folder; else the shipped one")
    add_common_options(parser, model=False)
    options = parser.parse_args(arguments)
    if options.split == SPLIT_OF_THRESHOLDS:
        parser.error(f"the thresholds were fixed on the split {options.split!r}: take another one")
    network = load_surroundings() if options.surroundings is None else read_surroundings(options.surroundings)
    command = command_line("surroundings", views=options.views, split=options.split,
                           surroundings=options.surroundings, seed=options.seed)
    measure(read_wide_views(options.views / options.split), network, split=options.split, command=command,
            seed=options.seed).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
