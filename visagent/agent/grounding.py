"""The grounding check: what an answer says about a face must come from a finding of the same turn.

Checked of the text, whoever wrote it: every number, box, picture id, name and verdict word. What cannot be read
(another language) counts as not grounded. The check errs on the side of the findings: an answer that fails is replaced
by their own summaries, which says less, but nothing that was not found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from visagent.agent.claims import LIST_NUMBER, Number, boxes_of, identifiers_of, numbers_of
from visagent.agent.prompts import CAPABILITIES, NO_EVIDENCE
from visagent.agent.verdicts import EXCLUSIVE, Stance, canonical, clauses_of, verdicts_of
from visagent.agent.vocabulary import COMMON_WORDS, NAME_VERBS
from visagent.evidence import Finding

NAMING_TOOLS = ("identify", "people")
_BOX_TOLERANCE = 1.0
_QUOTE_WORDS = 4
_NO_FACE = re.compile(r"\b(?:no|not (?:a|any)|without (?:a|any))\s+(?:(?:visible|human|detectable)\s+)?faces?\b",
                      re.IGNORECASE)
_ORDINALS = re.compile(r"\b(?:the\s+)?(first|second|third|fourth|former|latter)\b"
                       r"(?:\s+(?:picture|image|photo|face|one))?"
                       r"|\b(?:picture|image|photo)\s+(\d)\b", re.IGNORECASE)
_PLACES = {"first": 0, "second": 1, "third": 2, "fourth": 3, "former": 0, "latter": 1}
# Where a sentence that names several pictures passes from one to the next; a comma inside a box is none.
_PASSES = re.compile(r",\s+(?![-\d])|\s+(?:and|but|while|whereas)\s+(?![-\d(\[])|;\s+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CAPITALISED = re.compile(r"\b[A-Z][a-z]+(?:['\u2019-][A-Za-z]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What findings say, taken apart.

    Attributes:
        numbers: Every number of their scores, thresholds, regions, answers and texts, but no side of a box.
        boxes: Every box, `(x1, y1, x2, y2)`.
        identifiers: Ids of pictures and artifacts.
        words: Every word of their texts, in lower case.
        answers: Category -> the verdicts they give.
        mentioned: Category -> the verdicts that their texts assert beside.
        text: Their texts.
        pictures: How many pictures they are about.
    """

    numbers: list[float] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    identifiers: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    answers: dict[str, set[str]] = field(default_factory=dict)
    mentioned: dict[str, set[str]] = field(default_factory=dict)
    text: str = ""
    pictures: int = 0


def ground(text: str, findings: Sequence[Finding]) -> tuple[str, bool]:
    """The answer that stands, and whether it is the text itself.

    Returns:
        `(text, True)` if every claim of the text is in the findings; else the findings' summaries, or where there is
        no finding a sentence that says so, and False.
    """
    if text.strip() and not ungrounded(text, findings):
        return text.strip(), True
    return fallback(findings), False


def fallback(findings: Sequence[Finding]) -> str:
    """The findings' own summaries, each once; without a finding, a sentence that says that there is none."""
    summaries = dict.fromkeys(finding.summary.strip() for finding in findings)
    return " ".join(summaries) if summaries else NO_EVIDENCE


def ungrounded(text: str, findings: Sequence[Finding]) -> list[str]:
    """The claims of a text that no finding carries, in words; empty if it is grounded."""
    rest = " ".join(text.split(CAPABILITIES)) if CAPABILITIES in text else text
    rest = rest.replace(NO_EVIDENCE, " ")
    if not rest.strip():
        return []
    whole = gather(findings)
    problems = [] if _is_readable(rest, whole) else ["the language"]
    if "<tool_call>" in rest:
        problems.append("a tool call that could not be read")
    problems += [f"the name {name}" for name in _names(rest, whole)]
    problems += _one_sided(rest, whole)
    images = list(dict.fromkeys(image for finding in findings for image in finding.images))
    told: dict[str, list[str]] = {}
    for sentence in _SENTENCE.split(LIST_NUMBER.sub("", rest)):
        if _is_quoted(sentence, whole):
            continue
        picture: str | None = None
        for clause in _clauses(_with_identifiers(sentence, images)):
            named = _pictures_in(clause)
            if named:
                picture = named.pop() if len(named) == 1 else None
            if picture is None:
                problems += _unsupported(clause, whole)
            else:
                told.setdefault(picture, []).append(clause)
    for picture, clauses in told.items():
        evidence = gather([finding for finding in findings if picture in finding.images])
        problems += [problem for clause in clauses for problem in _unsupported(clause, evidence)]
        problems += _one_sided("\n".join(clauses), evidence)
    return list(dict.fromkeys(problems))


