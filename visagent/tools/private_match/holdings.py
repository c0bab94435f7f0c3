"""What a server has in memory of a gallery, ready to search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gmpy2 import mpz

from visagent.errors import DamagedRecord
from visagent.tools.private_match.messages import read_ciphertexts
from visagent.tools.private_match.packed import PackedGallery, slots_for
from visagent.tools.private_match.parties import ServerKey, Terms
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.randomness import Words
from visagent.tools.private_match.records import DAMAGED, Records, halves
from visagent.tools.private_match.reference.masks import Sizes
from visagent.tools.private_match.shared import IDENTITY_WORDS, SharedGallery
from visagent.tools.private_match.threshold_key import KeyShare


@dataclass(frozen=True, eq=False)
class EncryptedHalf:
    """The records that a server leads in the reference way.

    Attributes:
        records: Per record [-y_i].
        identities: Per record whose it is.
    """

    records: list[list[mpz]]
    identities: list[mpz]


@dataclass(frozen=True, eq=False)
class Holdings:
    """A gallery in memory, with the file it came from, which holds the dealt numbers."""

    records: Records
    gallery: SharedGallery | PackedGallery | EncryptedHalf

    @property
    def terms(self) -> Terms:
        """What it was made with."""
        return self.records.terms

    @property
    def distance_bits(self) -> int:
        """Every squared distance is under 2 to this."""
        return Quantiser(self.terms.dimension, self.terms.bits).distance_bits

    def sizes(self, key_bits: int) -> Sizes:
        """For the reference way."""
        return Sizes(key_bits, self.terms.dimension, self.terms.bits, self.distance_bits)


def load_holdings(folder: Path, key: ServerKey, share: KeyShare) -> Holdings:
    """Read a server's records. Raises DamagedRecord."""
    records = Records(folder, key.storage, share.public.id)
    try:
        return Holdings(records, _gallery(records, share))
    except BaseException:
        records.close()
        raise


def _gallery(records: Records, share: KeyShare) -> SharedGallery | PackedGallery | EncryptedHalf:
    terms, public = records.terms, share.public
    if terms.way == "reference":
        some = halves(terms.records)[share.party - 1]
        rows = [read_ciphertexts(row, terms.dimension + 1, public) for row in records.read("record", len(some))]
        return EncryptedHalf([row[:-1] for row in rows], [row[-1] for row in rows])
    identities = _words(records, "identity", terms.records, IDENTITY_WORDS)
    if terms.way == "shared":
        shares = _words(records, "share", terms.records, terms.dimension + 1)
        return SharedGallery(np.ascontiguousarray(shares[:, :-1]), shares[:, -1].copy(), identities)
    bits = Quantiser(terms.dimension, terms.bits).distance_bits
    number = slots_for(public.bits, bits).blocks(terms.records)
    blocks = [read_ciphertexts(row, terms.dimension + 1, public) for row in records.read("block", number)]
    return PackedGallery([block[:-1] for block in blocks], [block[-1] for block in blocks], identities)


def _words(records: Records, kind: str, rows: int, columns: int) -> Words:
    data = b"".join(records.read(kind, rows))
    if len(data) != 4 * rows * columns:
        raise DamagedRecord(DAMAGED)
    return np.frombuffer(data, "<u4").reshape(rows, columns)
