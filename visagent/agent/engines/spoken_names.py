"""A name in a tool call is copied from what was said, letter by letter: the model chooses where it begins and ends.

Small models garble names that they never saw ("Margare Oyelaran" for "Margarethe Oyelaran"). While a call's `person`
is being written, only tokens are allowed that go on with a stretch of the conversation, and the closing quotation mark
only where a word ends there. It is the idea of constrained decoding (Willard and Louf, 2023, arXiv:2307.09702), the
automaton being all stretches of the person's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from visagent.agent.engines.toolcalls import OPENING

if TYPE_CHECKING:
    import torch

_OPEN_NAME = re.compile(rb'"person":\s*"((?:[^"\\]|\\.)*)$')
_WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]+")
_TITLE = re.compile(rb"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|St)$", re.IGNORECASE)
_MORE_NAME = re.compile(rb" (?!I\b)[A-Z][a-z\x80-\xff'.-]")
"""What follows a name that is not whole yet: after "Ada" in "Ada Lovelace"."""
_NO_NAME = frozenset((
    b"a an the this that these those it its he him his she her hers they them their theirs i me my mine you your we "
    b"us our ours who whom whose is are was were be been am do does did has have had not no yes and or but if so as "
    b"at by for from in into of off on onto out to up with about than then there here please thanks photo foto "
    b"picture pic image face gallery"
).split())
"""Words with which no name begins: one at the beginning of a sentence is hard to find for a small model, and a pronoun
that stands for it is what it takes instead."""
_QUOTE = b'"'
_LONGEST_TOKEN = 24
"""Bytes; longer tokens are not part of a name."""
_LONGEST_NAME = 120
"""Bytes, as in a gallery record."""


class TokenBytes:
    """What each token of a byte-level vocabulary spells.

    Args:
        tokenizer: A tokenizer of transformers.

    Raises:
        ValueError: Its tokens are not spelt in bytes.
    """

    def __init__(self, tokenizer: Any) -> None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
        added = {int(token) for token in tokenizer.added_tokens_decoder}
        self.spelling: dict[int, bytes] = {}
        for text, token in tokenizer.get_vocab().items():
            if token in added:
                self.spelling[token] = text.encode()
            elif all(letter in byte_of for letter in text):
                self.spelling[token] = bytes(byte_of[letter] for letter in text)
            else:
                raise ValueError(f"the token {text!r} is not spelt in bytes")
        self.tokens: dict[bytes, list[int]] = {}
        for token, spelt in self.spelling.items():
            if token not in added and len(spelt) <= _LONGEST_TOKEN:
                self.tokens.setdefault(spelt, []).append(token)
        self.closing = [token for spelt, tokens in self.tokens.items() if spelt.startswith(_QUOTE) for token in tokens]

    def spell(self, tokens: Iterable[int]) -> bytes:
        """The bytes of some tokens."""
        return b"".join(self.spelling.get(token, b"") for token in tokens)


class SpokenText:
    """What was said in a conversation, and the names that can be copied from it.

    Args:
        texts: The person's words and the names that findings gave.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        # As JSON, because a call is JSON; in its own letters, because that is how models write them.
        parts = (json.dumps(" ".join(text.split()), ensure_ascii=False)[1:-1].encode() for text in texts)
        self._said = b" ; ".join(parts)
        words = list(_WORD.finditer(self._said))
        self._starts = [word.start() for word in words if word.group().lower() not in _NO_NAME]
        self._ends = {word.end() for word in words}

    def continuations(self, begun: bytes) -> tuple[set[bytes], bool]:
        """Stretches of bytes, one to `_LONGEST_TOKEN` long, that may follow, and whether the name may end here.

        Args:
            begun: What stands in the name so far; a space before it is not part of it. A title alone is no name.
        """
        name = begun[1:] if begun.startswith(b" ") else begun
        following: set[bytes] = set()
        may_end = False
        for start in self._starts:
            if not self._said.startswith(name, start):
                continue
            at = start + len(name)
            ends = at in self._ends or (name.endswith(b".") and at - 1 in self._ends)
            whole = not (name[:1].isupper() and _MORE_NAME.match(self._said, at))
            may_end |= ends and whole
            rest = self._said[at:min(at + _LONGEST_TOKEN, start + _LONGEST_NAME)].split(_QUOTE)[0].split(b"\\")[0]
            following |= {rest[:length] for length in range(1, len(rest) + 1)}
            if not begun:
                following |= {b" " + rest[:length] for length in range(len(rest))}
        return following, may_end and not _TITLE.search(name.removesuffix(b"."))


class NamesAsSaid:
    """A logits processor for `generate`: see the module's docstring.

    Args:
        tokens: Of the model's vocabulary.
        said: What was said in each conversation of the batch.
    """

    def __init__(self, tokens: TokenBytes, said: Sequence[SpokenText]) -> None:
        self._tokens, self._said = tokens, said
        self._prompt: int | None = None
        self._opening = OPENING.encode()

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `[B, V]` with -inf for every token that would not copy, in rows where a name is being written."""
        if self._prompt is None:
            self._prompt = ids.shape[1]
        for row, said in enumerate(self._said):
            written = self._tokens.spell(ids[row, self._prompt:].tolist())
            name = _OPEN_NAME.search(written) if self._opening in written else None
            allowed = self._allowed(said, name.group(1)) if name else []
            if allowed:
                kept = scores[row, allowed].clone()
                scores[row] = float("-inf")
                scores[row, allowed] = kept
        return scores

    def _allowed(self, said: SpokenText, begun: bytes) -> list[int]:
        following, may_end = said.continuations(begun)
        tokens = [token for stretch in following for token in self._tokens.tokens.get(stretch, ())]
        return tokens + self._tokens.closing if may_end else tokens
