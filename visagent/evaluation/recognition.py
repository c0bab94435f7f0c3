"""How well faces are recognised, 1:1 and 1:N, with intervals, on a table of labelled embeddings.

    visagent embed ../shared/data/lfw.parquet --out lfw.parquet
    python -m visagent.evaluation.recognition lfw.parquet --pictures 8159 --det det.svg

1:1: accuracy in ten folds without a person in common, each with the threshold of the other nine, as LFW is reported
(Huang et al. 2007); EER and the shipped thresholds on the half of the people that did not set them; a DET plot. 1:N:
the thresholds that the tool derives for galleries of several sizes, and what they are worth; several samples a person.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.embedding_table import EmbeddingTable, read_table
from visagent.errors import AnalysisError, run_command
from visagent.evaluation.calibrate import (
    equal_error_rate,
    fmr_rate,
    fnmr_rate,
    percentile_interval,
    split_people,
)
from visagent.evaluation.comparisons import Comparisons, compare_all, read_pairs
from visagent.evaluation.det import DetCurve, write_det
from visagent.evaluation.identification import Fusion, Searches, draw_trial, search
from visagent.evaluation.intervals import Estimate, Share
from visagent.evaluation.results import Result, Row, command_line
from visagent.evidence import ModelIdentity
from visagent.tools.recognition.calibration import Calibration, Rate, open_calibration

FOLDS: Final = 10
PAIRS_PER_FOLD: Final = 300
"""Mated pairs of a fold, and as many non-mated ones: LFW's own protocol has the same number."""
WANTED_FPIR: Final = 1e-2
GALLERIES: Final = (100, 500, 1000, 1500)
SAMPLES: Final = (1, 2, 4)
SAMPLES_GALLERY: Final = 150
TRIALS: Final = 30
"""Galleries drawn for each number."""
RESAMPLES: Final = 500


def fold_accuracies(table: EmbeddingTable, *, folds: int = FOLDS, pairs: int = PAIRS_PER_FOLD,
                    same: Collection[tuple[str, str]] = (), seed: int = 0) -> NDArray[np.float64]:
    """Accuracy of each fold at the threshold that is best on the others, `[folds]`.

    Folds have no person in common. In each, mated pairs are drawn, and as many non-mated ones within a group.

    Args:
        table: Labelled embeddings.
        folds: Folds.
        pairs: Mated pairs of a fold, at most.
        same: Pairs of names that are one person: not drawn.
        seed: Of the folds and pairs.

    Raises:
        AnalysisError: A fold without pairs.
    """
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.unique(table.identities))
    drawn = [_fold_pairs(table.take(np.isin(table.identities, part)), pairs, set(same), rng)
             for part in np.array_split(people, folds)]
    accuracies = []
    for fold, (mated, non_mated) in enumerate(drawn):
        others = [pair for number, pair in enumerate(drawn) if number != fold]
        threshold = best_threshold(np.concatenate([pair[0] for pair in others]),
                                   np.concatenate([pair[1] for pair in others]))
        accuracies.append((np.mean(mated >= threshold) + np.mean(non_mated < threshold)) / 2)
    return np.array(accuracies)


def best_threshold(mated: NDArray[np.float32], non_mated: NDArray[np.float32]) -> float:
    """The threshold with the highest balanced accuracy; the lowest such score, if there are several."""
    candidates = np.unique(np.concatenate([mated, non_mated]))
    right = (1 - np.searchsorted(np.sort(mated), candidates) / len(mated)
             + np.searchsorted(np.sort(non_mated), candidates) / len(non_mated))
    return float(candidates[int(np.argmax(right))])


