"""Streaming without taking words back: a sentence goes out when it is complete and grounded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from visagent.agent.conversation import ModelText
from visagent.agent.grounding import ungrounded
from visagent.evidence import Finding

_END = re.compile(r"[.!?][\"')\]]*\s+|\n+")


class CheckedSentences:
    """Collects what the model writes, and lets a sentence out when all up to its end is grounded.

    Args:
        findings: The turn's findings; the list grows while the turn goes on. Before there is one nothing goes out:
            what a model writes then may still turn into a tool call.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        self._message = ""
        self._text = ""
        self._sent = 0
        self._earlier = False

    def feed(self, piece: ModelText) -> Iterator[str]:
        """Add a piece; yields what may be shown now."""
        if piece.message != self._message:
            self._earlier = self._earlier or self._sent > 0
            self._message, self._text, self._sent = piece.message, "", 0
        self._text = (self._text + piece.text).lstrip()
        if not self._findings:
            return
        ends = [match.end() for match in _END.finditer(self._text, self._sent)]
        if ends and not ungrounded(self._text[:ends[-1]], self._findings):
            yield self._text[self._sent:ends[-1]]
            self._sent = ends[-1]

    def rest(self, answer: str, *, grounded: bool) -> str:
        """What of the final answer was not shown; empty if something else was shown, which cannot be taken back."""
        shown = self._text[:self._sent]
        if not shown.strip():
            return f"\n{answer}" if self._earlier else answer
        if grounded and answer.startswith(shown.rstrip()):
            return answer[len(shown):]
        return ""
