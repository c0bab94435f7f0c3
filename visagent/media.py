"""Pictures in, safely, and the session's store of them.

Everything a person or a page hands over goes through `load_picture`, which refuses before it decodes, in this order:
bytes over the cap, magic bytes of no allowed format, pixels over the limit. What comes out is upright, RGB, uint8 and
read-only. Metadata and file names are dropped: they are data that nobody asked for, and could carry instructions.
Inside a session a picture is known by its id only (`image_1`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagent.clip_shelf import SHELF, ClipShelf
from visagent.errors import (
    DamagedPicture,
    NotAPicture,
    PictureError,
    PictureTooLarge,
    PictureTooSmall,
    TooManyPictures,
    UnknownPicture,
)

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

_CHUNK = 1 << 16
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow reports oversized headers and broken EXIF through `warnings`, whose filters are shared by all threads.
_WARNING_FILTERS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright picture.

    Attributes:
        rgb: uint8 `[height, width, 3]`, RGB order, read-only.
        digest: SHA-256 of the file's bytes, 64 hex digits; of the pixels where there was no file.
        width: Pixels.
        height: Pixels.
        notes: What was done that the reader should know ("first frame of an animation").
        clip: The file of the clip that it is a frame of, for tools that look at motion; None for other pictures.
    """

    rgb: NDArray[np.uint8] = field(repr=False, compare=False)
    digest: str
    width: int
    height: int
    notes: tuple[str, ...] = ()
    clip: bytes | None = field(default=None, repr=False, compare=False)


