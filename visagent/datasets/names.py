"""Names for questions about enrolled people: real ones of many countries, and made-up ones that can only be copied."""

from __future__ import annotations

from random import Random
from typing import Final

from visagent.datasets.questions import fill

_ONSETS: Final = ("b", "br", "ch", "d", "f", "g", "h", "j", "k", "kl", "l", "m", "n", "p", "qu", "r", "s", "sh", "st",
                  "t", "tr", "v", "w", "y", "z")
_VOWELS: Final = ("a", "e", "i", "o", "u", "ai", "ee", "ia", "oo", "ou")
_TITLES: Final = ("Mr", "Ms", "Mrs", "Dr", "Miss", "Prof", "Sister", "Captain", "Professor", "Officer")
_PARTICLES: Final = ("al-", "Al-", "de ", "de la ", "van der ", "van ", "von ", "O'", "Mc", "bin ", "da ", "El ",
                     "St. ")
_CODAS: Final = ("", "", "", "l", "m", "n", "r", "s", "t", "x", "nd", "ck", "rn", "th")


def sample_name(rng: Random) -> str:
    """A name: first, first and last, with a title, a nickname, or made up; sometimes in lower case."""
    drawn = rng.random()
    if drawn < 0.30:
        name = fill("name.given", rng)
    elif drawn < 0.62:
        name = f"{fill('name.given', rng)} {_last(rng)}"
    elif drawn < 0.69:
        name = f"{rng.choice(_TITLES)}{rng.choice(('', '.'))} {_last(rng)}"
    elif drawn < 0.72:
        initial = f"{rng.choice('ABCDEFGHJKLMNPRSTVW')}."
        name = f"{fill('name.given', rng)} {initial}" if rng.random() < 0.4 else f"{initial} {_last(rng)}"
    elif drawn < 0.88:
        name = made_up_name(rng)
    else:
        name = f"{made_up_name(rng)} {made_up_name(rng)}"
    return name.lower() if rng.random() < 0.12 else name


def _last(rng: Random) -> str:
    name = fill("name.family", rng)
    drawn = rng.random()
    if drawn < 0.06:
        return f"{name}-{fill('name.family', rng)}"
    return rng.choice(_PARTICLES) + name if drawn < 0.14 else name


def made_up_name(rng: Random) -> str:
    """One to three syllables that are no name, capitalised."""
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 3))]
    return "".join(parts).capitalize()
