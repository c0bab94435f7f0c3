"""Error rates, thresholds, fairness and calibration, held against brute force and textbook values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.datasets.embedding_table import EmbeddingTable, make_table, read_table, write_table
from visagent.datasets.sphere_groups import SphereGroup, draw_groups
from visagent.errors import AnalysisError
from visagent.evaluation.calibrate import calibrate, equal_error_rate, split_people
from visagent.evaluation.comparisons import compare_all, read_pairs
from visagent.evaluation.fairness import compare_groups, fairness_report, gini, measures
from visagent.vision.encoder import EmbeddingContract

CONTRACT = EmbeddingContract(model="made-up", digest="0" * 16, dimension=32, alignment="none", preprocessing="none")


def drawn(people: int = 24, pictures: int = 4, seed: int = 0) -> EmbeddingTable:
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((people, 8))
    values = np.repeat(centres, pictures, 0) + 0.6 * draw.standard_normal((people * pictures, 8))
    names = [f"p{number // pictures}" for number in range(people * pictures)]
    groups = ["ab"[number // pictures % 2] for number in range(people * pictures)]
    return make_table(values, names, groups)


def brute(table: EmbeddingTable, *, within: bool) -> tuple[list[float], list[float]]:
    mated, non_mated = [], []
    for one in range(len(table)):
        for other in range(one + 1, len(table)):
            score = float(np.float32(table.embeddings[one] @ table.embeddings[other]))
            if table.identities[one] == table.identities[other]:
                mated.append(score)
            elif not within or table.groups[one] == table.groups[other]:
                non_mated.append(score)
    return mated, non_mated


@pytest.mark.parametrize("within", [True, False])
def test_rates_are_those_of_brute_force(within: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visagent.evaluation.comparisons.BLOCK", 17)
    table = drawn()
    found, (mated, non_mated) = compare_all(table, across_groups=not within), brute(table, within=within)
    assert found.non_mated_count == len(non_mated)
    assert np.sort(found.mated) == pytest.approx(np.sort(mated), abs=1e-5)
    for threshold in (-0.5, 0.0, 0.3, 0.62, 0.9):
        assert found.fmr(threshold) == pytest.approx(np.mean(np.array(non_mated) >= threshold), abs=2e-3)
        assert found.fnmr(threshold) == pytest.approx(np.mean(np.array(mated) < threshold), abs=5e-3)


@given(st.floats(0.001, 0.5), st.integers(0, 50))
def test_the_threshold_of_a_rate_is_the_smallest_that_holds_it(rate: float, seed: int) -> None:
    found = compare_all(drawn(10, 3, seed))
    threshold = found.threshold_at_fmr(rate)
    assert found.fmr(threshold) <= rate
    lower = found.non_mated[found.non_mated < threshold]
    assert not len(lower) or found.fmr(float(lower[0])) > rate, "one score lower would let in one too many"


def test_ties_are_not_let_in() -> None:
    table = make_table(np.array([[1, 0], [1, 0], [1, 0], [1, 0.0]]), ["a", "a", "b", "c"])
    found = compare_all(table)
    assert found.fmr(found.threshold_at_fmr(0.5)) == 0


def test_only_the_highest_scores_are_kept_and_lower_thresholds_are_refused() -> None:
    table = drawn()
    all_of_them, few = compare_all(table), compare_all(table, kept=50)
    assert len(few.non_mated) == 50
    assert few.non_mated == pytest.approx(all_of_them.non_mated[:50])
    assert few.threshold_at_fmr(0.01) == all_of_them.threshold_at_fmr(0.01)
    for call in (lambda: few.fmr(-1.0), lambda: few.threshold_at_fmr(0.9)):
        with pytest.raises(AnalysisError, match="kept"):
            call()


def test_pairs_known_to_be_one_person_are_left_out(tmp_path: Path) -> None:
    table = make_table(np.array([[1, 0], [0, 1], [1, 0.01], [0.5, 1.0]]), ["a", "b", "a twice", "b"])
    (tmp_path / "errors.csv").write_text("identity_a,identity_b,reason\na twice,a,one picture\nx,y,not there\n")
    assert compare_all(table).non_mated[0] > 0.99
    assert compare_all(table, leave_out=read_pairs(tmp_path / "errors.csv")).non_mated[0] < 0.9
    with pytest.raises(AnalysisError, match="identity_a"):
        read_pairs(tmp_path / "none.csv")


def test_resampling_people_gives_the_spread_of_other_people() -> None:
    """Intervals by resampling one draw of people hold about 95 % of the rates of other draws."""
    truth = compare_all(drawn(400, 4, 99)).fnmr(0.5)
    held = 0
    for seed in range(40):
        found = compare_all(drawn(30, 4, seed))
        low, high = np.quantile(found.fnmr_resampled(0.5, found.resampled(seed, 300)), (0.025, 0.975))
        held += low <= truth <= high
    assert 33 <= held <= 40


def test_the_equal_error_rate_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_curve

    table = drawn()
    found = compare_all(table, across_groups=True)
    mated, non_mated = brute(table, within=False)
    alarms, hits, _ = roc_curve([1] * len(mated) + [0] * len(non_mated), mated + non_mated, drop_intermediate=False)
    at = int(np.argmin(np.abs(alarms - (1 - hits))))
    assert equal_error_rate(found)[0] == pytest.approx((alarms[at] + 1 - hits[at]) / 2, abs=0.01)


# Tables

@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_tables_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    table = make_table(drawn().embeddings, drawn().identities.tolist(), drawn().groups.tolist(), CONTRACT)
    write_table(table, tmp_path / name)
    back = read_table(tmp_path / name)
    assert back.embeddings == pytest.approx(table.embeddings, abs=1e-6)
    assert back.identities.tolist() == table.identities.tolist() and back.groups.tolist() == table.groups.tolist()
    assert back.contract == (CONTRACT if name.endswith("parquet") else None)


@pytest.mark.parametrize(("text", "words"), [
    ("name,e0,e1\na,1,2\n", "no column 'identity'"), ("identity,x\na,1\n", "neither"),
    ("identity,e0,e1\na,1,x\n", "no number"), ("identity,e0,e1\na,1,inf\n", "not finite"), ("", "cannot be read"),
])
def test_tables_that_lack_something_say_what(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(AnalysisError, match=words):
        read_table(tmp_path / "t.csv")


# Calibration

def test_a_calibration_sets_on_one_half_and_measures_on_the_other() -> None:
    spread = SphereGroup("a", 300, 0.0, 60.0), SphereGroup("b", 300, 20.0, 60.0)
    table = draw_groups(spread, dimension=32, pictures=4, seed=3)
    table = make_table(table.embeddings, table.identities.tolist(), table.groups.tolist(), CONTRACT)
    development, test = split_people(table, 0)
    assert not set(development.identities.tolist()) & set(test.identities.tolist())
    found = calibrate(table, data="made up", command="none", resamples=60)
    assert [point.target_fmr for point in found.points] == [1e-2, 1e-3, 1e-4], "1e-5 has not 30 expected errors"
    own, other = compare_all(development), compare_all(test)
    for point in found.points:
        assert own.fmr(point.threshold) <= point.target_fmr
        assert point.fmr.rate == pytest.approx(other.fmr(point.threshold))
        assert point.fnmr.rate == pytest.approx(other.fnmr(point.threshold))
    assert {group.group for group in found.groups} == {"a", "b"}
    with pytest.raises(AnalysisError, match="which encoder"):
        calibrate(draw_groups(spread, dimension=8), data="x", command="x")


def test_too_few_people_are_refused_with_the_number_needed() -> None:
    table = drawn(6, 3)
    with pytest.raises(AnalysisError, match="non-mated comparisons"):
        calibrate(make_table(table.embeddings, table.identities.tolist(), contract=CONTRACT), data="x", command="x")


# Fairness

def test_measures_are_those_of_their_formulas() -> None:
    far, frr = np.array([0.01, 0.02, 0.04]), np.array([0.1, 0.1, 0.3])
    found = measures(far, frr)
    assert found["BFAR"] == pytest.approx(4) and found["BFRR"] == pytest.approx(3)
    assert found["FAR max/geomean"] == pytest.approx(0.04 / (0.01 * 0.02 * 0.04) ** (1 / 3))
    assert found["FDR"] == pytest.approx(1 - (0.03 + 0.2) / 2)
    assert gini(np.array([0.0, 0.0, 1.0])) == pytest.approx(1)
    assert gini(np.array([0.3, 0.3])) == 0
    assert found["GARBE"] == pytest.approx((gini(far) + gini(frr)) / 2)


def test_group_rates_are_those_of_brute_force() -> None:
    table = drawn(20, 4)
    grouped = compare_groups(table)
    report = fairness_report(grouped, 0.1, resamples=20)
    for row in report.rows:
        part = table.take(table.groups == row.group)
        mated, non_mated = brute(part, within=False)
        assert row.impostor == len(non_mated) and row.genuine == len(mated)
        assert row.far.value == pytest.approx(np.mean(np.array(non_mated) >= report.threshold), abs=2e-3)
        assert row.frr.value == pytest.approx(np.mean(np.array(mated) < report.threshold), abs=1e-2)


def test_groups_that_are_alike_are_within_chance_and_others_are_not() -> None:
    alike = draw_groups((SphereGroup("a", 250, 0.0, 80.0), SphereGroup("b", 250, 0.0, 80.0)), dimension=32, seed=1)
    apart = draw_groups((SphereGroup("a", 250, 0.0, 80.0), SphereGroup("b", 250, 25.0, 120.0)), dimension=32, seed=1)
    for table, is_alike in ((alike, True), (apart, False)):
        report = fairness_report(compare_groups(table), 0.01, resamples=60)
        assert (report.measures["BFAR"].value <= 1.2 * report.by_chance["BFAR"][2]) == is_alike
    worst = fairness_report(compare_groups(apart), 0.01, rule="worst", resamples=20)
    assert max(row.far.value for row in worst.rows) <= 0.01 + 1e-9 < report.rows[1].far.value


def test_people_of_two_groups_or_none_are_left_out() -> None:
    table = drawn(12, 3)
    groups = table.groups.copy()
    groups[0], groups[3:6] = "b", ""
    grouped = compare_groups(EmbeddingTable(table.embeddings, table.identities, groups))
    assert grouped.dropped == 2 and len(grouped.group) == 10
    with pytest.raises(AnalysisError, match="at least two groups"):
        compare_groups(EmbeddingTable(table.embeddings, table.identities, np.full(len(table), "a")))
