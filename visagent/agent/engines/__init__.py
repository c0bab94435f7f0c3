"""Engines: one vision-language model interface, three places where the model can be. One file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visagent.errors import SettingsError

if TYPE_CHECKING:
    from visagent.agent.engines.base import Engine
    from visagent.settings import Settings


def open_engine(settings: Settings) -> Engine:
    """Open the engine that the settings name.

    Raises:
        EngineError: The model cannot be loaded, or the server cannot be used.
        WeightsError: The model or the adapter is missing, or in a refused format.
        SettingsError: A setting that this engine cannot honour.
    """
    if settings.engine == "local":
        from visagent.agent.engines.local import open_local

        return open_local(settings)
    if settings.adapter is not None or settings.load_in_4bit:
        raise SettingsError("adapter and load_in_4bit belong to the engine 'local'; give them to the server instead.")
    if settings.engine == "vllm":
        from visagent.agent.engines.vllm import open_vllm

        return open_vllm(settings)
    from visagent.agent.engines.scripted import ScriptedEngine

    return ScriptedEngine()
