"""One owner for everything heavy: weights load on first use, are kept once, and can be released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple, Unpack, cast, runtime_checkable

from visagent.errors import EngineError

if TYPE_CHECKING:
    from visagent.tools.contract import VisionLanguageModel

LoadedT = TypeVar("LoadedT")
ArgumentsT = TypeVarTuple("ArgumentsT")


@runtime_checkable
class Closeable(Protocol):
    """Something that holds a connection or a file."""

    def close(self) -> None:
        """Let it go."""
        ...


class Models:
    """The loaded models of one process.

    Args:
        open_vision_language_model: Makes the engine that tools may look through, on first use; None where there is
            none, and then only the specialists answer.

    Thread-safe: two callers that ask for the same model wait for one load.
    """

    def __init__(self, open_vision_language_model: Callable[[], VisionLanguageModel] | None = None) -> None:
        self._open_vision_language_model = open_vision_language_model
        self._loaded: dict[tuple[Hashable, ...], object] = {}
        self._lock = threading.RLock()

    def get(self, load: Callable[[Unpack[ArgumentsT]], LoadedT], *arguments: *ArgumentsT) -> LoadedT:
        """The result of `load(*arguments)`, kept for the next call with the same.

        Args:
            load: A function of a module or a class, which must give the same for the same arguments.
            arguments: Hashable.
        """
        key = (load, *arguments)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load(*arguments)
            return cast(LoadedT, self._loaded[key])

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
        """Drop every loaded model and close every open gallery; the next use loads it anew."""
        with self._lock:
            for loaded in self._loaded.values():
                if isinstance(loaded, Closeable):
                    loaded.close()
            self._loaded.clear()
