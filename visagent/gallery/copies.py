"""Copies of a gallery: an encrypted file to keep or to move, a person's own data in plain, the same people re-encoded.

An exported file is sealed by AES-256-GCM with a key that scrypt makes of a passphrase (N = 2^17, r = 8, p = 1). It
holds what the master key protects, so it is worth as much as the gallery: somebody who is forgotten lives on in it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from visagent.errors import ContractMismatch, GalleryError, NotAGallery, TamperedGallery, WrongKey
from visagent.gallery.gallery import Gallery
from visagent.gallery.keys import KEY_BYTES, seal, unseal
from visagent.gallery.records import Card, FullRecord, Sighting, StoredSample, checked_thumbnail
from visagent.vision.encoder import EmbeddingContract, Embeddings

MAGIC: Final = b"visagent gallery 1\n"
SALT_BYTES: Final = 16
MIN_PASSPHRASE: Final = 8
MAX_BYTES: Final = 4_000_000_000
_SCRYPT: Final = {"length": KEY_BYTES, "n": 1 << 17, "r": 8, "p": 1}


def export_gallery(gallery: Gallery, file: Path, passphrase: str) -> int:
    """Write everybody to a new encrypted file, readable by its owner; how many people.

    Raises:
        GalleryError: The passphrase is under 8 characters, or the file is there already or cannot be written.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise GalleryError(f"The passphrase needs at least {MIN_PASSPHRASE} characters.")
    people = [_to_json(record) for record in gallery.everything()]
    content = json.dumps({"contract": gallery.contract.model_dump(), "people": people}).encode()
    salt = os.urandom(SALT_BYTES)
    write_private(file, MAGIC + salt + seal(_key_of(passphrase, salt), content, "export"))
    return len(people)


def import_gallery(gallery: Gallery, file: Path, passphrase: str) -> tuple[int, int]:
    """Add everybody of an exported file; what is there already stays. People and templates added.

    All is read and checked before anything is added.

    Raises:
        NotAGallery: The file is no export of visagent, or cannot be read.
        WrongKey: Another passphrase, or a damaged file.
        ContractMismatch: It was made with another encoder.
        GalleryError: A person would have too many samples; the people before are added then.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise NotAGallery("The file is too large for an exported gallery.")
        data = file.read_bytes()
    except OSError:
        raise NotAGallery("The exported gallery cannot be read: is it there, and may you open it?") from None
    if not data.startswith(MAGIC):
        raise NotAGallery("The file is no exported gallery of visagent; make one with `visagent gallery export`.")
    salt, sealed = data[len(MAGIC):len(MAGIC) + SALT_BYTES], data[len(MAGIC) + SALT_BYTES:]
    try:
        opened = unseal(_key_of(passphrase, salt), sealed, "export")
    except TamperedGallery:
        raise WrongKey("The passphrase is not the one that the file was made with, or the file is damaged.") from None
    try:
        content = json.loads(opened)
        held = EmbeddingContract.model_validate(content["contract"])
        records = [_from_json(person) for person in content["people"]]
    except (KeyError, TypeError, ValueError, GalleryError):
        raise NotAGallery("The exported gallery was made by another version of visagent, or put together by "
                          "hand.") from None
    if held.id != gallery.contract.id:
        raise ContractMismatch(f"The file holds templates of {held}, and the gallery those of {gallery.contract}; "
                               "import it with that encoder, or enrol anew.")
    done = [gallery.restore(record) for record in records]
    return sum(one.is_new for one in done), sum(one.added for one in done)


def subject_report(gallery: Gallery, name: str) -> dict[str, Any]:
    """Everything that is stored of one person, for that person to read. Holds templates: handle it like a picture.

    Raises:
        UnknownPerson: Nobody of this name is enrolled.
    """
    (record,) = gallery.everything(name)
    return {"contract": gallery.contract.model_dump(), "collection": gallery.collection, **_to_json(record)}


def reencode(source: Gallery, target: Gallery, change: Callable[[Embeddings], Embeddings]) -> int:
    """Copy everybody to a collection of another contract, each template changed; how many people.

    Args:
        source: Stays as it is.
        target: A collection whose contract is that of the changed templates.
        change: From float32 `[N, D]` to float32 `[N, D']`, of length 1.

    Raises:
        ContractMismatch: `change` gives another dimension than the target's.
    """
    count = 0
    for record in source.everything():
        if record.samples:
            changed = change(np.stack([sample.embedding for sample in record.samples]))
            record = replace(record, samples=tuple(
                replace(sample, embedding=embedding)
                for sample, embedding in zip(record.samples, changed, strict=True)), sightings=())
        target.restore(record)
        count += 1
    return count


def write_private(file: Path, data: bytes) -> None:
    """Write a new file that only its owner may read. Raises GalleryError; never writes over one that is there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise GalleryError("There is a file of that name already; choose another.") from None
    except OSError:
        raise GalleryError("The file cannot be written there; choose another folder.") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise GalleryError("The file could not be written to its end; is the disk full?") from None


def _key_of(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, **_SCRYPT).derive(passphrase.encode())


def _to_json(record: FullRecord) -> dict[str, Any]:
    return {
        **record.card.model_dump(),
        "created": record.created.isoformat(),
        "expires": record.expires and record.expires.isoformat(),
        "samples": [{
            "template": base64.b64encode(np.ascontiguousarray(sample.embedding, "<f4").tobytes()).decode(),
            "picture": sample.picture.hex(),
            "created": sample.created.isoformat(),
        } for sample in record.samples],
        "sightings": [sighting.model_dump(mode="json") for sighting in record.sightings],
        "thumbnail": record.thumbnail and base64.b64encode(record.thumbnail).decode(),
    }


def _from_json(person: dict[str, Any]) -> FullRecord:
    thumbnail = person.get("thumbnail")  # files of before there were thumbnails have no such field
    return FullRecord(
        card=Card(name=person["name"], purpose=person["purpose"], consent=person["consent"]),
        created=datetime.fromisoformat(person["created"]),
        expires=person["expires"] and datetime.fromisoformat(person["expires"]),
        samples=tuple(StoredSample(
            np.frombuffer(base64.b64decode(sample["template"]), "<f4").astype(np.float32),
            bytes.fromhex(sample["picture"]), datetime.fromisoformat(sample["created"]),
        ) for sample in person["samples"]),
        sightings=tuple(Sighting.model_validate(sighting) for sighting in person["sightings"]),
        thumbnail=None if thumbnail is None else checked_thumbnail(base64.b64decode(thumbnail)),
    )
