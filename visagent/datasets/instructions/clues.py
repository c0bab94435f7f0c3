"""What attack types and clues are called in sentences, and under which attribute of the reasoning walk a clue falls.

A clue's names are noun phrases of one number, so that sentences can agree with them ("eye holes are visible"). They
stay clear of words of denial ("a mouth that does not match"), which a reader of verdicts takes for a "not".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LIGHTING: Final = "Face Facial Lighting"
SHAPE: Final = "Global Shape Consistency of Facial Features"
DEPTH: Final = "Sense of Depth and Three-Dimensionality"
EDGES: Final = "Presence of Phone Screen or Paper Edges"

ATTRIBUTES: Final = (LIGHTING, SHAPE, DEPTH, EDGES)
"""The walk of FaceShield's reasoning answers, in order (its fact sheet, section 6; the names come from SHIELD)."""


@dataclass(frozen=True, slots=True)
class ClueWords:
    """The words for one clue.

    Attributes:
        attribute: One of `ATTRIBUTES`.
        names: Noun phrases with their article, all of one number.
        plural: Whether the names are plural.
        origin: What the clue comes from, as a noun phrase.
        marks: What a text that names the clue contains.
    """

    attribute: str
    names: tuple[str, ...]
    plural: bool
    origin: str
    marks: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class TypeWords:
    """The words for one attack type.

    Attributes:
        title: FaceShield's name of the class, capitalised: "Paper Mask".
        things: What stands before the camera, as noun phrases.
        area: What the box encloses where it is not the whole picture.
    """

    title: str
    things: tuple[str, ...]
    area: str


def _clue(attribute: str, number: str, names: str, origin: str, marks: str) -> ClueWords:
    return ClueWords(
        attribute,
        tuple(name.strip() for name in names.split("|")),
        number == "are",
        origin,
        re.compile(rf"\b(?:{marks})", re.IGNORECASE),
    )


