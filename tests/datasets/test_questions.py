"""Questions are many, English, complete, and come out the same from the same seed."""

from __future__ import annotations

import re
from random import Random

import pytest

from visagent.datasets.grammar import Grammar, plural
from visagent.datasets.noise import LITTLE_WORDS, telegraphic, type_noisily
from visagent.datasets.questions import INTENTS, TOOL_OF, join_questions, sample_follow_up, sample_question

BROAD = (*TOOL_OF, "none.general", "none.nearmiss", "none.scene", "none.gibberish", "not_offered.identity",
         "not_offered.age", "not_offered.gender", "not_offered.beauty", "not_offered.edit")
FOLLOW_UPS = ("other", "new", "here", "sure", "why", "where", "to_spoof", "to_expression", "to_faces", "to_verify")


@pytest.mark.parametrize("intent", BROAD)
def test_a_thousand_different_questions_per_intent(intent: str) -> None:
    rng = Random(7)
    assert len({sample_question(intent, rng) for _ in range(3000)}) >= 1000


@pytest.mark.parametrize(("intent", "least"), [
    ("none.smalltalk", 300), ("none.inject", 500), ("none.foreign", 500), ("capabilities", 250)])
def test_hundreds_of_different_questions_for_narrow_intents(intent: str, least: int) -> None:
    rng = Random(7)
    assert len({sample_question(intent, rng) for _ in range(3000)}) >= least


@pytest.mark.parametrize("intent", INTENTS)
def test_every_slot_is_filled(intent: str) -> None:
    rng = Random(11)
    for _ in range(300):
        question = sample_question(intent, rng)
        assert question.strip()
        assert not re.search(r"[{}|]|  ", question), question
        assert len(question) < 400


@pytest.mark.parametrize("kind", FOLLOW_UPS)
def test_follow_ups_are_filled_and_name_their_picture(kind: str) -> None:
    rng = Random(5)
    for _ in range(200):
        text = sample_follow_up(kind, rng, photo="the third photo")
        assert not re.search(r"[{}|]", text)
        assert ("third photo" in text) == (kind in ("other", "to_verify")) or ("third photo" in text.lower())


@pytest.mark.parametrize("intent", TOOL_OF)
def test_a_bound_picture_is_always_named(intent: str) -> None:
    rng = Random(3)
    for _ in range(200):
        if intent == "verify":
            assert "images 1 and 3" in sample_question(intent, rng, both="images 1 and 3").lower()
        else:
            assert "image_3" in sample_question(intent, rng, photo="image_3").lower()


def test_the_same_seed_gives_the_same_questions() -> None:
    one, other = Random(42), Random(42)
    assert [sample_question(i, one) for i in INTENTS for _ in range(20)] == [
        sample_question(i, other) for i in INTENTS for _ in range(20)]


def test_two_questions_become_one_that_holds_both() -> None:
    rng = Random(1)
    for _ in range(50):
        text = join_questions("Is it live?", "What does she feel?", rng).lower()
        assert "is it live" in text
        assert "what does she feel" in text
        assert text.index("is it live") < text.index("what does she feel")


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_noise_keeps_length_and_digits(rate: float) -> None:
    rng = Random(9)
    for intent in INTENTS:
        for _ in range(60):
            text = sample_question(intent, rng, photo="image_2" if intent.startswith("spoof") else None)
            typed = type_noisily(text, rng, rate)
            assert len(text) * 0.5 - 4 <= len(typed) <= len(text) * 1.35 + 4
            assert typed.strip()
            if intent.startswith("spoof"):
                assert "image_2" in typed.lower()


def test_noise_is_deterministic_and_changes_something() -> None:
    text = "Could you please tell me which expression she shows in the second picture?"
    typed = {type_noisily(text, Random(seed), 0.6) for seed in range(50)}
    assert len(typed) > 40
    assert type_noisily(text, Random(4), 0.6) == type_noisily(text, Random(4), 0.6)
    assert type_noisily(text, Random(4), 0.0) == text


def test_noise_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        type_noisily("hello", Random(1), 1.5)


def test_grammar_expands_choices_weights_and_escapes() -> None:
    grammar = Grammar(["[a]\nx (one|two|) {b:s} \\(sic\\)\n[words: b]\nbox, baby, man\n"])
    seen = {grammar.expand("a", Random(seed)) for seed in range(200)}
    assert seen == {f"x {n}{w} (sic)" for n in ("one ", "two ", "") for w in ("boxes", "babies", "men")}


@pytest.mark.parametrize("text", ["[a]\n{nowhere}\n", "[a]\n(open\n", "lost\n", "[a]\nx\n[a]\ny\n", "[a]\n[b]\nx\n"])
def test_a_faulty_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"section|slot|parentheses|empty|line"):
        Grammar([text])


def test_plurals() -> None:
    assert [plural(w) for w in ("car", "washing machine", "policeman", "box", "fly", "key")] == [
        "cars", "washing machines", "policemen", "boxes", "flies", "keys"]


@pytest.mark.parametrize("intent", TOOL_OF)
def test_telegram_style_leaves_out_little_words_only(intent: str) -> None:
    rng = Random(4)
    shorter = 0
    for _ in range(100):
        question = sample_question(intent, rng)
        words, kept = question.split(" "), telegraphic(question, rng).split(" ")
        assert any(kept)
        shorter += len(kept) < len(words)
        rest = iter(words)
        assert all(word in rest for word in kept), "the order stays"
        left_out = {w.lower().strip(",.?!") for w in words} - {w.lower().strip(",.?!") for w in kept}
        assert left_out <= LITTLE_WORDS
    assert shorter > 50
    assert telegraphic("is it this?", rng, 1.0) == "is it this?"
