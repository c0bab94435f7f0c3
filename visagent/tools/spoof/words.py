"""What a vision-language model's words say about an attack: verdict, attack type and reasons.

Verdict: the first of the verdict words, with negation ("not a real face" is a spoof, "no sign of a spoof" is live).
Words that leave the matter open ("whether it is fake", "live or spoof", "a spoof would show") give no verdict. Type:
the longest name of one of FaceShield's eleven attack types, or of their aliases. Reasons: the other sentences,
cleaned, so that they can stand in a finding: a number or box of the model's own making never does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["live", "spoof"]

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "print": ("print", "printed", "printout", "print-out", "printed photo", "printed picture", "printed photograph",
              "printed image", "paper print", "photo print", "printed paper"),
    "replay": ("replay", "replayed", "video replay", "screen replay", "screen", "display", "phone screen", "tablet",
               "monitor", "replayed video"),
    "paper mask": ("paper mask", "printed mask", "cardboard mask", "printed paper mask", "cut-out mask", "cutout mask",
                   "paper face mask"),
    "rigid mask": ("rigid mask", "hard mask", "plastic mask", "resin mask", "plaster mask", "3d mask",
                   "rigid 3d mask"),
    "flexible mask": ("flexible mask", "silicone mask", "latex mask", "rubber mask", "soft mask"),
    "fakehead": ("fakehead", "fake head", "mannequin", "mannequin head", "dummy head", "doll head"),
    "glasses": ("glasses", "fake glasses", "paper glasses", "printed glasses", "eyeglasses", "spectacles"),
    "partial eye": ("partial eye", "partial eyes", "partial eye region", "paper eyes", "printed eyes", "eye strip"),
    "partial mouth": ("partial mouth", "partial mouth region", "paper mouth", "printed mouth", "mouth strip"),
    "makeup": ("makeup", "make-up", "make up", "cosmetic", "cosmetics", "heavy makeup"),
    "tattoo": ("tattoo", "facial tattoo", "face tattoo"),
}
"""FaceShield's attack types, and what else they are called."""

MAX_REASONS: Final = 2
MAX_REASON_LENGTH: Final = 200

_LIVE = r"live|alive|real|genuine|bona[ -]?fide|authentic"
_SPOOF = (r"spoof(?:ed|s|ing)?|fak(?:e|es|ed|ery)|fakehead|presentation attacks?|attacks?|forged|forgery|counterfeit|"
          r"impostors?|imposters?")
_TERM = re.compile(rf"\b(?:(?P<live>{_LIVE})|(?P<spoof>{_SPOOF}))\b", re.IGNORECASE)
# These contain a verdict word and pass no verdict.
_MENTION = re.compile(
    rf"\b(?:(?:{_LIVE})(?: face| person)?,?\s*(?:/|or)\s*(?:an? )?(?:{_SPOOF})|"
    rf"(?:{_SPOOF}),?\s*(?:/|or)\s*(?:an? )?(?:{_LIVE})|"
    r"(?:presentation[- ]|spoof(?:ing)?[- ])?attack[- ](?:scores?|detection|screening|probability|types?)|"
    r"anti-?\s?spoof(?:ing)?|spoof(?:ing)?[- ](?:scores?|detection|screening|probability|check)|"
    r"real[- ](?:time|life|world)|live[- ](?:stream(?:ed|ing)?|video|feed))\b", re.IGNORECASE)
_NO_DENIAL = re.compile(r"\b(?:no|without(?: a| any)?) (?:doubt|question)\b|\bnot (?:only|just|merely)\b",
                        re.IGNORECASE)
_DENIAL = re.compile(
    r"\b(?:no|not|never|nor|neither|nothing|none|without|cannot|hardly|lacks?|lacking|unlike|rather than|instead of|"
    r"far from|unlikely|fails? to|absence of|free of|imitat\w+|mimic\w*|pretend\w*|rules? out)\b|n't\b|n\u2019t\b",
    re.IGNORECASE)
_OPEN_BEFORE = re.compile(
    r"\b(?:whether|if|could|might|may|unsure|not (?:\w+ )?sure|unclear|(?:cannot|can't|can\u2019t|could not|"
    r"couldn't|unable to|hard to|difficult to|impossible to) (?:be )?(?:say|tell|decide|determine[d]?|confirm|"
    r"rule out|judge|verify))\b", re.IGNORECASE)
_OPEN_AFTER = re.compile(r"^(?:\s+(?:face|person|image|photo|attack))?\s+(?:would|could|might|may)\b", re.IGNORECASE)
_CLAUSE = re.compile(
    r"[.;:!?\n]+|\u2014|\s-\s|,\s+(?=(?:it|this|that|the|he|she|there|they|i|but|and|so|yet|while|which|because)\b)|"
    r"^\s*(?:no|yes|not really),|"
    r"\b(?:but|although|though|because|since|so|therefore|hence|thus|which|whereas|while)\b|"
    r"\band (?=(?:it|this|the|he|she|there|they|its|i)\b)", re.IGNORECASE)
_QUESTION = re.compile(r"[^.!?\n]*\?")

