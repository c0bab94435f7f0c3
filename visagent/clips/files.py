"""A clip's bytes: from a file, under the cap, and of a container that is read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from visagent.errors import ClipError, ClipTooLarge, NotAClip

MAX_BYTES: Final = 100_000_000
_NO_CLIP_BRANDS: Final = re.compile(rb"hei|hev|mif1|msf1|avi|jp|crx |M4A |M4B |M4P ")  # HEIF, AVIF, JPEG 2000, sound


def is_clip(data_start: bytes) -> bool:
    """Whether a file's first bytes (64 suffice) are those of an MP4, MOV, WebM, MKV or AVI clip."""
    return container_of(data_start) is not None


def is_clip_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there whose first bytes are those of a clip."""
    try:
        if not Path(path).is_file():
            return False
        with Path(path).open("rb") as stream:
            return is_clip(stream.read(64))
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False


def container_of(start: bytes) -> str | None:
    """FFmpeg's name of the container; None if it is not allowed."""
    kind = start[4:8]
    if start[:3] == b"\0\0\0" and kind == b"ftyp":
        return None if _NO_CLIP_BRANDS.match(start[8:12]) else "mov"
    if start[:1] == b"\0" and kind in (b"moov", b"mdat", b"wide"):  # QuickTime from before there was `ftyp`
        return "mov"
    if start[:4] == b"\x1a\x45\xdf\xa3" and re.search(rb"\x42\x82.{1,8}(webm|matroska)", start[:64], re.DOTALL):
        return "matroska"
    return "avi" if start[:4] == b"RIFF" and start[8:12] == b"AVI " else None


def read_bytes(source: str | os.PathLike[str] | bytes, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a clip, or of what might be one.

    Args:
        source: A file's path, or the bytes themselves.
        max_bytes: Refuse longer files.

    Raises:
        NotAClip: The first bytes are of no container that is allowed.
        ClipTooLarge: Too many bytes.
        ClipError: The file cannot be read. No message names a path.
    """
    try:
        if isinstance(source, bytes):
            data, size = source, len(source)
        elif not Path(source).is_file():  # pipes and devices could block or never end
            raise ClipError("The clip cannot be read: there is no such file.")
        else:
            with Path(source).open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                data = stream.read(max_bytes) if size <= max_bytes else b""
    except (OSError, ValueError):  # ValueError: a name with a null byte
        # `from None`: the system's own message names the path.
        raise ClipError("The clip cannot be read: is it there, and may you open it?") from None
    if size > max_bytes:
        raise ClipTooLarge(f"The file is over {max_bytes / 1e6:.0f} MB, the most that is read; cut it shorter.")
    if not is_clip(data[:64]):
        raise NotAClip("The file is no MP4, MOV, WebM, MKV or AVI clip; save the clip as one of these.")
    return data
