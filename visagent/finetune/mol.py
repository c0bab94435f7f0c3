"""Train MOL (`visagent.tools.micro_expression.network`) on simulated windows of real photos.

    python -m visagent.datasets.micro_expression.faces --data ../shared/data --out runs/mol/faces.npz
    python -m visagent.finetune.mol --faces runs/mol/faces.npz --out runs/mol/joint

The three tasks together, with the paper's losses: cross-entropy on the class, mean squared error on the flow, and the
landmarks' distances relative to that between the eyes; weights 1, 10 and 0.1. AdamW. Windows are made as they are
needed, on the device that trains; no two are alike. `--tasks` leaves tasks out, for the ablation. Run again with the
same folder to go on; `recipe.json` beside the checkpoint holds the settings. On several devices:
`accelerate launch -m visagent.finetune.mol ...`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from visagent.datasets.micro_expression.action_units import MIRRORED
from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.faces import AlignedFaces, load_faces
from visagent.datasets.micro_expression.windows import Windows, simulate
from visagent.errors import SettingsError, run_command
from visagent.finetune.loop import train
from visagent.tools.micro_expression.f5c import Correspondence
from visagent.tools.micro_expression.network import MOL, PAIRS, MOLOutput, normalised, save_network
from visagent.vision.micro_expression import NONE

Task = Literal["expression", "flow", "landmarks"]
TASKS: Final[tuple[Task, ...]] = ("expression", "flow", "landmarks")
DEV_WINDOWS: Final = 512


class Recipe(BaseModel):
    """Settings of a run; `recipe.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[Task, ...] = TASKS
    steps: int = 12_000
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 1e-3
    expression_weight: float = 1.0
    flow_weight: float = 10.0
    landmark_weight: float = 1.0
    flow_pairs: Annotated[int, Field(ge=1, le=len(PAIRS))] = 2
    correspondence: Correspondence = "paper"
    dropout: float = 0.1
    easy: float = 0.3
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0

    def pairs_of(self, step: int) -> list[int]:
        """Of which pairs of frames a step learns the flow, which takes three quarters of the time of all seven."""
        if "flow" not in self.tasks:
            return []
        return sorted(np.random.default_rng(step).choice(len(PAIRS), self.flow_pairs, replace=False).tolist())

    def larger(self, step: int) -> float:
        """Factor of the movements' size: 3 at first, and 1 from a share of `easy` of the steps on."""
        return float(3.0 ** max(0.0, 1 - step / max(1.0, self.easy * self.steps)))


def expression_loss(logits: torch.Tensor, emotions: torch.Tensor) -> torch.Tensor:
    """`L_e`: cross-entropy, mean over the batch."""
    return nn.functional.cross_entropy(logits.float(), emotions)


def flow_loss(flow: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """`L_f`: the mean squared error over everything, and once more divided by the number of pairs, as released."""
    return nn.functional.mse_loss(flow.float(), truth) / len(PAIRS)


def landmark_loss(landmarks: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """`L_m`: the landmarks' distances along x and y, relative to the distance between the eyes.

    Summed over the frames, mean over landmarks and batch.

    Args:
        landmarks: `[B, 7, 68, 2]`.
        truth: The same of frames 2 to 8.
    """
    eyes = (truth[:, :, 36:42].mean(2) - truth[:, :, 42:48].mean(2)).norm(dim=2)
    of_frames: torch.Tensor = (landmarks.float() - truth).abs().sum((2, 3)) / eyes
    total: torch.Tensor = of_frames.sum()
    return total / (truth.shape[0] * truth.shape[2])


def joint_loss(output: MOLOutput, windows: Windows, recipe: Recipe) -> torch.Tensor:
    """`L = w_e L_e + w_f L_f + w_m L_m`, of the tasks of the recipe."""
    loss = windows.clips.new_zeros(())
    if "expression" in recipe.tasks:
        loss = loss + recipe.expression_weight * expression_loss(output.classes, windows.emotions)
    if output.flow is not None and windows.flow is not None:
        loss = loss + recipe.flow_weight * flow_loss(output.flow, windows.flow)
    if output.landmarks is not None:
        loss = loss + recipe.landmark_weight * landmark_loss(output.landmarks, windows.landmarks[:, 1:])
    return loss


def mirrored_half(faces: torch.Tensor, marks: torch.Tensor, draw: Draw
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """The photos, half of them mirrored, with their landmarks."""
    chosen = draw.even(0, 1, len(faces)) < 0.5
    turned = marks[:, list(MIRRORED)] * torch.tensor([-1.0, 1.0], device=marks.device)
    turned = turned + torch.tensor([faces.shape[2] - 1.0, 0.0], device=marks.device)
    return (torch.where(chosen[:, None, None], faces.flip(2), faces),
            torch.where(chosen[:, None, None], turned, marks))


def dev_windows(faces: AlignedFaces, device: torch.device, *, pairs: Sequence[int]) -> Windows:
    """The same windows of these people each time, with the flow of some pairs of frames."""
    chosen = np.random.default_rng(1).choice(len(faces.photos), DEV_WINDOWS)
    return simulate(*faces.tensors(chosen, device), Draw.of(1, device), pairs=pairs)


def assess(network: MOL, windows: Windows, *, batch: int = 64) -> str:
    """How well the network does on windows, in a line."""
    network.eval()
    right = movement = missed = still = 0.0
    landmarks: list[float] = []
    for start in range(0, len(windows.clips), batch):
        part = slice(start, start + batch)
        with torch.inference_mode():
            output = network(normalised(windows.clips[part]))
        right += float((output.classes.argmax(1) == windows.emotions[part]).sum())
        movement += float(((output.classes.argmax(1) == NONE) == (windows.emotions[part] == NONE)).sum())
        if output.flow is not None and windows.flow is not None:
            missed += float((output.flow.float() - windows.flow[part]).norm(dim=2).mean((1, 2, 3)).sum())
            still += float(windows.flow[part].norm(dim=2).mean((1, 2, 3)).sum())
        if output.landmarks is not None:
            landmarks.append(float(landmark_loss(output.landmarks, windows.landmarks[part, 1:])) / 7)
    count = len(windows.clips)
    said = f"dev emotion {right / count:.3f}, movement {movement / count:.3f}"
    if still:
        said += f", flow error {missed / count:.4f} (no motion: {still / count:.4f})"
    return said + (f", landmarks {sum(landmarks) / len(landmarks):.4f}" if landmarks else "")


def fit(recipe: Recipe, faces: AlignedFaces, dev: AlignedFaces, out: Path) -> MOL:
    """Train, or go on. Raises SettingsError if the folder's run has other settings."""
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    device, rank = accelerator.device, accelerator.process_index
    keep_recipe(recipe, out)
    torch.manual_seed(recipe.seed)
    network = MOL(NONE + 1, with_flow="flow" in recipe.tasks, with_landmarks="landmarks" in recipe.tasks,
                  correspondence=recipe.correspondence, dropout=recipe.dropout).to(device)
    if network.landmarks is not None:
        network.landmarks.mean_face.copy_(dev_windows(faces, device, pairs=[]).landmarks.mean((0, 1)))
    prepared = accelerator.prepare_model(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)

    def loss_of(step: int) -> torch.Tensor:
        seed = recipe.seed << 40 | step * accelerator.num_processes + rank
        torch.manual_seed(seed)  # of dropout: a run that is broken off goes on as if it had not been
        chosen = np.random.default_rng(seed).choice(len(faces.photos), recipe.batch)
        draw = Draw.of(seed, device)
        pairs = recipe.pairs_of(step)
        windows = simulate(*mirrored_half(*faces.tensors(chosen, device), draw), draw, larger=recipe.larger(step),
                           pairs=pairs)
        return joint_loss(prepared(normalised(windows.clips), pairs=pairs), windows, recipe)

    held = dev_windows(dev, device, pairs=PAIRS if "flow" in recipe.tasks else [])
    checkpoint = out / ("checkpoint.safetensors" if rank == 0 else f"checkpoint-{rank}.safetensors")
    train(network, [optimizer], loss_of, steps=recipe.steps, checkpoint=checkpoint,
          report=lambda _: assess(network, held), minutes=2.0)
    return network.eval()


def keep_recipe(recipe: Recipe, out: Path) -> None:
    """Write `recipe.json` beside what it makes. Raises SettingsError if another one is there."""
    path = out / "recipe.json"
    out.mkdir(parents=True, exist_ok=True)
    if path.exists() and Recipe.model_validate_json(path.read_text()) != recipe:
        raise SettingsError("The folder holds a run with other settings; take another folder, or the same settings "
                            "(recipe.json).")
    path.write_text(recipe.model_dump_json(indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    defaults = Recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=defaults.tasks)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--rate", type=float, default=defaults.rate)
    parser.add_argument("--correspondence", choices=["paper", "released"], default=defaults.correspondence)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default=defaults.precision,
                        help="fp32 is faster on processors without bf16")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    options = parser.parse_args(arguments)
    recipe = Recipe(tasks=tuple(options.tasks), steps=options.steps, batch=options.batch, rate=options.rate,
                    correspondence=options.correspondence, precision=options.precision, seed=options.seed)
    network = fit(recipe, load_faces(options.faces, "train"), load_faces(options.faces, "dev"), options.out)
    save_network(network, options.out / "mol")


if __name__ == "__main__":
    run_command(main)
