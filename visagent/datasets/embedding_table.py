"""Embeddings with identities and groups as a table: CSV or parquet, written by `visagent embed`, read by everything.

Columns: `identity`, `group` (may be missing or empty), and either `embedding` (a list, parquet only) or the numbers
one by one as `e0`, `e1`, ... The encoder's contract travels in parquet's metadata; a CSV has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import AnalysisError
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one

_CONTRACT = b"visagent.contract"


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingTable:
    """Labelled embeddings.

    Attributes:
        embeddings: float32 `[N, D]` of length 1.
        identities: Who each is of, `[N]` strings.
        groups: Which group each is of, `[N]` strings; empty where it is not known.
        contract: What they may be compared with; None where the table does not say.
    """

    embeddings: Embeddings
    identities: NDArray[np.str_]
    groups: NDArray[np.str_]
    contract: EmbeddingContract | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def take(self, rows: NDArray[Any]) -> EmbeddingTable:
        """Some of the rows, by number or by flag."""
        return EmbeddingTable(self.embeddings[rows], self.identities[rows], self.groups[rows], self.contract)

    def with_embeddings(self, embeddings: Embeddings) -> EmbeddingTable:
        """The same rows with other embeddings, whose contract is not that of these."""
        return EmbeddingTable(embeddings, self.identities, self.groups)


def make_table(embeddings: NDArray[Any], identities: Sequence[str], groups: Sequence[str] | None = None,
               contract: EmbeddingContract | None = None) -> EmbeddingTable:
    """A table of these rows; embeddings are scaled to length 1.

    Raises:
        AnalysisError: Numbers of rows that differ, or embeddings that are not finite.
    """
    values = np.asarray(embeddings)
    if values.ndim != 2 or len(values) != len(identities) or (groups is not None and len(groups) != len(values)):
        raise AnalysisError("A table of embeddings needs as many identities, and groups if any, as embeddings.")
    if not np.isfinite(values).all():
        raise AnalysisError("An embedding holds a number that is not finite; leave that row out.")
    return EmbeddingTable(of_length_one(values), np.asarray(identities, dtype=np.str_),
                          np.asarray(groups if groups is not None else [""] * len(values), dtype=np.str_), contract)


def read_table(file: Path) -> EmbeddingTable:
    """Read a table of either kind.

    Raises:
        AnalysisError: It cannot be read, or lacks a column, with the columns it has.
    """
    import pandas as pd

    contract: EmbeddingContract | None = None
    try:
        if file.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            loaded = parquet.read_table(file)
            held = (loaded.schema.metadata or {}).get(_CONTRACT)
            contract = None if held is None else EmbeddingContract.model_validate_json(held)
            frame = loaded.to_pandas()
        else:
            frame = pd.read_csv(file, dtype={"identity": str, "group": str}, keep_default_na=False)
    except Exception:  # pandas and pyarrow raise dozens of kinds on a file that is none of theirs
        raise AnalysisError("The table cannot be read; it must be a CSV with a heading, or a parquet file.") from None
    columns = list(map(str, frame.columns))
    if "identity" not in columns:
        raise AnalysisError(f"The table has no column 'identity'; it has {', '.join(columns[:12])}.")
    if "embedding" in columns:
        try:
            values = np.stack([np.asarray(row, np.float64) for row in frame["embedding"]])
        except ValueError:
            raise AnalysisError("The embeddings of the table differ in length, or are no numbers.") from None
    else:
        numbered = [name for name in (f"e{number}" for number in range(len(columns))) if name in columns]
        if len(numbered) < 2:
            raise AnalysisError("The table has neither a column 'embedding' nor columns 'e0', 'e1', ...; it has "
                                f"{', '.join(columns[:12])}.")
        try:
            values = frame[numbered].to_numpy(dtype=np.float64)
        except ValueError:
            raise AnalysisError("A column 'e0', 'e1', ... of the table holds something that is no number.") from None
    groups = [str(group) if group is not None else "" for group in frame["group"]] if "group" in columns else None
    return make_table(values, [str(identity) for identity in frame["identity"]], groups, contract)


def write_table(table: EmbeddingTable, file: Path) -> None:
    """Write a table as parquet, or as CSV where the name ends in .csv."""
    if file.suffix.lower() == ".csv":
        import pandas as pd

        frame = pd.DataFrame(table.embeddings, columns=[f"e{n}" for n in range(table.embeddings.shape[1])])
        frame.insert(0, "group", table.groups)
        frame.insert(0, "identity", table.identities)
        frame.to_csv(file, index=False, float_format="%.7g")
        return
    import pyarrow as pa
    import pyarrow.parquet as parquet

    values = pa.FixedSizeListArray.from_arrays(pa.array(table.embeddings.ravel()), table.embeddings.shape[1])
    written = pa.table({"identity": table.identities.tolist(), "group": table.groups.tolist(), "embedding": values})
    if table.contract is not None:
        written = written.replace_schema_metadata({_CONTRACT: table.contract.model_dump_json().encode()})
    parquet.write_table(written, file)
