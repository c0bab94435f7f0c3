"""A line between two parties that only these two can speak on: a key they share, and over that AES-256-GCM.

Once both have proved who they are (`handshake`) they send frames: 4 bytes of length, ciphertext, tag. Each direction
has its key, the length is bound to the frame, and a frame's nonce is its number: a frame that was changed, left out,
repeated or moved does not open.

Between machines all this runs inside TLS 1.3 with certificates on both sides, which also keeps recordings closed
should a shared key leak later. On one machine there is no TLS, and who has the key can read what was recorded.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from visagent.errors import BadMessage, PrivateKeyError, ServerUnreachable, SettingsError
from visagent.tools.private_match.certificates import certificate_name
from visagent.tools.private_match.handshake import HEADER_BYTES, Session, answer, call
from visagent.tools.private_match.wire import Wire

FRAME_LIMIT: Final = 64 << 20
"""Bytes that a frame may hold."""
HANDSHAKE_S: Final = 5.0
"""Seconds in which both sides must have proved who they are."""
STEP_S: Final = 60.0
"""Seconds that sending or receiving a frame may take."""
WAITING_CALLERS: Final = 128
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Address:
    """Where a party is reached.

    Attributes:
        host: A name or number.
        port: 0 has the system choose one to listen on.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise SettingsError("A port is a number from 1 to 65535.")


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this machine; of names only `localhost` is taken to mean that."""
    if host == "localhost":
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_loopback


class Channel:
    """The line, made by `connect` and `accept`; use it in a `with` statement, or close it.

    Threads take turns. After any error it is closed for good: what would have to come next is not known any more.

    Attributes:
        peer: The other side's role.
        timeout: Seconds that sending or receiving a frame may take.
    """

    def __init__(self, wire: Wire, session: Session, timeout: float, frame_limit: int) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.peer = session.peer
        self.timeout = timeout
        self._wire = wire
        self._limit = frame_limit
        self._outgoing, self._incoming = AESGCM(session.outgoing), AESGCM(session.incoming)
        self._sent = self._received = 0
        self._lock = threading.RLock()
        self._closed = False

    def send(self, data: bytes) -> None:
        """Send a frame.

        Raises:
            ServerUnreachable: The other side does not take it in time, or is gone.
            BadMessage: It is over the limit.
        """
        with self._guarded():
            self._write(data, time.monotonic() + self.timeout)

    def receive(self) -> bytes:
        """Wait for a frame.

        Raises:
            ServerUnreachable: None comes in time, or the other side is gone.
            BadMessage: It is not what the other side sent next.
        """
        with self._guarded():
            return self._read(time.monotonic() + self.timeout)

    def exchange(self, mine: bytes, length: int | None = None) -> bytes:
        """Send a frame and take one that the other side sends at the same time; neither need be small.

        Args:
            mine: What to send.
            length: Bytes that the other side's must have; as many as `mine` if None.

        Raises:
            ServerUnreachable: The other side does not answer in time, or is gone.
            BadMessage: What comes is not what the other side sent next, or of another length.
        """
        with self._guarded():
            deadline = time.monotonic() + self.timeout
            self._write(mine, deadline)
            theirs = self._read(deadline)
            length = len(mine) if length is None else length
            if len(theirs) != length:
                raise BadMessage(f"{self.peer} sent {len(theirs)} bytes where {length} were due; do both run the same "
                                 "version of visagent?")
            return theirs

    def close(self) -> None:
        """End it, from any thread; who waits on it in another one gets ServerUnreachable."""
        self._closed = True
        self._wire.interrupt()
        with self._lock:
            self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ServerUnreachable(f"The connection with {self.peer} is closed; ask again.")
            try:
                yield
            except BaseException:
                self.close()
                raise

    def _write(self, data: bytes, deadline: float) -> None:
        if len(data) > self._limit:
            raise BadMessage(f"A message of {len(data)} bytes is over the limit of {self._limit}; search fewer "
                             "records at once.")
        header = (len(data) + _TAG_BYTES).to_bytes(HEADER_BYTES, "big")
        sealed = self._outgoing.encrypt(self._sent.to_bytes(_NONCE_BYTES, "big"), data, header)
        self._sent += 1
        self._wire.write(header + sealed, deadline)

    def _read(self, deadline: float) -> bytes:
        from cryptography.exceptions import InvalidTag

        header = self._wire.read(HEADER_BYTES, deadline)
        length = int.from_bytes(header, "big")
        if not _TAG_BYTES <= length <= self._limit + _TAG_BYTES:
            raise BadMessage(f"A message from {self.peer} is over the limit, or was altered on the way.")
        sealed = self._wire.read(length, deadline)
        try:
            data = self._incoming.decrypt(self._received.to_bytes(_NONCE_BYTES, "big"), sealed, header)
        except InvalidTag:
            raise BadMessage(f"A message from {self.peer} was altered on the way, left out, or sent twice.") from None
        self._received += 1
        return data


def connect(address: Address, role: str, server: str, key_id: str, key: bytes, *, timeout: float = STEP_S,
            tls: ssl.SSLContext | None = None, frame_limit: int = FRAME_LIMIT) -> Channel:
    """Call a server.

    Args:
        address: Where it listens.
        role: Who this side is, such as `user` or `server-1`.
        server: Who must answer.
        key_id: Which keys both use; no secret.
        key: What this side shares with that server and nobody else, 32 bytes.
        timeout: Seconds that sending or receiving a frame may take.
        tls: From `certificates.tls_context`; a must where the host is another machine.
        frame_limit: Bytes that a frame may hold.

    Raises:
        ServerUnreachable: It does not answer in time, or is not who it should be.
        BadMessage: What answers does not speak this protocol.
        PrivateKeyError: The key is damaged, or the host is another machine and there are no certificates.
    """
    _demand_tls([address.host], tls)
    patience = min(timeout, HANDSHAKE_S)
    deadline = time.monotonic() + patience
    try:
        connection = socket.create_connection((address.host, address.port), patience)
    except (OSError, UnicodeError):
        raise ServerUnreachable(f"{server} does not answer; is it running, and its address right?") from None
    with _closed_on_failure(Wire(connection, server, frame_limit), tls) as wire:
        if tls is not None:
            wire.secure(tls, certificate_name(server), deadline)
        return Channel(wire, call(wire, role, server, key_id, key, deadline), timeout, frame_limit)


def listen(address: Address, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A socket whose `accept` gives connections for `accept`.

    Raises:
        PrivateKeyError: The host can be reached from other machines, and there are no certificates.
        ServerUnreachable: The address is taken, or not this machine's.
    """
    _demand_tls([address.host], tls)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=WAITING_CALLERS)
    except (OSError, UnicodeError):
        raise ServerUnreachable("The server cannot listen at its address: it is taken, or not this machine's. Choose "
                                "another port.") from None


