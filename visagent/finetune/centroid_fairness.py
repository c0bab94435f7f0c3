"""Train a fairness module: Centroid Fairness (Conti and Clemencon, arXiv 2504.19370).

    visagent fairness train embeddings.parquet --out runs/fair

Comparing all pictures with all is costly, so scores of pictures with centroids of identities stand in for them:

1. centroids of identities; a picture's own centroid leaves the picture out, or its score would be flattered;
2. pseudo-scores: of each picture with its own centroid (genuine), and with others of its group (impostor);
3. each group's pseudo-scores are mapped to the score of the same error level in a reference group, which for sorted
   scores is a quantile map: if every score met its target, all groups would have the reference group's error rates at
   every threshold;
4. a residual network behind the frozen encoder is trained to meet the targets by regression.

The paper's body was not at hand: the loss's weights, the sampling and the choice of the reference group are ours, and
so is that a tenth of the people is kept aside to stop at the fairest epoch that does not cost accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visagent.datasets.embedding_table import EmbeddingTable
from visagent.errors import AnalysisError
from visagent.evaluation.fairness import compare_groups, group_rates, measures
from visagent.vision.encoder import Embeddings

HARD: Final = 32
"""Most alike other identities of its group that a picture is compared with."""
RANDOM: Final = 32
"""Other identities of its group, drawn anew for each batch."""
DECISION_QUANTILE: Final = 0.99
DECISION_WEIGHT: Final = 10.0
"""Impostor pseudo-scores over this quantile weigh so much more: thresholds lie there."""
LEAST_PEOPLE: Final = 20


@dataclass(frozen=True, slots=True)
class FairnessRecipe:
    """How a module is trained.

    Attributes:
        reference: Group whose error rates the others shall have; the one with the median mean genuine score if None.
        epochs: Over all pictures.
        rate: Adam's learning rate at the beginning; it falls to a hundredth along a cosine.
        batch: Pictures per step.
        hidden: Hidden units; twice the dimension if None.
        impostor_weight: Lambda, of the impostor loss beside the genuine one.
        anchor: Gamma, of keeping embeddings where they were.
        alpha: FAR at which epochs are compared.
        accuracy_loss: Part by which the FRR at `alpha` may grow on the people kept aside.
        seed: Of everything.
    """

    reference: str | None = None
    epochs: int = 30
    rate: float = 1e-3
    batch: int = 2048
    hidden: int | None = None
    impostor_weight: float = 1.0
    anchor: float = 0.0
    alpha: float = 1e-3
    accuracy_loss: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch gave on the people kept aside: BFAR, BFRR and FRR at the recipe's FAR."""

    number: int
    loss: float
    bfar: float
    bfrr: float
    frr: float

    @property
    def unfairness(self) -> float:
        """Sum of the logarithms of both ratios; 0 is perfectly fair."""
        return float(np.log(self.bfar) + np.log(self.bfrr))


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModule:
    """The best module.

    Attributes:
        tensors: Its weights, as `visagent.vision.fairness_module` reads them.
        reference: The reference group.
        epochs: All epochs, the untrained module first.
        chosen: The epoch whose weights these are.
    """

    tensors: dict[str, NDArray[np.float32]]
    reference: str
    epochs: tuple[Epoch, ...]
    chosen: Epoch = field(repr=False)


