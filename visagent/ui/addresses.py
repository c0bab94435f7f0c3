"""Pictures as addresses that hold them: they travel inside the page, so that no address serves them to others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Final

from visagent.evidence import Box
from visagent.media import PictureStore
from visagent.vision.crop import ByteImage, cut_out, resize
from visagent.vision.draw import as_layer

SHOWN_SIDE: Final = 1024
"""Longer side of a picture on the page, in pixels."""
JPEG_QUALITY: Final = 88
MOST_EXACT_PIXELS: Final = 100_000
"""Up to so many what tools draw is shown to the pixel: what a model was given is evidence."""


class Addresses:
    """The pictures of a conversation inside addresses.

    Args:
        pictures: The conversation's.
        made: Those made so far, by what they show; new ones are added, so that each is made once.
    """

    def __init__(self, pictures: PictureStore, made: dict[str, str]) -> None:
        self._pictures = pictures
        self._made = made

    def picture(self, handle: str) -> str:
        """A picture of the session. Raises UnknownPicture, as all of these do."""
        return self._once(handle, lambda: data_address(self._pictures.pixels(handle)))

    def drawn(self, handle: str) -> str:
        """What a tool drew."""
        return self._once(f"{handle} drawn", lambda: exact_address(self._pictures.pixels(handle)))

    def place(self, handle: str, box: Box | None) -> str:
        """A place of a picture; all of it if the box is None."""
        def cut() -> str:
            rgb = self._pictures.pixels(handle)
            return exact_address(rgb if box is None else cut_out(rgb, box))

        return self._once(f"{handle} at {box}", cut)

    def layer(self, handle: str) -> str:
        """A mask as a layer that can be seen through."""
        return self._once(f"{handle} as a layer", lambda: _png_address(as_layer(self._pictures.pixels(handle))))

    def _once(self, what: str, make: Callable[[], str]) -> str:
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]


def data_address(rgb: ByteImage, side: int = SHOWN_SIDE) -> str:
    """A picture as a JPEG inside an address, reduced to this longer side."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(_reduced(rgb, side)).save(file, "JPEG", quality=JPEG_QUALITY)
    return jpeg_address(file.getvalue())


def exact_address(rgb: ByteImage) -> str:
    """A picture inside an address, without loss if it has few pixels, or is as plain as a plot with its fine lines."""
    small = _reduced(rgb, SHOWN_SIDE)
    few = small.shape[0] * small.shape[1] <= MOST_EXACT_PIXELS
    return _png_address(small) if few or _is_plain(small) else data_address(small)


def jpeg_address(data: bytes) -> str:
    """JPEG bytes inside an address."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _png_address(pixels: ByteImage) -> str:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _is_plain(rgb: ByteImage) -> bool:
    """Whether most pixels are as the one before, unlike in a photo."""
    return bool((rgb[:, 1:] == rgb[:, :-1]).all(axis=2).mean() > 0.5)


def _reduced(rgb: ByteImage, side: int) -> ByteImage:
    scale = min(1.0, side / max(rgb.shape[:2]))
    return resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
