"""Settings: which source wins, what is refused, and what messages keep to themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from visagent.errors import SettingsError
from visagent.settings import Settings, load_settings, settings_file


def write_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    assert settings_file().is_relative_to(folder)
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(text)


def test_the_default_runs_on_this_machine_alone() -> None:
    settings = load_settings()
    assert settings.model == "visagent-nano"
    assert settings.engine == "local"
    assert settings.adapter is None
    assert settings.api_key is None
    assert settings.server_url.startswith("http://127.0.0.1:")


def test_overrides_beat_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_settings(monkeypatch, tmp_path, 'max_pictures = 3\nmax_tool_calls = 3\nmodel = "from-file"\n')
    monkeypatch.setenv("VISAGENT_MAX_TOOL_CALLS", "4")
    monkeypatch.setenv("VISAGENT_MODEL", "from-environment")
    settings = load_settings({"model": "from-override"})
    assert (settings.max_pictures, settings.max_tool_calls, settings.model) == (3, 4, "from-override")
    assert settings.max_question_characters == 8000


def test_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGENT_ENGINE", "vllm")
    assert load_settings({"engine": None, "adapter": None}).engine == "vllm"


def test_an_empty_variable_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGENT_MODEL", "")
    assert load_settings().model == "visagent-nano"


def test_values_are_read_as_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGENT_LOAD_IN_4BIT", "true")
    monkeypatch.setenv("VISAGENT_ADAPTER", "adapters/one")
    settings = load_settings()
    assert settings.load_in_4bit is True
    assert settings.adapter == Path("adapters/one")


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"no setting 'modle'.*max_pictures"):
        load_settings({"modle": "x"})


def test_an_unknown_key_of_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_settings(monkeypatch, tmp_path, 'enginee = "local"\n')
    with pytest.raises(SettingsError, match="no setting 'enginee'"):
        load_settings()


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGENT_ENGIEN", "local")
    with pytest.raises(SettingsError, match=r"VISAGENT_ENGIEN.*VISAGENT_ENGINE"):
        load_settings()


def test_the_variable_of_the_tests_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGENT_DATA", "anywhere")
    load_settings()


@pytest.mark.parametrize(("name", "value"), [
    ("engine", "cloud"), ("device", "tpu"), ("max_pictures", 0), ("max_tool_calls", 65), ("timeout_seconds", 0),
    ("timeout_seconds", float("nan")), ("max_question_characters", "many"), ("model", ""),
    ("server_url", "ftp://127.0.0.1"), ("server_url", "127.0.0.1:8000"), ("server_url", "http://"),
    ("server_url", "http://me:secret-7@127.0.0.1/v1"),
])
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name) as refusal:
        load_settings({name: value})
    assert "secret-7" not in str(refusal.value)


def test_a_file_that_is_not_toml_is_refused_without_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_settings(monkeypatch, tmp_path, "model = visagent-nano\n")
    with pytest.raises(SettingsError, match=r"visagent.toml .* not valid TOML") as refusal:
        load_settings()
    assert str(tmp_path) not in str(refusal.value)


def test_a_file_that_is_not_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_settings(monkeypatch, tmp_path, "")
    settings_file().write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(SettingsError):
        load_settings()


def test_a_file_beside_the_pictures_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "visagent.toml").write_text('server_url = "http://elsewhere.example/v1"\n')
    monkeypatch.chdir(tmp_path)
    assert "elsewhere" not in load_settings().server_url


def test_the_key_is_shown_nowhere() -> None:
    settings = load_settings({"api_key": "secret-7"})
    assert "secret-7" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "secret-7"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().model = "other"  # type: ignore[misc]


def test_offline_reaches_the_hub_libraries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    load_settings({"offline": False})
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    load_settings({"offline": True})
    assert os.environ["HF_HUB_OFFLINE"] == "1"
