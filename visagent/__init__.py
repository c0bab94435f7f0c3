"""visagent: questions about faces, answered on your own machine, with evidence.

```python
from visagent import Agent, load_picture

answer = Agent().ask("Is this a live face or a spoof? Why?", load_picture("photo.jpg"))
```

Importing this package is cheap: every name below loads its module when it is first used, and no model before it is
needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visagent.agent import Agent, Answer
    from visagent.evidence import Finding
    from visagent.media import load_picture
    from visagent.settings import Settings
    from visagent.verbs import enrol, expression, faces, forget, identify, people, spoof, verify

__version__ = "0.1.0"

__all__ = ["Agent", "Answer", "Finding", "Settings", "__version__", "enrol", "expression", "faces", "forget",
           "identify", "load_picture", "people", "spoof", "verify"]

_HOME = {
    "Agent": "visagent.agent",
    "Answer": "visagent.agent",
    "Finding": "visagent.evidence",
    "Settings": "visagent.settings",
    "expression": "visagent.verbs",
    "enrol": "visagent.verbs",
    "faces": "visagent.verbs",
    "forget": "visagent.verbs",
    "identify": "visagent.verbs",
    "people": "visagent.verbs",
    "load_picture": "visagent.media",
    "spoof": "visagent.verbs",
    "verify": "visagent.verbs",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'visagent' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
