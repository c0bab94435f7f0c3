"""What visagent-nano is taught: questions about one view, answered in words, and conversations answered by tool calls.

Without tools in its prompt, nano looks and answers: verdict, attack type, reasons, box, expression. With tools, it
calls them. `look_example` draws the former from a view's labels, `visagent.datasets.routing` the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from visagent.datasets.noise import type_noisily
from visagent.datasets.questions import sample_question

SPOOF_QUESTION: Final = "Is this a live face or a spoof? Why? Show me where."
EXPRESSION_QUESTION: Final = (
    "What expression does this face show? Answer in a single word: neutral, happiness, surprise, "
    "sadness, anger, disgust, fear or contempt."
)
"""The questions that the tools ask; they make up half of the training questions."""

CAVEATS: Final = (
    "Presentation-attack screening of one picture, not certified liveness.",
    "The models were trained on simulated attacks.",
    "Expression shown in the picture, not emotion felt.",
    "A face's score is the detector's margin: 0 is its threshold, clear faces have 1 to 3.",
    "Both are the same picture.",
    "There was no second opinion.",
    "The two models name different attacks.",
)
"""Notes as tools write them; an answer repeats the summary and leaves the note to the evidence."""

LIVE_REASON: Final = "The skin texture, the light and the depth look natural."
BOX_SCALE: Final = 1000

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class SpoofLabel:
    """What is known of a view: attack type (None if live), clues, box as fractions `(x1, y1, x2, y2)`."""

    attack: str | None
    clues: tuple[str, ...]
    box: tuple[float, float, float, float] | None


def spoof_answer(label: SpoofLabel, intent: str) -> str:
    """The answer to one of FaceShield's questions: `spoof.verdict`, `.attack`, `.reasons`, `.where` or `.full`."""
    if label.attack is None:
        return {
            "spoof.reasons": f"Live. {LIVE_REASON}",
            "spoof.full": f"Live. {LIVE_REASON}",
            "spoof.where": "Live. Nothing is attacked.",
        }.get(intent, "Live.")
    parts = [f"Spoof: {label.attack} attack."]
    if intent in ("spoof.reasons", "spoof.full"):
        parts.append(f"I see {_listed(label.clues[:3])}.")
    if intent in ("spoof.where", "spoof.full") and label.box is not None:
        corners = ", ".join(str(round(value * BOX_SCALE)) for value in label.box)
        parts.append(f"Attacked area: [{corners}].")
    return " ".join(parts)


def spoof_question(rng: Random) -> tuple[str, str]:
    """A question about live or spoof, and its intent; half of them are the tool's own."""
    if rng.random() < 0.5:
        return SPOOF_QUESTION, "spoof.full"
    intent = rng.choice(["spoof.verdict", "spoof.attack", "spoof.reasons", "spoof.where", "spoof.full"])
    return _typed(sample_question(intent, rng), rng), intent


def expression_question(rng: Random) -> str:
    """A question about the expression; half of them are the tool's own."""
    if rng.random() < 0.5:
        return EXPRESSION_QUESTION
    return _typed(sample_question(rng.choice(["expression.open", "expression.closed"]), rng), rng)


def look_messages(question: str) -> list[Message]:
    """The chat messages of a question about one view, without tools."""
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "image_1"}, {"type": "image"}, {"type": "text", "text": question}],
        }
    ]


def _typed(question: str, rng: Random) -> str:
    return type_noisily(question, rng) if rng.random() < 0.3 else question


def _listed(words: Sequence[str]) -> str:
    if not words:
        return "signs of an attack"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
