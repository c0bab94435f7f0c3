"""Every tool as a one-line verb, for Python and for the command line.

```python
import visagent

visagent.spoof("photo.jpg").answer          # "live", "spoof" or None, with scores and regions beside it
visagent.verify("a.jpg", "b.jpg").scores
```

`visagent.verbs.NAME` exists for every tool in `visagent.tools.TOOLS`; nothing is written here for a new one. A verb
needs no agent. One call loads what it needs and lets it go; to keep models between calls, pass `models=open_models()`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from visagent.clips import MAX_BYTES, read_bytes
from visagent.errors import ClipError, PictureError, VisagentError
from visagent.evidence import Finding, not_possible
from visagent.media import Picture, PictureStore, load_picture
from visagent.settings import Settings, load_settings
from visagent.tools.contract import Progress, Tool, ToolContext, ToolInput, untold
from visagent.tools.models import Models

AnyTool = Tool[Any]

PictureSource = str | os.PathLike[str] | bytes | BinaryIO | Picture
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
CLIP_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
_IMAGE_ID = "^image_[0-9]+$"
_CLIP_ID = "^clip_[0-9]+$"


class Verb(Protocol):
    """A tool as a function: pictures in, a `Finding` out."""

    def __call__(self, *pictures: PictureSource, settings: Settings | None = None, models: Models | None = None,
                 arguments: Mapping[str, object] | None = None, **fields: object) -> Finding:
        """Run the tool.

        Args:
            pictures: As many as the tool looks at: paths, bytes, open binary files or `Picture`s; or a clip, for a
                tool that looks at one.
            settings: Which model to look through and where; read from the environment and the user's file if None.
            models: Loaded models to share between calls; opened for this call alone if None.
            arguments: Further fields of the tool's input, by name.
            fields: The same as keywords: `identify("a.jpg", require_live=False)`. What the tool's input does not
                know is a finding that says so.

        Raises:
            PictureError: A picture cannot be read. What happens to a face is a finding, never an exception.
            SettingsError: A setting is unknown or out of range.
            TypeError: The wrong number of pictures.
        """
        ...


@dataclass(frozen=True, slots=True)
class PictureFields:
    """Which fields of a tool's input take pictures.

    Attributes:
        single: Required fields that take one picture each, in order.
        several: The field that takes a list of pictures, if there is one.
        clip: The required field that takes a clip, if there is one; then there are no others.
    """

    single: tuple[str, ...]
    several: str | None = None
    clip: str | None = None

    @property
    def looks(self) -> bool:
        """Whether there is any."""
        return bool(self.single) or self.several is not None or self.clip is not None

    def groups(self, pictures: Sequence[str]) -> list[tuple[str, ...]]:
        """How many pictures make calls of the tool.

        One picture per call where the tool looks at one; the first against each other one where it looks at two; all
        of them together where it takes a list.

        Raises:
            ValueError: Too few pictures, or a number that fits no call.
        """
        count = len(self.single)
        if self.clip is not None:
            if not pictures:
                raise ValueError("needs at least 1 clip")
            return [(picture,) for picture in pictures]
        if self.several is not None:
            if len(pictures) <= count:
                raise ValueError(f"needs at least {count + 1} {_pictures(count + 1)}")
            return [tuple(pictures)]
        if count == 1 and pictures:
            return [(picture,) for picture in pictures]
        if count == 2 and len(pictures) >= 2:
            return [(pictures[0], other) for other in pictures[1:]]
        if len(pictures) != count or count in (1, 2):
            least = "at least " if count in (1, 2) else ""
            raise ValueError(f"needs {least}{count} {_pictures(count)}")
        return [tuple(pictures)]

    def fill(self, ids: Sequence[str]) -> dict[str, object]:
        """The picture part of the tool's arguments, from picture ids in the order of the pictures."""
        if self.clip is not None:
            return {self.clip: ids[0]}
        arguments: dict[str, object] = dict(zip(self.single, ids, strict=False))
        if self.several is not None:
            arguments[self.several] = list(ids[len(self.single):])
        return arguments


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call of a tool on named inputs.

    Attributes:
        inputs: The pictures as the person named them; the first is `image_1` of the finding, and so on.
        finding: What the tool found, or why it could not look.
        pictures: The pictures that could be read, for drawing, and what the tool drew itself.
    """

    inputs: tuple[str, ...]
    finding: Finding
    pictures: PictureStore


def open_models(settings: Settings | None = None) -> Models:
    """The models of `settings`, each loaded on first use; share them between calls. Raises SettingsError."""
    chosen = load_settings() if settings is None else settings

    def open_vision_language_model() -> Any:
        from visagent.agent.engines import open_engine

        return open_engine(chosen)

    return Models(open_vision_language_model)


def picture_fields(input_model: type[ToolInput]) -> PictureFields:
    """Find the fields that take picture ids, from the input's JSON schema."""
    schema = input_model.model_json_schema()
    required = schema.get("required", [])
    single = tuple(name for name, field in schema["properties"].items()
                   if field.get("pattern") == _IMAGE_ID and name in required)
    several = [name for name, field in schema["properties"].items()
               if field.get("items", {}).get("pattern") == _IMAGE_ID]
    clip = next((name for name, field in schema["properties"].items()
                 if field.get("pattern") == _CLIP_ID and name in required), None)
    return PictureFields(single, several[0] if several else None, clip)


