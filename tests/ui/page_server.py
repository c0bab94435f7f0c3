"""The page as a person meets it: the real server in a process of its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / "visagent" / "assets"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running page: its address, the folder of its gallery, and its process."""

    url: str
    gallery: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """`visagent chat` with a gallery of its own, until the end of the block."""
    gallery = folder / "gallery"
    own = {**os.environ, "VISAGENT_GALLERY": str(gallery), "XDG_DATA_HOME": str(folder / "data"),
           "XDG_CONFIG_HOME": str(folder / "config"), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **environment}
    own.pop("VISAGENT_DATA", None)
    process = subprocess.Popen([sys.executable, "-m", "visagent", "chat", "--no-browser", *arguments], env=own,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    lines: queue.Queue[str] = queue.Queue()

    assert process.stdout is not None
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True)
    reader.start()
    said, deadline = "", time.monotonic() + START_SECONDS
    try:
        while "visagent chat: " not in said:
            try:
                said += lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"the page did not start: {said}")
        yield Server(said.split("visagent chat: ")[1].split()[0], gallery, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stdout.close()