def gather(findings: Sequence[Finding]) -> Evidence:
    """Take findings apart into what an answer may repeat."""
    evidence = Evidence(pictures=len({image for finding in findings for image in finding.images}))
    texts: list[str] = []
    for finding in (one for whole in findings for one in whole.with_parts()):
        own = [finding.summary, *finding.caveats, finding.reason or "", *(region.label for region in finding.regions)]
        for score in finding.scores:
            evidence.numbers.append(score.value)
            own += [score.name, score.threshold_source or "", score.model or ""]
            if score.threshold is not None:
                evidence.numbers.append(score.threshold)
        for region in finding.regions:
            evidence.boxes.append((region.box.x1, region.box.y1, region.box.x2, region.box.y2))
            if region.score is not None:
                evidence.numbers.append(region.score)
            evidence.identifiers.add(region.image)
        evidence.identifiers.update(finding.images, (artifact.handle for artifact in finding.artifacts))
        if finding.answer is not None:
            own.append(finding.answer)
            # The answer of a search is a name, and somebody may be called Joy.
            if finding.tool not in NAMING_TOOLS and (verdict := canonical(finding.answer)):
                evidence.answers.setdefault(verdict[0], set()).add(verdict[1])
        # Labels and names are no sentences: only these may speak a verdict.
        for told in (finding.summary, *finding.caveats, *(region.label for region in finding.regions)):
            for spoken in verdicts_of(told):
                if spoken.stance is Stance.asserts:
                    evidence.mentioned.setdefault(spoken.category, set()).add(spoken.value)
        texts += own
    joined = "\n".join(texts)
    evidence.numbers.extend(number.value for number in numbers_of(joined))
    evidence.boxes.extend(boxes_of(joined))
    evidence.identifiers.update(identifiers_of(joined))
    evidence.words.update(word.lower() for word in _LETTERS.findall(joined))
    return Evidence(evidence.numbers, evidence.boxes, evidence.identifiers, evidence.words, evidence.answers,
                    evidence.mentioned, joined, evidence.pictures)


def _pictures_in(text: str) -> set[str]:
    return {name for name in identifiers_of(text) if name.startswith("image_")}


def _clauses(sentence: str) -> list[str]:
    """The parts of a sentence that speak of one picture each, or its clauses if it names one picture at most."""
    if len(_pictures_in(sentence)) < 2:
        return clauses_of(sentence)
    return [clause for part in _PASSES.split(sentence) for clause in clauses_of(part)]


def _with_identifiers(sentence: str, images: Sequence[str]) -> str:
    """The sentence with "the first picture" or "photo 2" written as the id, where there are several pictures."""
    if len(images) < 2:
        return sentence

    def name(match: re.Match[str]) -> str:
        if match.group(2):
            by_number = f"image_{match.group(2)}"
            place = int(match.group(2)) - 1
            return by_number if by_number in images or not 0 <= place < len(images) else images[place]
        place = _PLACES[match.group(1).lower()]
        return images[place] if place < len(images) else match.group()

    return _ORDINALS.sub(name, sentence)