class ResidualModule(nn.Module):
    """z = x + W2 relu(W1 x + b1) + b2. W2 and b2 begin as 0, so that training begins at the identity."""

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(dimension, hidden)
        self.second = nn.Linear(hidden, dimension)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, D]` of length 1 to `[N, D]` of length 1."""
        return nn.functional.normalize(x + self.second(torch.relu(self.first(x))), dim=1)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights as NumPy arrays."""
        named = {"first": self.first.weight, "first_bias": self.first.bias, "second": self.second.weight,
                 "second_bias": self.second.bias}
        return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in named.items()}


def quantile_map(scores: NDArray[np.float64], of: NDArray[np.float64], to: NDArray[np.float64]
                 ) -> NDArray[np.float64]:
    """Scores of one distribution at the same quantiles of another: monotone, the identity where both are the same.

    Args:
        scores: Any shape.
        of: Sample of the distribution they are from, sorted.
        to: Sample of the other, sorted.
    """
    place = (np.searchsorted(of, scores, "left") + np.searchsorted(of, scores, "right")) / 2
    quantile = np.clip(place / len(of), 0.5 / len(of), 1 - 0.5 / len(of))
    return np.asarray(np.interp(quantile * len(to) - 0.5, np.arange(len(to)), to))


def train_module(table: EmbeddingTable, recipe: FairnessRecipe, progress: Callable[[Epoch], None] | None = None
                 ) -> TrainedModule:
    """Train a module on labelled embeddings.

    Args:
        table: With groups; a tenth of the people is kept aside to choose the epoch.
        recipe: How.
        progress: Called after each epoch.

    Raises:
        AnalysisError: Fewer than two groups of `LEAST_PEOPLE` people, or an unknown reference group.
    """
    torch.manual_seed(recipe.seed)
    learn, aside = _kept_aside(_labelled(table), recipe.seed)
    grouped = _Pictures(learn)
    reference = grouped.reference(recipe.reference)
    targets = _Targets(grouped, reference)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dimension = learn.embeddings.shape[1]
    module = ResidualModule(dimension, recipe.hidden or 2 * dimension).to(device)
    optimiser = torch.optim.Adam(module.parameters(), recipe.rate)
    steps = recipe.epochs * max(1, -(-len(learn) // recipe.batch))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, recipe.rate / 100)
    draw = np.random.default_rng(recipe.seed)
    pixels = torch.from_numpy(learn.embeddings).to(device)
    epochs = [_look(module, aside, 0, float("nan"), recipe.alpha, device)]
    best, tensors = epochs[0], module.tensors()
    for number in range(1, recipe.epochs + 1):
        with torch.no_grad():
            moved = module(pixels)
        centroids = grouped.centroids(moved)
        losses = []
        for rows in np.array_split(draw.permutation(len(learn)), max(1, -(-len(learn) // recipe.batch))):
            loss = _loss(module, pixels, moved, centroids, grouped, targets, rows, recipe, draw)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        epoch = _look(module, aside, number, float(np.mean(losses)), recipe.alpha, device)
        epochs.append(epoch)
        if epoch.unfairness < best.unfairness and epoch.frr <= (1 + recipe.accuracy_loss) * epochs[0].frr:
            best, tensors = epoch, module.tensors()
        if progress is not None:
            progress(epoch)
    return TrainedModule(tensors, grouped.names[reference], tuple(epochs), best)


class _Pictures:
    """Pictures to learn from, by person and group."""

    def __init__(self, table: EmbeddingTable) -> None:
        self.embeddings: Embeddings = table.embeddings
        people, self.person = np.unique(table.identities, return_inverse=True)
        groups, self.group = np.unique(table.groups, return_inverse=True)
        self.names: list[str] = groups.tolist()
        self.count = np.bincount(self.person)
        self.person_group = np.zeros(len(people), np.int64)
        self.person_group[self.person] = self.group
        self.members = [np.flatnonzero(self.person_group == group) for group in range(len(groups))]
        if any(len(members) < LEAST_PEOPLE for members in self.members) or len(groups) < 2:
            raise AnalysisError(f"Training needs at least two groups of {LEAST_PEOPLE} people, after a tenth was kept "
                                "aside.")

    def centroids(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Sum of each person's embeddings, `[people, D]`; the scores scale it."""
        person = torch.from_numpy(self.person).to(embeddings.device)
        sums = torch.zeros(len(self.count), embeddings.shape[1], device=embeddings.device)
        return sums.index_add_(0, person, embeddings)

    def reference(self, name: str | None) -> int:
        """Number of the reference group."""
        if name is not None:
            if name not in self.names:
                raise AnalysisError(f"There is no group {name}; there are {', '.join(self.names)}.")
            return self.names.index(name)
        genuine, has_others = self.genuine()
        means = [float(genuine[has_others & (self.group == group)].mean()) for group in range(len(self.names))]
        return int(np.argsort(means)[(len(means) - 1) // 2])

    def genuine(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Score of each picture with its person's other pictures' centroid, and whether there are others."""
        sums = np.zeros((len(self.count), self.embeddings.shape[1]))
        np.add.at(sums, self.person, self.embeddings.astype(np.float64))
        others = sums[self.person] - self.embeddings
        lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-12)
        return (self.embeddings * others).sum(axis=1) / lengths, self.count[self.person] > 1


class _Targets:
    """Where pseudo-scores of each group shall go: quantiles of the reference group's."""

    def __init__(self, pictures: _Pictures, reference: int) -> None:
        genuine, self.has_others = pictures.genuine()
        sums = np.zeros((len(pictures.count), pictures.embeddings.shape[1]), np.float32)
        np.add.at(sums, pictures.person, pictures.embeddings)
        self.centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        sorted_genuine = [np.sort(genuine[self.has_others & (pictures.group == group)])
                          for group in range(len(pictures.names))]
        impostor = [self._impostor(pictures, group) for group in range(len(pictures.names))]
        self.impostor = impostor
        self.reference = reference
        self.genuine_target = np.zeros(len(genuine))
        self.hard = np.zeros((len(genuine), HARD), np.int64)
        for group in range(len(pictures.names)):
            rows = pictures.group == group
            self.genuine_target[rows] = quantile_map(genuine[rows], sorted_genuine[group], sorted_genuine[reference])
            self.hard[rows] = self._hardest(pictures, group)
        self.decision = [float(np.quantile(scores, DECISION_QUANTILE)) for scores in impostor]

    def of_impostors(self, scores: NDArray[np.float64], group: int) -> NDArray[np.float64]:
        """Targets of impostor pseudo-scores of a group."""
        return quantile_map(scores, self.impostor[group], self.impostor[self.reference])

    def _scores(self, pictures: _Pictures, group: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rows, members = pictures.group == group, pictures.members[group]
        scores = pictures.embeddings[rows] @ self.centroids[members].T
        return scores, pictures.person[rows][:, None] == members[None, :]

    def _impostor(self, pictures: _Pictures, group: int) -> NDArray[np.float64]:
        scores, own = self._scores(pictures, group)
        return np.sort(scores[~own]).astype(np.float64)

    def _hardest(self, pictures: _Pictures, group: int) -> NDArray[np.int64]:
        scores, own = self._scores(pictures, group)
        scores[own] = -np.inf
        most = min(HARD, scores.shape[1] - 1)
        found = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        return np.asarray(pictures.members[group][np.resize(found.T, (HARD, len(found))).T], np.int64)


def _loss(module: ResidualModule, pixels: torch.Tensor, moved: torch.Tensor, sums: torch.Tensor, pictures: _Pictures,
          targets: _Targets, rows: NDArray[np.int64], recipe: FairnessRecipe, draw: np.random.Generator
          ) -> torch.Tensor:
    """Squared distances of pseudo-scores to their targets: mean in each group, then over groups."""
    device = pixels.device
    at = torch.from_numpy(rows).to(device)
    now = module(pixels[at])
    total: torch.Tensor = recipe.anchor * ((now - pixels[at]) ** 2).sum(1).mean()
    groups = pictures.group[rows]
    for group in range(len(pictures.names)):
        chosen = np.flatnonzero(groups == group)
        if not len(chosen):
            continue
        whom, here = rows[chosen], torch.from_numpy(chosen).to(device)
        paired = np.flatnonzero(targets.has_others[whom])
        if len(paired):
            own = torch.from_numpy(pictures.person[whom[paired]]).to(device)
            others = sums[own] - moved[torch.from_numpy(whom[paired]).to(device)]
            scores = (now[here[torch.from_numpy(paired).to(device)]] * nn.functional.normalize(others, dim=1)).sum(1)
            wanted = torch.from_numpy(targets.genuine_target[whom[paired]]).float().to(device)
            total = total + ((scores - wanted) ** 2).mean() / len(pictures.names)
        random = pictures.members[group][draw.integers(0, len(pictures.members[group]), (len(whom), RANDOM))]
        people = np.concatenate([targets.hard[whom], random], axis=1)
        before = (pictures.embeddings[whom][:, None, :] * targets.centroids[people]).sum(2).astype(np.float64)
        # Hard ones stand for few of all impostors, random ones for all: each random one weighs as many more.
        weight = np.ones_like(before)
        weight[:, HARD:] = max(1.0, (len(pictures.members[group]) - HARD) / RANDOM) ** 0.5
        weight = np.where(before >= targets.decision[group], DECISION_WEIGHT * weight, weight)
        weight[people == pictures.person[whom][:, None]] = 0
        wanted = torch.from_numpy(targets.of_impostors(before, group)).float().to(device)
        centre = nn.functional.normalize(sums, dim=1)[torch.from_numpy(people).to(device)]
        scores = (now[here][:, None, :] * centre).sum(2)
        heavy = torch.from_numpy(weight).float().to(device)
        total = total + recipe.impostor_weight * (heavy * (scores - wanted) ** 2).sum() / heavy.sum() \
            / len(pictures.names)
    return total


@torch.no_grad()
def _look(module: ResidualModule, aside: EmbeddingTable, number: int, loss: float, alpha: float,
          device: torch.device) -> Epoch:
    changed = module(torch.from_numpy(aside.embeddings).to(device)).cpu().numpy()
    grouped = compare_groups(aside.with_embeddings(changed))
    threshold = grouped.all.threshold_at_fmr(alpha)
    far, frr = group_rates(grouped, threshold)
    found = measures(far, frr)
    return Epoch(number, loss, found["BFAR"], found["BFRR"], grouped.all.fnmr(threshold))


def _labelled(table: EmbeddingTable) -> EmbeddingTable:
    """Without people whose group is not known or not one."""
    groups: dict[str, set[str]] = {}
    for identity, group in zip(table.identities.tolist(), table.groups.tolist(), strict=True):
        groups.setdefault(identity, set()).add(group)
    clear = np.array([len(groups[identity]) == 1 and "" not in groups[identity]
                      for identity in table.identities.tolist()])
    if not clear.any():
        raise AnalysisError("No person of the table has a group: the column 'group' is missing or empty.")
    return table.take(clear)


def _kept_aside(table: EmbeddingTable, seed: int) -> tuple[EmbeddingTable, EmbeddingTable]:
    """Nine tenths of the people to learn from, one tenth of each group to choose the epoch."""
    draw = np.random.default_rng(seed)
    aside: set[str] = set()
    for group in sorted(set(table.groups.tolist())):
        people = np.unique(table.identities[table.groups == group])
        aside.update(draw.permutation(people)[: max(2, len(people) // 10)].tolist())
    flags = np.array([identity in aside for identity in table.identities.tolist()])
    return table.take(~flags), table.take(flags)
