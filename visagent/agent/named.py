"""Whom a call is about must stand in what the person wrote: a small model may misspell a name, or make one up.

The name in a call is looked up in the person's own words, and among names that findings of the conversation have given
("forget her", after she was identified). What is nearly there is corrected to what stands there; what is not there at
all is refused. So nobody is forgotten or enrolled under a name that nobody said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

LONGEST_NAME = 5
"""Words of a name."""
LIKE = 0.72
"""Similarity (difflib) from which a span of the person's words is what the model meant: two letters of six astray."""
_WORD = re.compile(r"\S+")
_EDGE = "\"'`\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb()[]{}<>,;:!?*."
_QUOTED = re.compile(r'"([^"]{1,100})"')


def name_in_words(name: str, messages: Sequence[BaseMessage]) -> str | None:
    """The name as the person wrote it, or as a finding gave it; None if it stands nowhere.

    Args:
        name: As the model wrote it.
        messages: The conversation so far.
    """
    wanted = " ".join(name.split())
    if not wanted:
        return None
    stands = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)", re.IGNORECASE)
    for text in texts_with_names(messages):
        if found := stands.search(" ".join(text.split())):
            return found.group().strip(_EDGE.replace(".", ""))
    spans = list(_spans(messages))
    scored = [(SequenceMatcher(None, span.casefold(), wanted.casefold()).ratio(), span) for span in spans]
    best = max(scored, key=lambda item: (item[0], len(item[1])), default=(0.0, ""))
    return _whole(best[1], messages) if best[0] >= LIKE else None


def texts_with_names(messages: Sequence[BaseMessage]) -> list[str]:
    """Where a name can come from: the person's words, the newest first, and names that findings gave in quotes."""
    texts: list[str] = []
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            texts.append(message.text)
        elif isinstance(message, ToolMessage):
            texts += _QUOTED.findall(message.text)
    return texts


def _spans(messages: Iterable[BaseMessage]) -> Iterable[str]:
    """Stretches of the person's words, the newest message first, then names that findings gave in quotation marks."""
    for message in reversed(list(messages)):
        if isinstance(message, HumanMessage):
            words = [word.strip(_EDGE) for word in _WORD.findall(message.text)]
            words = [re.sub("['\u2019]s$", "", word) for word in words]
            for length in range(LONGEST_NAME, 0, -1):
                for start in range(len(words) - length + 1):
                    if all(words[start:start + length]):
                        yield " ".join(words[start:start + length])
        elif isinstance(message, ToolMessage):
            yield from _QUOTED.findall(message.text)


def _whole(span: str, messages: Sequence[BaseMessage]) -> str:
    """The span with the capitalised words that follow it in the person's words: models cut names short."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage) and (at := message.text.find(span)) >= 0:
            rest = message.text[at + len(span):]
            further = re.match("(?: [A-Z][\\w'\u2019.-]*)+", rest)
            return (span + further.group()).rstrip(_EDGE) if further and span[:1].isupper() else span
    return span
