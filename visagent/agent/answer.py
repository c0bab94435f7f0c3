"""What the agent hands back."""

from __future__ import annotations

import json
from dataclasses import dataclass

from visagent.evidence import Finding


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and the findings it rests on.

    Attributes:
        text: The answer. Every number, box, name and verdict in it comes from `findings`.
        findings: What the tools found in this turn, in the order they were called.
        grounded: False if the model's own words did not pass the check and `text` was made from the findings instead.
        model_text: What the model wrote, where `grounded` is False; null if it wrote nothing.
        seconds: Wall-clock time of the turn.
    """

    text: str
    findings: tuple[Finding, ...] = ()
    grounded: bool = True
    model_text: str | None = None
    seconds: float = 0.0

    def to_json(self) -> str:
        """The answer as one line of JSON."""
        return json.dumps({
            "text": self.text,
            "grounded": self.grounded,
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
            "model_text": self.model_text,
            "seconds": round(self.seconds, 3),
        }, ensure_ascii=False)