def load_picture(source: str | os.PathLike[str] | bytes | BinaryIO, *, max_bytes: int = MAX_BYTES,
                 max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one JPEG, PNG, WebP or GIF picture.

    Args:
        source: A file's path, the bytes themselves, or an open binary file.
        max_bytes: Refuse longer files; reading stops there.
        max_pixels: Refuse pictures of more pixels; checked before anything is decoded.

    Raises:
        NotAPicture: No picture, or a format that is not allowed.
        PictureTooLarge: Too many bytes or pixels.
        PictureTooSmall: A side under 16 pixels.
        DamagedPicture: Truncated or corrupt.
        PictureError: The file cannot be read. No message names a path.
    """
    data = _read(source, max_bytes)
    _check_magic(data)
    with _open(data, max_pixels) as image:
        notes: list[str] = []
        try:
            # A JPEG may carry further pictures (a depth map, a preview): those are no animation.
            if image.format in ("GIF", "PNG", "WEBP") and image.is_animated:  # type: ignore[attr-defined]
                notes.append("first frame of an animation")
            image.load()
            upright = _turn_upright(image, notes)
            rgb = np.array(_to_rgb(upright, notes), dtype=np.uint8)
        except Exception as error:
            # Decoders raise anything on hostile bytes; whatever it was, the picture cannot be decoded.
            raise DamagedPicture("The picture is truncated or corrupt; open and save it again, or take another.") \
                from error
    return _picture(rgb, hashlib.sha256(data).hexdigest(), tuple(notes))


def picture_from_array(rgb: NDArray[np.uint8], *, notes: tuple[str, ...] = ()) -> Picture:
    """A picture from upright RGB pixels, uint8 `[height, width, 3]`; the pixels are copied.

    Raises:
        NotAPicture: Another shape or type.
        PictureTooLarge: More than 40 million pixels.
        PictureTooSmall: A side under 16 pixels.
    """
    _check_array(rgb)
    if rgb.shape[0] * rgb.shape[1] > MAX_PIXELS:
        raise _too_many_pixels(rgb.shape[1], rgb.shape[0], MAX_PIXELS)
    copy = np.array(rgb, order="C")
    return _picture(copy, hashlib.sha256(repr(copy.shape).encode() + copy.tobytes()).hexdigest(), notes)


class PictureStore:
    """The pictures, clips and artifacts of one session, in memory only.

    Ids are issued in order (`image_1`, `image_2`, ...) and never reused, also not after `clear`. Thread-safe: an agent
    may run several tools at once.

    Args:
        max_pictures: Pictures kept at most; one more is refused, none is dropped.
        max_artifacts: Artifacts kept at most; one more drops the oldest, since an answer must not fail for want of
            room for what illustrates it.
        shelf: Where the files of clips lie, with those of other sessions; an older one goes when there is no room.
    """

    def __init__(self, max_pictures: int = 64, max_artifacts: int = 256, shelf: ClipShelf = SHELF) -> None:
        self._max_pictures = max_pictures
        self._max_artifacts = max_artifacts
        self._shelf = shelf
        self._pictures: dict[str, Picture] = {}
        self._clips: dict[str, tuple[int, tuple[str, ...]]] = {}  # number on the shelf, frames
        self._on_shelf: set[int] = set()
        weakref.finalize(self, shelf.drop, self._on_shelf)
        self._artifacts: dict[str, NDArray[np.uint8]] = {}
        self._issued = {"image": 0, "clip": 0, "artifact": 0}
        self._lock = threading.Lock()

    def add(self, picture: Picture) -> str:
        """Keep a picture and return its new id. Raises TooManyPictures."""
        return self.add_all([picture])[0]

    def add_all(self, pictures: Sequence[Picture]) -> list[str]:
        """Keep several pictures, or none of them, and return their new ids. Raises TooManyPictures.

        The clip that some of them are frames of is kept, too.
        """
        with self._lock:
            if len(self._pictures) + len(pictures) > self._max_pictures:
                raise TooManyPictures(f"This session holds {len(self._pictures)} pictures and may hold "
                                      f"{self._max_pictures}; start a new one.")
            handles = [self._issue("image") for _ in pictures]
            self._pictures.update(zip(handles, pictures, strict=True))
            for clip, frames in groupby(zip(handles, pictures, strict=True), lambda pair: pair[1].clip):
                if clip is not None:
                    self._keep_clip(clip, [handle for handle, _ in frames])
            return handles

    def get(self, picture_id: str) -> Picture:
        """The picture of an id. Raises UnknownPicture."""
        with self._lock:
            picture = self._pictures.get(picture_id)
            if picture is None:
                known = ", ".join(self._pictures) or "no pictures"
                raise UnknownPicture(f"There is no {picture_id[:20]!r} in this session; it has {known}.")
            return picture

    def ids(self) -> tuple[str, ...]:
        """The ids of all pictures, oldest first."""
        with self._lock:
            return tuple(self._pictures)

    def add_clip(self, data: bytes) -> str:
        """Keep a clip's file, as `visagent.clips.read_bytes` gives it, and return its new id (`clip_1`)."""
        with self._lock:
            return self._keep_clip(data, ())

    def clip(self, clip_id: str) -> bytes:
        """The file of a clip. Raises UnknownPicture: there is none of this id, or it is no longer kept."""
        with self._lock:
            if clip_id not in self._clips:
                if not self._clips:
                    raise UnknownPicture("This is looked for in a clip; attach a clip, not a picture.")
                raise UnknownPicture(f"There is no {clip_id[:20]!r} in this session; it has {', '.join(self._clips)}.")
            number, _ = self._clips[clip_id]
        data = self._shelf.get(number)
        if data is None:
            raise UnknownPicture("The clip is no longer kept, newer ones took its room; attach it again.")
        return data

    def frames_of(self, clip_id: str) -> tuple[str, ...]:
        """The ids of the pictures that were taken from a clip; none if there is no such clip, or none were."""
        with self._lock:
            return self._clips[clip_id][1] if clip_id in self._clips else ()

    def clip_ids(self) -> tuple[str, ...]:
        """The ids of all clips, oldest first."""
        with self._lock:
            return tuple(self._clips)

    def add_artifact(self, rgb: NDArray[np.uint8]) -> str:
        """Keep a picture that a tool made, uint8 `[H, W, 3]`, and return its handle. Raises NotAPicture."""
        _check_array(rgb)
        kept = np.array(rgb, order="C")
        kept.flags.writeable = False
        with self._lock:
            handle = self._issue("artifact")
            self._artifacts[handle] = kept
            while len(self._artifacts) > self._max_artifacts:
                del self._artifacts[next(iter(self._artifacts))]
            return handle

    def artifact(self, handle: str) -> NDArray[np.uint8]:
        """The pixels of an artifact, read-only `[H, W, 3]`. Raises UnknownPicture."""
        with self._lock:
            if handle not in self._artifacts:
                raise UnknownPicture(f"There is no {handle[:20]!r} in this session.")
            return self._artifacts[handle]

    def pixels(self, handle: str) -> NDArray[np.uint8]:
        """The pixels of a picture or an artifact, read-only `[H, W, 3]`. Raises UnknownPicture."""
        return self.artifact(handle) if handle.startswith("artifact_") else self.get(handle).rgb

    def clear(self) -> None:
        """Forget every picture, clip and artifact; their ids stay unknown for good."""
        with self._lock:
            self._pictures.clear()
            self._clips.clear()
            self._shelf.drop(self._on_shelf)
            self._on_shelf.clear()
            self._artifacts.clear()

    def _keep_clip(self, data: bytes, frames: Sequence[str]) -> str:
        handle, number = self._issue("clip"), self._shelf.put(data)
        self._clips[handle] = number, tuple(frames)
        self._on_shelf.add(number)
        return handle

    def _issue(self, kind: str) -> str:
        self._issued[kind] += 1
        return f"{kind}_{self._issued[kind]}"


def _read(source: str | os.PathLike[str] | bytes | BinaryIO, max_bytes: int) -> bytes:
    if isinstance(source, bytes):
        return _within_cap(source, max_bytes)
    if not isinstance(source, str | os.PathLike):
        return _read_stream(source, max_bytes)
    try:
        path = Path(source)
        # Pipes and devices could block or never end.
        if not path.is_file():
            raise PictureError("The picture cannot be read: there is no such file.")
        with path.open("rb") as stream:
            return _read_stream(stream, max_bytes)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        # `from None`: the system's own message names the path.
        raise PictureError("The picture cannot be read: is it there, and may you open it?") from None


def _read_stream(stream: BinaryIO, max_bytes: int) -> bytes:
    data = bytearray()
    while len(data) <= max_bytes and (chunk := stream.read(_CHUNK)):
        data += chunk
    return _within_cap(bytes(data), max_bytes)


def _within_cap(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise PictureTooLarge(f"The file is over {max_bytes / 1e6:.0f} MB, the most that is read; save it smaller.")
    return data


def _check_magic(data: bytes) -> None:
    known = (data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
             or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"))
    if not known:
        raise NotAPicture("The file is no JPEG, PNG, WebP or GIF picture; save the picture as one of these.")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        with _WARNING_FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise PictureTooLarge(f"The picture has over {max_pixels / 1e6:.0f} million pixels, the most that is "
                              "decoded; save it smaller.") from None
    except Exception as error:  # as in load_picture: header parsers raise anything
        raise DamagedPicture("The picture's header is corrupt; open and save it again, or take another.") from error
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(image.width, image.height, max_pixels)
    return image


def _turn_upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        with _WARNING_FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata does not make the pixels bad
        notes.append("orientation not readable, taken as it is")
        return image
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit gray: Pillow's own conversion clips at 255 instead of scaling.
        wide = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(wide / 257.0 + 0.5, 0, 255).astype(np.uint8))
        notes.append("16-bit gray reduced to 8 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        notes.append("transparent parts shown on white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _check_array(rgb: NDArray[np.uint8]) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise NotAPicture("A picture in memory must be RGB, uint8, of shape [height, width, 3].")


def _too_many_pixels(width: int, height: int, max_pixels: int) -> PictureTooLarge:
    return PictureTooLarge(f"The picture is {width} x {height} pixels, over the limit of {max_pixels / 1e6:.0f} "
                           "million; save it smaller.")


def _picture(rgb: NDArray[np.uint8], digest: str, notes: tuple[str, ...]) -> Picture:
    height, width = rgb.shape[:2]
    if min(width, height) < MIN_SIDE:
        raise PictureTooSmall(f"The picture is {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    rgb.flags.writeable = False
    return Picture(rgb=rgb, digest=digest, width=width, height=height, notes=notes)
