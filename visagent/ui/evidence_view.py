"""Findings as a piece of a page: pictures with their regions, scores against thresholds, who said what.

Everything is written by a template that escapes whatever it is given: names, summaries and labels may come from a
picture, a model or a stranger. Pictures travel inside the page, so that no address serves them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Final

from jinja2 import Environment, PackageLoader, Template

from visagent.evidence import Finding, Region, Score
from visagent.media import PictureStore
from visagent.terminal import clean, outcome
from visagent.vision.crop import ByteImage, resize
from visagent.vision.draw import COLOURS, caption_of

SHOWN_SIDE: Final = 1024
"""Longer side of a picture on the page, in pixels."""
JPEG_QUALITY: Final = 88

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ShownRegion:
    """A region on a picture of the page: its number there, colour, label and box, in pixels of the picture."""

    number: int
    colour: str
    region: Region

    @property
    def label(self) -> str:
        """As on annotated pictures."""
        return caption_of(self.region)


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture of the page.

    Attributes:
        name: Its id, or what it shows.
        source: The pixels as a data address.
        width: Of the picture itself, in pixels.
        height: The same.
        regions: What is drawn on it.
        points: Landmarks, (x, y) in pixels of the picture.
    """

    name: str
    source: str
    width: int
    height: int
    regions: tuple[ShownRegion, ...] = ()
    points: Points = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A score on a line from the least to the greatest value that makes sense: places in percent."""

    value: float
    threshold: float | None


def evidence_html(title: str, findings: Sequence[Finding], pictures: PictureStore, *,
                  caption: Callable[[str], str] = str,
                  landmarks: Callable[[str], Points] = lambda picture: (),
                  addresses: dict[str, str] | None = None, panel: str = "chat") -> str:
    """The evidence of one answer.

    Args:
        title: What was asked.
        findings: What tools found.
        pictures: The conversation's pictures; those that the findings speak of are shown; all if they speak of none,
            the newest first.
        caption: What to call a picture, by its id.
        landmarks: Points to draw on a picture, by its id.
        addresses: The pictures inside addresses, by id, so far; new ones are added, so that each is made once.
        panel: Tells the ids of this piece from those of other pieces on the page.
    """
    made = {} if addresses is None else addresses
    everything = [part for finding in findings for part in finding.with_parts()]
    named = dict.fromkeys(image for finding in everything
                          for image in (*finding.images, *(region.image for region in finding.regions)))
    ids = [image for image in named if image in pictures.ids()] or list(reversed(pictures.ids()))
    shown, number = [], 0
    for image in ids:
        regions = list(dict.fromkeys(region for finding in everything for region in finding.regions
                                     if region.image == image))
        marked = tuple(ShownRegion(number + place, _colour(place), region) for place, region in enumerate(regions))
        number += len(regions)
        picture = pictures.get(image)
        if image not in made:
            made[image] = data_address(picture.rgb)
        shown.append(ShownPicture(caption(image), made[image], picture.width, picture.height, marked,
                                  landmarks(image)))
    data = json.dumps([finding.model_dump(mode="json") for finding in findings], ensure_ascii=False, indent=2)
    return _template("evidence.html").render(
        title=title, panel=panel, pictures=shown, findings=findings, outcome=outcome, bar=bar,
        download="data:application/json;base64," + base64.b64encode(data.encode()).decode())


def data_address(rgb: ByteImage, side: int = SHOWN_SIDE) -> str:
    """A picture as a JPEG inside an address, reduced to this longer side."""
    from PIL import Image

    scale = min(1.0, side / max(rgb.shape[:2]))
    file = BytesIO()
    Image.fromarray(resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))).save(
        file, "JPEG", quality=JPEG_QUALITY)
    return jpeg_address(file.getvalue())


def jpeg_address(data: bytes) -> str:
    """JPEG bytes inside an address."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def bar(score: Score) -> Bar | None:
    """Where a score and its threshold stand on a line; None for a number that has no scale."""
    least, greatest = (0.0, 1.0)
    if score.threshold is None or not least <= min(score.value, score.threshold) <= max(
            score.value, score.threshold) <= greatest:
        return None
    return Bar(100 * score.value, 100 * score.threshold)


def render(template: str, **values: object) -> str:
    """A template of this room with these values, escaped."""
    return _template(template).render(**values)


def _colour(place: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[place % len(COLOURS)])


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("visagent.ui"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                       finalize=_without_control)


def _without_control(value: object) -> object:
    """Text without characters that change its direction or that nobody sees; addresses of pictures hold none."""
    return clean(value) if type(value) is str and not value.startswith("data:") else value


def _template(name: str) -> Template:
    return _environment().get_template(name)
