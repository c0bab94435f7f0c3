"""The socket below a channel, plain or TLS: nothing on it waits past a deadline, and two who both write do not wait
for each other."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Final

from visagent.errors import BadMessage, PrivateMatchError, ServerUnreachable

STRANGERS_BYTES: Final = 512
"""What is read ahead of a side that has not yet proved who it is."""
CHUNK: Final = 1 << 18
_WOULD_BLOCK: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_BROKEN_OFF: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Wire:
    """A connected TCP socket.

    Deadlines are times of `time.monotonic`. They end a whole `read` or `write`, so a side that sends a byte now and
    then gains nothing.

    Args:
        connection: The socket, from now on owned by the wire.
        peer: Who is at the other end, for messages to people.
        room: Bytes that are kept of what arrives while this side writes.

    Attributes:
        hosts: The numeric addresses of both ends.
        proved: Whether the other side has proved who it is; until then little is read.

    Raises:
        ServerUnreachable: It is gone already; the socket is closed.
    """

    def __init__(self, connection: socket.socket, peer: str, room: int) -> None:
        self.proved = False
        self._socket = connection
        self._peer = peer
        try:
            connection.setblocking(False)
            # Dozens of small frames go back and forth, each an answer to the one before.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.hosts: tuple[str, str] = connection.getsockname()[0], connection.getpeername()[0]
        except OSError as error:
            connection.close()
            raise self._explained(error) from None
        self._room = room
        self._kept = bytearray()
        self._chunk = bytearray(STRANGERS_BYTES)
        self._poll = select.poll()
        self._poll.register(connection.fileno())

    def trust(self, peer: str) -> None:
        """The other side has proved that it is `peer`."""
        self.proved, self._peer, self._chunk = True, peer, bytearray(CHUNK)

    def secure(self, context: ssl.SSLContext, hostname: str | None, deadline: float) -> None:
        """Go on in TLS.

        Args:
            context: Made for this side, see `certificates.tls_context`.
            hostname: The name that a server's certificate must bear; None on the server's side.
            deadline: When both must be done.

        Raises:
            ServerUnreachable: The other side does not speak TLS, or one of the certificates is refused.
        """
        try:
            secured = context.wrap_socket(self._socket, server_side=hostname is None, server_hostname=hostname,
                                          do_handshake_on_connect=False)
            self._socket = secured
            while True:
                try:
                    secured.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    self._wait(select.POLLIN, deadline)
                except ssl.SSLWantWriteError:
                    self._wait(select.POLLOUT, deadline)
        except OSError as error:
            raise self._explained(error) from None

    def certificate_names(self) -> set[str]:
        """The DNS names in the other side's certificate; empty without TLS."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return set()
        names = (self._socket.getpeercert() or {}).get("subjectAltName", ())
        return {str(entry[1]) for entry in names if entry[0] == "DNS"}

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of it. What arrives meanwhile is kept: the other side may be writing too, and read only afterwards.

        Raises:
            ServerUnreachable: The deadline passed, or the connection is gone.
            BadMessage: TLS found something altered.
        """
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[self._socket.send(left):]
                except _WOULD_BLOCK:
                    has_room = len(self._kept) < self._room
                    if not (has_room and self._receive()):
                        self._wait(select.POLLOUT | (select.POLLIN if has_room else 0), deadline)
        except OSError as error:
            raise self._explained(error) from None

    def read(self, count: int, deadline: float) -> bytearray:
        """The next bytes, exactly so many. Memory grows with what has arrived, not with what was announced.

        Raises:
            ServerUnreachable: The deadline passed, or the connection is gone.
            BadMessage: TLS found something altered.
        """
        try:
            while len(self._kept) < count:
                if not self._receive():
                    self._wait(select.POLLIN, deadline)
        except OSError as error:
            raise self._explained(error) from None
        if len(self._kept) == count:
            taken, self._kept = self._kept, bytearray()
        else:
            taken = self._kept[:count]
            del self._kept[:count]
        return taken

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def interrupt(self) -> None:
        """End whatever another thread is doing on this wire; it raises ServerUnreachable there."""
        with contextlib.suppress(OSError):  # gone already
            # Not TLS's own shutdown, which would take the session away from under that thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _receive(self) -> bool:
        """Keep what has arrived; False if that is nothing yet."""
        try:
            got = self._socket.recv_into(self._chunk)
        except _WOULD_BLOCK:
            return False
        if not got:
            raise ConnectionResetError
        self._kept += memoryview(self._chunk)[:got]
        return True

    def _wait(self, events: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        self._poll.modify(self._socket.fileno(), events)
        if left <= 0 or not self._poll.poll(left * 1000):
            raise ServerUnreachable(f"{self._peer} does not answer in time; is it running and not overloaded, and its "
                                    "address right?")

    def _explained(self, error: Exception) -> PrivateMatchError:
        """What to tell a person about an error of the system, whose own message may hold an address."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return ServerUnreachable(f"{self._peer} is not who it should be: its certificate is expired, names "
                                     "somebody else, or is of another authority. Give all parties certificates that "
                                     "were made together.")
        if not self.proved:
            return ServerUnreachable(f"{self._peer} broke off before it proved who it is: it is not who it should be, "
                                     "or does not take this side for who it is. Give both the keys and certificates "
                                     "that were made together.")
        if isinstance(error, ssl.SSLError) and not isinstance(error, _BROKEN_OFF):
            return BadMessage(f"What came from {self._peer} was altered on the way; the connection is closed.")
        return ServerUnreachable(f"{self._peer} broke off; is it still running? Ask again when it is.")