def _fold_pairs(table: EmbeddingTable, pairs: int, same: set[tuple[str, str]], rng: np.random.Generator
                ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = np.triu_indices(len(table), 1)
    scores = np.asarray(table.embeddings @ table.embeddings.T)[rows, columns]
    one, other = table.identities[rows], table.identities[columns]
    mated = scores[one == other]
    strange = np.flatnonzero((one != other) & (table.groups[rows] == table.groups[columns]))
    if not len(mated) or not len(strange):
        raise AnalysisError("A fold has no pairs; the table has too few people, or too few pictures of each.")
    count = min(pairs, len(mated))
    picked = [int(row) for row in rng.choice(strange, min(len(strange), count + len(same)), replace=False)
              if (one[row], other[row]) not in same and (other[row], one[row]) not in same][:count]
    return rng.choice(mated, count, replace=False), scores[picked]


def det_of(comparisons: Comparisons, points: int = 400) -> DetCurve:
    """FNMR and FMR at thresholds from the lowest score kept to infinity."""
    lowest = max(float(comparisons.mated.min()), float(np.nextafter(np.float32(comparisons.floor), np.float32(2))))
    kept = comparisons.non_mated[comparisons.non_mated >= lowest]
    shares = np.unique(np.geomspace(1, max(2, len(kept)), points).astype(int)) - 1
    thresholds = np.unique(np.concatenate([np.quantile(comparisons.mated, np.linspace(0, 1, points)), kept[shares]]))
    thresholds = np.append(thresholds[thresholds > comparisons.floor].astype(np.float64), np.inf)
    missed = np.searchsorted(np.sort(comparisons.mated), thresholds.astype(np.float32)) / len(comparisons.mated)
    alarms = np.searchsorted(-comparisons.non_mated, -thresholds.astype(np.float32), "right")
    return DetCurve(thresholds, missed, alarms / comparisons.non_mated_count)


def searches_of(table: EmbeddingTable, people: int, *, samples: int = 1, fusion: Fusion = "max", trials: int = TRIALS,
                same: Collection[tuple[str, str]] = (), seed: int = 0) -> list[Searches]:
    """Searches in several galleries drawn from a table. Raises AnalysisError if it has too few people."""
    rng = np.random.default_rng([seed, people, samples])
    return [search(draw_trial(table, people, rng, samples=samples), fusion=fusion, same=same) for _ in range(trials)]


def measure(table: EmbeddingTable, calibration: Calibration, *, command: str, pictures: int | None = None,
            same: Collection[tuple[str, str]] = (), seed: int = 0, det: Path | None = None) -> Result:
    """Everything, as rows and tables. Raises AnalysisError if the table has too few people or pictures.

    Args:
        table: Of the encoder that was calibrated.
        calibration: Its thresholds. If the table is the set they were set on, the seed must be that of the
            calibration, so that the half measured here is the one that did not set them.
        command: What prints this result.
        pictures: Pictures that the table was made of, for the failures to enrol.
        same: Pairs of names that are one person.
        seed: Of the halves, folds and galleries.
        det: Where the DET plot goes, .svg or .png; none if left out.
    """
    accuracies = fold_accuracies(table, same=same, seed=seed)
    development, test = split_people(table, seed)
    comparisons = compare_all(test, leave_out=same)
    weights = comparisons.resampled(seed, RESAMPLES)
    rate, threshold = equal_error_rate(comparisons)
    both = (comparisons.fmr_resampled(threshold, weights) + comparisons.fnmr_resampled(threshold, weights)) / 2
    half_width = 2.262 * float(accuracies.std(ddof=1)) / np.sqrt(len(accuracies))  # t, nine degrees of freedom
    accuracy = float(accuracies.mean())
    rows = [Row("1:1 accuracy, ten folds", Estimate(accuracy, accuracy - half_width, min(1.0, accuracy + half_width),
                                                    len(accuracies)), "at least 0.98"),
            Row("1:1 equal error rate", Estimate(rate, *percentile_interval(both), len(comparisons.mated)))]
    for point in calibration.points:
        row = fnmr_rate(comparisons, point.threshold, weights)
        rows.append(Row(f"FNMR at the threshold for FMR {point.target_fmr:g}",
                        Estimate(row.rate, row.low, row.high, row.comparisons)))
    if pictures is not None:
        rows.append(Row("failure to enrol", Share(pictures - len(table), pictures)))
    if det is not None:
        groups = sorted(set(test.groups.tolist()) - {""})
        curves = {"all, within groups": det_of(comparisons)} if groups else {"all": det_of(comparisons)}
        curves |= {group: det_of(compare_all(test.take(test.groups == group), leave_out=same)) for group in groups}
        write_det(det, curves, axes=("FNMR", "FMR"), title="Comparison of two faces, people not calibrated on",
                  across=(0.001, 0.8), up=(1e-5, 0.4))
    return Result(
        title="Recognition of faces", command=command, rows=tuple(rows), split="people who set no threshold",
        seed=seed,
        models={"encoder": ModelIdentity(id=calibration.contract.model, digest=calibration.contract.digest)},
        extra={"1:1 by group, thresholds as shipped": _by_group(test, calibration, same, seed),
               f"1:N, thresholds derived for FPIR {WANTED_FPIR:g}": _by_size(test, calibration, same, seed),
               f"Several samples a person, {SAMPLES_GALLERY} people":
                   _by_samples(development, test, calibration, same, seed)},
        notes=("Non-mated pairs of 1:1 are of one group; 1:N searches everybody, so its thresholds, which are derived "
               "from 1:1, are on the safe side where groups are told apart easily.",
               "Intervals of 1:1 by resampling people; of accuracy by Student's t over folds; of 1:N the 2.5 and 97.5 "
               "percentiles over galleries drawn."))


def _by_group(test: EmbeddingTable, calibration: Calibration, same: Collection[tuple[str, str]], seed: int
              ) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("group", "FMR set", "threshold", "FMR", "FNMR")]
    for group in ["", *sorted(set(test.groups.tolist()) - {""})]:
        comparisons = compare_all(test.take(test.groups == group) if group else test, leave_out=same)
        weights = comparisons.resampled(seed, RESAMPLES)
        table += [(group or "all", f"{point.target_fmr:g}", f"{point.threshold:.3f}",
                   str(fmr_rate(comparisons, point.threshold, weights)),
                   str(fnmr_rate(comparisons, point.threshold, weights))) for point in calibration.points]
    return table


