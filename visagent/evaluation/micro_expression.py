"""MOL on simulated windows of people that it never saw.

    python -m visagent.datasets.micro_expression.faces --data ../shared/data --out runs/mol/faces.npz
    python -m visagent.evaluation.micro_expression --faces runs/mol/faces.npz

Classes: three and five of the literature, from the eight emotions and none. A window's class is taken among windows
that show a micro-expression, as the published numbers are. Flow: the mean end-point error beside no motion at all and
the flows of OpenCV on the same crops, in windows that show one. Landmarks: mean distance in distances between the
eyes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.faces import AlignedFaces, load_faces
from visagent.datasets.micro_expression.windows import Windows, simulate
from visagent.datasets.sources import Split
from visagent.errors import WeightsError, run_command
from visagent.evaluation.class_errors import ClassErrors, class_errors
from visagent.evaluation.intervals import Share
from visagent.evaluation.results import Result, Row, add_common_options, command_line
from visagent.evidence import ModelIdentity
from visagent.tools.micro_expression.network import MOL, normalised
from visagent.vision.micro_expression import EMOTIONS, GROUPINGS, NONE, Grouping, class_of, grouped

AMPLITUDES: Final = (0.5, 3.0)
BANDS: Final = ((0.3, 0.5), (0.5, 0.9), (0.9, 1.6), (1.6, 3.0))
BATCH: Final = 32
OF_SPLIT: Final[dict[Split, str]] = {"dev": "development (people not in training)",
                                     "test": "test (people in neither training nor development)"}
FAILED: Final = 0.10
"""A landmark further off than this many distances between the eyes has failed."""

Flow = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


def farneback(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dense flow of two crops `[128, 128]` by Farneback (2003), OpenCV's usual settings: `[128, 128, 2]`."""
    flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    return np.asarray(flow, np.float32)