_BOX = re.compile(r"(?:\s*\b(?:at|in|around|near|within|on|area|region|box|located at|bounding box))*\s*:?\s*"
                  r"[\[(]\s*-?[\d.]+(?:[,;\s]+-?[\d.]+){3}\s*[\])]", re.IGNORECASE)
_MARKUP = re.compile(r"<[^<>]*>|[*#`_~]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_SPEAKABLE = re.compile(r"[^\W\d_][^\d\\/<>{}\[\]|@=^_]*")
_SAYS_LITTLE = re.compile(
    r"\b(?:yes|no|not|verdict|answer|result|conclusion|type|this|that|it|is|are|was|looks?|like|appears?|seems?|to|be|"
    r"an?|the|i|think|believe|would|say|likely|probably|clearly|definitely|most|very|face|person|image|picture|photo|"
    r"photograph|view|human|represents?|shows?|of|in|here|based|on|attacked|spoofed|area|region|location|where|box|"
    r"outside|by|with|presentation|because|reasons?|why|me)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Words:
    """What the words say.

    Attributes:
        verdict: "live", "spoof", or None if no verdict can be read.
        attack: The attack type, a key of `ALIASES`, or a name that the model was taught beyond them; None if none is
            named or the verdict is not "spoof".
        reasons: At most two sentences without numbers, "" if there is none.
    """

    verdict: Verdict | None
    attack: str | None
    reasons: str


def read_words(text: str) -> Words:
    """Read a model's answer to a question about live or spoof."""
    plain = _plain(text)
    said = _QUESTION.sub(" ", plain)
    verdict = read_verdict(said)
    return Words(verdict, read_attack(said) if verdict == "spoof" else None, read_reasons(said))


def read_verdict(text: str) -> Verdict | None:
    """The first verdict that the text passes, in plain text without questions."""
    for clause in _clauses(_MENTION.sub(" ", text)):
        for term in _TERM.finditer(clause):
            if _OPEN_BEFORE.search(clause, 0, term.start()) or _OPEN_AFTER.match(clause[term.end():]):
                continue
            return "live" if (term["live"] is not None) != _denied(clause, term.start()) else "spoof"
    return None


def read_attack(text: str) -> str | None:
    """The attack type with the longest name in the text that is not denied; "print attack" is longer than "print".

    A model that was taught another type (`visagent finetune`) names it as "Spoof: NAME attack."; else what is no alias
    is not taken for a type.
    """
    found: dict[str, int] = {}
    for clause in _clauses(text):
        for kind, pattern in _TYPES.items():
            for match in pattern.finditer(clause):
                if not _denied(clause, match.start()):
                    found[kind] = max(found.get(kind, 0), len(match.group()))
    if found:
        return max(found, key=lambda kind: found[kind])
    taught = _TAUGHT.search(text)
    return taught[1].lower() if taught and taught[1].lower() not in _NO_TYPE else None


def read_reasons(text: str) -> str:
    """The sentences that say more than the verdict and the type, at most two and 200 characters, in plain text."""
    reasons: list[str] = []
    for sentence in _SENTENCE.split(_BOX.sub("", text)):
        tidy = re.sub(r"\s+([.,;:!?])", r"\1", sentence).strip(" \t-\u2022:;,\"'")
        if not _SPEAKABLE.fullmatch(tidy) or not _says_something(tidy):
            continue
        tidy = tidy[0].upper() + tidy[1:].rstrip(" .!:;,") + "."
        if len(" ".join([*reasons, tidy])) > MAX_REASON_LENGTH:
            break
        reasons.append(tidy)
        if len(reasons) == MAX_REASONS:
            break
    return " ".join(reasons)


def _plain(text: str) -> str:
    """Without markup, and without characters that turn, hide or control text."""
    shown = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else " " for c in text)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", _MARKUP.sub("", shown))).strip()


def _clauses(text: str) -> Iterator[str]:
    return (clause for clause in _CLAUSE.split(text) if clause.strip())


def _denied(clause: str, start: int) -> bool:
    return len(_DENIAL.findall(_NO_DENIAL.sub(" ", clause[:start]))) % 2 == 1


def _says_something(sentence: str) -> bool:
    rest = _TERM.sub(" ", sentence)
    for pattern in _TYPES.values():
        rest = pattern.sub(" ", rest)
    return re.search(r"[^\W\d_]{3}", _SAYS_LITTLE.sub(" ", rest)) is not None


_TAUGHT: Final = re.compile(r"\bspoof:\s+([a-z]+(?:[ -][a-z]+){0,2}) attack\b", re.IGNORECASE)
_NO_TYPE: Final = frozenset({"presentation", "a presentation", "spoof", "spoofing", "face", "an"})
_TYPES: Final = {
    kind: re.compile(r"\b(?:" + "|".join(re.escape(alias).replace(r"\ ", r"[ -]") for alias in
                                         sorted(aliases, key=len, reverse=True)) + r")s?(?: attack)?\b", re.IGNORECASE)
    for kind, aliases in ALIASES.items()}
