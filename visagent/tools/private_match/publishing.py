"""From an ordinary gallery of visagent to an encrypted one: whose templates, and which threshold."""

from __future__ import annotations

from pathlib import Path

from visagent.errors import PrivateMatchError
from visagent.settings import Settings
from visagent.tools.contract import Progress, untold
from visagent.tools.private_match.authority import People, publish
from visagent.tools.private_match.parties import (
    KEY_FILE,
    TERMS_FILE,
    USER,
    AuthorityKey,
    Terms,
    Way,
    read_private,
    server_role,
)
from visagent.tools.private_match.records import RECORDS_FILE
from visagent.tools.recognition.access import location_of, open_gallery
from visagent.tools.recognition.calibration import open_calibration
from visagent.vision.encoder import open_encoder


def require_authority(folder: Path) -> None:
    """Raise PrivateKeyError unless the key authority's key is there: before anything is made beside it."""
    read_private(folder / "authority" / KEY_FILE, AuthorityKey)


def withdraw(folder: Path) -> None:
    """Take the gallery away from both servers' folders here; copies elsewhere are for their owners to delete."""
    for party in (1, 2):
        (folder / server_role(party) / RECORDS_FILE).unlink(missing_ok=True)
    (folder / USER / TERMS_FILE).unlink(missing_ok=True)


def publish_gallery(folder: Path, settings: Settings, *, way: Way = "shared", bits: int = 8, queries: int = 200,
                    progress: Progress = untold) -> Terms | None:
    """Encrypt everybody of a gallery for both servers.

    A person is compared by the mean of the templates, and the threshold is that of a search among them all at the
    wanted false-positive rate: the same as `identify` does in the clear.

    Args:
        folder: Of all parties.
        settings: Which gallery and collection, encoder, calibration and false-positive rate.
        way: How the servers shall search.
        bits: Of a template's numbers, 8 or 10.
        queries: For how many queries random numbers are dealt.
        progress: Told how far it is.

    Returns:
        What the gallery was made with; None if nobody is enrolled: the servers' folders are then emptied.

    Raises:
        PrivateMatchError: The keys are not there, or numbers of another size.
        GalleryError: The gallery cannot be opened.
        CalibrationError: There is no calibration of the encoder.
        WeightsError: The encoder is missing.
    """
    require_authority(folder)
    contract = open_encoder(settings.encoder, settings.fairness_module).contract
    calibration = open_calibration(contract, settings.calibration)
    if bits not in (8, 10):
        raise PrivateMatchError(f"A template's numbers have 8 or 10 bits, not {bits}.")
    with open_gallery(location_of(settings), contract, settings.collection, settings.retention_days) as gallery:
        index = gallery.index()
        names = [gallery.name_of(person) for person in index.people]
        known = [place for place, name in enumerate(names) if name is not None]
        people = People([name for name in names if name is not None], index.means[known], len(index), contract)
        if not known:
            withdraw(folder)
            return None
        threshold = calibration.for_search(len(index), settings.wanted_fpir)
        fitted = ", extrapolated by a generalised Pareto tail" if threshold.extrapolated else ""
        source = (f"false-positive identification rate {settings.wanted_fpir:.1%} wanted with {len(index):,} "
                  f"templates, so a false-match rate of {threshold.fmr:.2g} of each comparison{fitted}; set on "
                  f"one half of the people of: {calibration.data} ({calibration.date})")
        terms = publish(folder, people, threshold, source, way=way, bits=bits, queries=queries, progress=progress)
        gallery.audit.write("private-publish", {"collection": settings.collection, "people": len(known), "way": way,
                                                "generation": terms.generation})
    return terms
