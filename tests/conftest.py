"""What every test shares: no network but loopback, fixed seeds, nobody's own settings, one public-domain face."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

# Before numpy or torch are imported: their thread pools are sized once.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", LANGSMITH_TRACING="false",
                  TOKENIZERS_PARALLELISM="false")

import hypothesis
import numpy as np
import pytest

from visagent.media import PictureStore, picture_from_array
from visagent.tools.models import Models

hypothesis.settings.register_profile("visagent", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile("visagent")
LOOPBACK = ("127.", "::1", "localhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-screenshots", action="store_true",
                     help="write the screenshots of the page into docs/images")


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Whatever reaches for the network fails the test that runs it."""
    with pytest.MonkeyPatch.context() as patch:
        connect, connect_ex, lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

        def allow(host: object) -> None:
            if not str(host).startswith(LOOPBACK):
                raise PermissionError(f"a test reached for the network ({host})")

        def guarded_connect(self: socket.socket, address: object) -> object:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                allow(address[0])  # type: ignore[index]
            return connect(self, address)  # type: ignore[arg-type]

        def guarded_connect_ex(self: socket.socket, address: object) -> object:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                allow(address[0])  # type: ignore[index]
            return connect_ex(self, address)  # type: ignore[arg-type]

        def guarded_lookup(host: object, *args: object, **options: object) -> object:
            if host:
                allow(host.decode() if isinstance(host, bytes) else host)
            return lookup(host, *args, **options)  # type: ignore[arg-type]

        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither the environment nor the settings file of whoever runs the tests has a say."""
    for name in list(os.environ):
        if name.startswith("VISAGENT_") and name != "VISAGENT_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-settings"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """Eileen Collins, NASA portrait, public domain: RGB uint8 `[512, 512, 3]`, read-only, one face."""
    from skimage.data import astronaut

    pixels: np.ndarray = astronaut()
    pixels.flags.writeable = False
    return pixels


@pytest.fixture
def session(astronaut: np.ndarray) -> PictureStore:
    """A session that holds the astronaut as `image_1`."""
    store = PictureStore()
    store.add(picture_from_array(astronaut))
    return store


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The public benchmark pictures; the test is skipped where they are absent."""
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("VISAGENT_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("VISAGENT_DATA names no folder")
    return folder


@pytest.fixture(scope="session")
def specialists() -> Models:
    """One owner of the specialist models for all tests, so that each loads once; no vision-language model."""
    return Models()
