"""What a call leaves open, or turns round, is looked up in the person's own words.

Small models choose the tool and the picture, and little else: "is the left one real?" becomes a call without a face,
"are these two the same?" about one picture of two people a call for a second picture that is not there, and "remember
him as Tom" may even become a call to forget Tom. What the person wrote settles these; nothing is filled in that does
not stand there, and what the model did say is kept. A tool of which a model was not told is called by the words alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage

from visagent.errors import VisagentError
from visagent.tools.contract import Tool, ToolContext
from visagent.tools.subject import find_faces

_SOMEBODY: Final = (r"(?:one|face|person|man|woman|guy|girl|boy|lady|gentleman|child|kid|baby|dude|bloke|fellow|side|"
                    r"hand side)")
_PLACES: Final = {
    "left": re.compile(rf"\b(?:(?:on|to|at|from) (?:the |my |her |his |their )?(?:far )?left|left(?:most|[- ]hand)|"
                       rf"left {_SOMEBODY})\b", re.IGNORECASE),
    "middle": re.compile(rf"\b(?:(?:in|at) the (?:middle|cent(?:re|er))|(?:middle|cent(?:re|er)) {_SOMEBODY})\b",
                         re.IGNORECASE),
    "right": re.compile(rf"\b(?:(?:on|to|at|from) (?:the |my |her |his |their )?(?:far )?right|right(?:most|[- ]hand)|"
                        rf"right {_SOMEBODY})\b", re.IGNORECASE),
}
_COUNTED: Final = {number: re.compile(rf"\b(?:{word}|{number}(?:st|nd|rd|th)) {_SOMEBODY}\b|"
                                      rf"\b(?:face|person)(?: number| no\.?)? ?#?{number}\b", re.IGNORECASE)
                   for number, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"), 1)}
_OF_PICTURES: Final = re.compile(r"\b(?:left|right|middle|first|second|third)(?:most|[- ]hand)? "
                                 r"(?:picture|photo|pic|image|shot|snap)s?\b|"
                                 r"\b(?:picture|photo|pic|image|shot|snap)s? (?:on|to|at|in) the "
                                 r"(?:left|right|middle)\b", re.IGNORECASE)
_KEEP: Final = re.compile(r"\b(?:remember|enrol\w*|enlist\w*|register\w*|memori[sz]e\w*|save|store|keep|add|learn|"
                          r"sign (?:\w+ ){0,3}up|put (?:\w+ ){0,3}(?:in|into|on))\b", re.IGNORECASE)
_DROP: Final = re.compile(r"\b(?:forget\w*|forgot\w*|delet\w*|remov\w*|eras\w*|drop\w*|wip\w*|clear\w*|purg\w*|"
                          r"unenrol\w*|unregister\w*|unlearn\w*|discard\w*|unsubscrib\w*|withdr\w*|revok\w*|"
                          r"take (?:\w+ ){1,3}(?:out|off)|get rid|throw (?:\w+ ){0,3}(?:out|away)|no longer|"
                          r"not\b.{0,20}\b(?:keep|remember|store|save)|don'?t\b.{0,20}\b(?:keep|remember|store|save)|"
                          r"stop\b.{0,20}\b(?:keeping|remembering|storing))", re.IGNORECASE)

_IN_PRIVATE: Final = re.compile(r"\bprivate(?:ly)?\b|\bencrypt\w*|\bconfidential\w*|\bin secret\b|\bwithout "
                                r"(?:\w+ ){0,3}(?:showing|seeing|revealing|sending|telling|exposing|disclosing|"
                                r"learning|uploading|sharing)\b", re.IGNORECASE)


_MICRO: Final = re.compile(r"\bmicro[- ]?(?:expression|emotion)s?\b", re.IGNORECASE)
_THE_WORD: Final = re.compile(r"\bwhat(?:'?s| is| are| does) (?:an? |the (?:word|term) )?[\"']?micro", re.IGNORECASE)
"""What micro-expressions are is no question about a face."""
_BRIEF: Final = re.compile(r"\b(?:fleeting|involuntary|suppressed|hidden|brief|momentary|split[- ]second) "
                           r"(?:expression|emotion|movement)s?\b|\btwitch(?:es|ed)?\b|\bflash(?:es|ed)? "
                           r"(?:across|over)\b|\bfor (?:a split second|an instant|a moment)\b", re.IGNORECASE)
"""Of a clip the same is meant by these."""
_FIVE_CLASSES: Final = re.compile(r"\b(?:five|5)[- ](?:classes|class|emotions|way)\b", re.IGNORECASE)


def as_meant(name: str, arguments: Mapping[str, Any], tools: Mapping[str, Tool[Any]], messages: Sequence[BaseMessage],
             context: ToolContext) -> tuple[str, dict[str, Any]]:
    """A call with what the person's last words settle.

    Args:
        name: The tool that the model called.
        arguments: Its arguments.
        tools: All there are, by name.
        messages: The conversation so far.
        context: Where the pictures are; their faces are looked for only if the words speak of one of several.

    Returns:
        The tool's name and the arguments; as they came where the words settle nothing.
    """
    said = next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    settled = dict(arguments)
    if name == "identify" and "private_identify" in tools and _IN_PRIVATE.search(said):
        name, settled = "private_identify", {key: value for key, value in settled.items() if key != "person"}
    if name == "forget" and "enrol" in tools and _KEEP.search(said) and not _DROP.search(said):
        name, settled = _enrolled_instead(settled, context)
    tool = tools.get(name)
    try:
        if name == "verify":
            settled = _two_of_one_picture(settled, context)
        elif tool is not None and "face" in tool.input_model.model_fields and settled.get("face") is None:
            number = _face_in_words(said, _only_image(settled, context), context)
            if number is not None:
                settled["face"] = number
    except VisagentError:
        pass  # the tool meets the same difficulty, and says it better
    return name, settled


def call_in_words(said: str, tools: Collection[str], context: ToolContext) -> tuple[str, dict[str, Any]] | None:
    """The call that a person's words ask for of a tool that the model was not told of; None if they ask for none.

    A model that cannot read about a tool does not call it, and would say that there is no such thing.

    Args:
        said: What the person wrote.
        tools: Names of the tools that the model was not told of.
        context: Where the clips are.
    """
    clips = context.pictures.clip_ids()
    named = _MICRO.search(said) and not _THE_WORD.search(said)
    if "micro_expression" not in tools or not (named or (clips and _BRIEF.search(said))):
        return None
    arguments = {"clip": clips[-1] if clips else "clip_1"}  # without a clip the tool asks for one
    return "micro_expression", arguments | ({"classes": "5"} if _FIVE_CLASSES.search(said) else {})


def _enrolled_instead(arguments: dict[str, Any], context: ToolContext) -> tuple[str, dict[str, Any]]:
    """Who asks to keep somebody does not ask to forget them; without a picture there is nobody to keep."""
    newest = context.pictures.ids()[-1:]
    if not newest or "person" not in arguments:
        return "forget", arguments
    return "enrol", {"images": list(newest), "person": arguments["person"]}


def _only_image(arguments: Mapping[str, Any], context: ToolContext) -> object:
    """The one picture that a call is about, of a clip its first frame; None if it is about several."""
    if isinstance(arguments.get("clip"), str):
        return next(iter(context.pictures.frames_of(arguments["clip"])), None)
    images = arguments.get("images")
    return images[0] if isinstance(images, list) and len(images) == 1 else arguments.get("image")


def _two_of_one_picture(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    """The two faces of the only picture, where a second picture is asked for that is not there."""
    known = context.pictures.ids()
    if len(known) != 1 or arguments.get("face_a") or arguments.get("face_b"):
        return arguments
    wanted = {arguments.get("image_a"), arguments.get("image_b")}
    if known[0] not in wanted or len(find_faces(known[0], context)) != 2:
        return arguments
    return {"image_a": known[0], "image_b": known[0], "face_a": 1, "face_b": 2}


def _face_in_words(said: str, image: object, context: ToolContext) -> int | None:
    """The number of the face that the words point to, if they point to one, and to a face rather than a picture."""
    if not isinstance(image, str) or image not in context.pictures.ids() or _OF_PICTURES.search(said):
        return None
    places = [place for place, pattern in _PLACES.items() if pattern.search(said)]
    numbers = [number for number, pattern in _COUNTED.items() if pattern.search(said)]
    if len(places) + len(numbers) != 1:
        return None
    count = len(find_faces(image, context))
    if count < 2:
        return None
    if numbers:
        return numbers[0]
    if places[0] == "middle":
        return (count + 1) // 2 if count % 2 else None
    return 1 if places[0] == "left" else count