@dataclass(frozen=True, slots=True)
class PlainField:
    """A field of a tool's input that takes a text, a number, a yes or no, or one of several words.

    Attributes:
        name: Its name in the input.
        kind: `string`, `integer`, `number`, `boolean` or `choice`.
        description: What it is for.
        default: What it is if left out.
        choices: The words, for a choice.
        longest: Most characters of a text; None if there is no limit.
    """

    name: str
    kind: str
    description: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    longest: int | None = None


def plain_fields(input_model: type[ToolInput]) -> list[PlainField]:
    """The fields that a person can fill in, from the input's JSON schema; pictures and nested fields are left out."""
    pictures, schema = picture_fields(input_model), input_model.model_json_schema()
    found = []
    for name, field in schema["properties"].items():
        if name in pictures.single or name in (pictures.several, pictures.clip):
            continue
        kinds = [schema["$defs"][kind["$ref"].rsplit("/", 1)[1]] if "$ref" in kind else kind
                 for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
        kind = "choice" if "enum" in kinds[0] else kinds[0].get("type", "")
        if len(kinds) == 1 and kind in ("choice", "string", "integer", "number", "boolean"):
            found.append(PlainField(name, kind, field.get("description", ""), field.get("default"),
                                    tuple(kinds[0].get("enum", ())), kinds[0].get("maxLength")))
    return found


def expand(sources: Iterable[str], suffixes: Sequence[str] = PICTURE_SUFFIXES) -> list[str]:
    """Put a folder's pictures in place of the folder, and what a pattern matches in place of the pattern.

    Sorted by name within each. A folder is not searched below its first level; a pattern such as `photos/**/*.jpg` is.
    A folder or pattern without a picture stays as it is, so that it is reported and not lost. For clips, the other
    suffixes are `CLIP_SUFFIXES`.
    """
    found: list[str] = []
    for source in sources:
        if Path(source).is_dir():
            inside = sorted(str(path) for path in Path(source).iterdir() if path.suffix.lower() in suffixes)
            found += inside or [source]
        elif has_magic(source) and not Path(source).exists():
            matches = sorted(name for name in glob(source, recursive=True) if Path(name).is_file())
            found += matches or [source]
        else:
            found.append(source)
    return found


def open_picture(name: str) -> Picture:
    """Load the picture that a person named. Raises PictureError, whose message does not repeat the name."""
    path = Path(name)
    if path.is_dir():
        raise PictureError("The folder holds no JPEG, PNG, WebP or GIF picture.")
    if has_magic(name) and not path.exists():
        raise PictureError("No picture matches this pattern.")
    return load_picture(path)


def open_clip(name: str) -> bytes:
    """Read the clip that a person named. Raises ClipError, whose message does not repeat the name."""
    path = Path(name)
    if path.is_dir():
        raise ClipError("The folder holds no MP4, MOV, WebM, MKV or AVI clip.")
    if has_magic(name) and not path.exists():
        raise ClipError("No clip matches this pattern.")
    return read_bytes(path)


def each(tool: AnyTool, names: Sequence[str], *, settings: Settings, models: Models,
         arguments: Mapping[str, object] | None = None, draws: bool = False, progress: Progress = untold
         ) -> Iterator[Outcome]:
    """Run a tool over many named pictures, one finding per call.

    A picture that cannot be read gives a finding that says so, and the rest go on. With `draws` a finding has
    artifacts, which `Outcome.pictures` holds; `progress` is told how far a tool is that takes long. Raises ValueError
    for a number of pictures that fits no call, before anything is loaded.
    """
    fields = picture_fields(tool.input_model)
    for group in fields.groups(names):
        store = PictureStore(max_pictures=max(len(group), 1))
        try:
            if fields.clip is None:
                ids = [store.add(_open_named(name, alone=len(group) == 1)) for name in group]
            else:
                ids = [store.add_clip(open_clip(name)) for name in group]
        except VisagentError as error:
            yield Outcome(group, not_possible(tool.name, str(error)), store)
            continue
        context = ToolContext(pictures=store, models=models, settings=settings, draws=draws,
                              progress=progress)
        yield Outcome(group, tool.call({**(arguments or {}), **fields.fill(ids)}, context), store)


def verb(tool: AnyTool) -> Verb:
    """The tool as a Python function."""
    fields = picture_fields(tool.input_model)

    def run(*pictures: PictureSource, settings: Settings | None = None, models: Models | None = None,
            arguments: Mapping[str, object] | None = None, **further: object) -> Finding:
        few = len(pictures) < len(fields.single) + (fields.several is not None)
        if fields.clip is not None and len(pictures) != 1:
            raise TypeError(f"{tool.name} looks at 1 clip; {len(pictures)} given")
        if fields.clip is None and (few or (fields.several is None and len(pictures) > len(fields.single))):
            wanted = f"at least {len(fields.single) + 1}" if fields.several else str(len(fields.single) or "no")
            raise TypeError(f"{tool.name} looks at {wanted} {_pictures(len(fields.single))}; {len(pictures)} given")
        chosen = load_settings() if settings is None else settings
        store = PictureStore(max_pictures=max(len(pictures), 1))
        ids = [_add(source, store, as_clip=fields.clip is not None) for source in pictures]
        context = ToolContext(pictures=store, models=open_models(chosen) if models is None else models,
                              settings=chosen)
        return tool.call({**(arguments or {}), **further, **fields.fill(ids)}, context)

    run.__name__ = run.__qualname__ = tool.name
    run.__doc__ = tool.description
    return run


def _add(source: PictureSource, store: PictureStore, *, as_clip: bool) -> str:
    if not as_clip:
        return store.add(source if isinstance(source, Picture) else load_picture(source))
    if isinstance(source, Picture):
        raise TypeError("a clip is given as a path, as bytes, or as an open binary file")
    if isinstance(source, str | os.PathLike | bytes):
        return store.add_clip(read_bytes(source))
    return store.add_clip(read_bytes(source.read(MAX_BYTES + 1)))


def __getattr__(name: str) -> Verb:
    from visagent.tools import TOOLS

    for tool in TOOLS:
        if tool.name == name:
            return verb(tool)
    raise AttributeError(f"module 'visagent.verbs' has no attribute {name!r}")


def __dir__() -> list[str]:
    from visagent.tools import TOOLS

    return sorted({*globals(), *(tool.name for tool in TOOLS)})


def _open_named(name: str, *, alone: bool) -> Picture:
    try:
        return open_picture(name)
    except PictureError as error:
        # Among several pictures the person must learn which one it was; it is their own word for it, not a host path.
        raise error if alone else type(error)(f"{Path(name).name}: {error}") from None


def _pictures(count: int) -> str:
    return "picture" if count == 1 else "pictures"
