"""One owner for everything heavy: weights load on first use, are kept once, and can be released."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from visagent.errors import EngineError

if TYPE_CHECKING:
    from visagent.tools.contract import VisionLanguageModel

LoadedT = TypeVar("LoadedT")


class Models:
    """The loaded models of one process.

    Args:
        open_vision_language_model: Makes the engine that tools may look through, on first use; None where there is
            none, and then only the specialists answer.

    Thread-safe: two callers that ask for the same model wait for one load.
    """

    def __init__(self, open_vision_language_model: Callable[[], VisionLanguageModel] | None = None) -> None:
        self._open_vision_language_model = open_vision_language_model
        self._loaded: dict[Callable[[], object], object] = {}
        self._lock = threading.RLock()

    def get(self, load: Callable[[], LoadedT]) -> LoadedT:
        """The result of `load()`, which must be a module-level function: it is called once and its result kept."""
        with self._lock:
            if load not in self._loaded:
                self._loaded[load] = load()
            return cast(LoadedT, self._loaded[load])

    @property
    def has_vision_language_model(self) -> bool:
        """Whether a tool may look through a vision-language model."""
        return self._open_vision_language_model is not None

    def vision_language_model(self) -> VisionLanguageModel:
        """The vision-language model. Raises EngineError if this process has none, or if it cannot be loaded."""
        if self._open_vision_language_model is None:
            raise EngineError("No vision-language model is set up; choose one with --model and --engine.")
        return self.get(self._open_vision_language_model)

    def release(self) -> None:
        """Drop every loaded model; the next use loads it anew."""
        with self._lock:
            self._loaded.clear()
