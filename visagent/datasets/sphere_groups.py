"""Made-up embeddings of groups whose unfairness is known: identities and pictures from von Mises-Fisher distributions.

Each group has a direction. Its identities are drawn around that direction, its pictures around their identity. Where
the identities of a group lie closer together, its impostor scores are higher; where its pictures lie closer together,
so are its genuine scores. No face is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visagent.datasets.embedding_table import EmbeddingTable, make_table


@dataclass(frozen=True, slots=True)
class SphereGroup:
    """One group.

    Attributes:
        name: Of the group.
        identities: People.
        spread: Concentration of identities around the group's direction; more is closer together.
        kappa: Concentration of pictures around their identity.
    """

    name: str
    identities: int
    spread: float
    kappa: float


UNFAIR = (SphereGroup("a", 1000, 0.0, 125.0), SphereGroup("b", 1000, 40.0, 165.0), SphereGroup("c", 1000, 20.0, 140.0))
"""Three groups: b's people are alike and its pictures steady, a's neither, c is between. At one threshold b has most
false accepts and a most false rejects, as women and men have with common networks."""


def draw_groups(groups: Sequence[SphereGroup] = UNFAIR, *, dimension: int = 128, pictures: int = 6, seed: int = 0
                ) -> EmbeddingTable:
    """Draw embeddings of all groups.

    Args:
        groups: Their names, sizes and concentrations.
        dimension: Numbers in an embedding.
        pictures: Of each identity.
        seed: The same seed gives the same table.
    """
    from scipy.stats import uniform_direction, vonmises_fisher

    draw = np.random.default_rng(seed)
    embeddings, identities, labels = [], [], []
    directions = np.linalg.qr(draw.standard_normal((dimension, len(groups))))[0].T
    for group, direction in zip(groups, directions, strict=True):
        people = uniform_direction.rvs(dimension, group.identities, random_state=draw) if group.spread == 0 else \
            vonmises_fisher(direction, group.spread).rvs(group.identities, random_state=draw)
        for number, person in enumerate(people):
            embeddings.append(vonmises_fisher(person, group.kappa).rvs(pictures, random_state=draw))
            identities += [f"{group.name}{number:05d}"] * pictures
            labels += [group.name] * pictures
    return make_table(np.concatenate(embeddings), identities, labels)
