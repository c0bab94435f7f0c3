"""Summaries of findings with made-up numbers, boxes and verdicts, in the tools' sentences: text to copy from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from visagent.datasets.names import sample_name
from visagent.datasets.questions import fill

_MARK = re.compile(r"<([a-z0-9]+)>")


def sample_summary(tool: str, images: Sequence[str], rng: Random, *, person: str | None = None) -> str:
    """One summary of a tool about pictures.

    Args:
        tool: Its name.
        images: Ids of its pictures; `verify` has two, some tools have none.
        rng: Source of all choices.
        person: Whom it is about; a made-up name if None.

    Raises:
        KeyError: If there is no such tool.
    """
    template = fill(f"finding.{tool}", rng)
    named = {"image": images[0] if images else "image_1", "image2": images[-1] if images else "image_2",
             "name": person or sample_name(rng), "name2": sample_name(rng), "name3": sample_name(rng)}
    text = _MARK.sub(lambda m: named.get(m[1]) or _number(m[1], rng), template)
    return text[:1].upper() + text[1:] if not text.startswith("image_") else text


def _number(kind: str, rng: Random) -> str:
    """A value for one mark. Raises KeyError."""
    if kind == "box":
        x1, y1 = rng.randint(0, 900), rng.randint(0, 700)
        return f"[{x1}, {y1}, {x1 + rng.randint(20, 600)}, {y1 + rng.randint(20, 700)}]"
    return {
        "p": f"{rng.random():.3f}", "p2": f"{rng.random():.2f}", "d": f"{rng.uniform(0.1, 1.1):.3f}",
        "pct": str(rng.randint(1, 99)), "px": str(rng.randint(18, 900)), "small": str(rng.randint(5, 90)),
        "gray": str(rng.randint(10, 250)), "few": str(rng.randint(1, 9)), "n": str(rng.randint(2, 40)),
    }[kind]