def accept(connection: socket.socket, keys: Mapping[str, bytes], server: str, key_id: str, *, timeout: float = STEP_S,
           tls: ssl.SSLContext | None = None, frame_limit: int = FRAME_LIMIT) -> Channel:
    """Answer a call. It may take 5 seconds, so each call needs its own thread.

    Args:
        connection: From the listening socket; owned by the channel from now on, and closed if there will be none.
        keys: The roles that may call, and the key shared with each.
        server: Who this side is.
        key_id: Which keys both use.
        timeout: Seconds that sending or receiving a frame may take.
        tls: From `certificates.tls_context`; a must where other machines may call.
        frame_limit: Bytes that a frame may hold.

    Raises:
        ServerUnreachable: The caller is not who it should be, or too slow.
        BadMessage: The caller does not speak this protocol.
        PrivateKeyError: The connection is from another machine, and there are no certificates.
    """
    deadline = time.monotonic() + min(timeout, HANDSHAKE_S)
    with _closed_on_failure(Wire(connection, "The caller", frame_limit), tls) as wire:
        if tls is not None:
            wire.secure(tls, None, deadline)
        session = answer(wire, keys, server, key_id, tls is not None, deadline)
        return Channel(wire, session, timeout, frame_limit)


@contextmanager
def _closed_on_failure(wire: Wire, tls: ssl.SSLContext | None) -> Iterator[Wire]:
    try:
        _demand_tls(wire.hosts, tls)  # again: `localhost` may have turned out to be something else
        yield wire
    except BaseException:
        wire.close()
        raise


def _demand_tls(hosts: Iterable[str], tls: ssl.SSLContext | None) -> None:
    if tls is None and not all(is_loopback(host) for host in hosts):
        raise PrivateKeyError("Between machines the servers speak by TLS with certificates only; make them for all "
                              "parties together, and give each its own.")
