"""Spelling by ear keeps what decides: digits, the words' number, and a text that can still be read."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from random import Random

import pytest

from visagent.datasets.noise import misspellings, spell_by_ear

QUESTION = "Would you please compare the second portrait with image_3 and say whether his expression is angry?"


def test_misspellings_are_wrong_and_can_be_read() -> None:
    table = misspellings()
    assert len(table) > 400
    for word, written in table.items():
        assert word == word.lower() and written
        assert word not in written and len(set(written)) == len(written)
        assert not re.search(r"\d", " ".join(written))
    alike = [SequenceMatcher(None, word, wrong).ratio() for word, written in table.items() for wrong in written]
    assert sum(ratio > 0.5 for ratio in alike) / len(alike) > 0.95


@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
def test_spelling_by_ear_keeps_digits_and_words(rate: float) -> None:
    for seed in range(40):
        heard = spell_by_ear(QUESTION, Random(seed), rate)
        assert "image_3" in heard.split(" ")
        assert len(heard.split(" ")) <= len(QUESTION.split(" "))
        assert heard == spell_by_ear(QUESTION, Random(seed), rate)
        assert SequenceMatcher(None, QUESTION, heard).ratio() > 0.55


def test_spelling_by_ear_grows_with_its_rate() -> None:
    def changed(rate: float) -> float:
        pairs = [zip(QUESTION.split(" "), spell_by_ear(QUESTION, Random(seed), rate).split(" "), strict=False)
                 for seed in range(60)]
        return sum(a != b for pair in pairs for a, b in pair) / (60 * len(QUESTION.split(" ")))

    assert spell_by_ear(QUESTION, Random(0), 0.0) == QUESTION
    assert 0.0 < changed(0.1) < changed(0.5) < changed(1.0)

