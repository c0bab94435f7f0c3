"""Do file statistics alone give the simulated attacks away?

    python -m visagent.evaluation.shortcuts --views runs/views

A model learns the easiest difference between live and attacked views. If brightness or sharpness separated them, it
would learn that, and be useless on real pictures. So each such measure of the training views alone must be close to
guessing: an AUC of 0.45 to 0.60 for attacks having the higher value.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from visagent.errors import run_command
from visagent.evaluation.attack_errors import Auc, auc
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evaluation.views import LabelledView, read_views

Pixels = NDArray[np.uint8]
LOWEST, HIGHEST = 0.45, 0.60


def width(rgb: Pixels) -> float:
    """Pixels across."""
    return float(rgb.shape[1])


def sharpness(rgb: Pixels) -> float:
    """Variance of the Laplacian of the gray picture."""
    import cv2

    return float(cv2.Laplacian(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def brightness(rgb: Pixels) -> float:
    """Mean gray value."""
    import cv2

    return float(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).mean())


def contrast(rgb: Pixels) -> float:
    """Standard deviation of the gray values."""
    import cv2

    return float(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).std())


def red_cast(rgb: Pixels) -> float:
    """Mean of red minus green."""
    return float(rgb[..., 0].mean() - rgb[..., 1].mean())


def blue_cast(rgb: Pixels) -> float:
    """Mean of blue minus green."""
    return float(rgb[..., 2].mean() - rgb[..., 1].mean())


def saturation(rgb: Pixels) -> float:
    """Mean of the difference of the strongest and the weakest colour."""
    return float((rgb.max(2).astype(np.int16) - rgb.min(2)).mean())


def file_size(rgb: Pixels) -> float:
    """Bytes of the picture as a JPEG of quality 90."""
    import cv2

    return float(len(cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]))


MEASURES: Mapping[str, Callable[[Pixels], float]] = MappingProxyType({
    "width": width, "sharpness (variance of the Laplacian)": sharpness, "brightness": brightness,
    "contrast": contrast, "colour cast (red - green)": red_cast, "colour cast (blue - green)": blue_cast,
    "saturation": saturation, "JPEG file size": file_size,
})


def measure(views: Sequence[LabelledView], *, split: str, command: str, seed: int = 0) -> Result:
    """The AUC of each measure alone, for attacks having the higher value. Raises ValueError for a single class."""
    is_attack = np.array([view.attack is not None for view in views])
    rows: list[Row] = []
    outside = []
    for name, of in MEASURES.items():
        found = auc(np.array([of(view.rgb) for view in views]), is_attack, rounds=300, seed=seed)
        either_way = Auc(max(found.value, 1 - found.value), max(found.low, 1 - found.high),
                         max(found.high, 1 - found.low), found.trials)
        rows += [Row(f"AUC of {name}", found, f"{LOWEST:.2f} to {HIGHEST:.2f}"),
                 Row(f"AUC of {name}, whichever class is higher", either_way)]
        if not LOWEST <= found.value <= HIGHEST:
            outside.append(name)
    verdict = f"outside the asked range: {', '.join(outside)}." if outside else "all are inside the asked range."
    return Result(title="Shortcuts: file statistics alone", command=command, rows=tuple(rows), split=split, seed=seed,
                  notes=(f"{len(views)} views, {int(is_attack.sum())} of them attacks; {verdict}",
                         "0.5 is guessing. An AUC under 0.5 separates as well as one over it."))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--split", default="train")
    add_common_options(parser, model=False)
    options = parser.parse_args(arguments)
    views = read_views(options.views, options.split, limit=options.limit, seed=options.seed)
    command = command_line("shortcuts", views=options.views, split=options.split, limit=options.limit,
                           seed=options.seed)
    measure(views, split=options.split, command=command, seed=options.seed).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
