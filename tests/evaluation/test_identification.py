"""One-to-many search and the ten folds: equal to loops over definitions, on made-up people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visagent.datasets.embedding_table import EmbeddingTable, make_table, write_table
from visagent.errors import AnalysisError
from visagent.evaluation.calibrate import calibrate
from visagent.evaluation.comparisons import compare_all
from visagent.evaluation.identification import Fusion, draw_trial, person_scores, search
from visagent.evaluation.recognition import best_threshold, det_of, fold_accuracies, main, measure, searches_of
from visagent.tools.recognition.calibration import Calibration
from visagent.vision.encoder import EmbeddingContract


def people(count: int, seed: int = 0, noise: float = 0.25, dimension: int = 24) -> EmbeddingTable:
    """One to six pictures of each, two groups, around directions drawn at random."""
    draw = np.random.default_rng(seed)
    values, names, groups = [], [], []
    for number in range(count):
        centre = draw.standard_normal(dimension)
        for _ in range(draw.integers(1, 7)):
            values.append(centre + noise * np.sqrt(dimension) * draw.standard_normal(dimension))
            names.append(f"p{number:03d}")
            groups.append("ab"[number % 2])
    return make_table(np.array(values), names, groups)


@pytest.fixture(scope="module")
def calibrated() -> tuple[EmbeddingTable, Calibration]:
    """Made-up people in 32 dimensions, and the calibration of their encoder."""
    contract = EmbeddingContract(model="made-up", digest="0" * 16, dimension=32, alignment="none",
                                 preprocessing="none")
    drawn = people(700, seed=5, noise=0.13, dimension=32)
    table = make_table(drawn.embeddings, drawn.identities.tolist(), drawn.groups.tolist(), contract)
    return table, calibrate(table, data="made up", command="none", resamples=40)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["max", "centroid"]))
def test_rates_are_those_of_the_definitions(seed: int, samples: int, fusion: Fusion) -> None:
    trial = draw_trial(people(40, seed), 12, np.random.default_rng(seed), samples=samples)
    found = search(trial, fusion=fusion)

    def score(probe: np.ndarray, person: int) -> float:
        templates = trial.enrolled[trial.owner == person]
        mean = templates.sum(0) / np.linalg.norm(templates.sum(0))
        return float(probe @ mean) if fusion == "centroid" else max(float(probe @ one) for one in templates)

    for threshold in (0.3, 0.6, 0.8):
        alarms = [any(score(probe, one) >= threshold for one in range(12)) for probe in trial.non_mated]
        assert found.fpir(threshold) == pytest.approx(np.mean(alarms))
        for rank in (1, 3):
            misses = []
            for probe, owner in zip(trial.mated, trial.mated_owner, strict=True):
                scores = [score(probe, one) for one in range(12)]
                before = sum(other > scores[owner] for other in scores)
                misses.append(scores[owner] < threshold or before >= rank)
            assert found.fnir(threshold, rank) == pytest.approx(np.mean(misses))


def test_a_trial_shares_no_picture_and_no_stranger() -> None:
    table = people(60)
    trial = draw_trial(table, 30, np.random.default_rng(3), samples=2)
    assert len(set(trial.people)) == 30 and set(trial.owner) == set(range(30)) and (np.diff(trial.owner) >= 0).all()
    assert np.bincount(trial.owner).max() == 2
    assert not set(trial.non_mated_person) & set(trial.people)
    assert len(trial.enrolled) + len(trial.mated) + len(trial.non_mated) == len(table)
    everything = np.concatenate([trial.enrolled, trial.mated, trial.non_mated])
    assert len(np.unique(everything, axis=0)) == len(table)
    again = draw_trial(table, 30, np.random.default_rng(3), samples=2)
    assert again.people.tolist() == trial.people.tolist()


def test_people_who_are_one_are_not_held_against_each_other() -> None:
    table = people(30)
    trial = draw_trial(table, 10, np.random.default_rng(0))
    stranger, enrolled = str(trial.non_mated_person[0]), str(trial.people[4])
    rows = trial.non_mated_person == stranger
    free = search(trial).best_other
    bound = search(trial, same=[(stranger, enrolled)]).best_other
    others = np.delete(person_scores(trial.non_mated, trial.enrolled, trial.owner, 10, "max"), 4, axis=1)
    assert bound[rows] == pytest.approx(others[rows].max(1)) and (bound[~rows] == free[~rows]).all()


def test_a_threshold_at_a_rate_keeps_it() -> None:
    found = searches_of(people(80), 20, trials=1)[0]
    for wanted in (0.0, 0.01, 0.1, 0.5):
        threshold = found.threshold_at_fpir(wanted)
        assert found.fpir(threshold) <= wanted < found.fpir(np.nextafter(np.float32(threshold), np.float32(-1))) + 1e-9


def test_a_gallery_of_nearly_everybody_is_refused() -> None:
    with pytest.raises(AnalysisError, match="too few strangers"):
        draw_trial(people(10), 9, np.random.default_rng(0))
    with pytest.raises(AnalysisError, match="more than 8 pictures"):
        draw_trial(people(20), 5, np.random.default_rng(0), samples=8)


def test_the_best_threshold_is_that_of_a_scan() -> None:
    draw = np.random.default_rng(0)
    mated = draw.normal(0.7, 0.1, 200).astype(np.float32)
    non_mated = draw.normal(0.4, 0.15, 300).astype(np.float32)
    scores = np.concatenate([mated, non_mated])
    accuracy = [(np.mean(mated >= t) + np.mean(non_mated < t)) / 2 for t in scores]
    found = best_threshold(mated, non_mated)
    assert (np.mean(mated >= np.float32(found)) + np.mean(non_mated < np.float32(found))) / 2 == max(accuracy)


def test_folds_are_near_one_for_clear_people_and_a_half_for_noise() -> None:
    assert fold_accuracies(people(120, noise=0.02)).mean() > 0.999
    chance = people(120, noise=0.02)
    draw = np.random.default_rng(1)
    noise = chance.with_embeddings(make_table(draw.standard_normal(chance.embeddings.shape), chance.identities.tolist()
                                              ).embeddings)
    assert fold_accuracies(noise).mean() == pytest.approx(0.5, abs=0.06)


def test_the_det_curve_has_the_rates_of_the_comparisons() -> None:
    comparisons = compare_all(people(60))
    curve = det_of(comparisons)
    for place in range(0, len(curve.thresholds) - 1, 37):
        threshold = float(curve.thresholds[place])
        assert curve.missed[place] == pytest.approx(comparisons.fnmr(threshold))
        assert curve.false_alarms[place] == pytest.approx(comparisons.fmr(threshold))


def test_a_table_is_measured_from_the_command_line(calibrated: tuple[EmbeddingTable, Calibration], tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    table, calibration = calibrated
    write_table(table, tmp_path / "table.parquet")
    (tmp_path / "cal.json").write_text(calibration.model_dump_json())
    main([str(tmp_path / "table.parquet"), "--calibration", str(tmp_path / "cal.json"), "--det",
          str(tmp_path / "det.svg"), "--pictures", str(len(table) + 5), "--json"])
    shown = capsys.readouterr().out
    assert '"failure to enrol"' in shown and "recognition table.parquet" in shown
    assert (tmp_path / "det.svg").stat().st_size > 5_000 and (tmp_path / "det.csv").exists()


def test_derived_thresholds_keep_the_wanted_rate_where_the_one_to_one_threshold_does_not(
        calibrated: tuple[EmbeddingTable, Calibration]) -> None:
    table, calibration = calibrated
    result = measure(table, calibration, command="")
    rows = next(rows for title, rows in result.extra.items() if title.startswith("1:N"))
    derived, reused = (float(rows[1][column].split(" %")[0]) for column in (2, 3))
    assert derived < 3 < reused
    assert result.value("1:1 accuracy, ten folds") > 0.9
