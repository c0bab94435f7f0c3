"""Fixtures of the fine-tuning tests: a small set of samples, and nothing left over from the run before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

Sample = Mapping[str, Any]
ANSWERS = ("Live.", "Spoof: tattoo attack.", "Spoof: print attack. I see halftone dots.")


@pytest.fixture
def fresh_accelerate(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """accelerate keeps one state per process; `datasets` its caches in the home folder."""
    import datasets
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def sample(answers: Sequence[str], pictures: int = 1, seed: int = 0, side: int = 40) -> dict[str, Any]:
    """A conversation: the pictures and a question, then one more question for each further answer."""
    rng = np.random.default_rng(seed)
    messages: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        shown = [{"type": "image", "text": None}] * (pictures if number == 0 else 0)
        question = {"type": "text", "text": Random(seed).choice(["Is this a live face?", "Live or spoof? Why?"])}
        messages += [{"role": "user", "content": [*shown, question]},
                     {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    return {"images": [rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8) for _ in range(pictures)],
            "messages": messages}


def write_set(folder: Path, splits: Mapping[str, Sequence[Sample]]) -> Path:
    """Write the samples as `datasets` does, pictures inside."""
    import datasets
    from PIL import Image

    text = datasets.Value("string")
    features = datasets.Features({
        "images": datasets.List(datasets.Image()),
        "messages": datasets.List({"role": text, "content": datasets.List({"type": text, "text": text})})})
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        plain = [{**row, "images": [Image.fromarray(pixels) for pixels in row["images"]]} for row in rows]
        datasets.Dataset.from_list(plain, features=features).to_parquet(str(folder / f"{split}.parquet"))
    return folder


@pytest.fixture
def spoof_set(fresh_accelerate: None, tmp_path: Path) -> Callable[[int], Path]:
    """Makes a data folder with so many training samples and four of the dev split."""
    def make(count: int) -> Path:
        return write_set(tmp_path / "set", {
            split: [sample([ANSWERS[number % 3]], seed=start + number) for number in range(size)]
            for split, size, start in (("train", count, 0), ("dev", 4, 1000))})

    return make
