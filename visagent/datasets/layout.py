"""What every reader of a released set asks of a folder, and says where it is laid out in another way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from visagent.errors import PictureError


class LayoutError(PictureError):
    """A folder is not laid out as the set is released; the message says what was expected and what is there."""


def found_in(folder: Path) -> str:
    """What is in a folder, for a message: at most eight names; no path of the host."""
    if not folder.is_dir():
        return f"{folder.name!r} is no folder"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return f"{folder.name!r} is empty"
    return f"{folder.name!r} holds " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def require(path: Path, root: Path, expected: str) -> Path:
    """The path, if it is there. Raises LayoutError, which names the path within `root` and what `root` holds."""
    if not path.exists():
        raise LayoutError(f"{expected}: expected {path.relative_to(root).as_posix()!r}, but {found_in(root)}.")
    return path


def find_one(root: Path, name: str, expected: str) -> Path:
    """The file of this name anywhere under `root`. Raises LayoutError if there is none, or several that differ."""
    found = sorted(root.rglob(name)) if root.is_dir() else []
    if not found:
        raise LayoutError(f"{expected}: expected a file {name!r}, but {found_in(root)} and nothing below it has that "
                          "name.")
    if len({path.read_bytes() for path in found}) > 1:
        raise LayoutError(f"{expected}: expected one file {name!r}, but there are {len(found)} that differ.")
    return found[0]


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a list that are not blank, stripped. Raises LayoutError for a list without any, or no text."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise LayoutError(f"{expected}: {path.name!r} is no text file that can be read.") from None
    kept = [line for line in lines if line]
    if not kept:
        raise LayoutError(f"{expected}: {path.name!r} is empty.")
    return kept


def not_listed(name: str, listed: Iterable[str], what: str, expected: str) -> LayoutError:
    """The error for a word that a reader does not know: it names the words that it does."""
    return LayoutError(f"{expected}: {name!r} is no known {what}; known are {', '.join(listed)}.")
