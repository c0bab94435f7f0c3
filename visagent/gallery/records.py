"""What goes into the gallery and comes out of it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from visagent.errors import GalleryError, PictureError
from visagent.media import load_picture
from visagent.vision.encoder import Embeddings

MAX_NAME = 100
THUMBNAIL_SIDE: Final = 160
"""Longer side of a person's thumbnail in pixels, at most."""
THUMBNAIL_BYTES: Final = 30_000
"""Of its JPEG file, at most: noise of 160 x 160 pixels at quality 80 takes 22,000."""


@dataclass(frozen=True, slots=True, eq=False)
class NewSample:
    """A template to enrol.

    Attributes:
        embedding: float32 `[D]` of length 1.
        picture_digest: SHA-256 of the picture it is from; the same picture is enrolled once.
    """

    embedding: Embeddings = field(repr=False)
    picture_digest: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """A template as it lies in the gallery.

    Attributes:
        embedding: float32 `[D]` of length 1.
        picture: SHA-256 that stands for the picture it is from, 32 bytes.
        created: When it was enrolled.
    """

    embedding: Embeddings = field(repr=False)
    picture: bytes
    created: datetime


class Card(BaseModel):
    """What is known of a person besides templates; stored sealed.

    Attributes:
        name: As given, 1 to 100 characters.
        purpose: What the templates may be used for.
        consent: Reference to the consent, or to another ground.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    purpose: str = Field(min_length=1, max_length=500)
    consent: str = Field(min_length=1, max_length=500)


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One enrolled person.

    Attributes:
        id: Random, 32 hex digits; stands for the person in the audit trail.
        card: Name, purpose, consent.
        samples: Templates.
        sightings: Mated scores kept.
        created: When first enrolled.
        expires: When forgotten by itself; None for never.
        has_thumbnail: Whether a small picture is kept.
    """

    id: str
    card: Card
    samples: int
    sightings: int
    created: datetime
    expires: datetime | None
    has_thumbnail: bool


class Sighting(BaseModel):
    """One mated score.

    Attributes:
        at: When.
        score: Cosine similarity of the probe with the mean of the person's templates.
        how: `identified`: found among all, so only scores over the threshold are seen; `claimed`: compared because
            somebody said who it is, so that low scores are seen too.
        device: What took the picture, if it was said.
        sharpness: Of the probe's face, as `FaceQuality.sharpness`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    score: float
    how: Literal["identified", "claimed"]
    device: str | None = None
    sharpness: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FullRecord:
    """Everything that is stored of one person, for copies: it must be sealed wherever it goes."""

    card: Card
    created: datetime
    expires: datetime | None
    samples: tuple[StoredSample, ...]
    sightings: tuple[Sighting, ...]
    thumbnail: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment did: whose id, templates added, and how many pictures were enrolled before."""

    person: str
    added: int
    known: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a forgetting removed.

    Attributes:
        person: The id, which now stands for nobody.
        samples: Templates removed.
        sightings: Mated scores removed.
        erased: False if another process was reading, so that the bytes (unreadable already) stay in SQLite's log
            until it is done.
    """

    person: str
    samples: int
    sightings: int
    erased: bool


def samples_in_words(number: int) -> str:
    """The count as a person says it: 1 sample, 2 samples."""
    return "1 sample" if number == 1 else f"{number:,} samples"


def new_card(name: str, purpose: str, consent: str) -> Card:
    """A card of what a person said. Raises GalleryError if it cannot be stored."""
    try:
        return Card(name=clean_name(name), purpose=purpose.strip(), consent=consent.strip())
    except ValueError:
        raise GalleryError("Enrolling needs a purpose and a reference to the consent, each of 1 to 500 characters: "
                           "what the templates may be used for, and where the person agreed.") from None


def checked_thumbnail(jpeg: bytes) -> bytes:
    """The same bytes, if they are a small JPEG picture: whoever opens a gallery shows them without another look.

    Raises:
        GalleryError: No JPEG, damaged, under 16 or over 160 pixels on a side, or over 30 kB.
    """
    try:
        fits = (jpeg.startswith(b"\xff\xd8\xff") and len(jpeg) <= THUMBNAIL_BYTES
                and max(load_picture(jpeg, max_pixels=THUMBNAIL_SIDE ** 2).rgb.shape) <= THUMBNAIL_SIDE)
    except PictureError:
        fits = False
    if not fits:
        raise GalleryError(f"A thumbnail is a whole JPEG picture of 16 to {THUMBNAIL_SIDE} pixels on each side and at "
                           f"most {THUMBNAIL_BYTES // 1000} kB.")
    return jpeg


def clean_name(name: str) -> str:
    """The name as it is stored: composed characters, single spaces.

    Raises:
        GalleryError: Empty, over 100 characters, or with control characters.
    """
    composed = " ".join(unicodedata.normalize("NFC", name).split())
    if not composed or len(composed) > MAX_NAME:
        raise GalleryError(f"A person's name has 1 to {MAX_NAME} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") for character in composed):
        raise GalleryError("A person's name may hold letters, digits, marks and spaces, but no control characters.")
    return composed


def comparable(name: str) -> str:
    """The form in which two names are the same: neither case nor width counts."""
    return unicodedata.normalize("NFKC", clean_name(name)).casefold()
