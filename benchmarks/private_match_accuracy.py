"""What whole numbers cost private recognition: float cosine beside squared distances of 8 and 10 bits, on real faces.

    visagent embed ../shared/data/lfw.parquet --out lfw.parquet
    python benchmarks/private_match_accuracy.py lfw.parquet --label-errors visagent/evaluation/lfw_label_errors.csv

As LFW's view 2: ten folds without a person in common, 300 mated and 300 non-mated pairs each, a fold's accuracy at the
threshold that is best on the other nine. The pairs are those of `visagent.evaluation.recognition` with the same seed
(LFW's own list names pictures that the table does not hold); every row sees the same ones. `cut` is the share of the
numbers over the greatest, `differ` how many pairs are accepted (+) or refused (-) unlike float at one threshold: that
of the shipped calibration for a false-match rate of 1 in 1,000, turned into a squared distance as the client does it.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.embedding_table import EmbeddingTable, read_table
from visagent.evaluation.comparisons import read_pairs
from visagent.evaluation.recognition import FOLDS, PAIRS_PER_FOLD, best_threshold
from visagent.tools.private_match.quantise import SCALES, Quantiser
from visagent.tools.recognition.calibration import open_calibration

FMR = 1e-3
SCALES_TRIED = {8: (256, 384, 512), 10: (1024, 1536, 2048)}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of a table to compare, `[folds, pairs]` each."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    mated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scaled(Quantiser):
    """A quantiser with another scale than the shipped one of its bits."""

    factor: int = 0

    @property
    def scale(self) -> int:
        return self.factor


def draw_pairs(table: EmbeddingTable, same: Collection[tuple[str, str]], seed: int) -> Pairs:
    """The pairs that `fold_accuracies` draws with this seed."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.unique(table.identities))
    folds = []
    for part in np.array_split(people, FOLDS):
        place = np.flatnonzero(np.isin(table.identities, part))
        one, other = (place[side] for side in np.triu_indices(len(place), 1))
        name, other_name = table.identities[one], table.identities[other]
        alike = name == other_name
        strange = np.flatnonzero(~alike & (table.groups[one] == table.groups[other]))
        drawn = rng.choice(strange, PAIRS_PER_FOLD + len(same), replace=False)
        kept = [pair for pair in drawn
                if not {(name[pair], other_name[pair]), (other_name[pair], name[pair])}.intersection(same)]
        mated = rng.choice(np.flatnonzero(alike), PAIRS_PER_FOLD, replace=False)
        pairs = np.concatenate([mated, np.array(kept[:PAIRS_PER_FOLD])])
        folds.append((one[pairs], other[pairs], alike[pairs]))
    return Pairs(*(np.stack(column) for column in zip(*folds, strict=True)))


def fold_accuracies(scores: NDArray[np.float64], mated: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each fold, at the threshold that is best on the others; higher scores are nearer."""
    accuracies = []
    for fold in range(len(scores)):
        others = np.arange(len(scores)) != fold
        threshold = best_threshold(scores[others][mated[others]], scores[others][~mated[others]])
        accuracies.append(np.mean((scores[fold] >= threshold) == mated[fold]))
    return np.array(accuracies)


def equal_error_rate(scores: NDArray[np.float64], mated: NDArray[np.bool_]) -> float:
    """Where as many mated pairs are missed as non-mated ones pass, to the nearest threshold."""
    thresholds = np.unique(scores)
    missed = np.searchsorted(np.sort(scores[mated]), thresholds) / mated.sum()
    passed = 1 - np.searchsorted(np.sort(scores[~mated]), thresholds) / (~mated).sum()
    nearest = int(np.argmin(abs(missed - passed)))
    return float(missed[nearest] + passed[nearest]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, help="labelled embeddings, of `visagent embed`")
    parser.add_argument("--label-errors", type=Path, help="CSV of pairs of names that are one person")
    parser.add_argument("--similarity", type=float, help="the fixed threshold; the shipped one if left out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = read_table(options.table)
    similarity = options.similarity
    if similarity is None:
        if table.contract is None:
            parser.error("the table does not say which encoder made it; give --similarity")
        similarity = open_calibration(table.contract, None).at_fmr(FMR).value
    same = () if options.label_errors is None else read_pairs(options.label_errors)
    pairs = draw_pairs(table, same, options.seed)

    cosines = np.einsum("fpd,fpd->fp", table.embeddings[pairs.one], table.embeddings[pairs.other], dtype=np.float64)
    print(f"{len(table):,} embeddings, {pairs.mated.size:,} pairs in {FOLDS} folds, one threshold: cosine similarity "
          f"{similarity:.4f}")
    print(f"{'numbers':<14} {'cut':>8} {'accuracy':>9} {'sd':>7} {'EER':>7} {'differ':>12}")

    def show(name: str, cut: str, scores: NDArray[np.float64], accepted: NDArray[np.bool_]) -> None:
        accuracies = fold_accuracies(scores, pairs.mated)
        by_float = cosines >= similarity
        differ = f"+{(accepted & ~by_float).sum()} -{(by_float & ~accepted).sum()}"
        print(f"{name:<14} {cut:>8} {accuracies.mean():9.4f} {accuracies.std(ddof=1):7.4f} "
              f"{equal_error_rate(scores, pairs.mated):7.4f} {differ:>12}")

    show("float32 cosine", "", cosines, cosines >= similarity)
    for bits, scales in SCALES_TRIED.items():
        for scale in sorted({*scales, SCALES[bits]}):
            quantise = Scaled(table.embeddings.shape[1], bits, scale)
            whole = quantise(table.embeddings)
            squared = ((whole[pairs.one] - whole[pairs.other]) ** 2).sum(-1)
            cut = float((abs(np.rint(table.embeddings.astype(np.float64) * scale)) > quantise.greatest).mean())
            show(f"int{bits} x{scale}{' *' if scale == SCALES[bits] else ''}", f"{cut:.1e}",
                 -squared.astype(np.float64), squared <= quantise.squared_threshold(similarity))
    print("* shipped")


if __name__ == "__main__":
    main()
