"""Findings as a piece of a page: pictures with their regions and masks, what tools drew, scores, who said what.

Everything is written by templates that escape whatever they are given: names, summaries and labels may come from a
picture, a model or a stranger. Pictures travel inside the page, so that no address serves them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, Template

from visagent.evidence import Artifact, ArtifactKind, Finding, Region, Score
from visagent.media import PictureStore
from visagent.terminal import clean, outcome
from visagent.ui.addresses import Addresses
from visagent.ui.artifact_view import ShownArtifact, ShownMask, figures_of, held, masks_on
from visagent.vision.draw import COLOURS, caption_of

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
        masks: What lies over it and can be taken away.
    """

    name: str
    source: str
    width: int
    height: int
    regions: tuple[ShownRegion, ...] = ()
    points: Points = ()
    masks: tuple[ShownMask, ...] = ()


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
        addresses: The pictures inside addresses so far; new ones are added, so that each is made once.
        panel: Tells the ids of this piece from those of other pieces on the page.
    """
    made = Addresses(pictures, {} if addresses is None else addresses)
    everything = [part for finding in findings for part in finding.with_parts()]
    artifacts = list(dict.fromkeys(artifact for finding in everything for artifact in finding.artifacts))

    def figures(finding: Finding) -> list[ShownArtifact]:
        return figures_of(finding.artifacts, pictures, made, caption)

    shown: list[ShownPicture] = []
    for image in _spoken_of(everything, pictures) or list(reversed(pictures.ids())):
        regions = list(dict.fromkeys(region for finding in everything for region in finding.regions
                                     if region.image == image))
        first = sum(len(picture.regions) for picture in shown)
        marked = tuple(ShownRegion(first + place, _colour(place), region) for place, region in enumerate(regions))
        masks = masks_on(image, artifacts, pictures, made, sum(len(picture.masks) for picture in shown))
        height, width = pictures.pixels(image).shape[:2]
        shown.append(ShownPicture(_name(image, artifacts, caption), made.picture(image), width, height, marked,
                                  landmarks(image) if image in pictures.ids() else (), masks))
    data = json.dumps([finding.model_dump(mode="json") for finding in findings], ensure_ascii=False, indent=2)
    return _template("evidence.html").render(
        title=title, panel=panel, pictures=shown, findings=findings, outcome=outcome, bar=bar, figures=figures,
        download="data:application/json;base64," + base64.b64encode(data.encode()).decode())


def _spoken_of(findings: Sequence[Finding], pictures: PictureStore) -> list[str]:
    """The pictures that findings speak of or lay something on, as far as they are still there."""
    named = dict.fromkeys(image for finding in findings for image in (
        *finding.images, *(region.image for region in finding.regions),
        *(artifact.image for artifact in finding.artifacts if artifact.kind is ArtifactKind.mask and artifact.image)))
    return [image for image in named if held(image, pictures)]


def _name(image: str, artifacts: Sequence[Artifact], caption: Callable[[str], str]) -> str:
    """What to call a picture of the session, or one that a tool drew."""
    return next((artifact.description for artifact in artifacts if artifact.handle == image), None) or caption(image)


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
