"""Both servers as processes of their own, over loopback, with made-up people to find: what tests of them share."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pytest

from visagent.tools.private_match.authority import People, publish
from visagent.tools.private_match.channel import Channel, accept, connect, listen
from visagent.tools.private_match.client import PrivateGallery
from visagent.tools.private_match.local import READY
from visagent.tools.private_match.messages import Message, pack, unpack
from visagent.tools.private_match.paillier import STRENGTHS
from visagent.tools.private_match.parties import (
    KEY_FILE,
    USER,
    Place,
    ServerKey,
    Terms,
    UserKey,
    make_parties,
    read_private,
    server_role,
    write_private,
)
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.records import Records
from visagent.tools.recognition.calibration import Threshold
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one

SMALL: Final = 512
"""Bits of a key that keeps no secret: the same arithmetic, thirty times as fast."""
PATIENCE: Final = 30.0
"""Seconds in which a server must listen, or end."""
NEAR: Final = 0.9
"""Similarity from which somebody is named."""


def encoder(dimension: int = 32, model: str = "made up") -> EmbeddingContract:
    return EmbeddingContract(model=model, digest="0" * 16, dimension=dimension, alignment="none",
                             preprocessing="none")


def crowd(count: int, dimension: int = 32, seed: int = 0) -> People:
    """`Person 0`, `Person 1` and so on; of two no similarity is anywhere near `NEAR`."""
    templates = of_length_one(np.random.default_rng(seed).normal(size=(count, dimension)))
    return People([f"Person {place}" for place in range(count)], templates, count, encoder(dimension))


def probe(people: People, place: int, seed: int = 0) -> Embeddings:
    """Another picture of one of them."""
    template = people.templates[place:place + 1]
    noise = np.random.default_rng(seed).normal(size=template.shape) / np.sqrt(template.size)
    return of_length_one(template + 0.2 * noise)[0]


def stranger(people: People, seed: int = 1_000_000) -> Embeddings:
    """A picture of nobody among them."""
    return of_length_one(np.random.default_rng(seed).normal(size=(1, people.contract.dimension)))[0]


def free_places() -> tuple[Place, Place]:
    """Two ports of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return Place(port=one.getsockname()[1]), Place(port=other.getsockname()[1])


@cache
def keys(bits: int, number: int = 0) -> Mapping[str, str]:
    """What is in the key files of all parties, by their roles; every number is another set of keys."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRENGTHS, SMALL, 64)
        make_parties(Path(name), bits)
        return {file.parent.name: file.read_text() for file in Path(name).glob(f"*/{KEY_FILE}")}


def lives(process: int) -> bool:
    """Whether a process of this id runs; one that only waits to be counted out does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Process:
    """One server as a process, to be started, stopped and killed.

    Args:
        folder: Of all parties.
        party: 1 or 2.
        cores: To work on.
    """

    def __init__(self, folder: Path, party: int, cores: int = 1) -> None:
        self.folder, self.party, self.cores = folder / server_role(party), party, cores
        self._words = folder / f"words-{party}.txt"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin, and wait until it listens."""
        assert not self.runs
        self.begin()
        self.await_ready()

    def await_ready(self) -> None:
        process = self.process
        assert process.stdout is not None
        giving_up = threading.Timer(PATIENCE, process.kill)
        giving_up.start()
        line = process.stdout.readline()
        giving_up.cancel()
        assert READY in line, f"server {self.party} does not listen: {line}{self.words}"

    def begin(self) -> None:
        """Begin, and do not wait."""
        self._close()
        with self._words.open("a") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "visagent", "private", "serve", "--party", str(self.party), "--folder",
                 str(self.folder.parent), "--cores", str(self.cores)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True)

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def words(self) -> str:
        """All that it ever wrote to stderr."""
        return self._words.read_text() if self._words.exists() else ""

    @property
    def memory(self) -> int:
        """Bytes that it holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that work for it."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # ended meanwhile
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and "spawn_main" in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """As if its machine lost power."""
        if self.runs:
            self.process.kill()  # a stopped process dies of it too
            self.process.wait(PATIENCE)

    def restart(self) -> None:
        self.kill()
        self.start()

    def wait(self) -> int:
        """Until it has ended by itself; its status."""
        return self.process.wait(PATIENCE)

    def next_of(self, pool: str) -> int:
        """The first number of a pool that its ledger does not hold as used; read beside it, as SQLite allows."""
        connection = sqlite3.connect(f"file:{self.folder / 'ledger.sqlite'}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT max(number) + 1 FROM used WHERE pool = ?", (pool,)).fetchone()
        finally:
            connection.close()
        return int(row[0] or 0)

    def close(self) -> None:
        """Kill it, whatever it does, and all that works for it."""
        workers = self.workers if self.cores > 1 and self.runs else []
        self.kill()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


class NotSent(Exception):
    """A user has been kept from asking."""