def held_out_windows(faces: AlignedFaces, count: int, seed: int, amplitudes: tuple[float, float], *,
                     share_without: float) -> Iterator[Windows]:
    """Windows in batches, of a person drawn for each."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        draw = Draw.of(seed * 1_000_003 + start)
        emotions = draw.whole(NONE, size)
        emotions[draw.even(0, 1, size) < share_without] = NONE
        sizes = draw.even(float(np.log(amplitudes[0])), float(np.log(amplitudes[1])), size).exp()
        photos, marks = faces.tensors(rng.choice(len(faces.photos), size), torch.device("cpu"))
        yield simulate(photos, marks, draw, emotions=emotions, amplitudes=sizes)


def measure(network: MOL, faces: AlignedFaces, *, count: int, seed: int, command: str, split: Split = "test",
            models: Mapping[str, ModelIdentity] | None = None) -> Result:
    """Look at windows of a split and compare with what is true of them."""
    probabilities, truth, sizes = [], [], []
    flows = _FlowErrors(network)
    distances: list[NDArray[np.float32]] = []
    for windows in held_out_windows(faces, count, seed, (BANDS[0][0], AMPLITUDES[1]), share_without=0.3):
        with torch.inference_mode():
            output = network(normalised(windows.clips))
        probabilities.append(output.classes.softmax(1).numpy())
        truth.append(windows.emotions.numpy())
        sizes.append(windows.amplitudes.numpy())
        flows.add(windows, output.flow)
        if output.landmarks is not None:
            distances.append(_landmark_distances(output.landmarks, windows.landmarks[:, 1:]))
    said, right, size = np.concatenate(probabilities), np.concatenate(truth), np.concatenate(sizes)
    shown = (right != NONE) & (size >= AMPLITUDES[0])
    rows = _class_rows(said[shown], right[shown]) + _presence_rows(said, right, size)
    if distances:
        off = np.concatenate(distances)
        rows += [Row("landmarks: mean error (NME), share of the distance between the eyes", float(off.mean()),
                     "below 0.05"),
                 Row("landmarks: windows of over 0.10 (failure rate)", Share(int((off > FAILED).sum()), off.size))]
    rows += flows.rows()
    return Result(title="Micro-expressions, simulated windows", command=command, rows=tuple(rows),
                  split=OF_SPLIT[split], seed=seed, models=models or {},
                  extra={"By size of the movement": _by_size(said, right, size)},
                  notes=(f"{count} windows of eight frames in half a second, one of {len(set(faces.people))} people "
                         "for each; expressions of 0.5 to 3 pixels of the crop where nothing else is said, beside "
                         "blinks, a head that drifts, noise, light and compression.",
                         "Simulated from single photos of LFW: no number here is one of real micro-expressions."))


def errors_in(said: NDArray[np.floating], right: NDArray[np.int64], grouping: Grouping) -> ClassErrors:
    """How the likeliest of three or five classes compares with the right one.

    Args:
        said: Probabilities of the emotions and none, `[N, 9]`.
        right: Numbers of emotions, `[N]`.
        grouping: Which classes.
    """
    classes = tuple(GROUPINGS[grouping])
    best = grouped(said, grouping).argmax(1)
    return class_errors([class_of(EMOTIONS[number], grouping) for number in right.tolist()],
                        [classes[number] for number in best.tolist()], classes)


def _class_rows(said: NDArray[np.floating], right: NDArray[np.int64]) -> list[Row]:
    rows = []
    for grouping, limit in (("3", "at least 0.80"), ("5", "")):
        errors = errors_in(said, right, grouping)  # type: ignore[arg-type]
        rows += [Row(f"{grouping} classes: UAR", errors.uar, limit), Row(f"{grouping} classes: UF1", errors.macro_f1),
                 Row(f"{grouping} classes: accuracy", errors.accuracy),
                 Row(f"{grouping} classes: WF1", errors.weighted_f1),
                 *(Row(f"{grouping} classes: recall, {name}", share) for name, share in errors.recalls.items())]
    hits = int((said[:, :NONE].argmax(1) == right).sum())
    return [*rows, Row("8 emotions: accuracy", Share(hits, len(right)))]


def _presence_rows(said: NDArray[np.floating], right: NDArray[np.int64], size: NDArray[np.floating]) -> list[Row]:
    from sklearn.metrics import roc_auc_score

    kept = (right == NONE) | (size >= AMPLITUDES[0])
    return [Row("whether there is one: AUC", float(roc_auc_score(right[kept] != NONE, 1 - said[kept, NONE])))]


def _by_size(said: NDArray[np.floating], right: NDArray[np.int64], size: NDArray[np.floating]) -> list[list[str]]:
    table = [["pixels at the apex", "windows", "3 classes: UAR", "5 classes: UAR", "seen (none is less likely)"]]
    for low, high in BANDS:
        chosen = (right != NONE) & (size >= low) & (size < high)
        if not chosen.any():
            continue
        seen = Share(int((said[chosen, NONE] < 0.5).sum()), int(chosen.sum()))
        three, five = (errors_in(said[chosen], right[chosen], grouping) for grouping in GROUPINGS)
        table.append([f"{low} to {high}", str(int(chosen.sum())), f"{three.uar:.3f}", f"{five.uar:.3f}",
                      f"{seen.value:.3f}"])
    none = right == NONE
    table.append(["none", str(int(none.sum())), "", "", f"{float((said[none, NONE] < 0.5).mean()):.3f}"])
    return table


def _landmark_distances(found: torch.Tensor, truth: torch.Tensor) -> NDArray[np.float32]:
    """Mean distance of the 68 landmarks of each frame, in distances between the eyes, `[B * 7]`."""
    eyes = (truth[:, :, 36:42].mean(2) - truth[:, :, 42:48].mean(2)).norm(dim=2)
    return np.asarray(((found - truth).norm(dim=3).mean(2) / eyes).flatten().numpy(), np.float32)


class _FlowErrors:
    """End-point errors of several flows on the same pairs."""

    def __init__(self, network: MOL) -> None:
        from visagent.tools.micro_expression.movement import dense_flow

        self._others: dict[str, Flow] = {"Farneback": farneback, "DIS": dense_flow} if network.flow is not None else {}
        self._sums: dict[str, float] = {}
        self._pairs = 0

    def add(self, windows: Windows, found: torch.Tensor | None) -> None:
        """Compare on the pairs of the windows that show an expression."""
        if found is None or windows.flow is None:
            return
        shown = windows.amplitudes >= AMPLITUDES[0]
        truth = windows.flow[shown].flatten(0, 1)
        crops = windows.clips[shown].to(torch.uint8).numpy()
        self._count("MOL", found[shown].flatten(0, 1), truth)
        self._count("no motion", torch.zeros_like(truth), truth)
        for name, flow in self._others.items():
            theirs = np.stack([flow(clip[k], clip[k + 1]) for clip in crops for k in range(len(clip) - 1)])
            self._count(name, torch.from_numpy(theirs).permute(0, 3, 1, 2), truth)
        self._pairs += len(truth)

    def _count(self, name: str, found: torch.Tensor, truth: torch.Tensor) -> None:
        error = float((found - truth).norm(dim=1).mean((1, 2)).sum())
        self._sums[name] = self._sums.get(name, 0.0) + error

    def rows(self) -> list[Row]:
        """A row for each."""
        limits = {"MOL": "below no motion and Farneback"}
        return [Row(f"flow: end-point error (AEPE) in pixels, {name}", total / self._pairs, limits.get(name, ""))
                for name, total in self._sums.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="checkpoint of a training, flow head and all; the shipped network if "
                                                 "left out")
    parser.add_argument("--split", choices=list(OF_SPLIT), default="test")
    parser.add_argument("--count", type=int, default=3000, help="windows")
    add_common_options(parser, model=False)
    options = parser.parse_args(arguments)
    network, identity = _shipped() if options.run is None else _trained(options.run)
    command = command_line("micro_expression", faces=options.faces, run=options.run, split=options.split,
                           count=options.count, seed=options.seed)
    measure(network, load_faces(options.faces, options.split), count=options.limit or options.count, seed=options.seed,
            command=command, split=options.split, models={"MOL": identity}).show(as_json=options.json)


def _shipped() -> tuple[MOL, ModelIdentity]:
    from visagent.tools.micro_expression.reader import load_reader

    reader = load_reader()
    return reader.network, reader.identity


def _trained(checkpoint: Path) -> tuple[MOL, ModelIdentity]:
    """All that was trained. Raises WeightsError if the file is no checkpoint of `finetune.mol`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {name.removeprefix("model."): value for name, value in load_file(checkpoint).items()
                   if name.startswith("model.")}
        network = MOL(NONE + 1, with_flow=any(name.startswith("flow.") for name in tensors),
                      with_landmarks=any(name.startswith("landmarks.") for name in tensors))
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError("The file is no checkpoint of visagent.finetune.mol.") from error
    return network.eval(), ModelIdentity(id=checkpoint.parent.name, digest=None)


if __name__ == "__main__":
    run_command(main)