CLUE_WORDS: Final[Mapping[str, ClueWords]] = {
    "halftone dots": _clue(
        DEPTH,
        "are",
        "halftone dots | the dots of a halftone | fine printing dots",
        "printing",
        r"halftone|(?:printing|printed|ink) dots",
    ),
    "paper grain": _clue(
        DEPTH,
        "is",
        "paper grain | the grain of paper | a paper texture",
        "paper",
        r"paper (?:grain|texture|fib)|(?:grain|texture|fibres|fibers) of (?:the )?paper",
    ),
    "a fold in the paper": _clue(
        SHAPE,
        "is",
        "a fold in the paper | a crease in the paper | a fold line",
        "a sheet of paper",
        r"fold (?:in|line|of the paper)|folded|creas",
    ),
    "glossy reflection": _clue(
        LIGHTING, "is", "a glossy reflection | a glossy streak of light", "glossy paper", r"gloss"
    ),
    "bent paper": _clue(
        SHAPE,
        "is",
        "bent paper | a bend in the paper | the curve of a bent sheet",
        "a loose sheet of paper",
        r"bent|bend|curv(?:e|ed) (?:of|sheet|paper)",
    ),
    "a paper edge": _clue(
        EDGES,
        "is",
        "a paper edge | the edge of a sheet of paper | a straight paper border",
        "a print",
        r"paper (?:edge|border)|(?:edge|border)s? of (?:a|the) (?:sheet|paper|print)",
    ),
    "moire pattern": _clue(
        DEPTH, "is", "a moire pattern | moire | a pattern of moire fringes", "a screen", r"moir[e\u00e9]"
    ),
    "screen pixel grid": _clue(
        DEPTH,
        "is",
        "a screen's pixel grid | a grid of screen pixels | the pixel grid of a display",
        "a screen",
        r"pixel grid|pixel structure|grid of (?:screen )?pixels",
    ),
    "brightness bands": _clue(
        LIGHTING,
        "are",
        "brightness bands | bands of uneven brightness | light and dark bands",
        "a screen",
        r"bands?\b|banding",
    ),
    "glare on a screen": _clue(
        LIGHTING,
        "is",
        "glare on a screen | glare on the display | a reflection on the glass of a screen",
        "a sheet of glass",
        r"glare|reflections? (?:on|in|from) (?:the |a )?(?:glass|screen|display)",
    ),
    "a screen edge": _clue(
        EDGES,
        "is",
        "a screen edge | the edge of a screen | the frame of a display",
        "a display",
        r"(?:screen|display|device|phone|tablet)(?:'s)? (?:edge|border|frame|bezel)|bezel|"
        r"(?:edge|border|frame)s? of (?:a|the) (?:screen|display|phone|tablet|device)",
    ),
    "a cut edge": _clue(
        EDGES,
        "is",
        "a cut edge | a sharp cut line | the outline of a cut",
        "something that was cut out",
        r"cut (?:edge|line|border)|(?:edge|line|outline) of (?:a|the) cut",
    ),
    "eye holes": _clue(
        SHAPE,
        "are",
        "eye holes | holes for the eyes | openings cut for the eyes",
        "a mask",
        r"eye ?holes|(?:holes|openings|cut-?outs) (?:cut )?(?:for|at|around) the eyes",
    ),
    "no skin texture": _clue(
        DEPTH,
        "is",
        "skin that has lost its texture | an unnaturally smooth surface | an even, poreless surface",
        "an artificial surface",
        r"(?:lost|missing) (?:its )?texture|smooth|poreless|no skin texture",
    ),
    "plastic shine": _clue(
        LIGHTING,
        "is",
        "a plastic shine | a shine as of plastic | a broad waxy shine",
        "a hard artificial material",
        r"(?:plastic|waxy)[- ](?:shine|sheen|look)|shine as of|shiny plastic",
    ),
    "seams at eyes and mouth": _clue(
        SHAPE,
        "are",
        "seams at the eyes and the mouth | dark seams around the eyes and the mouth",
        "a mask",
        r"seams?\b",
    ),
    "opaque lenses": _clue(
        DEPTH,
        "are",
        "opaque lenses | lenses that hide the eyes | lenses that let nobody see through",
        "glasses made to hide the eyes",
        r"opaque|lenses that (?:hide|let)",
    ),
    "a thick paper frame": _clue(
        SHAPE,
        "is",
        "a thick paper frame | a broad frame of paper | a thick frame around the eyes",
        "glasses made of paper",
        r"(?:thick|broad|paper|heavy) (?:paper )?frame|frame of paper",
    ),
    "eyes that do not match": _clue(
        SHAPE,
        "are",
        "mismatched eyes | eyes that are foreign to the face | eyes of another face",
        "something laid over the eyes",
        r"mismatched eyes|eyes that (?:are foreign|do not match|don't match|differ)|eyes of another",
    ),
    "a mouth that does not match": _clue(
        SHAPE,
        "is",
        "a mismatched mouth | a mouth that is foreign to the face | the mouth of another face",
        "something laid over the mouth",
        r"mismatched mouth|mouth that (?:is foreign|does not match|doesn't match|differs)|"
        r"mouth of another",
    ),
    "a hand that holds it": _clue(
        EDGES,
        "is",
        "a hand that holds it | a holding hand | a hand at the edge",
        "something held before the camera",
        r"(?:a|the|holding) hand\b|hands? (?:that|holding)|fingers",
    ),
    "washed-out colours": _clue(
        LIGHTING,
        "are",
        "washed-out colours | faded colours | pale, flattened colours",
        "a copied picture",
        r"washed[- ]out|faded|flattened colou?rs",
    ),
    "rubber folds": _clue(
        SHAPE,
        "are",
        "rubber folds | folds as of rubber | soft folds of a rubbery material",
        "a soft mask",
        r"rubber|folds as of",
    ),
    "an edge at the neck": _clue(
        EDGES,
        "is",
        "an edge at the neck | a visible edge along the neck | the rim of a mask at the neck",
        "something that ends at the neck",
        r"(?:edge|rim|border)[\w ]* (?:at|along|around|on) the neck|neck (?:edge|line)",
    ),
    "painted eyes": _clue(
        DEPTH,
        "are",
        "painted eyes | eyes that are painted on",
        "an artificial head",
        r"painted (?:on )?eyes|eyes that are painted",
    ),
    "moulded hair": _clue(
        SHAPE,
        "is",
        "moulded hair | hair moulded in one piece | solid, moulded hair",
        "an artificial head",
        r"mou?lded",
    ),
    "painted contours": _clue(
        SHAPE,
        "are",
        "painted contours | contours painted onto the face | painted lines of the face's shape",
        "paint on the face",
        r"painted (?:contour|line|shad)|contours? (?:that are )?painted|contour",
    ),
    "drawn brows": _clue(
        SHAPE,
        "are",
        "drawn brows | brows drawn onto the skin | pencilled brows",
        "paint on the face",
        r"(?:drawn|pencill?ed|painted)(?:[- ]on)? (?:eye)?brows|brows (?:that are )?drawn",
    ),
    "ink lines on the skin": _clue(
        DEPTH,
        "are",
        "ink lines on the skin | lines of ink on the skin | inked lines across the skin",
        "a drawing",
        r"ink(?:ed)? lines|lines of ink",
    ),
    "an ink pattern": _clue(
        SHAPE,
        "is",
        "an ink pattern | a pattern drawn in ink | an inked ornament",
        "a drawing",
        r"ink(?:ed)? (?:pattern|ornament|design)|pattern drawn in ink",
    ),
}
"""Words for every clue of `visagent.datasets.attacks.CLUES`."""

