"""Ordinary English words: they mark a text as English, and tell a capital at a sentence's start from a name."""

from __future__ import annotations

from importlib.resources import files

NAME_VERBS = (r"is|was|has|shows|looks|smiles|appears|seems|and|in|wears|does|did|can|cannot|could|stands|sits|faces|"
              r"holds|frowns|laughs|matches|or|from|with|on|at")
"""What follows a subject: a capitalised word before one of these is taken for a name unless it is ordinary."""

COMMON_WORDS = frozenset(files("visagent.agent").joinpath("vocabulary.txt").read_text(encoding="utf-8").split())
"""The words of `vocabulary.txt`, in lower case."""
