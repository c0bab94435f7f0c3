"""A gallery in a folder of its own, made-up templates, and a PostgreSQL server where Debian's is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visagent.gallery import Gallery
from visagent.gallery.database import Location
from visagent.gallery.records import NewSample
from visagent.vision.encoder import EmbeddingContract, Embeddings

CONTRACT = EmbeddingContract(model="made-up", digest="0" * 16, dimension=64, alignment="none", preprocessing="none")


@pytest.fixture
def contract() -> EmbeddingContract:
    """Of 64 numbers."""
    return CONTRACT


@pytest.fixture
def draw() -> Callable[[], Embeddings]:
    """A new template with every call."""
    source = np.random.default_rng(5)

    def template() -> Embeddings:
        value = source.standard_normal(64)
        return np.asarray(value / np.linalg.norm(value), np.float32)

    return template


@pytest.fixture
def sample(draw: Callable[[], Embeddings]) -> Callable[..., NewSample]:
    """A new sample; of a given picture and embedding if wanted."""
    numbers = iter(range(10_000))

    def make(picture: str | None = None, embedding: Embeddings | None = None) -> NewSample:
        return NewSample(draw() if embedding is None else embedding, picture or f"picture {next(numbers)}")

    return make


def jpeg_of(seed: int, side: int = 160) -> bytes:
    """A thumbnail of coarse noise, 10 kB: longer than a page of SQLite, so that it lies in several."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 2, side // 2, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(file, "JPEG", quality=80)
    return file.getvalue()


@pytest.fixture
def thumbnail() -> Callable[..., bytes]:
    """`thumbnail(seed)`: a small JPEG, another for each number."""
    return jpeg_of


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a fresh PostgreSQL server on loopback; the test is skipped where the server is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or shutil.which("runuser") is None or os.geteuid() != 0:
        pytest.skip("Debian's postgresql is not installed, or this is not root")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("postgresql")
    for folder in (home, *list(home.parents)[:3]):
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    shutil.chown(home, "postgres")

    def as_postgres(program: str, *arguments: str) -> None:
        subprocess.run(["runuser", "-u", "postgres", "--", str(programs[-1] / program), *arguments], check=True,
                       cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)

    as_postgres("initdb", "-D", str(home / "data"), "--auth=trust", "--username=visagent")
    as_postgres("pg_ctl", "-D", str(home / "data"), "-w", "-l", str(home / "log"), "-o",
                f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home}", "start")
    try:
        as_postgres("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "visagent", "gallery")
        yield f"postgresql://visagent@127.0.0.1:{port}/gallery"
    finally:
        as_postgres("pg_ctl", "-D", str(home / "data"), "-m", "fast", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Where a gallery may live: in a file, and in a server whose database is emptied before."""
    if request.param == "sqlite":
        yield Location(tmp_path / "gallery")
        return
    url = request.getfixturevalue("postgresql")
    from sqlalchemy import create_engine, make_url, text

    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    yield Location(tmp_path / "gallery", url)


@pytest.fixture
def gallery(location: Location) -> Iterator[Gallery]:
    """An empty gallery."""
    with Gallery(location, CONTRACT) as opened:
        yield opened
