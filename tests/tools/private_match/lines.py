"""What tests of channels share: two parties on this machine, and somebody between them who may change what is sent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from visagent.errors import PrivateMatchError
from visagent.tools.private_match.channel import FRAME_LIMIT, Address, Channel, accept, connect, listen

KEY = bytes(range(32))
KEY_ID = "0123456789abcdef"
TIMEOUT = 5.0

Hook = Callable[["Middle", str, int, bytes], list[bytes]]
"""What becomes of a frame: its direction ("there" from the caller, or "back"), its number, itself with its length."""


def unchanged(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
    """An honest wire."""
    return [frame]


@dataclass
class Party:
    """How one side behaves in `meet`."""

    role: str = "user"
    server: str = "server-1"
    key_id: str = KEY_ID
    key: bytes = KEY
    timeout: float = TIMEOUT
    tls: ssl.SSLContext | None = None
    frame_limit: int = FRAME_LIMIT

    def call(self, port: int) -> Channel:
        return connect(Address("127.0.0.1", port), self.role, self.server, self.key_id, self.key,
                       timeout=self.timeout, tls=self.tls, frame_limit=self.frame_limit)

    def answer(self, listener: socket.socket) -> Channel:
        listener.settimeout(TIMEOUT)
        connection, _ = listener.accept()
        return accept(connection, {self.role: self.key}, self.server, self.key_id, timeout=self.timeout,
                      tls=self.tls, frame_limit=self.frame_limit)


Side = Channel | PrivateMatchError


def outcome(task: Callable[[], Channel]) -> Side:
    """A channel, or the typed error; anything else fails the test."""
    try:
        return task()
    except PrivateMatchError as error:
        return error


@contextmanager
def meeting(caller: Party | None = None, called: Party | None = None, change: Hook | None = None
            ) -> Iterator[tuple[Side, Side]]:
    """What becomes of a call on both sides, through somebody in the middle if `change` is given."""
    caller, called = caller or Party(), called or Party()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(Address("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        if change is not None:
            middle = stack.enter_context(Middle(port, change))
            port = middle.port
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(outcome, lambda: called.answer(listener))
            calling = outcome(lambda: caller.call(port))
            sides = calling, answering.result()
        for side in sides:
            if isinstance(side, Channel):
                stack.callback(side.close)
        yield sides


@contextmanager
def pair(caller: Party | None = None, called: Party | None = None, change: Hook | None = None
         ) -> Iterator[tuple[Channel, Channel]]:
    """Two ends of one line."""
    with meeting(caller, called, change) as (one, other):
        for side in (one, other):
            if isinstance(side, PrivateMatchError):
                raise side
        assert isinstance(one, Channel) and isinstance(other, Channel)
        yield one, other


@dataclass
class Middle:
    """Stands between two parties and hands on, frame by frame, what `change` makes of it.

    Attributes:
        target: Port of the called party.
        change: Gives what is sent on instead of a frame.
        seen: All frames, by direction.
    """

    target: int
    change: Hook
    seen: dict[str, list[bytes]] = field(default_factory=lambda: {"there": [], "back": []})
    port: int = 0
    _sockets: dict[str, socket.socket] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Middle:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in list(self._sockets.values()):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(TIMEOUT)
            assert not thread.is_alive()
        for one in [self._listener, *self._sockets.values()]:
            one.close()

    def inject(self, direction: str, data: bytes) -> None:
        """Send something to one of the two."""
        self._sockets["back" if direction == "there" else "there"].sendall(data)

    def end(self, direction: str) -> None:
        """Let one of the two know that nothing more will come."""
        self._sockets["back" if direction == "there" else "there"].shutdown(socket.SHUT_WR)

    def _start(self, task: Callable[..., None], *arguments: str) -> None:
        thread = threading.Thread(target=task, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            self._sockets["there"], _ = self._listener.accept()
            self._sockets["back"] = socket.create_connection(("127.0.0.1", self.target), TIMEOUT)
            for one in self._sockets.values():
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._forward, "there", "back")
            self._start(self._forward, "back", "there")

    def _forward(self, direction: str, to: str) -> None:
        source, sink = self._sockets[direction], self._sockets[to]
        with suppress(OSError), source.makefile("rb") as stream:
            while len(header := stream.read(4)) == 4:
                frame = header + stream.read(int.from_bytes(header, "big"))
                number = len(self.seen[direction])
                self.seen[direction].append(frame)
                for part in self.change(self, direction, number, frame):
                    sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
