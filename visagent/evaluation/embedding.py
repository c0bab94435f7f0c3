"""A labelled set of pictures as a table of embeddings: what `visagent embed` does. Goes on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from visagent.datasets.embedding_table import EmbeddingTable, make_table, read_table, write_table
from visagent.datasets.labelled_faces import LabelledPicture
from visagent.errors import AnalysisError
from visagent.vision.embedding import embed_pictures
from visagent.vision.encoder import open_encoder
from visagent.vision.quality import QualityLimits

PART: Final = 512
"""Pictures per part; a run that is stopped loses at most as many."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a set.

    Attributes:
        table: One row per picture with a usable face: the biggest.
        pictures: Pictures looked at.
        without_face: Pictures in which no face was found.
        unfit: Pictures whose face was too small, blurred, dark or turned.
        unread: Pictures that could not be read.
    """

    table: EmbeddingTable
    pictures: int
    without_face: int
    unfit: int
    unread: int

    @property
    def failures_to_enrol(self) -> int:
        """Pictures without a row."""
        return self.without_face + self.unfit + self.unread


def embed_set(pictures: Sequence[LabelledPicture], limits: QualityLimits, *, encoder: Path | None = None,
              parts: Path | None = None, workers: int | None = None, progress: Callable[[int], None] | None = None
              ) -> Embedded:
    """Embed the biggest face of each picture, through the same detector and limits as the tools.

    Args:
        pictures: Labelled.
        limits: What a face must satisfy.
        encoder: An ONNX file; dlib's network if None.
        parts: Folder where finished parts are kept, to go on from; none are kept if None.
        workers: Processes; one for each core if None.
        progress: Called with the number of pictures done since the last call.

    Raises:
        AnalysisError: No picture has a usable face, or `parts` is of another set.
        WeightsError: The encoder cannot be loaded.
    """
    contract = open_encoder(encoder).contract
    done: list[EmbeddingTable] = []
    fates = np.zeros(3, np.int64)
    mark = hashlib.sha256(f"{contract.id} {len(pictures)} {PART} {limits}".encode()).hexdigest()[:16]
    if parts is not None:
        parts.mkdir(parents=True, exist_ok=True)
        if (parts / "set").exists() and (parts / "set").read_text() != mark:
            raise AnalysisError("The folder of parts is of another set or encoder; remove it to begin anew.")
        (parts / "set").write_text(mark)
    starts = range(0, len(pictures), PART)
    files = {start: None if parts is None else parts / f"{start:08d}.parquet" for start in starts}
    missing = [start for start in starts if (file := files[start]) is None or not file.with_suffix(".txt").exists()]
    stream = embed_pictures((pictures[row].source for start in missing
                             for row in range(start, min(start + PART, len(pictures)))),
                            encoder=encoder, workers=workers)
    for start in starts:
        file, size = files[start], min(PART, len(pictures) - start)
        if start not in missing and file is not None:
            fates += np.array(file.with_suffix(".txt").read_text().split(), np.int64)
            if file.exists():
                done.append(read_table(file))
            if progress is not None:
                progress(size)
            continue
        embeddings, rows, fate = [], [], np.zeros(3, np.int64)
        for place, found in enumerate(islice(stream, size)):
            if found.problem is not None:
                fate[2] += 1
            elif not found.faces:
                fate[0] += 1
            elif found.faces[0].quality.shortcomings(limits):
                fate[1] += 1
            else:
                embeddings.append(found.faces[0].embedding)
                rows.append(pictures[start + place])
            if progress is not None:
                progress(1)
        fates += fate
        if embeddings:
            done.append(make_table(np.stack(embeddings), [row.identity for row in rows], [row.group for row in rows],
                                   contract))
            if file is not None:
                write_table(done[-1], file)
        if file is not None:
            file.with_suffix(".txt").write_text(" ".join(map(str, fate)))
    if not done:
        raise AnalysisError("None of the pictures has a usable face.")
    table = make_table(np.concatenate([part.embeddings for part in done]),
                       [name for part in done for name in part.identities.tolist()],
                       [name for part in done for name in part.groups.tolist()], contract)
    return Embedded(table, len(pictures), *map(int, fates))