def _by_size(test: EmbeddingTable, calibration: Calibration, same: Collection[tuple[str, str]], seed: int
             ) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("people", "threshold", "FPIR", "FPIR, 1:1 threshold", "FNIR, first",
                                     "FNIR, first 5", "FNIR, first 20", "missed at any threshold, first")]
    one_to_one = calibration.at_fmr(WANTED_FPIR).value
    for people in GALLERIES:
        if people > 0.8 * len(np.unique(test.identities)):
            break
        found = searches_of(test, people, same=same, seed=seed)
        threshold = calibration.for_search(people, WANTED_FPIR).value
        table.append((f"{people:,}", f"{threshold:.3f}", _over([one.fpir(threshold) for one in found]),
                      _over([one.fpir(one_to_one) for one in found]),
                      *(_over([one.fnir(threshold, rank) for one in found]) for rank in (1, 5, 20)),
                      _over([one.fnir(-1.0) for one in found])))
    return table


def _by_samples(development: EmbeddingTable, test: EmbeddingTable, calibration: Calibration,
                same: Collection[tuple[str, str]], seed: int) -> list[tuple[str, ...]]:
    """At the thresholds that the tool derives from the number of templates, and at those that have one FPIR."""
    table: list[tuple[str, ...]] = [("samples", "score", "FPIR, derived threshold", "FNIR, derived threshold",
                                     f"FPIR, set to {WANTED_FPIR:g} on other people", "FNIR, set on other people")]
    for samples in SAMPLES:
        derived = calibration.for_search(SAMPLES_GALLERY * samples, WANTED_FPIR).value
        ways: tuple[Fusion, ...] = ("max",) if samples == 1 else ("max", "centroid")
        for fusion in ways:
            try:
                first = searches_of(development, SAMPLES_GALLERY, samples=samples, fusion=fusion, same=same, seed=seed)
                found = searches_of(test, SAMPLES_GALLERY, samples=samples, fusion=fusion, same=same, seed=seed)
            except AnalysisError:
                return table
            pooled = Searches(np.empty(0, np.float32), np.empty(0, np.int64),
                              np.concatenate([one.best_other for one in first]))
            fixed = pooled.threshold_at_fpir(WANTED_FPIR)
            rates = [(one.fpir(derived), one.fnir(derived), one.fpir(fixed), one.fnir(fixed)) for one in found]
            table.append((str(samples), fusion, *(_over(column) for column in zip(*rates, strict=True))))
    return table


def _over(values: Sequence[float]) -> str:
    low, high = percentile_interval(np.array(values))
    mean = float(np.mean(values))
    return str(Rate(rate=mean, low=low, high=high, errors=0, comparisons=len(values)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("table", type=Path, help="labelled embeddings, of `visagent embed`")
    parser.add_argument("--calibration", type=Path, help="a threshold file; the shipped one if left out")
    parser.add_argument("--label-errors", type=Path, help="CSV of pairs of names that are one person")
    parser.add_argument("--pictures", type=int, help="pictures that the table was made of")
    parser.add_argument("--det", type=Path, help="draw the DET curves, .svg or .png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(arguments)
    table = read_table(options.table)
    if table.contract is None:
        raise AnalysisError("The table does not say which encoder made it; make it with `visagent embed`, as parquet.")
    calibration = open_calibration(table.contract, options.calibration)
    same = () if options.label_errors is None else read_pairs(options.label_errors)
    measure(table, calibration, pictures=options.pictures, same=same, seed=options.seed, det=options.det,
            command=command_line("recognition", calibration=options.calibration, label_errors=options.label_errors,
                                 pictures=options.pictures, det=options.det, seed=options.seed)
            .replace("recognition", f"recognition {options.table.name}", 1)).show(as_json=options.json)


if __name__ == "__main__":
    run_command(main)
