"""How a tool reaches what recognises people: encoder, calibration and gallery of the settings, each opened once."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from visagent.evidence import ModelIdentity
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.recognition.calibration import Calibration, open_calibration
from visagent.vision.encoder import EmbeddingContract, Encoder, open_encoder

if TYPE_CHECKING:
    from visagent.gallery import Gallery
    from visagent.gallery.database import Location


def encoder_of(context: ToolContext) -> Encoder:
    """The encoder in use. Raises WeightsError."""
    return context.models.get(open_encoder, context.settings.encoder, context.settings.fairness_module)


def calibration_of(context: ToolContext) -> Calibration:
    """The calibration of the encoder in use. Raises CalibrationError, WeightsError."""
    return context.models.get(open_calibration, encoder_of(context).contract, context.settings.calibration)


def gallery_of(context: ToolContext) -> Gallery:
    """The gallery in use, made if there is none. Raises GalleryError, WeightsError."""
    settings = context.settings
    return context.models.get(open_gallery, location_of(settings), encoder_of(context).contract, settings.collection,
                              settings.retention_days)


def open_gallery(location: Location, contract: EmbeddingContract, collection: str, retention_days: int | None
                 ) -> Gallery:
    """Open a gallery; give it to `Models.get` with its arguments. Raises GalleryError."""
    from visagent.gallery import Gallery

    return Gallery(location, contract, collection=collection, retention_days=retention_days)


def location_of(settings: Settings) -> Location:
    """Where the gallery of the settings lives."""
    from visagent.gallery.database import Location

    home = platformdirs.user_data_path("visagent", appauthor=False) / "gallery"
    if settings.gallery is None:
        return Location(home)
    if "://" in settings.gallery:
        return Location(home, settings.gallery)
    return Location(Path(settings.gallery).expanduser())


def identity_of(contract: EmbeddingContract) -> ModelIdentity:
    """The encoder as the model of a finding."""
    return ModelIdentity(id=contract.model, digest=contract.digest)


def record(context: ToolContext, act: str, image_ids: tuple[str, ...] = (), **facts: object) -> None:
    """Write to the gallery's audit trail, pictures by keyed digests of their files. Raises AuditError."""
    gallery = gallery_of(context)
    pictures = [hmac.new(gallery.picture_key, context.pictures.get(image).digest.encode(), "sha256").hexdigest()[:16]
                for image in image_ids]
    gallery.audit.write(act, {"pictures": pictures, "encoder": gallery.contract.id, **facts})
