"""Teach a model an attack type that it does not know, from few pictures, and see what it forgets.

    python -m visagent.finetune.new_type --data ../shared/data --out runs/new-type/transparent-mask

makes 200 pictures of the new type and, for replay, some of live faces and of the types that the model knows; trains
the recipe's adapter on them; and asks the model before and after about pictures of people who are in neither: how
often it sees and names the new type, and whether it still sees and names the others. `result.json` and `result.md` go
into the run's folder. What is there already is not made again.

The shipped models know all of FaceShield's types. The new one is a transparent mask, as SiW-Mv2 and WMCA have it: of a
material that no training picture shows. `--type` takes one of the eleven for a model that does not know it.

The renderer must not give the answer away. The new type is drawn by the optical renderer, so live faces and known
types are drawn by both, half and half, in training and in the test; the test reports each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import ATTACK_TYPES, Presentation, scene_of
from visagent.datasets.attacks.composing import bounds
from visagent.datasets.attacks.layered import LAYERED_TYPES
from visagent.datasets.attacks.masks import rigid_mask
from visagent.datasets.attacks.techniques import RIGID_HELD_OUT
from visagent.datasets.camera import Shot, take
from visagent.datasets.nano_examples import SPOOF_QUESTION, SpoofLabel, look_messages, spoof_answer, spoof_question
from visagent.datasets.sources import FacePicture, Split
from visagent.datasets.spoof_views import Renderer, make_view, people_of
from visagent.errors import SettingsError, run_command
from visagent.finetune.sft import fine_tune
from visagent.finetune.sft_recipe import read_recipe
from visagent.settings import Settings, load_settings
from visagent.tools.spoof.view import as_screened
from visagent.tools.spoof.words import read_words
from visagent.vision.crop import VIEW_SIDE

CLEAR = RIGID_HELD_OUT[0]
"""Transparent plastic, kept back from training."""
PEOPLE: dict[Split, int] = {"train": 1500, "dev": 300, "test": 500}
"""At most this many pictures of each set to draw faces from."""

TRANSPARENT_MASK = "transparent mask"
NEW_TYPES = (TRANSPARENT_MASK, *ATTACK_TYPES)
QUESTIONS = 2
"""Asked about each training picture: the spoof tool's own question, and another wording or another intent."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One made view: uint8 `[192, 192, 3]` as the spoof tool shows it, its label, and who drew it."""

    rgb: NDArray[np.uint8]
    label: SpoofLabel
    renderer: Renderer


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the Wilson interval at 95 %."""

    hits: int
    trials: int

    def __str__(self) -> str:
        from scipy.stats import binomtest

        if not self.trials:
            return "-"
        interval = binomtest(self.hits, self.trials).proportion_ci(method="wilson")
        return (f"{self.hits / self.trials:.3f} ({interval.low:.3f} to {interval.high:.3f}; "
                f"{self.hits}/{self.trials})")


def make_views(data: Path, split: Split, new: str, *, count: int, replay: int, seed: int = 0) -> list[Shown]:
    """Views of one split's people: `count` of the new type, `replay` live ones, and `replay` of the known types.

    Raises:
        PictureError: The public pictures are not in the folder.
    """
    pictures, landmarks = people_of(data, split, PEOPLE[split])
    rng = np.random.default_rng([seed, NEW_TYPES.index(new), {"train": 0, "dev": 1, "test": 2}[split]])
    renderers: tuple[Renderer, Renderer] = ("layered", "optical")
    known = {"layered": [kind for kind in LAYERED_TYPES if kind != new],
             "optical": [kind for kind in (LAYERED_TYPES if new in ATTACK_TYPES else ATTACK_TYPES) if kind != new]}
    wanted: list[tuple[str | None, Renderer]] = [(new, "optical")] * count
    wanted += [(None, renderers[number % 2]) for number in range(replay)]
    for number in range(replay):
        kinds = known[renderers[number % 2]]
        wanted.append((kinds[number // 2 % len(kinds)], renderers[number % 2]))
    shown = []
    for kind, renderer in tqdm(wanted, desc=f"{split} views", mininterval=5):
        if kind == TRANSPARENT_MASK:
            shot, presentation = _transparent_mask(pictures, landmarks, rng)
        else:
            shot, presentation, _ = make_view(pictures, landmarks, rng, live=kind is None, renderer=renderer,
                                              kind=kind)
        x1, y1, x2, y2 = (value / VIEW_SIDE for value in shot.box or (0.0, 0.0, 0.0, 0.0))
        label = SpoofLabel(kind, presentation.clues, None if shot.box is None else (x1, y1, x2, y2))
        shown.append(Shown(as_screened(shot.rgb), label, renderer))
    return shown


def _transparent_mask(pictures: Sequence[FacePicture], landmarks: NDArray[np.float32], rng: np.random.Generator
                      ) -> tuple[Shot, Presentation]:
    """A mask of clear plastic: the face shows through, under hard shine and with dark gaps."""
    index = int(rng.integers(len(pictures)))
    clues: set[str] = set()
    scene, mask = rigid_mask(scene_of(pictures[index].rgb), landmarks[index], CLEAR, rng, clues)
    shown = Presentation(scene, TRANSPARENT_MASK, bounds(landmarks[index], 0.06), tuple(sorted(clues)), mask[..., 0])
    return take(shown.scene, rng, size=VIEW_SIDE, box=shown.box, gray=pictures[index].monochrome), shown


def write_samples(views: Sequence[Shown], file: Path, seed: int = 0) -> None:
    """Questions and answers about the views, as `visagent.finetune.sft_data` reads them."""
    import datasets

    rng = Random(seed)
    rows: list[dict[str, Any]] = []
    for view in views:
        stream = BytesIO()
        Image.fromarray(view.rgb).save(stream, "PNG")
        asked = [(SPOOF_QUESTION, "spoof.full"), *(spoof_question(rng) for _ in range(QUESTIONS - 1))]
        for question, intent in asked:
            answer = {"role": "assistant", "content": [{"type": "text", "text": spoof_answer(view.label, intent)}]}
            rows.append({"images": [{"bytes": stream.getvalue(), "path": None}],
                         "messages": [*look_messages(question), answer]})
    rng.shuffle(rows)
    text = datasets.Value("string")
    features = datasets.Features({
        "images": datasets.List(datasets.Image()),
        "messages": datasets.List({"role": text, "content": datasets.List({"type": text, "text": text})})})
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    part = file.with_suffix(".part")
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(part))
    part.rename(file)


def measure(engine: Engine, views: Sequence[Shown], new: str) -> dict[str, Share]:
    """What the model says of the views, asked as the spoof tool asks it.

    Returns:
        Shares by name: the new type called a spoof and named; of live faces and of the known types, by renderer, what
        is said rightly; and how many of the others are taken for the new type. An unreadable answer is a wrong one.

    Raises:
        EngineError: The model failed.
    """
    said = [read_words(engine.look(SPOOF_QUESTION, [view.rgb]).text)
            for view in tqdm(views, desc=engine.identity.id, mininterval=5)]

    def share(chosen: list[bool]) -> Share:
        return Share(sum(chosen), len(chosen))

    pairs = list(zip(views, said, strict=True))
    fresh = [words for view, words in pairs if view.label.attack == new]
    rows = {f"{new}: called a spoof": share([words.verdict == "spoof" for words in fresh]),
            f"{new}: named": share([words.attack == new for words in fresh])}
    renderers: tuple[Renderer, Renderer] = ("layered", "optical")
    for renderer in renderers:
        live = [words for view, words in pairs if view.label.attack is None and view.renderer == renderer]
        old = [(view.label.attack, words) for view, words in pairs
               if view.label.attack not in (None, new) and view.renderer == renderer]
        rows[f"live, {renderer}: called live"] = share([words.verdict == "live" for words in live])
        rows[f"known types, {renderer}: called a spoof"] = share([words.verdict == "spoof" for _, words in old])
        rows[f"known types, {renderer}: named"] = share([words.attack == kind for kind, words in old])
    others = [words for view, words in pairs if view.label.attack != new]
    rows[f"all others: taken for {new}"] = share([words.attack == new for words in others])
    return rows


def to_markdown(new: str, before: dict[str, Share], after: dict[str, Share], trained: str) -> str:
    """A table of both measurements."""
    lines = [f"## {new}", "", trained, "", "| test people only | before | after |", "|---|---|---|"]
    lines += [f"| {name} | {share} | {after[name]} |" for name, share in before.items()]
    return "\n".join(lines) + "\n"


def run(new: str, data: Path, out: Path, settings: Settings, *, recipe: str, pictures: int = 200, replay: int = 200,
        test: int = 150, seed: int = 0) -> str:
    """Make the set, ask, train, ask again; returns the table.

    Args:
        new: The attack type that the model does not know.
        data: Folder of the public pictures.
        out: The run's folder.
        settings: The device; the model is the recipe's.
        recipe: A shipped recipe's name, or a file.
        pictures: Of the new type, to train on.
        replay: Live pictures to train on, and as many of the known types together.
        test: Of each of these three, to ask about.
        seed: Of the pictures drawn.

    Raises:
        SettingsError: No such type, or the recipe trains no adapter.
        PictureError: The public pictures are not in the folder.
    """
    if new not in NEW_TYPES:
        raise SettingsError(f"There is no attack type {new!r}; there are {', '.join(NEW_TYPES)}.")
    chosen = read_recipe(recipe)
    if chosen.adapter is None:
        raise SettingsError("This asks a model with and without an adapter; take a recipe of method lora or qlora.")
    samples = out / "set"
    for split, count in (("train", 1.0), ("dev", 0.2)):
        if not (samples / f"{split}.parquet").is_file():
            views = make_views(data, split, new, count=round(count * pictures),  # type: ignore[arg-type]
                               replay=round(count * replay), seed=seed)
            write_samples(views, samples / f"{split}.parquet", seed)
    views = make_views(data, "test", new, count=test, replay=test, seed=seed)
    plain = settings.model_copy(update={"model": chosen.model, "adapter": None})
    before = measure(open_engine(plain), views, new)
    outcome = fine_tune(chosen, samples, out / "run", settings)
    after = measure(open_engine(plain.model_copy(update={"adapter": outcome.folder})), views, new)
    step, loss = outcome.best
    seconds = sum(row.get("seconds", 0.0) for row in outcome.rows)
    trained = (f"{pictures} pictures of {new}, {replay} live ones and {replay} of the known types for replay; recipe "
               f"{chosen.name}, {step:.0f} steps of {chosen.step_samples} samples; loss on the dev split "
               f"{outcome.looks[0][1]:.3f} before, {loss:.3f} after; {seconds:.0f} s of training at "
               f"{outcome.pictures_per_second:.0f} pictures a second.")
    table = to_markdown(new, before, after, trained)
    result = {"type": new, "trained": trained, "before": {name: asdict(share) for name, share in before.items()},
              "after": {name: asdict(share) for name, share in after.items()}}
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (out / "result.md").write_text(table, encoding="utf-8")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public pictures")
    parser.add_argument("--type", default=TRANSPARENT_MASK, choices=NEW_TYPES, metavar="TYPE",
                        help=", ".join(NEW_TYPES))
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--recipe", default="faceshield-nano-lora")
    parser.add_argument("--pictures", type=int, default=200, help="of the new type, to train on")
    parser.add_argument("--replay", type=int, default=200, help="live ones, and as many of the known types")
    parser.add_argument("--test", type=int, default=150, help="of each of the three, to ask about")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(run(options.type, options.data, options.out, load_settings(), recipe=options.recipe,
              pictures=options.pictures, replay=options.replay, test=options.test, seed=options.seed))


if __name__ == "__main__":
    run_command(main)
