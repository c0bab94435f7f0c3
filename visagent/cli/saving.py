"""Annotated pictures, and what tools drew, on disk: only where the person said, never over an existing file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from pathlib import Path

from visagent.errors import SettingsError
from visagent.evidence import Artifact, ArtifactKind, Finding, Region
from visagent.media import PictureStore
from visagent.vision.crop import ByteImage, cut_out
from visagent.vision.draw import annotate, lay_over, side_by_side

DEFAULT_FOLDER = Path("visagent-answers")


def save_pictures(findings: Iterable[Finding], pictures: PictureStore, folder: Path) -> list[Path]:
    """Save one PNG per picture that has regions, with these drawn in, and one per artifact, named by time and id.

    If `folder` is the name of a .png file, the pictures get that name, with a number from the second on; a file that
    is there stays as it is, and counts.

    Raises:
        SettingsError: The folder cannot be made or written.
    """
    everything = [part for finding in findings for part in finding.with_parts()]
    by_picture: defaultdict[str, list[Region]] = defaultdict(list)
    for finding in everything:
        for region in finding.regions:
            by_picture[region.image].append(region)
    shown = {handle: annotate(pictures.pixels(handle), list(dict.fromkeys(regions)))
             for handle, regions in by_picture.items()}
    for artifact in dict.fromkeys(artifact for finding in everything for artifact in finding.artifacts):
        if artifact.handle not in shown:
            shown[artifact.handle] = _drawn(artifact, pictures)
    if folder.suffix.lower() == ".png":
        return [_write_new(folder.parent, folder.stem, rgb) for rgb in shown.values()]
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return [_write_new(folder, f"{stamp}-{handle}", rgb) for handle, rgb in shown.items()]


def _drawn(artifact: Artifact, pictures: PictureStore) -> ByteImage:
    """An artifact as one picture: a mask over what it belongs to, a comparison as before and after."""
    rgb = pictures.pixels(artifact.handle)
    if artifact.image is None or artifact.kind is ArtifactKind.picture:
        return rgb
    under = pictures.pixels(artifact.image)
    if artifact.kind is ArtifactKind.mask:
        return lay_over(under, rgb, artifact.box)
    return side_by_side(under if artifact.box is None else cut_out(under, artifact.box), rgb)


def _write_new(folder: Path, stem: str, rgb: ByteImage) -> Path:
    from PIL import Image

    data = BytesIO()
    Image.fromarray(rgb).save(data, "PNG")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            path = folder / (f"{stem}.png" if attempt == 1 else f"{stem}-{attempt}.png")
            try:
                # Exclusive, so that neither an older answer nor a link somebody laid there is written over.
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data.getvalue())
            return path
    except OSError:
        pass
    raise SettingsError("The picture cannot be saved there; choose a folder with --out, or --no-picture.")
