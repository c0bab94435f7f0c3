"""Protocols keep people apart, hold one set out, and make a development split that is the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks import SpoofPicture
from visagent.errors import VisagentError
from visagent.evaluation.protocols import (
    SubjectLeak,
    check_disjoint,
    cross_dataset,
    intra_dataset,
    leave_one_out,
    with_development,
)


def picture(source: str, subject: str, split: Split, attack: str | None = None) -> SpoofPicture:
    return SpoofPicture(Path(f"{source}-{subject}-{attack}.png"), None, attack, subject, split, source)


def a_set(source: str, people: int = 10) -> list[SpoofPicture]:
    """The first half of the people train, one is for development, the rest are tested."""
    half = people // 2
    return [picture(source, str(number), "train" if number < half else "dev" if number == half else "test", attack)
            for number in range(people) for attack in (None, "print")]


def test_intra_dataset_takes_the_official_splits() -> None:
    protocol = intra_dataset(a_set("wmca"))
    assert protocol.name == "W" and [len(protocol.train), len(protocol.dev), len(protocol.test)] == [10, 2, 8]


def test_a_person_on_two_sides_is_refused_by_name() -> None:
    with pytest.raises(SubjectLeak, match=r"1 people are on two sides, the first '3' of wmca in train and test"):
        intra_dataset([*a_set("wmca"), picture("wmca", "3", "test")])
    with pytest.raises(SubjectLeak, match="'9' of padisi in dev and test"):
        intra_dataset([picture("padisi", "9", "test"), picture("padisi", "9", "dev")])


def test_the_papers_three_cross_dataset_protocols() -> None:
    sets = {name: a_set(name) for name in ("wmca", "siw-mv2", "padisi")}
    protocols = leave_one_out(sets)
    assert [protocol.name for protocol in protocols] == ["S&P->W", "W&P->S", "W&S->P"]
    for protocol, held_out in zip(protocols, sets, strict=True):
        assert {one.source for one in protocol.test} == {held_out} and {one.split for one in protocol.test} == {"test"}
        for part in (protocol.train, protocol.dev):
            assert {one.source for one in part} == set(sets) - {held_out}
        assert {one.split for one in protocol.dev} == {"dev"}


def test_the_same_number_in_two_sets_is_two_people() -> None:
    protocol = cross_dataset([[picture("siw-mv2", "5", "train")]], [picture("wmca", "5", "test")])
    assert protocol.name == "S->W"


def test_a_set_cannot_be_held_out_and_trained_on() -> None:
    with pytest.raises(VisagentError, match="wmca is held out"):
        cross_dataset([a_set("padisi"), a_set("wmca")], a_set("wmca"))
    with pytest.raises(VisagentError, match="at least one other set"):
        cross_dataset([], a_set("wmca"))
    with pytest.raises(VisagentError, match="no test picture"):
        cross_dataset([a_set("padisi")], [picture("wmca", "1", "train")])
    with pytest.raises(VisagentError, match="of one set, not of 2"):
        intra_dataset([*a_set("wmca"), *a_set("padisi")])


def test_development_people_are_drawn_from_training_whole_and_the_same_every_time() -> None:
    pictures = [picture("siw-mv2", str(number), "train" if number < 400 else "test", attack)
                for number in range(500) for attack in (None, "print", "replay")]
    made = with_development(pictures)
    assert made == with_development(list(reversed(pictures)))[::-1]
    dev = {one.subject for one in made if one.split == "dev"}
    assert 0.07 < len(dev) / 400 < 0.18
    assert [(one.path, one.attack) for one in made] == [(one.path, one.attack) for one in pictures]
    assert {one.subject for one in made if one.split == "test"} == {str(number) for number in range(400, 500)}
    intra_dataset(made)  # raises where a person is on two sides


def test_a_set_with_its_own_development_split_keeps_it() -> None:
    pictures = a_set("wmca", 200)
    assert with_development(pictures) == pictures
    mixed = with_development([*pictures, *(picture("siw-mv2", str(number), "train") for number in range(200))])
    assert mixed[:len(pictures)] == pictures and any(one.split == "dev" for one in mixed[len(pictures):])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from(["train", "dev", "test"])),
                min_size=1, max_size=40))
def test_a_leak_is_found_exactly_where_there_is_one(rows: list[tuple[str, int, Split]]) -> None:
    parts = {split: [picture(source, str(number), split) for source, number, its in rows if its == split]
             for split in ("train", "dev", "test")}
    sides = [{(source, number) for source, number, its in rows if its == split} for split in parts]
    leaks = sides[0] & sides[1] | sides[1] & sides[2] | sides[0] & sides[2]
    if leaks:
        with pytest.raises(SubjectLeak, match=f"^{len(leaks)} people"):
            check_disjoint(parts)
    else:
        check_disjoint(parts)
