"""Which pictures train, which fix a threshold and which are reported: FaceShield's protocols (fact sheet, section 8).

Intra-dataset: the three splits of one set. Cross-dataset, leave one out: training and development pictures of all sets
but one, reported on that one: S&P->W, W&P->S, W&S->P for WMCA (W), SiW-Mv2 (S) and PADISI-Face (P).

No person may be on two sides; `SubjectLeak` says who is. A person is known by set and number, so that subject 5 of one
set is not taken for subject 5 of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from visagent.datasets.sources import split_of
from visagent.datasets.spoof_benchmarks import SpoofPicture
from visagent.errors import VisagentError

LETTERS = {"wmca": "W", "siw-mv2": "S", "padisi": "P", "celeba-spoof": "C", "oulu-npu": "O"}
"""How the paper's tables shorten the sets; C and O are ours."""


class SubjectLeak(VisagentError):
    """A person is on two sides of a protocol, so its numbers would be too good."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Three disjoint parts.

    Attributes:
        name: "W" for an intra-dataset protocol, "S&P->W" for a cross-dataset one.
        train: What a model may learn from.
        dev: What a threshold may be fixed on; may be empty.
        test: What is reported.
    """

    name: str
    train: tuple[SpoofPicture, ...]
    dev: tuple[SpoofPicture, ...]
    test: tuple[SpoofPicture, ...]


def intra_dataset(pictures: Sequence[SpoofPicture]) -> Protocol:
    """The official splits of one set.

    Raises:
        SubjectLeak: A person is in two splits.
        VisagentError: Pictures of several sets, or none to report on.
    """
    sources = {picture.source for picture in pictures}
    if len(sources) != 1:
        raise VisagentError(f"An intra-dataset protocol is of one set, not of {len(sources)}; use cross_dataset.")
    return _checked(_letter(sources.pop()), *(_of_split(pictures, split) for split in ("train", "dev", "test")))


def cross_dataset(training: Sequence[Sequence[SpoofPicture]], held_out: Sequence[SpoofPicture]) -> Protocol:
    """Train on some sets, report on another.

    Training takes the training and the test pictures of its sets' own protocols, development their development ones;
    of the held-out set only its test split is reported, as for the intra-dataset numbers beside it.

    Raises:
        SubjectLeak: A person is in two parts.
        VisagentError: The held-out set is also one of the training sets, or a part is missing.
    """
    test = _of_split(held_out, "test")
    own = {picture.source for picture in held_out}
    others = [picture for pictures in training for picture in pictures]
    if own & {picture.source for picture in others}:
        raise VisagentError(f"The set {', '.join(sorted(own))} is held out and cannot be trained on as well.")
    if not others:
        raise VisagentError("A cross-dataset protocol needs at least one other set to train on.")
    dev = _of_split(others, "dev")
    train = tuple(picture for picture in others if picture.split != "dev")
    letters = "&".join(dict.fromkeys(_letter(picture.source) for picture in others))
    return _checked(f"{letters}->{'&'.join(_letter(source) for source in sorted(own))}", train, dev, test)


def leave_one_out(sets: Mapping[str, Sequence[SpoofPicture]]) -> list[Protocol]:
    """Every set held out once, in their order. Raises SubjectLeak, VisagentError as `cross_dataset`."""
    return [cross_dataset([pictures for other, pictures in sets.items() if other != name], held_out)
            for name, held_out in sets.items()]


def with_development(pictures: Sequence[SpoofPicture]) -> list[SpoofPicture]:
    """The pictures, with a development split made of training people where the set has none.

    About 12 % of the training subjects, chosen by SHA-256 of set and subject (as
    `visagent.datasets.sources.split_of` chooses), so the choice is the same on every machine. A set with a
    development split of its own is left as it is.
    """
    have = {picture.source for picture in pictures if picture.split == "dev"}
    return [replace(picture, split="dev")
            if picture.split == "train" and picture.source not in have and _is_drawn(picture) else picture
            for picture in pictures]


def check_disjoint(parts: Mapping[str, Iterable[SpoofPicture]]) -> None:
    """Raises SubjectLeak if a person is in two of the named parts."""
    seen: dict[tuple[str, str], str] = {}
    leaks: dict[tuple[str, str], tuple[str, str]] = {}
    for name, pictures in parts.items():
        for person in {(picture.source, picture.subject) for picture in pictures}:
            if person in seen:
                leaks[person] = seen[person], name
            seen.setdefault(person, name)
    if leaks:
        (source, subject), sides = min(leaks.items())
        raise SubjectLeak(f"{len(leaks)} people are on two sides, the first {subject!r} of {source} in "
                          f"{' and '.join(sides)}: take them out of one of the two.")


def _checked(name: str, train: tuple[SpoofPicture, ...], dev: tuple[SpoofPicture, ...],
             test: tuple[SpoofPicture, ...]) -> Protocol:
    if not test:
        raise VisagentError(f"The protocol {name} has no test picture to report on.")
    check_disjoint({"train": train, "dev": dev, "test": test})
    return Protocol(name, train, dev, test)


def _of_split(pictures: Iterable[SpoofPicture], split: str) -> tuple[SpoofPicture, ...]:
    return tuple(picture for picture in pictures if picture.split == split)


def _letter(source: str) -> str:
    return LETTERS.get(source, source)


def _is_drawn(picture: SpoofPicture) -> bool:
    # The 8 % that the house's own splits send to development would be few of a small set: its 12 % are taken.
    return split_of(f"{picture.source}/{picture.subject}") == "test"
