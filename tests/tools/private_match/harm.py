"""Things that go wrong with messages and connections, by chance but the same in every run."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from visagent.tools.private_match.messages import pack
from visagent.tools.private_match.parties import Place

ODD: Final[tuple[Any, ...]] = (None, True, False, 0, 1, -1, 31, 32, 2 ** 31, 2 ** 40, 2 ** 40 + 1, 2 ** 63 - 1,
                               2 ** 64 - 1, -2 ** 63, "", "query", "join", "help", "step", "x" * 2000, "\x1b[2J", b"",
                               b"\0", bytes(16), bytes(100_000), [], [1, 2], [[b"x"]], ["a"] * 1000)
"""Values that a message may hold and a field seldom must."""


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A message with some of its bytes changed, lost, doubled or moved."""
    if not data:
        return os.urandom(3)
    at, size = chance.randrange(len(data)), 1 + chance.randrange(1 + len(data) // 4)
    kind = chance.randrange(9)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]
    if kind == 1:
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1:]
    if kind == 2:
        return data[:at] + data[at + size:]
    if kind == 3:
        return data[:at] + data[at:at + size] + data[at:]
    if kind == 4:
        return data[:at] + chance.randbytes(size) + data[at:]
    if kind == 5:
        return data[:at]
    if kind == 6:
        return data + chance.randbytes(size)
    if kind == 7:
        return data[at:] + data[:at]
    return chance.randbytes(len(data))


def altered(fields: dict[str, Any], chance: random.Random) -> bytes:
    """A message of which one field is missing, odd, of another length or of another name, or the bytes are damaged."""
    fields = dict(fields)
    name = chance.choice(list(fields))
    kind = chance.randrange(8)
    if kind == 0:
        del fields[name]
    elif kind == 1:
        fields[name] = chance.choice(ODD)
    elif kind == 2 and isinstance(fields[name], bytes):
        fields[name] = damaged(fields[name], chance)
    elif kind == 3:
        fields[name + "x"] = fields.pop(name)
    elif kind == 4:
        fields["more"] = chance.choice(ODD)
    else:
        return damaged(pack(fields), chance)
    return pack(fields)


@dataclass(frozen=True)
class Harm:
    """What happens to one connection.

    Attributes:
        kind: `flip`, `drop`, `double`, `cut` or `delay`.
        back: To what the called side sends, not the caller.
        at: From which byte on.
        size: How many bytes.
    """

    kind: str
    back: bool
    at: int
    size: int

    @classmethod
    def random(cls, chance: random.Random, length: int) -> Harm:
        return cls(chance.choice(("flip", "flip", "drop", "double", "cut", "delay")), chance.random() < 0.5,
                   chance.randrange(length), 1 + chance.randrange(40))


@dataclass
class Proxy:
    """Stands between who calls and who is called.

    Attributes:
        target: Whom it calls.
        harm: Asked once for each connection.
        done: What was really done.
    """

    target: Place
    harm: Callable[[], Harm | None] = lambda: None
    done: list[Harm] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.place = Place(port=self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(caller)
            try:
                called = socket.create_connection((self.target.host, self.target.port), 5)
            except OSError:
                caller.close()
                continue
            called.settimeout(None)
            self._sockets.append(called)
            harm = self.harm()
            for source, sink, back in ((caller, called, False), (called, caller, True)):
                threading.Thread(target=self._pump, args=(source, sink, harm if harm and harm.back == back else None),
                                 daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, harm: Harm | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if harm is not None and passed <= harm.at < passed + len(data):
                    data = self._harmed(data, harm.at - passed, harm)
                    sink.sendall(data)
                    if harm.kind == "cut":
                        break
                else:
                    sink.sendall(data)
                passed += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _harmed(self, data: bytes, at: int, harm: Harm) -> bytes:
        self.done.append(harm)
        before, some, after = data[:at], data[at:at + harm.size], data[at + harm.size:]
        if harm.kind == "flip":
            return before + bytes([some[0] ^ 1 << harm.size % 8]) + some[1:] + after
        if harm.kind == "drop":
            return before + after
        if harm.kind == "double":
            return before + some + some + after
        if harm.kind == "cut":
            return before
        time.sleep(harm.size / 20)
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for end in list(self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
