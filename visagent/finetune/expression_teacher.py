"""Train a small convolutional network on FER+: the teacher of the expression labels.

    python -m visagent.finetune.expression_teacher --data ../shared/data --out runs/expression-teacher

A convolutional network learns expressions from 27,000 small pictures far better than a transformer does. Its soft
labels on the (unlabelled, larger, coloured) faces of LFW and UTKFace then teach visagent-nano, which would otherwise
know only 48-pixel gray pictures. The teacher is a training aid and is not shipped.

Recipe: cross-entropy against the ten annotators' votes; flips, shifts, small turns, brightness; AdamW.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from visagent.datasets.sources import EXPRESSIONS, Split, expression_pictures
from visagent.errors import run_command
from visagent.finetune.loop import Epochs, channels_last, train_convolutions

SIDE = 48


class ExpressionTeacher(nn.Module):
    """Seven 3x3 convolutions from 48 to 6 pixels (0.06 billion multiplications); gray in, eight logits out."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        plan = [(1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)]
        layers: list[nn.Module] = []
        channels = 1
        for factor, stride in plan:
            target = width * factor
            layers += [nn.Conv2d(channels, target, 3, stride, 1, bias=False), nn.BatchNorm2d(target), nn.ReLU()]
            channels = target
        self.features = nn.Sequential(*layers)
        self.classify = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels, len(EXPRESSIONS))
        )

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        """Logits `[B, 8]` of gray pictures `[B, 1, 48, 48]`, each of zero mean and unit spread."""
        logits: torch.Tensor = self.classify(self.features(gray))
        return logits


def normalise(gray: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 `[B, 48, 48]` to float32 `[B, 1, 48, 48]`, each picture of zero mean and unit spread."""
    pictures = torch.from_numpy(gray).float()
    mean, spread = pictures.mean((1, 2), keepdim=True), pictures.std((1, 2), keepdim=True)
    return ((pictures - mean) / (spread + 4))[:, None]


def read(data: Path, split: Split) -> tuple[NDArray[np.uint8], torch.Tensor]:
    """All FER+ pictures of a split, uint8 `[N, 48, 48]`, and their votes `[N, 8]`."""
    pictures = list(expression_pictures(data, split))
    return np.stack([p.gray for p in pictures]), torch.from_numpy(np.stack([p.votes for p in pictures]))


def augment(gray: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Flip, turn, shift, zoom and relight every picture of a batch."""
    out = np.empty_like(gray)
    for index, picture in enumerate(gray):
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), rng.normal(0, 6), rng.uniform(0.92, 1.15))
        matrix = np.asarray(turn, np.float64)
        matrix[:, 2] += rng.normal(0, 1.6, 2)
        if rng.random() < 0.5:
            matrix = matrix @ np.array([[-1.0, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]])
        turned = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        out[index] = np.clip(turned * rng.uniform(0.8, 1.2) + rng.normal(0, 12), 0, 255)
    return out


def accuracy(network: nn.Module, gray: NDArray[np.uint8], votes: torch.Tensor) -> float:
    """Share of pictures whose most likely class got most votes."""
    network.eval()
    with torch.inference_mode():
        said = torch.cat([network(normalise(gray[i : i + 512])).argmax(1) for i in range(0, len(gray), 512)])
    return float((said == votes.argmax(1)).float().mean())


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gray, votes = read(options.data, "train")
    dev_gray, dev_votes = read(options.data, "dev")
    network = channels_last(ExpressionTeacher().to(device))
    epochs = Epochs(len(gray), options.batch)

    def loss_of(step: int) -> torch.Tensor:
        chosen = epochs.batch(step)
        faces = normalise(augment(gray[chosen], np.random.default_rng(step))).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(faces)
        return nn.functional.cross_entropy(logits.float(), votes[chosen].to(device))

    def report(_: int) -> str:
        said = f"dev accuracy {accuracy(network.cpu(), dev_gray, dev_votes):.4f}"
        network.to(device)
        return said

    train_convolutions(
        network,
        loss_of,
        report,
        steps=len(epochs) * options.epochs,
        rate=options.rate,
        checkpoint=options.out / "checkpoint.safetensors",
    )
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.out / "state.safetensors")


if __name__ == "__main__":
    run_command(main)
