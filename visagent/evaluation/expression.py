"""Expressions shown, on FER+.

    python -m visagent.evaluation.expression --data ../shared/data --split test

The tool's closed question, its eight options weighed from one prefill. The official splits; the label is the class
with most of ten annotators' votes, pictures voted "unknown" or "no face" are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.sources import ExpressionPicture, Split, expression_pictures
from visagent.errors import run_command
from visagent.evaluation.batch import score_many
from visagent.evaluation.class_errors import calibration_error, class_errors
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.settings import load_settings
from visagent.tools.expression.tool import (
    EXPRESSION_QUESTION,
    LEAST_LEAD,
    LEAST_PROBABILITY,
    OPTIONS,
    softmax,
)
from visagent.vision.crop import VIEW_SIDE, ByteImage, resize


def view_of(picture: ExpressionPicture) -> ByteImage:
    """The whole picture as a face view, uint8 `[192, 192, 3]`: it is an aligned crop of a face already."""
    large = resize(picture.gray, VIEW_SIDE, VIEW_SIDE)
    return np.ascontiguousarray(np.repeat(large[..., None], 3, 2))


def measure(pictures: Sequence[ExpressionPicture], engine: Engine, *, split: str, command: str, seed: int = 0,
            batch: int = 32) -> Result:
    """Name the expression of every picture. Raises EngineError if the model fails, ValueError without pictures."""
    scores = score_many(engine, EXPRESSION_QUESTION, [view_of(picture) for picture in pictures], OPTIONS, batch=batch)
    probabilities = np.array([softmax([float(value) for value in row]) for row in scores])
    truth = [picture.label for picture in pictures]
    said = [OPTIONS[index] for index in probabilities.argmax(1)]
    errors = class_errors(truth, said, OPTIONS)
    ordered = np.sort(probabilities, 1)[:, ::-1]
    is_right = np.array([right == named for right, named in zip(truth, said, strict=True)])
    is_sure = (ordered[:, 0] >= LEAST_PROBABILITY) & (ordered[:, 0] - ordered[:, 1] >= LEAST_LEAD)
    rows = [Row("accuracy (WAR)", errors.accuracy, "at least 0.60"),
            Row("accuracy of always naming the most frequent class", errors.majority),
            Row("unweighted average recall (UAR)", errors.uar), Row("macro F1", errors.macro_f1),
            *(Row(f"recall, {name}", recall) for name, recall in errors.recalls.items()),
            Row("expected calibration error (15 bins)", calibration_error(ordered[:, 0], is_right)),
            Row("answered, not \"unsure\" (coverage)", Share(int(is_sure.sum()), len(is_sure))),
            Row("accuracy of what was answered", Share(int((is_right & is_sure).sum()), int(is_sure.sum())))]
    heading = ["right \\ answer", *OPTIONS]
    table = [heading, *([name, *map(str, row[:-1])] for name, row in zip(OPTIONS, errors.confusion, strict=True))]
    return Result(title="Expression shown, FER+", command=command, rows=tuple(rows), split=split, seed=seed,
                  models={"model": engine.identity}, extra={"Confusion": table}, notes=(
                      f"{len(pictures)} gray pictures of 48 x 48 pixels, enlarged to {VIEW_SIDE}; the whole picture "
                      "is the view, no detector in between.",
                      f"\"unsure\" below a probability of {LEAST_PROBABILITY} or a lead of {LEAST_LEAD}."))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus.parquet")
    parser.add_argument("--split", choices=["train", "dev", "test"], default="test")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    pictures = read_pictures(options.data, options.split, limit=options.limit, seed=options.seed)
    engine = open_engine(load_settings({"model": options.model}))
    command = command_line("expression", data=options.data, split=options.split, model=options.model,
                           limit=options.limit, seed=options.seed)
    measure(pictures, engine, split=options.split, command=command, seed=options.seed,
            batch=options.batch).show(as_json=options.json)


def read_pictures(data: Path, split: str, *, limit: int | None = None, seed: int = 0) -> list[ExpressionPicture]:
    """The pictures of a split, at most `limit`, drawn by the seed. Raises PictureError if the file is not there."""
    pictures = list(expression_pictures(data, cast(Split, split)))
    if limit is None or limit >= len(pictures):
        return pictures
    return [pictures[index] for index in np.sort(np.random.default_rng(seed).choice(len(pictures), limit, False))]


if __name__ == "__main__":
    run_command(main)
