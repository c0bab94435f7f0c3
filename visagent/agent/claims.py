"""What a sentence claims, as far as it can be checked: numbers, boxes, picture ids, and names.

Verdicts ("live", "same person") are in `verdicts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORDS = {word: value for value, word in enumerate((
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"))} | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_PICTURES = r"(?:pictures?|images?|photos?|photographs?|portraits?|views?)"
_PEOPLE = r"(?:faces?|people|persons?|men|man|women|woman|children|child|heads?)"

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?:\s*(?:%|per\s?cent\b))?", re.IGNORECASE)
_NUMBER_WORD = re.compile(
    rf"\b(?:{'|'.join((*_WORDS, *_SCALES, 'a hundred', 'a thousand'))})"
    rf"(?:[\s-]+(?:and\s+|point\s+)?(?:{'|'.join((*_WORDS, *_SCALES))}))*(?:\s+per\s?cent\b|\s*%)?", re.IGNORECASE)
_OTHER_COUNTS = re.compile(r"\b(?:half|a quarter|a third|dozens?|twice|thrice)\b", re.IGNORECASE)
_CORNERS = (
    re.compile(r"[\[(]\s*(-?[\d.]+)\s*[,;]\s*(-?[\d.]+)\s*[,;]\s*(-?[\d.]+)\s*[,;]\s*(-?[\d.]+)\s*[\])]"),
    re.compile(r"[(\[]\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*[)\]]\s*(?:to|and|-|\u2013|,|;)\s*(?:at\s+)?"
               r"[(\[]\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*[)\]]"),
)
_IDENTIFIER = re.compile(r"\b(?:image|artifact)_\d+\b")
_FACE_NUMBER = re.compile(r"\bface\s+(?:number\s+|#)?(\d+)\b", re.IGNORECASE)
LIST_NUMBER = re.compile(r"^\s*\(?\d{1,2}[.)]\s+", re.MULTILINE)
_PICTURE_NUMBER = re.compile(rf"\b{_PICTURES}\s+(?:number\s+|no\.\s*|#)?(?:\d{{1,2}}\b|one\b|two\b|three\b|four\b)",
                             re.IGNORECASE)
_PRONOUN_ONE = re.compile(rf"(?<!ty )(?<!ty-)\bone\b(?!\s+(?:\w+\s+)?{_PEOPLE}\b)"
                          r"(?!\s+(?:hundred|thousand|million|point)\b)", re.IGNORECASE)
_MODELS = re.compile(r"\b(?=\w*[A-Za-z])(?=\w*\d)[A-Za-z][\w-]*\b|\b\d+-?(?:d|bit|px|x)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written.

    Attributes:
        value: Its value; of a percentage, the fraction.
        decimals: Digits after the point, of the value.
        of_pictures: It counts pictures ("two photos").
        text: As written.
    """

    value: float
    decimals: int
    of_pictures: bool
    text: str

    def fits(self, evidence: float) -> bool:
        """Whether it is this evidence, rounded. A fraction is never rounded to a whole number."""
        if self.decimals == 0 and abs(evidence) < 10:
            return abs(self.value - evidence) < 1e-9
        return abs(self.value - evidence) <= 0.5 * 10.0 ** -self.decimals + 1e-9


def boxes_of(text: str) -> list[tuple[float, ...]]:
    """Every box in the text: four numbers in brackets, or two corners."""
    found: list[tuple[float, ...]] = []
    for pattern in _CORNERS:
        for match in pattern.finditer(text):
            try:
                found.append(tuple(float(side) for side in match.groups()))
            except ValueError:  # "[1.2.3, ...": no number, and so no box that a finding holds
                found.append((float("nan"),) * 4)
        text = pattern.sub(" ", text)
    return found


def identifiers_of(text: str) -> set[str]:
    """The ids of pictures and artifacts in the text; the second face of a list ("face 2") is `face_2`."""
    return set(_IDENTIFIER.findall(text)) | {f"face_{number}" for number in _FACE_NUMBER.findall(text)}


def numbers_of(text: str) -> Iterator[Number]:
    """Every number in the text, but those in boxes and ids, of pictures and faces, and of a list's numbering."""
    for pattern in (*_CORNERS, _IDENTIFIER, _FACE_NUMBER, LIST_NUMBER, _PICTURE_NUMBER):
        text = pattern.sub(" ", text)
    for match in _MODELS.finditer(text):
        # A digit inside a word ("resnet18", "128-d") names something; as a claim it has no value of its own.
        yield Number(float("nan"), 0, False, match.group())
    text = _MODELS.sub(" ", text)
    for match in _NUMBER.finditer(text):
        yield _from_digits(match.group(), _counts_pictures(text, match.end()))
    words = _PRONOUN_ONE.sub(" ", _NUMBER.sub(" ", text))
    for match in _NUMBER_WORD.finditer(words):
        yield _from_words(match.group(), _counts_pictures(words, match.end()))
    for match in _OTHER_COUNTS.finditer(words):
        yield Number(float("nan"), 0, False, match.group())


def _counts_pictures(text: str, end: int) -> bool:
    return re.match(rf"\s+(?:\w+\s+)?{_PICTURES}\b", text[end:], re.IGNORECASE) is not None


def _from_digits(written: str, of_pictures: bool) -> Number:
    digits = re.match(r"[-\u2212]?[\d.,]+(?:e[-+]?\d+)?", written, re.IGNORECASE)
    body = digits.group() if digits else written
    percent = body != written
    body = body.rstrip(".,").replace("\u2212", "-")
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", body):
        body = body.replace(",", "")
    body = body.replace(",", ".")
    try:
        value = float(body)
    except ValueError:
        return Number(float("nan"), 0, of_pictures, written)
    mantissa, _, exponent = body.lower().partition("e")
    decimals = max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))
    return Number(value / 100, decimals + 2, of_pictures, written) if percent \
        else Number(value, decimals, of_pictures, written)


def _from_words(written: str, of_pictures: bool) -> Number:
    words = re.findall(r"[a-z]+|%", written.lower())
    percent = bool({"percent", "per", "%"} & set(words))
    whole, point, fraction = " ".join(words).partition(" point ")
    total = part = 0
    for word in whole.split():
        if word in _WORDS:
            part += _WORDS[word]
        elif word in _SCALES:
            total, part = total + max(part, 1) * _SCALES[word], 0
    value = float(total + part)
    decimals = 0
    if point:
        digits = "".join(str(_WORDS[word]) for word in fraction.split() if word in _WORDS)
        value, decimals = float(f"{int(value)}.{digits or 0}"), len(digits)
    return Number(value / 100, decimals + 2, of_pictures, written) if percent \
        else Number(value, decimals, of_pictures, written)
