"""The gallery: who is enrolled, as encrypted templates. It knows names and embeddings, and a picture only by choice.

The database is the truth. What searches it (`index.py`) is made from the truth in memory and can be thrown away.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visagent.gallery.gallery import Gallery
    from visagent.gallery.index import TemplateIndex

__all__ = ["Gallery", "TemplateIndex"]

_HOME = {"Gallery": "visagent.gallery.gallery", "TemplateIndex": "visagent.gallery.index"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'visagent.gallery' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
