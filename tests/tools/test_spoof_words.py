"""What a language model's words say about an attack, in the small model's sentences and in free ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.tools.spoof.words import ALIASES, MAX_REASON_LENGTH, read_words

WORDS = {"live": ("live", "real", "genuine", "authentic", "bona fide"),
         "spoof": ("fake", "a spoof", "spoofed", "forged", "an attack", "a presentation attack")}
OTHER = {"live": "spoof", "spoof": "live"}
VERDICT_WORDS = [(verdict, word) for verdict, words in WORDS.items() for word in words]


@pytest.mark.parametrize(("text", "verdict", "attack", "reasons"), [
    ("Live. The skin texture, the light and the depth look natural.", "live", None,
     "The skin texture, the light and the depth look natural."),
    ("Spoof: print attack. I see halftone dots and paper grain. Attacked area: [12, 30, 90, 140].", "spoof", "print",
     "I see halftone dots and paper grain."),
    ("Spoof: glasses attack. I see opaque lenses and a thick paper frame. Attacked area: [outside the picture].",
     "spoof", "glasses", "I see opaque lenses and a thick paper frame."),
    ("Spoof: replay attack. I see glare on a screen and a screen edge.", "spoof", "replay",
     "I see glare on a screen and a screen edge."),
    ("Spoof: partial eye attack. I see a cut edge and eyes that do not match.", "spoof", "partial eye",
     "I see a cut edge and eyes that do not match."),
    ("Live. Nothing is attacked.", "live", None, "Nothing is attacked."),
    ("Live.", "live", None, ""),
])
def test_the_sentences_of_the_small_model(text: str, verdict: str, attack: str | None, reasons: str) -> None:
    words = read_words(text)
    assert (words.verdict, words.attack, words.reasons) == (verdict, attack, reasons)


@pytest.mark.parametrize(("text", "verdict"), [
    ("This is not a real face.", "spoof"),
    ("There is no sign of a spoof.", "live"),
    ("It does not look fake.", "live"),
    ("It doesn\u2019t look authentic.", "spoof"),
    ("I do not think that this is real.", "spoof"),
    ("No, this is a real face.", "live"),
    ("This is no live person but a spoof.", "spoof"),
    ("This is a live face, not a spoof.", "live"),
    ("It is neither fake nor forged.", "live"),
    ("There is no doubt that this is fake.", "spoof"),
    ("A photograph rather than a real person.", "spoof"),
    ("The face lacks the texture of real skin.", "spoof"),
    ("The eyes do not match and the face is fake.", "spoof"),
    ("A spoof would show halftone dots; this face is live.", "live"),
    ("Is this a live face or a spoof? It is a spoof.", "spoof"),
    ("**Answer:** Bona fide", "live"),
    ("The image represents a Print Attack.", "spoof"),
])
def test_free_words_and_their_negations(text: str, verdict: str) -> None:
    assert read_words(text).verdict == verdict


@pytest.mark.parametrize("text", [
    "", "   ", "?", "She smiles.", "I'm not sure if this is real or fake.", "It could be a spoof.",
    "The question is whether it is live or a spoof.", "Live or spoof?", "The attack score is 0.7.",
    "I cannot tell whether this is genuine.", "As an anti-spoofing model I answer questions.",
    "This may be a live stream.",
])
def test_words_that_leave_it_open_give_no_verdict(text: str) -> None:
    words = read_words(text)
    assert words.verdict is None
    assert words.attack is None


@pytest.mark.parametrize(("verdict", "word"), VERDICT_WORDS)
@given(before=st.sampled_from(["The face is", "It looks", "I think the face in this picture is", "Yes, it is"]),
       upper=st.booleans())
def test_a_denial_turns_every_verdict_word(verdict: str, word: str, before: str, upper: bool) -> None:
    for text, expected in ((f"{before} {word}.", verdict), (f"{before} not {word}.", OTHER[verdict])):
        assert read_words(text.upper() if upper else text).verdict == expected


@given(first=st.sampled_from(VERDICT_WORDS), second=st.sampled_from(VERDICT_WORDS))
def test_the_first_verdict_counts(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert read_words(f"This is {first[1]}. Others may see that it is {second[1]}.").verdict == first[0]


@pytest.mark.parametrize(("kind", "alias"), [(kind, alias) for kind, names in ALIASES.items() for alias in names])
def test_every_type_is_known_by_every_name(kind: str, alias: str) -> None:
    assert read_words(f"Spoof. The person presents a {alias}.").attack == kind
    assert read_words(f"This is a {alias.upper()} Attack.").attack == kind


def test_all_eleven_types_are_there() -> None:
    assert len(ALIASES) == 11
    names = [alias for names in ALIASES.values() for alias in names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("text", "attack"), [
    ("Spoof: a printed paper mask is worn.", "paper mask"),
    ("A spoof, with no screen edge; the paper is a printout.", "print"),
    ("Fake: a silicone mask, not a print.", "flexible mask"),
    ("A spoof.", None), ("A spoof with some mask.", None), ("A live face with glasses.", None),
])
def test_the_longest_name_that_is_not_denied_counts(text: str, attack: str | None) -> None:
    assert read_words(text).attack == attack


@pytest.mark.parametrize(("text", "attack"), [
    ("Spoof: transparent mask attack. I see plastic shine.", "transparent mask"), ("Spoof: Veil attack.", "veil"),
    ("Spoof: presentation attack.", None), ("Live. A veil attack would look different.", None),
    ("Spoof: transparent mask attack, printed on paper.", "print"), ("It is a spoof, some veil attack.", None)])
def test_a_type_that_the_model_was_taught_is_named(text: str, attack: str | None) -> None:
    assert read_words(text).attack == attack


def test_reasons_hold_no_numbers_boxes_or_markup_of_the_model_s_own() -> None:
    reasons = read_words("Spoof: print attack. **Paper grain** shows at [1.5, 2, 30, 40] below the eyes. I am 98 % "
                         "sure. See https://example.org/a/b. The edge is cut.").reasons
    assert reasons == "Paper grain shows below the eyes. The edge is cut."


def test_long_talk_is_cut_between_sentences() -> None:
    reasons = read_words("Live. " + "The light falls softly on the cheek and the nose. " * 40).reasons
    assert reasons.endswith(".")
    assert 40 < len(reasons) <= MAX_REASON_LENGTH


@given(st.text(max_size=300) | st.lists(st.sampled_from([
    "live", "spoof", "not", "no", "a", "print", "[1, 2, 3, 4]", ".", "\n", "\u202e", "?", "attack", "because", "0.7",
    "grain", ":"]), max_size=40).map(" ".join))
def test_any_text_is_read_without_harm(text: str) -> None:
    words = read_words(text)
    assert words == read_words(text)
    assert words.verdict in ("live", "spoof", None)
    assert words.attack is None or (words.attack in ALIASES and words.verdict == "spoof")
    assert len(words.reasons) <= MAX_REASON_LENGTH
    assert not re.search(r"[\d\[\]<>\\/\u202e\n]", words.reasons)
