"""Both servers as two processes of this machine, to try out what belongs on two machines of two owners."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Final

from visagent.errors import ServerUnreachable

READY: Final = "listens at"
"""What a server says on its first line."""
START_S: Final = 120.0
"""Seconds until both must listen; a gallery of a million people takes a while to read."""
STOP_S: Final = 5.0


class LocalServers:
    """Two running servers; close them, or use this as a context manager.

    Args:
        folder: Of all parties.
        cores: For each server.

    Raises:
        ServerUnreachable: One of them does not start; its own words tell why.
    """

    def __init__(self, folder: Path, cores: int = 1) -> None:
        # Into files: a pipe that nobody reads would fill, and stop a server that has much to say.
        self._words = [TemporaryFile("w+") for _ in (1, 2)]  # noqa: SIM115  closed by `close`
        self._processes = [_start(folder, party, cores, words) for party, words in enumerate(self._words, 1)]
        try:
            for process, words in zip(self._processes, self._words, strict=True):
                _wait_until_ready(process, words)
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> tuple[subprocess.Popen[str], ...]:
        """Server 1 and server 2."""
        return tuple(self._processes)

    def wait(self) -> None:
        """Until one of them ends. Raises ServerUnreachable if it does."""
        ended = threading.Event()

        def watch(process: subprocess.Popen[str]) -> None:
            process.wait()
            ended.set()

        for process in self._processes:
            threading.Thread(target=watch, args=(process,), daemon=True).start()
        ended.wait()
        raise ServerUnreachable("One of the two servers ended.")

    def close(self) -> None:
        """End both."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        for words in self._words:
            words.close()

    def __enter__(self) -> LocalServers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _start(folder: Path, party: int, cores: int, words: IO[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "visagent", "private", "serve", "--party", str(party), "--folder", str(folder),
               "--cores", str(cores), "--while-stdin"]
    # A server reads its standard input to the end: whatever becomes of this process, none outlives it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True)


def _wait_until_ready(process: subprocess.Popen[str], words: IO[str]) -> None:
    said: list[str] = []

    def read() -> None:
        said.append("" if process.stdout is None else process.stdout.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(START_S)
    if said and READY in said[0]:
        return
    process.kill()
    process.wait()
    words.seek(0)
    why = words.read().strip().removeprefix("visagent: ")
    raise ServerUnreachable(f"A server did not start: {why}" if why else "A server did not start in time.")
