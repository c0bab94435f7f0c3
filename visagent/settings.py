"""One settings object, read once.

From weak to strong: defaults, `visagent.toml` in the user's settings folder (`~/.config/visagent` on Linux),
environment variables `VISAGENT_*`, then what the caller overrides (command-line options). An unknown key is an error,
so that a typing mistake never passes as a default. A `visagent.toml` beside the pictures is not read, on purpose: a
folder that somebody sent must not be able to choose the server that pictures go to.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from visagent.errors import SettingsError

ENV_PREFIX = "VISAGENT_"
# Variables of the same prefix that are no settings: where the tests find the public benchmark pictures.
_OTHER_VARIABLES = frozenset({"VISAGENT_DATA"})


class Settings(BaseSettings):
    """What a run of visagent is allowed and told to do. Frozen.

    Attributes:
        model: The vision-language model: a name of `visagent.weights`, a local folder, or a hub id (`ID@REVISION`).
        engine: `local` (transformers, in this process), `vllm` (an OpenAI-compatible server), `scripted` (tests).
        adapter: Folder of a LoRA adapter for the model; `local` engine only.
        load_in_4bit: Load the model in 4 bits; `local` engine only, needs the extra `quantised`.
        server_url: Base URL of the server; `vllm` engine only.
        api_key: Key for that server.
        device: Where models run; `auto` takes the GPU if there is one, `cuda` never falls back.
        max_question_characters: Longer questions are refused.
        max_tool_calls: Calls of tools in one answer.
        max_pictures: Pictures in one session.
        timeout_seconds: Longest wait for one answer of a model server.
        offline: Never ask a model hub.
        encoder: ONNX file of an ArcFace-type network that compares faces; dlib's network if None.
        fairness_module: Folder of a module from `visagent fairness train`, applied after the encoder.
        calibration: Threshold file of that encoder, from `visagent calibrate`; the shipped one if None.
        gallery: Where people are enrolled: a folder, or `postgresql://user@host/name`; the user's data folder if None.
        collection: Which set of people of the gallery.
        private: Folder of a user of a private gallery (`visagent private`), for the tool `private_identify`.
        retention_days: People are forgotten after as many days; None leaves what the collection has.
        keep_scores: Keep the mated scores that identification sees (no pictures), for `visagent drift`.
        wanted_fmr: False-match rate at which two faces are called the same.
        wanted_fpir: Share of searches for a stranger that may name somebody; the threshold follows from it and from
            the gallery's size.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)] = "visagent-nano"
    engine: Literal["local", "vllm", "scripted"] = "local"
    adapter: Path | None = None
    load_in_4bit: bool = False
    server_url: str = "http://127.0.0.1:8000/v1"
    api_key: SecretStr | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_question_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 8000
    max_tool_calls: Annotated[int, Field(ge=1, le=64)] = 8
    max_pictures: Annotated[int, Field(ge=1, le=256)] = 16
    timeout_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 120.0
    offline: bool = False
    encoder: Path | None = None
    fairness_module: Path | None = None
    calibration: Path | None = None
    gallery: str | None = None
    collection: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    private: Path | None = None
    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    keep_scores: bool = True
    wanted_fmr: Annotated[float, Field(gt=0, le=0.1)] = 1e-3
    wanted_fpir: Annotated[float, Field(gt=0, le=0.1)] = 1e-2

    @field_validator("server_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write it like http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("give the key as api_key, not inside the address")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
                                   env_settings: PydanticBaseSettingsSource,
                                   dotenv_settings: PydanticBaseSettingsSource,
                                   file_secret_settings: PydanticBaseSettingsSource,
                                   ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides, then the environment, then the user's file; no `.env`."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=settings_file())


def settings_file() -> Path:
    """Where the user's `visagent.toml` is read from, whether it exists or not."""
    return platformdirs.user_config_path("visagent", appauthor=False) / "visagent.toml"


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of this run; with `offline`, model-hub libraries loaded after this call stay off the network too.

    Args:
        overrides: Strongest values by field name; None means "not given".

    Raises:
        SettingsError: An unknown key or variable, a value out of range, or a file that is not TOML.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | _OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"Unknown variable {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None  # `from None`: the original repeats the values
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"visagent.toml in the settings folder is not valid TOML: {error}.") from None
    except (SourceError, OSError, UnicodeDecodeError):
        raise SettingsError("visagent.toml in the settings folder or a VISAGENT_ variable cannot be read.") from None
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return settings


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            problems.append(f"there is no setting {name!r} (known: {', '.join(Settings.model_fields)})")
        else:
            problems.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return f"Settings: {'; '.join(problems)}."
