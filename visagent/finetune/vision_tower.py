"""Teach visagent-nano's vision tower to see, before it learns to speak.

    python -m visagent.finetune.vision_tower --views runs/views --data ../shared/data \
        --specialist runs/spoof-specialist --teacher runs/expression-teacher --out runs/vision-tower

A transformer learns slowly from labels alone. So two small convolutional networks, which learn fast, stand beside it:
the attack specialist and the expression teacher. The tower learns the labels, what the two make of each picture, and,
token by token, their feature maps (the specialist's grid is the tower's own, 12x12). Two thirds of the tokens are
dropped at random in all but the last part of the training, which makes it twice as fast and acts as regularisation.

Every batch is half face views (live and attacked) and half FER+ pictures. Checkpoints every few minutes; run again
with the same folder to go on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionTransformer

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.datasets.sources import EXPRESSIONS
from visagent.errors import run_command
from visagent.finetune.expression_teacher import SIDE, ExpressionTeacher, augment, read
from visagent.finetune.loop import muon, train
from visagent.finetune.nano_model import GRID, build_tower
from visagent.finetune.views import ViewSet, open_views, vary_camera, vary_detail
from visagent.tools.spoof.network import SpoofNetwork, as_input, load_network
from visagent.vision.crop import VIEW_SIDE


class TowerWithHeads(nn.Module):
    """The tower, and the heads that exist only in this stage."""

    def __init__(self, tower: Idefics3VisionTransformer, specialist_width: int, teacher_width: int) -> None:
        super().__init__()
        width = tower.config.hidden_size
        self.tower = tower
        self.types = nn.Linear(width, 1 + len(ATTACK_TYPES))
        self.clues = nn.Linear(width, len(CLUES))
        self.expression = nn.Linear(width, len(EXPRESSIONS))
        self.mask = nn.Linear(width, 1)
        self.like_specialist = nn.Linear(width, specialist_width)
        self.like_teacher = nn.Linear(width, teacher_width)

    def tokens(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
        """Tokens `[B, kept, width]` of pixels `[B, 3, 192, 192]`; `keep` `[B, kept]` holds token numbers."""
        embeddings = self.tower.embeddings
        x = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2) + embeddings.position_embedding.weight
        if keep is not None:
            x = x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
        x = self.tower.encoder(inputs_embeds=x).last_hidden_state
        tokens: torch.Tensor = self.tower.post_layernorm(x)
        return tokens


@dataclass(frozen=True, slots=True)
class Teachers:
    """The frozen networks that the tower learns from."""

    specialist: SpoofNetwork
    expression: ExpressionTeacher

    @torch.no_grad()
    def of_views(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The specialist's type probabilities `[B, T]` and standardised features `[B, 144, C]` of views."""
        with torch.autocast(views.device.type, torch.bfloat16):
            output = self.specialist(views)
        return output.types.float().softmax(1), _standardised(output.features)

    @torch.no_grad()
    def of_faces(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Expression probabilities `[B, 8]` and standardised features `[B, 144, C]`, from a 48-pixel gray copy."""
        gray = (views * views.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        small = functional.interpolate(gray, (SIDE, SIDE), mode="area")
        small = (small - small.mean((2, 3), keepdim=True)) / (small.std((2, 3), keepdim=True) + 4 / 127.5)
        with torch.autocast(views.device.type, torch.bfloat16):
            features = self.expression.features(small)
            logits = self.expression.classify(features)
        return logits.float().softmax(1), _standardised(
            functional.interpolate(features.float(), (GRID, GRID), mode="bilinear")
        )


def _standardised(features: torch.Tensor) -> torch.Tensor:
    features = features.float()
    features = (features - features.mean((0, 2, 3), keepdim=True)) / (features.std((0, 2, 3), keepdim=True) + 1e-3)
    return features.flatten(2).transpose(1, 2)


def enlarge(gray: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """FER+ pictures as views: augmented, enlarged to 192, now and then tinted; uint8 `[B, 192, 192, 3]`."""
    views = np.empty((len(gray), VIEW_SIDE, VIEW_SIDE, 3), np.uint8)
    for index, picture in enumerate(augment(gray, rng)):
        method = (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4)[rng.integers(3)]
        large = cv2.resize(picture, (VIEW_SIDE, VIEW_SIDE), interpolation=method).astype(np.float32)[..., None]
        tint = rng.normal(0, 14, 3) if rng.random() < 0.35 else np.zeros(3)
        views[index] = np.clip(large + tint - tint.mean(), 0, 255)
    return views


def training_loss(
    model: TowerWithHeads,
    teachers: Teachers,
    views: ViewSet,
    chosen: NDArray[np.int64],
    gray: NDArray[np.uint8],
    votes: torch.Tensor,
    rng: np.random.Generator,
    *,
    drop: float,
    device: torch.device,
) -> torch.Tensor:
    """The loss of one batch: `chosen` views, and FER+ pictures with their votes."""
    pictures, masks = views.pictures(chosen), views.masks(chosen, GRID)
    if rng.random() < 0.5:
        pictures, masks = pictures[:, :, ::-1], masks.flip(2)
    faces = enlarge(gray, rng)
    pixels = vary_camera(as_input(np.concatenate([vary_detail(pictures, rng), faces])), rng).to(device)
    half = len(pictures)
    expected_types, look_alike = teachers.of_views(pixels[:half])
    expected, expressive = teachers.of_faces(pixels)
    keep = None
    if drop:
        kept = round((1 - drop) * GRID * GRID)
        keep = torch.from_numpy(rng.random((len(pixels), GRID * GRID)).argsort(1)[:, :kept].copy()).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        tokens = model.tokens(pixels, keep)
        pooled = tokens.mean(1)
        types, clues, mask = model.types(pooled[:half]), model.clues(pooled[:half]), model.mask(tokens[:half])[..., 0]
        expression = model.expression(pooled)
        as_specialist, as_teacher = model.like_specialist(tokens[:half]), model.like_teacher(tokens)

    def kept_of(grid: torch.Tensor) -> torch.Tensor:
        rows = keep if keep is None else keep[: len(grid)]
        return grid if rows is None else grid.gather(1, rows[..., None].expand(-1, -1, grid.shape[-1]))

    kinds = torch.from_numpy(views.kinds[chosen]).to(device)
    whole_face = (kinds == 0) | (kinds == 1) | (kinds == 2)
    target = torch.cat([expected[:half], 0.5 * votes.to(device) + 0.5 * expected[half:]])
    weight = torch.cat([0.5 * whole_face.float(), torch.ones(len(gray), device=device)])
    log_probability = expression.float().log_softmax(1)
    loss: torch.Tensor = (
        0.5 * functional.cross_entropy(types.float(), kinds)
        + 0.5 * functional.cross_entropy(types.float(), expected_types)
        + functional.binary_cross_entropy_with_logits(clues.float(), torch.from_numpy(views.clues[chosen]).to(device))
        + 0.5
        * functional.binary_cross_entropy_with_logits(
            mask.float(), kept_of(masks.flatten(1)[..., None].to(device))[..., 0]
        )
        + 1.5 * (weight * -(target * log_probability).sum(1)).sum() / weight.sum()
        + functional.smooth_l1_loss(as_specialist.float(), kept_of(look_alike))
        + functional.smooth_l1_loss(as_teacher.float(), kept_of(expressive))
    )
    return loss


@torch.inference_mode()
def development_numbers(
    model: TowerWithHeads, views: ViewSet, gray: NDArray[np.uint8], votes: torch.Tensor
) -> dict[str, float]:
    """Live/spoof accuracy and AUC, type accuracy, and expression accuracy on development pictures."""
    model.eval()
    types = torch.cat(
        [
            model.types(model.tokens(as_input(views.screened(np.arange(i, min(i + 64, len(views))))), None).mean(1))
            for i in range(0, len(views), 64)
        ]
    )
    score = (types[:, 1:].logsumexp(1) - types[:, 0]).numpy()
    said = []
    for i in range(0, len(gray), 64):
        large = np.stack(
            [cv2.resize(p, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_CUBIC) for p in gray[i : i + 64]]
        )
        said.append(
            model.expression(model.tokens(as_input(np.repeat(large[..., None], 3, 3)), None).mean(1)).argmax(1)
        )
    model.train()
    attack = views.kinds > 0
    return {
        "live/spoof accuracy": float(((score > 0) == attack).mean()),
        "live/spoof AUC": float(roc_auc_score(attack, score)),
        "type accuracy": float((types.argmax(1).numpy() == views.kinds).mean()),
        "expression accuracy": float((torch.cat(said) == votes.argmax(1)).float().mean()),
    }


TOWER_IN_NANO = "model.vision_model."


def tower_of(nano: Path) -> dict[str, torch.Tensor]:
    """The tower's weights in the folder of a saved nano."""
    tensors = load_file(nano / "model.safetensors")
    return {
        name.removeprefix(TOWER_IN_NANO): value.float()
        for name, value in tensors.items()
        if name.startswith(TOWER_IN_NANO)
    }


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("--views", "--data", "--specialist", "--teacher", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--start", type=Path, help="folder of a saved nano whose tower to go on from")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument(
        "--full-from", type=float, default=0.88, help="share of the steps after which no token is dropped"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views, dev = open_views(options.views / "train"), open_views(options.views / "dev")
    gray, votes = read(options.data, "train")
    dev_gray, dev_votes = read(options.data, "dev")
    expression = ExpressionTeacher()
    expression.load_state_dict(load_file(options.teacher / "state.safetensors"))
    teachers = Teachers(load_network(options.specialist).to(device), expression.eval().to(device))
    model = TowerWithHeads(build_tower(views.pictures(np.arange(0, len(views), len(views) // 256))), 128, 192).to(
        device
    )
    if options.start:
        model.tower.load_state_dict(tower_of(options.start))

    def loss_of(step: int) -> torch.Tensor:
        rng = np.random.default_rng(step)
        half = options.batch // 2
        faces = rng.integers(0, len(gray), half)
        return training_loss(
            model,
            teachers,
            views,
            np.sort(rng.integers(0, len(views), half)),
            gray[faces],
            votes[faces],
            rng,
            drop=0.67 if step < options.full_from * options.steps else 0.0,
            device=device,
        )

    def report(_: int) -> str:
        numbers = development_numbers(model.cpu(), dev, dev_gray[:1500], dev_votes[:1500])
        model.to(device)
        return ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())

    train(
        model,
        muon(model, options.rate),
        loss_of,
        steps=options.steps,
        checkpoint=options.out / "checkpoint.safetensors",
        report=report,
    )
    save_file({k: v.contiguous() for k, v in model.tower.state_dict().items()}, options.out / "tower.safetensors")


if __name__ == "__main__":
    run_command(main)
