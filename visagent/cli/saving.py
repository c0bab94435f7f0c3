"""Annotated pictures on disk: only where the person said, never over an existing file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from pathlib import Path

from visagent.errors import SettingsError
from visagent.evidence import Finding, Region
from visagent.media import PictureStore

DEFAULT_FOLDER = Path("visagent-answers")


def save_annotated(findings: Iterable[Finding], pictures: PictureStore, folder: Path) -> list[Path]:
    """Draw the findings' regions and save one PNG per picture that has any, named by time and picture id.

    Raises:
        SettingsError: The folder cannot be made or written.
    """
    by_picture: defaultdict[str, list[Region]] = defaultdict(list)
    for finding in findings:
        for region in finding.regions:
            by_picture[region.image].append(region)
    if not by_picture:
        return []
    from PIL import Image

    from visagent.vision.draw import annotate

    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    saved = []
    for handle, regions in by_picture.items():
        rgb = pictures.get(handle).rgb if handle.startswith("image_") else pictures.artifact(handle)
        file = BytesIO()
        Image.fromarray(annotate(rgb, regions)).save(file, "PNG")
        saved.append(_write_new(folder, f"{stamp}-{handle}", file.getvalue()))
    return saved


def _write_new(folder: Path, stem: str, data: bytes) -> Path:
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
                stream.write(data)
            return path
    except OSError:
        pass
    raise SettingsError("The annotated picture cannot be saved there; choose a folder with --out, or --no-picture.")