class Unsent(PrivateGallery):
    """A user who writes messages, and sends none."""

    asked: Mapping[str, bytes]

    def _ask(self, asked: Mapping[str, bytes], progress: Any) -> dict[str, Message]:
        self.asked = dict(asked)
        raise NotSent


class House:
    """All parties: keys, an encrypted gallery, and both servers as processes, not running at first.

    Args:
        folder: An empty one.
        bits: Of the key.
        number: Another number is another key.
        cores: Of each server.
    """

    def __init__(self, folder: Path, bits: int = SMALL, number: int = 0, cores: int = 1) -> None:
        self.folder = folder
        for role, text in keys(bits, number).items():
            file = folder / role / KEY_FILE
            file.parent.mkdir(parents=True)
            file.touch(0o600)
            file.write_text(text)
        self.move(free_places())
        self.one, self.two = Process(folder, 1, cores), Process(folder, 2, cores)

    @property
    def servers(self) -> tuple[Process, Process]:
        return self.one, self.two

    def move(self, places: tuple[Place, Place], for_user: tuple[Place, Place] | None = None,
             for_peers: tuple[Place, Place] | None = None) -> None:
        """Where the servers listen, and where the user and the other server think that they do."""
        for party in (1, 2):
            file = self.folder / server_role(party) / KEY_FILE
            write_private(file, read_private(file, ServerKey).model_copy(update={
                "here": places[party - 1], "peer": (for_peers or places)[2 - party]}))
        file = self.folder / USER / KEY_FILE
        write_private(file, read_private(file, UserKey).model_copy(update={
            "servers": dict(zip((server_role(1), server_role(2)), for_user or places, strict=True))}))

    def server_key(self, party: int) -> ServerKey:
        return read_private(self.folder / server_role(party) / KEY_FILE, ServerKey)

    def publish(self, people: People, way: str = "shared", **options: Any) -> Terms:
        options.setdefault("threshold", Threshold(value=NEAR, fmr=0.01))
        options.setdefault("threshold_source", "made up")
        return publish(self.folder, people, way=way, **options)  # type: ignore[arg-type]

    def start(self) -> None:
        """Both servers at once."""
        for server in self.servers:
            server.begin()
        for server in self.servers:
            server.await_ready()

    def user(self, timeout: float = 20.0) -> PrivateGallery:
        return PrivateGallery(self.folder / USER, timeout)

    def call(self, party: int, role: str, timeout: float = 20.0) -> Channel:
        """A line to a server from somebody who has that role's key."""
        key, to = self.server_key(party), server_role(party)
        return connect(key.here.address(), role, to, key.public.key().id, key.links[role], timeout=timeout)

    @property
    def pool(self) -> str:
        """The id of the numbers dealt last."""
        key = self.server_key(1)
        records = Records(self.one.folder, key.storage, key.public.key().id)
        records.close()
        return records.pool.id

    def used(self) -> tuple[int, int]:
        """How many of these numbers each server's ledger holds as used."""
        pool = self.pool
        return self.one.next_of(pool), self.two.next_of(pool)

    def question(self, vector: np.ndarray) -> dict[str, dict[str, Any]]:
        """What a user would send each server, by its name; not sent."""
        user = Unsent(self.folder / USER)
        with pytest.raises(NotSent):
            user.identity_of(vector)
        return {role: dict(unpack(message).fields) for role, message in user.asked.items()}

    def galleries(self) -> dict[str, bytes]:
        """What the servers hold of the gallery, to see that it does not change."""
        return {f"{server.party}": (server.folder / "records.sqlite").read_bytes() for server in self.servers}

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def __enter__(self) -> House:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Fake:
    """In the place of a server, with its key: takes calls from who would call it.

    Args:
        house: Whose server; it must not run.
        party: Which.
    """

    def __init__(self, house: House, party: int) -> None:
        self._key = house.server_key(party)
        self._listener = listen(self._key.here.address())
        self._listener.settimeout(PATIENCE)

    def take(self, timeout: float = 20.0) -> Channel:
        """The next caller's line."""
        connection, _ = self._listener.accept()
        key = self._key
        return accept(connection, key.links, key.role, key.public.key().id, timeout=timeout)

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._listener.close()


def reply(line: Channel, message: bytes | dict[str, Any], limit_s: float = 10.0) -> Message:
    """Send one message, and take what comes back; what only tells that it takes longer is passed over."""
    line.send(message if isinstance(message, bytes) else pack(message))
    return heard(line, limit_s)


def heard(line: Channel, limit_s: float = 10.0) -> Message:
    """What comes, other than that it takes longer."""
    ends = time.monotonic() + limit_s
    while (answer := unpack(line.receive())).fields.get("kind") == "progress":
        assert time.monotonic() < ends, "neither an answer nor an error in time"
    return answer


def in_numbers(people: People, embedding: Embeddings) -> np.ndarray:
    """An embedding as the whole numbers that are sent."""
    return Quantiser(people.contract.dimension)(embedding)
