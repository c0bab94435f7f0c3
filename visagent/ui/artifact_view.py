"""What tools drew, as pieces of a page: by kind only, so that a new tool's pictures appear without code of their own.

A picture or plot is a figure, a mask lies on its picture and can be taken away, a comparison has a dividing line that
moves. What the session no longer holds leaves no gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visagent.errors import UnknownPicture
from visagent.evidence import Artifact, ArtifactKind, Box
from visagent.media import PictureStore
from visagent.ui.addresses import Addresses


@dataclass(frozen=True, slots=True)
class ShownMask:
    """A mask on a picture of the page.

    Attributes:
        number: Tells it from the others of the page.
        description: What it shows.
        source: Its layer as a data address.
        place: Where it lies, in pixels of the picture.
    """

    number: int
    description: str
    source: str
    place: Box


@dataclass(frozen=True, slots=True)
class ShownArtifact:
    """A figure of the page: a picture or plot, or a comparison.

    Attributes:
        description: What it shows.
        source: Its pixels as a data address.
        width: Of the artifact, in pixels.
        height: The same.
        before: What it is held against, as a data address; None for a picture by itself.
        before_name: What to call that.
    """

    description: str
    source: str
    width: int
    height: int
    before: str | None = None
    before_name: str = ""


def masks_on(image: str, artifacts: Sequence[Artifact], pictures: PictureStore, addresses: Addresses, first: int
             ) -> tuple[ShownMask, ...]:
    """The masks that lie on a picture.

    Args:
        image: Its id.
        artifacts: Among them the masks.
        pictures: The session's.
        addresses: Makes the layers.
        first: Number of the first one.
    """
    height, width = pictures.pixels(image).shape[:2]
    shown: list[ShownMask] = []
    for artifact in artifacts:
        if artifact.kind is not ArtifactKind.mask or artifact.image != image or not held(artifact.handle, pictures):
            continue
        place = artifact.box or Box(x1=0, y1=0, x2=width, y2=height)
        shown.append(ShownMask(first + len(shown), artifact.description, addresses.layer(artifact.handle), place))
    return tuple(shown)


def figures_of(artifacts: Sequence[Artifact], pictures: PictureStore, addresses: Addresses,
               caption: Callable[[str], str]) -> list[ShownArtifact]:
    """What stands by itself: pictures, plots and comparisons, in their order.

    Args:
        artifacts: Of one finding.
        pictures: The session's.
        addresses: Makes the addresses.
        caption: What to call a picture, by its id.
    """
    shown = []
    for artifact in artifacts:
        if artifact.kind is ArtifactKind.mask or not held(artifact.handle, pictures):
            continue
        height, width = pictures.pixels(artifact.handle).shape[:2]
        before, name = None, ""
        if artifact.kind is ArtifactKind.comparison and artifact.image is not None:
            if not held(artifact.image, pictures):
                continue
            before, name = addresses.place(artifact.image, artifact.box), caption(artifact.image)
        source = addresses.drawn(artifact.handle)
        shown.append(ShownArtifact(artifact.description, source, width, height, before, name))
    return shown


def held(handle: str, pictures: PictureStore) -> bool:
    """Whether the session still has a picture."""
    try:
        pictures.pixels(handle)
    except UnknownPicture:
        return False
    return True
