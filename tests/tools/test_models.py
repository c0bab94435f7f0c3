"""The owner of heavy things: loads once, keeps, lets go."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from visagent.errors import EngineError
from visagent.tools.models import Models

LOADS: list[str] = []


def load_slowly() -> object:
    LOADS.append("slowly")
    time.sleep(0.02)
    return object()


def load_other() -> object:
    LOADS.append("other")
    return object()


@pytest.fixture(autouse=True)
def _no_loads() -> None:
    LOADS.clear()


def test_two_callers_wait_for_one_load() -> None:
    models = Models()
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: models.get(load_slowly), range(8)))
    assert LOADS == ["slowly"]
    assert len({id(model) for model in loaded}) == 1


def test_each_loader_has_its_own_model_and_each_owner_its_own_copies() -> None:
    models = Models()
    assert models.get(load_slowly) is not models.get(load_other)
    assert Models().get(load_slowly) is not models.get(load_slowly)


def test_what_was_released_is_loaded_anew() -> None:
    models = Models()
    first = models.get(load_other)
    models.release()
    assert models.get(load_other) is not first
    assert LOADS == ["other", "other"]


def test_without_an_engine_it_says_how_to_choose_one() -> None:
    assert not Models().has_vision_language_model
    with pytest.raises(EngineError, match="--engine"):
        Models().vision_language_model()


def test_a_failed_load_is_tried_again() -> None:
    attempts = []

    def load() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise EngineError("not yet")
        return "loaded"

    models = Models()
    with pytest.raises(EngineError):
        models.get(load)
    assert models.get(load) == "loaded"