def _unsupported(clause: str, evidence: Evidence) -> list[str]:
    problems = [f"the box {list(box)}" for box in boxes_of(clause) if not _has_box(box, evidence)]
    problems += [f"the number {number.text}" for number in numbers_of(clause) if not _has_number(number, evidence)]
    problems += [f"the reference {name}" for name in identifiers_of(clause)
                 if evidence.identifiers and name not in evidence.identifiers]
    if _NO_FACE.search(clause) and not (_NO_FACE.search(evidence.text) or 0.0 in evidence.numbers):
        problems.append("that there is no face")
    for verdict in verdicts_of(clause):
        given = evidence.answers.get(verdict.category, set())
        told = given | evidence.mentioned.get(verdict.category, set())
        if verdict.stance is Stance.asserts:
            supported = verdict.value in told
        elif verdict.category in EXCLUSIVE:
            # What excludes another verdict is known only where that other verdict was given.
            supported = verdict.value not in given and bool(given)
        else:
            supported = verdict.value not in told and bool(evidence.text)
        if not supported:
            problems.append(f"the verdict {verdict.text!r} ({verdict.stance})")
    return problems


def _one_sided(text: str, evidence: Evidence) -> list[str]:
    """A verdict that a finding only mentions must not stand alone: neither without its answer, nor as one of two."""
    asserted: dict[str, set[str]] = {}
    for sentence in _SENTENCE.split(text):
        quoted = _is_quoted(sentence, evidence)
        for verdict in verdicts_of(sentence):
            if verdict.stance is Stance.asserts and verdict.category in EXCLUSIVE:
                asserted.setdefault(verdict.category, set()).add(verdict.value)
                if quoted:  # in its own words a finding says all that there is to say
                    asserted[verdict.category] |= evidence.mentioned.get(verdict.category, set())
    problems = []
    for category, values in asserted.items():
        answers = evidence.answers.get(category)
        if answers and not values & answers:
            problems.append(f"{category} without its answer")
        elif not answers and len(values) == 1 and len(evidence.mentioned.get(category, ())) > 1:
            problems.append(f"{category}, which the findings leave open")
    return problems


def _is_quoted(sentence: str, evidence: Evidence) -> bool:
    """Whether the sentence stands in a finding word for word; short ones may mean something else elsewhere."""
    words = sentence.split()
    return len(words) >= _QUOTE_WORDS and " ".join(words) in " ".join(evidence.text.split())


def _has_box(box: tuple[float, ...], evidence: Evidence) -> bool:
    return any(all(abs(side - other) <= _BOX_TOLERANCE for side, other in zip(box, known, strict=True))
               for known in evidence.boxes)


def _has_number(number: Number, evidence: Evidence) -> bool:
    if any(number.fits(value) for value in evidence.numbers):
        return True
    if number.value != number.value:  # no value of its own ("128-d", "half"): only the findings' own words carry it
        return number.text.lower() in evidence.text.lower()
    if number.of_pictures:
        return number.value == evidence.pictures or evidence.pictures == 0
    # "The two faces are of the same person": a comparison speaks of as many faces as pictures.
    return "identity" in evidence.answers and number.decimals == 0 and number.value == evidence.pictures


def _names(text: str, evidence: Evidence) -> list[str]:
    """Capitalised words that are neither ordinary English nor in the findings."""
    found = []
    for sentence in _SENTENCE.split(text):
        stripped = sentence.lstrip(" \t-*•\"'“(")
        for match in _CAPITALISED.finditer(stripped):
            word = match.group().lower()
            stem = word.replace("\u2019", "'").split("'")[0]
            if {word, stem} & evidence.words or {word, stem} & COMMON_WORDS:
                continue
            if match.start() > 0 or re.match(rf"(?:['\u2019]s)?\s+(?:{NAME_VERBS})\b", stripped[match.end():]):
                found.append(match.group())
    return found


def _is_readable(text: str, evidence: Evidence) -> bool:
    """Whether enough of the text is English, or the findings' own words, for the other checks to mean anything."""
    words = [word.lower() for word in _LETTERS.findall(text)]
    if not words:
        return True
    if any(not word.isascii() and not re.fullmatch(r"[a-zà-öø-ÿ]+", word) for word in words):
        return False
    known = sum(word in COMMON_WORDS or word in evidence.words for word in words)
    return known >= max(1, 0.35 * len(words))



