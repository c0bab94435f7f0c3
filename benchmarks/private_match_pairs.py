"""Part of `private_match.py`: a made-up gallery on two servers, asked, timed, and its bytes counted."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from visagent.tools.private_match import channel
from visagent.tools.private_match.authority import People, publish
from visagent.tools.private_match.client import PrivateGallery
from visagent.tools.private_match.local import LocalServers
from visagent.tools.private_match.parties import Place, Way, make_parties, server_role
from visagent.tools.private_match.records import RECORDS_FILE
from visagent.tools.private_match.server import Server
from visagent.tools.private_match.wire import Wire
from visagent.tools.recognition.calibration import Threshold
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one

DIMENSION = 128
CONTRACT = EmbeddingContract(model="made-up", digest="0" * 16, dimension=DIMENSION, alignment="none",
                             preprocessing="none")
THRESHOLD = Threshold(value=0.9, fmr=1e-2)
PATIENCE = 7200.0


@dataclass
class Traffic:
    """Bytes on the wire for one query, with handshakes, frames and seals, and how often the servers exchange."""

    to_servers: int = 0
    to_user: int = 0
    between: int = 0
    exchanges: int = 0


@dataclass(frozen=True)
class AtRest:
    """Bytes in both servers' files.

    Attributes:
        template: Of each person, both servers together.
        query: Of the random numbers dealt for each query.
    """

    template: float
    query: float


def faces(count: int, seed: int = 0) -> Embeddings:
    """Embeddings of nobody."""
    return of_length_one(np.random.default_rng(seed).normal(size=(count, DIMENSION)))


def query_for(templates: Embeddings, person: int) -> Embeddings:
    """An embedding close to somebody's."""
    noise = np.random.default_rng(person).normal(size=(1, DIMENSION)) * 0.01
    near: Embeddings = of_length_one(templates[person:person + 1] + noise)[0]
    return near


class Pair:
    """Two servers with a gallery: published when made, running as two processes within `running`.

    Args:
        folder: For all parties; must not be there.
        way: How it is searched.
        templates: Of everybody.
        queries: How many will be asked.
        bits: Of the Paillier key.
    """

    def __init__(self, folder: Path, way: Way, templates: Embeddings, queries: int, bits: int = 2048) -> None:
        self._folder, self._templates, self._asked = folder, templates, 0
        make_parties(folder, bits, (Place(port=_free_port()), Place(port=_free_port())))
        people = People([f"person {row}" for row in range(len(templates))], templates, len(templates), CONTRACT)
        self.terms = publish(folder, people, THRESHOLD, "made up", way=way, queries=queries + 1)

    @contextmanager
    def running(self) -> Iterator[PrivateGallery]:
        """Both servers, one core each, and a user."""
        with LocalServers(self._folder):
            yield PrivateGallery(self._folder / "user", PATIENCE)

    def ask(self, gallery: PrivateGallery) -> None:
        """One question, with a look at the answer."""
        person = self._asked % len(self._templates)
        self._asked += 1
        found = gallery.identify(query_for(self._templates, person), CONTRACT)
        if found != f"person {person}":
            raise AssertionError(f"{found} was found instead of person {person}")

    def at_rest(self) -> AtRest:
        """From the files."""
        template = query = 0
        for party in (1, 2):
            with closing(sqlite3.connect(self._folder / server_role(party) / RECORDS_FILE)) as records:
                for kind, total in records.execute("SELECT kind, sum(length(sealed)) FROM rows GROUP BY kind"):
                    if kind == "dealt":
                        query += total
                    else:
                        template += total
        return AtRest(template / self.terms.records, query / _queries(self._folder))

    def traffic(self) -> Traffic:
        """Of one more query, with both servers in this process so that their ends of the lines can be counted."""
        with _counted() as ends:
            servers = [Server(self._folder / server_role(party)) for party in (1, 2)]
            for server in servers:
                threading.Thread(target=server.serve, daemon=True).start()
            self.ask(PrivateGallery(self._folder / "user", PATIENCE))
            for server in servers:
                server.close()
        traffic = Traffic()
        for end in ends:
            if end.peer == "user":
                traffic.to_servers += end.read_bytes
                traffic.to_user += end.written_bytes
            else:
                traffic.between += end.read_bytes + end.written_bytes
                traffic.exchanges = max(traffic.exchanges, end.exchanges)
        return traffic


class CountingWire(Wire):
    """Counts what goes through."""

    def __init__(self, connection: socket.socket, peer: str, room: int) -> None:
        self.called = peer == "The caller"
        self.read_bytes = self.written_bytes = 0
        super().__init__(connection, peer, room)

    def write(self, data: bytes, deadline: float) -> None:
        self.written_bytes += len(data)
        super().write(data, deadline)

    def read(self, count: int, deadline: float) -> bytearray:
        data = super().read(count, deadline)
        self.read_bytes += len(data)
        return data


@dataclass
class _End:
    peer: str
    wire: CountingWire
    exchanges: int = 0

    @property
    def read_bytes(self) -> int:
        return self.wire.read_bytes

    @property
    def written_bytes(self) -> int:
        return self.wire.written_bytes


@contextmanager
def _counted() -> Iterator[list[_End]]:
    """All lines as seen from the end that was called, so that each is counted once."""
    ends: list[_End] = []

    class CountingChannel(channel.Channel):
        def __init__(self, wire: CountingWire, *rest: Any) -> None:
            super().__init__(wire, *rest)
            self._end = _End(self.peer, wire)
            if wire.called:
                ends.append(self._end)

        def receive(self) -> bytes:
            self._end.exchanges += 1  # what comes is answered
            return super().receive()

        def exchange(self, mine: bytes, length: int | None = None) -> bytes:
            self._end.exchanges += 1
            return super().exchange(mine, length)

    with patch.object(channel, "Wire", CountingWire), patch.object(channel, "Channel", CountingChannel):
        yield ends


def _queries(folder: Path) -> int:
    with closing(sqlite3.connect(folder / server_role(1) / RECORDS_FILE)) as records:
        count: int = records.execute("SELECT count(*) FROM rows WHERE kind = 'dealt'").fetchone()[0]
        return max(1, count)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as there:
        return int(there.getsockname()[1])
