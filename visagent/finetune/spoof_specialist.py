"""Train the attack specialist (`visagent.tools.spoof.network`) on packed views.

    python -m visagent.finetune.spoof_specialist --views runs/views --out runs/spoof-specialist

Recipe: cross-entropy on the type, binary cross-entropy on clues and on the attacked cells; mirror and
camera augmentation; AdamW. After training the threshold is fixed on the development split (people who are in
neither training nor test): the lowest attack score at which at most `--bpcer` of live development views are refused.
Checkpoints every few minutes; run again with the same folder to go on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.errors import WeightsError, run_command
from visagent.finetune.loop import Epochs, channels_last, train_convolutions
from visagent.finetune.views import ViewSet, open_views, vary_camera, vary_detail
from visagent.tools.spoof.network import GRID, SpoofNetwork, Vocabulary, as_input, load_network, save_network


def training_loss(
    network: SpoofNetwork, views: ViewSet, chosen: NDArray[np.int64], rng: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """The loss of one batch, a scalar."""
    pictures, masks = views.pictures(chosen), views.masks(chosen, GRID)
    if rng.random() < 0.5:
        pictures, masks = pictures[:, :, ::-1], masks.flip(2)
    inputs = vary_camera(as_input(vary_detail(pictures, rng)), rng)
    with torch.autocast(device.type, torch.bfloat16):
        output = network(inputs.to(device, memory_format=torch.channels_last))
    kinds = torch.from_numpy(views.kinds[chosen]).to(device)
    clues = torch.from_numpy(views.clues[chosen]).to(device)
    return (
        nn.functional.cross_entropy(output.types.float(), kinds, label_smoothing=0.02)
        + nn.functional.binary_cross_entropy_with_logits(output.clues.float(), clues)
        + 0.5 * nn.functional.binary_cross_entropy_with_logits(output.mask.float(), masks.to(device))
    )


def attack_scores(network: SpoofNetwork, views: ViewSet) -> NDArray[np.float32]:
    """Attack scores of all views, float32 `[N]`: the mean of the view's and its mirror image's, as the tool does."""
    network.eval()
    scores = []
    with torch.inference_mode():
        for start in range(0, len(views), 128):
            inputs = as_input(views.screened(np.arange(start, min(start + 128, len(views)))))
            both = network(inputs).attack_score + network(inputs.flip(3)).attack_score
            scores.append((both / 2).float().numpy())
    return np.concatenate(scores)


def operating_point(scores: NDArray[np.float32], attacked: NDArray[np.bool_], bpcer: float) -> dict[str, object]:
    """The threshold for a share of refused live views, and Platt's scaling of scores to probabilities.

    Args:
        scores: Attack scores of the development split, float32 `[N]`.
        attacked: Whether each view is an attack.
        bpcer: Share of live views that may be refused, 0 to 1.
    """
    platt = LogisticRegression(C=1e6).fit(scores[:, None], attacked)
    source = (
        f"development split of simulated attacks on LFW and UTKFace ({int((~attacked).sum())} live views, "
        f"{int(attacked.sum())} attacks, people of neither training nor test): BPCER {bpcer:.1%}"
    )
    return {
        "threshold": round(float(np.quantile(scores[~attacked], 1 - bpcer)), 4),
        "scale": round(float(platt.coef_[0, 0]), 4),
        "offset": round(float(platt.intercept_[0]), 4),
        "source": source,
    }


def go_on_from(network: SpoofNetwork, trained: SpoofNetwork) -> None:
    """Take over a trained network's weights; an attack type or clue it does not know keeps its fresh ones.

    Raises:
        WeightsError: It knows types or clues that `network` does not, or has another width.
    """
    lost = {*trained.vocabulary.attacks, *trained.vocabulary.clues} - {
        *network.vocabulary.attacks,
        *network.vocabulary.clues,
    }
    if lost:
        raise WeightsError(f"No view has what the network to go on from knows: {', '.join(sorted(lost))}; start anew.")
    state = network.state_dict()
    types = [0, *(1 + network.vocabulary.attacks.index(kind) for kind in trained.vocabulary.attacks)]
    clues = [network.vocabulary.clues.index(clue) for clue in trained.vocabulary.clues]
    rows = {"types": torch.tensor(types), "clues": torch.tensor(clues)}
    for name, value in trained.state_dict().items():
        head = rows.get(name.split(".")[0])
        if state[name].shape[1:] != value.shape[1:]:
            raise WeightsError("The network to go on from has another width; start anew.")
        if head is None:
            state[name] = value
        else:
            state[name][head] = value
    network.load_state_dict(state)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--start", type=Path, help="folder of a trained specialist to go on from")
    parser.add_argument("--bpcer", type=float, default=0.02)
    options = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views, dev = open_views(options.views / "train"), open_views(options.views / "dev")
    network = channels_last(SpoofNetwork(Vocabulary(ATTACK_TYPES, CLUES)).to(device))
    if options.start:
        go_on_from(network, load_network(options.start))
    options.out.mkdir(parents=True, exist_ok=True)
    epochs = Epochs(len(views), options.batch)

    def loss_of(step: int) -> torch.Tensor:
        return training_loss(network, views, epochs.batch(step), np.random.default_rng(step), device)

    def report(_: int) -> str:
        said = f"dev AUC {roc_auc_score(dev.kinds > 0, attack_scores(network.cpu(), dev)):.4f}"
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
    scores = attack_scores(network.cpu(), dev)
    save_network(network, options.out / "spoof-specialist")
    point = operating_point(scores, dev.kinds > 0, options.bpcer)
    (options.out / "spoof-specialist" / "operating_point.json").write_text(json.dumps(point, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
