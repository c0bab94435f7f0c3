"""Which face is whom: the best assignment of people to the faces of one picture, each person at most once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visagent.gallery.index import Match


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the search gave for one face, after everybody was given out.

    Attributes:
        person: The id of whom the face is given to; None if nobody is alike enough.
        score: How alike that person is; of the most similar person if nobody is.
        runner_up: The most similar other person who is given to no other face, and how alike; None if there is none.
        taken: A person who is more alike than who it was given to, but was given to another face.
    """

    person: str | None
    score: float | None
    runner_up: Match | None = None
    taken: str | None = None


def assign(matches: Sequence[Sequence[Match]], least: float) -> list[Candidate]:
    """Give people to faces so that the sum of the scores over `least` is greatest (`linear_sum_assignment`).

    Args:
        matches: For each face its most similar people, the most similar first; at least one more than there are faces
            and at least as many as the gallery has suffice for the optimum.
        least: Nobody is given to a face with a score under this.

    Returns:
        For each face its candidate.
    """
    from scipy.optimize import linear_sum_assignment

    people = sorted({match.person for found in matches for match in found})
    place = {person: number for number, person in enumerate(people)}
    gain = np.zeros((len(matches), len(people)))
    for face, found in enumerate(matches):
        for match in found:
            gain[face, place[match.person]] = max(0.0, match.score - least)
    # A score of exactly `least` counts too: it gets less than any difference that matters.
    for face, found in enumerate(matches):
        for match in found:
            if match.score >= least:
                gain[face, place[match.person]] += 1e-9
    faces, columns = linear_sum_assignment(gain, maximize=True)
    given = {int(face): people[column] for face, column in zip(faces, columns, strict=True) if gain[face, column] > 0}
    return [_candidate(face, found, given) for face, found in enumerate(matches)]


def _candidate(face: int, found: Sequence[Match], given: dict[int, str]) -> Candidate:
    mine = given.get(face)
    elsewhere = {person for other, person in given.items() if other != face}
    free = [match for match in found if match.person != mine and match.person not in elsewhere]
    runner_up = free[0] if free else None
    if mine is None:
        return Candidate(None, runner_up.score if runner_up else None, runner_up)
    score = next(match.score for match in found if match.person == mine)
    taken = next((match.person for match in found if match.person in elsewhere and match.score > score), None)
    return Candidate(mine, score, runner_up, taken)