ABSENT: Final = (
    "halftone dots",
    "paper grain",
    "a paper edge",
    "moire pattern",
    "screen pixel grid",
    "a screen edge",
    "a cut edge",
    "eye holes",
    "seams at eyes and mouth",
)
"""Clues whose absence is worth saying of a live face: no live face has them. Live pictures do have
reflections, stripes, hands, haze and smoothed skin (`visagent.datasets.attacks.optical.present_live`)."""

TYPE_WORDS: Final[Mapping[str, TypeWords]] = {
    "print": TypeWords(
        "Print",
        ("a printed photograph of a face", "a face printed on paper", "a paper print of a face"),
        "the sheet of paper",
    ),
    "replay": TypeWords(
        "Replay", ("a face shown on a screen", "a face on a display", "a screen that shows a face"), "the screen"
    ),
    "paper mask": TypeWords(
        "Paper Mask",
        (
            "a paper mask with a printed face",
            "a printed paper mask over a face",
            "a person behind a paper mask",
        ),
        "the face",
    ),
    "rigid mask": TypeWords(
        "Rigid Mask",
        ("a hard mask over a face", "a person behind a stiff mask", "a face under a rigid mask"),
        "the face",
    ),
    "glasses": TypeWords(
        "Glasses",
        (
            "glasses that were made to hide the eyes",
            "a face behind disguising glasses",
            "disguising glasses over the eyes",
        ),
        "the eye region",
    ),
    "partial eye": TypeWords(
        "Partial Eye",
        (
            "a strip with printed eyes over a face",
            "printed eyes laid over a person's own",
            "a face with printed eyes on it",
        ),
        "the eye region",
    ),
    "partial mouth": TypeWords(
        "Partial Mouth",
        (
            "a strip with a printed mouth over a face",
            "a printed mouth laid over a person's own",
            "a face with a printed mouth on it",
        ),
        "the mouth region",
    ),
    "flexible mask": TypeWords(
        "Flexible Mask",
        ("a soft mask over a face", "a person behind a soft, flexible mask", "a face under a soft mask"),
        "the face",
    ),
    "fakehead": TypeWords(
        "Fakehead", ("an artificial head", "a mannequin head in place of a person", "the head of a dummy"), "the head"
    ),
    "makeup": TypeWords(
        "Makeup",
        ("a face changed by heavy makeup", "a face behind thick makeup", "makeup that changes a face"),
        "the face",
    ),
    "tattoo": TypeWords(
        "Tattoo",
        ("a face with a tattoo on it", "a tattoo drawn on a face", "a face marked by a tattoo"),
        "the marked skin",
    ),
}
"""Words for every attack type of `visagent.datasets.attacks.ATTACK_TYPES`."""
