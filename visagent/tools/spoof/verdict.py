"""One answer from three witnesses, and the sentence that says why.

The specialist and the vision-language model judge the face itself. The surroundings network only looks whether the
border of a screen or sheet encloses it; it can raise an alarm and never lifts one, since most faces have no border
around them, live or not.
"""

from __future__ import annotations

from typing import Final, Literal

from visagent.evidence import Region
from visagent.tools.spoof.specialist import Opinion
from visagent.tools.spoof.surroundings import Border, Enclosure
from visagent.tools.spoof.words import Verdict, Words
from visagent.tools.subject import ChosenFace

Answer = Literal["live", "spoof", "unsure"]
CARRIED: Final = {"screen": "replay", "sheet": "print"}
"""The attack type that each kind of border makes of a face."""


def decide(own: Verdict, said: Verdict | None, border: Border = "none") -> Answer:
    """The tool's answer.

    Args:
        own: The specialist's verdict.
        said: The language model's; None if it gives none.
        border: What the surroundings say; "none" also where they cannot be seen.
    """
    heard = {own, said} - {None}
    if border != "none":
        return "spoof" if border == "certain" or "spoof" in heard else "unsure"
    return own if len(heard) == 1 else "unsure"


def summarise(answer: Answer, chosen: ChosenFace, opinion: Opinion, words: Words, enclosure: Enclosure | None,
              areas: tuple[Region, ...]) -> str:
    """The finding's summary: answer, type, reasons, scores against thresholds, and where.

    Args:
        answer: From `decide`.
        chosen: The face.
        opinion: The specialist's.
        words: The language model's; empty if it was not asked.
        enclosure: What the surroundings say; None where they cannot be seen.
        areas: The attacked areas, the most telling first.
    """
    where = f"Face at {chosen.face.box} in {chosen.image_id}."
    whom = "" if chosen.count == 1 else f" ({chosen.name})"
    score, threshold = _distinct(opinion.score, opinion.threshold)
    held = f"Attack score {score}, threshold {threshold} (higher means attack)."
    border = _border(enclosure)
    if answer == "unsure" and border:
        return f"Unsure{whom}: {border} In the face itself nobody sees an attack. {held} {where}"
    if answer == "unsure":
        own, said = ("spoof", "live") if opinion.is_spoof else ("live", "spoof")
        return (f"Unsure{whom}: the specialist says {own} (attack score {score}, threshold {threshold}), the language "
                f"model says {said}. {where}")
    reasons = words.reasons if words.verdict else ""
    if answer == "live":
        return " ".join(filter(None, (f"Live{whom}.", reasons, held, where)))
    if areas:
        where = f"Attacked area {areas[0].box} in {chosen.image_id}."
    if border and not opinion.is_spoof and words.verdict != "spoof":
        return (f"Spoof{whom}: {_types(opinion, words, enclosure)}. {border} In the face itself nobody sees an "
                f"attack. {held} {where}")
    reasons = reasons if words.verdict == "spoof" else ""
    if not reasons and opinion.is_spoof and opinion.clues:
        reasons = f"The specialist sees {_listed(list(opinion.clues)[:3])}."
    return " ".join(filter(None, (f"Spoof{whom}: {_types(opinion, words, enclosure)}.", border, reasons,
                                  held, where)))


def _distinct(value: float, other: float) -> tuple[str, str]:
    """Both with as many decimals, from two on, as show which one is the bigger."""
    for decimals in range(2, 7):
        texts = f"{value:.{decimals}f}", f"{other:.{decimals}f}"
        if texts[0] != texts[1]:
            break
    return texts


def _border(enclosure: Enclosure | None) -> str:
    """The sentence on the border around the face; empty if there is none."""
    if enclosure is None or enclosure.border == "none":
        return ""
    score, threshold = _distinct(enclosure.score, enclosure.threshold)
    if enclosure.border == "certain":
        return (f"The border of a {enclosure.carrier} encloses the face (border score {score}, threshold "
                f"{threshold}).")
    return (f"The border of a {enclosure.carrier} may enclose the face (border score {score}, suspicious from "
            f"{threshold}, certain from {_distinct(enclosure.certain, enclosure.score)[0]}).")


def _types(opinion: Opinion, words: Words, enclosure: Enclosure | None) -> str:
    """The border names its carrier; else the attack type of the language model and of the specialist."""
    if enclosure is not None and enclosure.border != "none":
        return f"{CARRIED[enclosure.carrier]} attack"
    if words.verdict != "spoof" or words.attack in (None, opinion.attack):
        return f"{opinion.attack} attack"
    return f"{words.attack} attack by the language model, {opinion.attack} attack by the specialist"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
