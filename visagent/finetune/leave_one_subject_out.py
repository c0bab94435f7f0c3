"""MOL on a licensed set, leave one subject out: the published protocol, without and with its test selection.

    python -m visagent.datasets.micro_expression.prepared --set casme2 --root ~/CASME2 --out runs/casme2
    python -m visagent.finetune.leave_one_subject_out --prepared runs/casme2 --classes 3 --out runs/casme2-loso

For each subject a network is trained from scratch on all others, a fixed number of steps, and looks at the subject.
The clean numbers are those of the last step. The released code keeps the step that is best on the subject itself,
which is a choice by the test data: its numbers stand beside, to be compared with published ones. Both are counted for
each short clip, as published, and for each video, by the mean of its short clips. A fold that is done is not done
again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from visagent.datasets.micro_expression.prepared import PreparedClip, load_prepared
from visagent.datasets.micro_expression.record import class_in
from visagent.datasets.micro_expression.windows import Windows
from visagent.errors import AnalysisError, run_command
from visagent.evaluation.class_errors import ClassErrors, class_errors
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.finetune.mol import Recipe, joint_loss, keep_recipe
from visagent.tools.micro_expression.network import MOL, normalised
from visagent.vision.micro_expression import GROUPINGS, SIDE, Grouping
from visagent.vision.steady_crop import ALIGNED_SIDE

LOOK_EVERY: Final = 100
"""Steps between two looks at the subject, for the released way of choosing."""
MARGIN: Final = ALIGNED_SIDE - SIDE


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prepared clip with the number of its class."""

    clip: PreparedClip
    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fold said of one video.

    Attributes:
        name: Of the video.
        subject: Who is seen.
        right: Its class.
        last: Probabilities of each of its short clips at the last step, `[s][K]`.
        best: The same at the step that was best on the subject.
    """

    name: str
    subject: str
    right: int
    last: list[list[float]]
    best: list[list[float]]


def labelled(clips: Sequence[PreparedClip], grouping: Grouping) -> list[Labelled]:
    """The clips that have a class among these. Raises AnalysisError if there is none."""
    classes = list(GROUPINGS[grouping])
    found = []
    for clip in clips:
        name = class_in(clip.label, clip.source, grouping)
        if name is not None:
            found.append(Labelled(clip, classes.index(name)))
    if not found:
        raise AnalysisError(f"No clip has one of the {grouping} classes.")
    return found


def batch_of(chosen: Sequence[tuple[Labelled, int]], offsets: NDArray[np.int64]) -> Windows:
    """Short clips as the network takes them.

    Args:
        chosen: Clips, and which of their short clips.
        offsets: Where the 128 pixels begin in the 144, `[B, 2]` as (x, y).
    """
    crops, landmarks, flows = [], [], []
    for (item, short), (x, y) in zip(chosen, offsets.tolist(), strict=True):
        frames = item.clip.short_clips[short]
        crops.append(item.clip.crops[frames, y:y + SIDE, x:x + SIDE])
        landmarks.append(item.clip.landmarks[frames] - np.array([x, y], np.float32))
        flows.append(item.clip.flow[short, ..., y:y + SIDE, x:x + SIDE])
    return Windows(torch.from_numpy(np.stack(crops)).float(), torch.tensor([item.number for item, _ in chosen]),
                   torch.ones(len(chosen)), torch.from_numpy(np.stack(landmarks)),
                   torch.from_numpy(np.stack(flows)).float())


def run_fold(train: Sequence[Labelled], held: Sequence[Labelled], classes: int, recipe: Recipe) -> list[Answer]:
    """Train on everybody else and look at one subject."""
    torch.manual_seed(recipe.seed)
    network = MOL(classes, with_flow="flow" in recipe.tasks, with_landmarks="landmarks" in recipe.tasks,
                  correspondence=recipe.correspondence, dropout=recipe.dropout)
    if network.landmarks is not None:
        middle = np.mean([item.clip.landmarks.mean(0) for item in train], 0) - MARGIN / 2
        network.landmarks.mean_face.copy_(torch.from_numpy(middle))
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    shorts = [(item, short) for item in train for short in range(len(item.clip.short_clips))]
    rng = np.random.default_rng(recipe.seed)
    best: tuple[float, list[list[list[float]]]] = (-1.0, [])
    for step in range(1, recipe.steps + 1):
        network.train()
        chosen = [shorts[number] for number in rng.choice(len(shorts), min(recipe.batch, len(shorts)), replace=False)]
        windows = batch_of(chosen, rng.integers(0, MARGIN + 1, (len(chosen), 2)))
        loss = joint_loss(network(normalised(windows.clips)), windows, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % LOOK_EVERY == 0 or step == recipe.steps:
            last = [_look(network, item) for item in held]
            right = float(np.mean([row[item.number] == max(row) for item, rows in zip(held, last, strict=True)
                                   for row in rows]))
            best = max(best, (right, last), key=lambda pair: pair[0])
    return [Answer(item.clip.name, item.clip.subject, item.number, one, other)
            for item, one, other in zip(held, last, best[1], strict=True)]


def _look(network: MOL, item: Labelled) -> list[list[float]]:
    network.eval()
    count = len(item.clip.short_clips)
    windows = batch_of([(item, short) for short in range(count)], np.full((count, 2), MARGIN // 2))
    with torch.inference_mode():
        said: list[list[float]] = network(normalised(windows.clips), classes_only=True).classes.softmax(1).tolist()
    return said


def run_folds(items: Sequence[Labelled], classes: int, recipe: Recipe, out: Path) -> list[Answer]:
    """All folds; each is kept in a file, and not run again. Raises SettingsError if the folder has other settings."""
    out = out / f"{classes}-classes"
    keep_recipe(recipe, out)
    answers: list[Answer] = []
    for subject in tqdm(sorted({item.clip.subject for item in items}), desc="subjects", mininterval=10):
        file = out / f"subject-{subject}.json"
        if not file.exists():
            train = [item for item in items if item.clip.subject != subject]
            held = [item for item in items if item.clip.subject == subject]
            found = run_fold(train, held, classes, recipe)
            part = file.with_suffix(".part")
            part.write_text(json.dumps([{name: getattr(answer, name) for name in Answer.__slots__}
                                        for answer in found]))
            part.replace(file)
        answers += [Answer(**row) for row in json.loads(file.read_text())]
    return answers


def errors_of(answers: Sequence[Answer], names: Sequence[str], *, selected: bool, videos: bool) -> ClassErrors:
    """How the answers compare with the right classes.

    Args:
        answers: Of all folds.
        names: The classes.
        selected: Take the step that was best on each subject.
        videos: Count each video once, by the mean of its short clips; else count each short clip.
    """
    truth, said = [], []
    for answer in answers:
        rows = np.array(answer.best if selected else answer.last)
        rows = rows.mean(0, keepdims=True) if videos else rows
        truth += [names[answer.right]] * len(rows)
        said += [names[number] for number in rows.argmax(1)]
    return class_errors(truth, said, names)


def measure(answers: Sequence[Answer], grouping: Grouping, *, command: str, recipe: Recipe) -> Result:
    """UF1, UAR, accuracy and WF1, four times."""
    names = tuple(GROUPINGS[grouping])
    rows: list[Row] = []
    for what, selected, videos in (("videos", False, True), ("short clips", False, False),
                                   ("released style, short clips", True, False),
                                   ("released style, videos", True, True)):
        errors = errors_of(answers, names, selected=selected, videos=videos)
        rows += [Row(f"{what}: UF1", errors.macro_f1), Row(f"{what}: UAR", errors.uar),
                 Row(f"{what}: accuracy", errors.accuracy), Row(f"{what}: WF1", errors.weighted_f1)]
    subjects = {answer.subject for answer in answers}
    return Result(title="Micro-expressions, leave one subject out", command=command, rows=tuple(rows),
                  split=f"{len(subjects)} subjects", seed=recipe.seed, notes=(
                      f"{len(answers)} videos in {grouping} classes; {recipe.steps} steps of {recipe.batch} for each "
                      "subject, from scratch.", "Released style chooses the step by the test subject."))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--classes", choices=sorted(GROUPINGS), default="3")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-4)
    add_common_options(parser, model=False)
    options = parser.parse_args(arguments)
    grouping = cast(Grouping, options.classes)
    recipe = Recipe(steps=options.steps, batch=options.batch, rate=options.rate, dropout=0.5, seed=options.seed)
    items = labelled(load_prepared(options.prepared), grouping)
    answers = run_folds(items, len(GROUPINGS[grouping]), recipe, options.out)
    command = command_line("leave_one_subject_out", prepared=options.prepared, classes=grouping, out=options.out,
                           steps=options.steps, seed=options.seed).replace("evaluation", "finetune", 1)
    measure(answers, grouping, command=command, recipe=recipe).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
