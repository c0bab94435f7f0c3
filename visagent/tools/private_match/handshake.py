"""How two parties prove to each other that they hold the key they share, and agree on keys for one connection.

```
caller -> called   version, fresh nonce, role, key id
called -> caller   fresh nonce, proof
caller -> called   proof
```

All keys of a connection come by HKDF from the shared key and everything that was said, both nonces included; a proof
is an HMAC of the same, under a key of its own for each side. So no proof can be used again, or sent back to where it
came from, and whoever changes a word ends up with other keys.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from visagent.errors import BadMessage, PrivateKeyError, ServerUnreachable
from visagent.tools.private_match.certificates import certificate_name
from visagent.tools.private_match.wire import STRANGERS_BYTES, Wire

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
HEADER_BYTES: Final = 4
VERSION: Final = b"visagent private match 1\n"
_NAMES: Final = re.compile(r"([a-z0-9-]{1,32}) ([A-Za-z0-9-]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """What both sides have agreed on.

    Attributes:
        peer: The other side's role.
        outgoing: Key for what this side sends.
        incoming: Key for what it receives.
    """

    peer: str
    outgoing: bytes = field(repr=False)
    incoming: bytes = field(repr=False)


def call(wire: Wire, role: str, server: str, key_id: str, key: bytes, deadline: float) -> Session:
    """The caller's side.

    Args:
        wire: To the server.
        role: Who this side is.
        server: Who must answer.
        key_id: Which keys both use.
        key: What this side shares with that server.
        deadline: When it must be done.

    Raises:
        PrivateKeyError: The key, or a name, is none.
        ServerUnreachable: The server does not answer in time, or does not prove that it has the key.
        BadMessage: What answers does not speak this protocol.
    """
    names = f"{role} {key_id}"
    if len(key) != KEY_BYTES or not _NAMES.fullmatch(names):
        raise PrivateKeyError(f"The key shared with {server} is damaged; put it back from where you keep a copy.")
    hello = VERSION + os.urandom(NONCE_BYTES) + names.encode()
    _say(wire, hello, deadline)
    answer = _hear(wire, deadline)
    if len(answer) != NONCE_BYTES + PROOF_BYTES:
        raise BadMessage(f"What answers in place of {server} does not speak this protocol; is its address right?")
    grown = _Grown(key, hello, server, answer[:NONCE_BYTES])
    if not hmac.compare_digest(grown.proof_of_called, answer[NONCE_BYTES:]):
        raise ServerUnreachable(f"{server} is not who it should be, or holds another key. Give both the keys that "
                                "were made together.")
    _say(wire, grown.proof_of_caller, deadline)
    wire.trust(server)
    return Session(server, grown.from_caller, grown.from_called)


def answer(wire: Wire, keys: Mapping[str, bytes], server: str, key_id: str, with_certificates: bool, deadline: float
           ) -> Session:
    """The server's side. A caller that is refused is not told why.

    Args:
        wire: To the caller.
        keys: The roles that may call, and the key shared with each.
        server: Who this side is.
        key_id: Which keys both use.
        with_certificates: Whether the caller's certificate must name its role.
        deadline: When it must be done.

    Raises:
        ServerUnreachable: The caller is not who it should be, or too slow.
        BadMessage: The caller does not speak this protocol.
    """
    hello = _hear(wire, deadline)
    names = _NAMES.fullmatch(hello[len(VERSION) + NONCE_BYTES:].decode("ascii", "replace"))
    if not hello.startswith(VERSION) or names is None:
        raise BadMessage("The caller does not speak this protocol, or another version of it.")
    role = names[1]
    if names[2] != key_id or role not in keys:
        raise ServerUnreachable("The caller is not who it should be: nobody of its role and keys may call here.")
    if with_certificates and certificate_name(role) not in wire.certificate_names():
        raise ServerUnreachable(f"The caller is not who it should be: its certificate is not that of {role}.")
    nonce = os.urandom(NONCE_BYTES)
    grown = _Grown(keys[role], hello, server, nonce)
    _say(wire, nonce + grown.proof_of_called, deadline)
    if not hmac.compare_digest(grown.proof_of_caller, _hear(wire, deadline)):
        raise ServerUnreachable(f"The caller is not {role}, or holds another key. Give both the keys that were made "
                                "together.")
    wire.trust(role)
    return Session(role, grown.from_called, grown.from_caller)


class _Grown:
    """What both sides work out from the shared key and from what was said."""

    def __init__(self, key: bytes, hello: bytes, server: str, nonce: bytes) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        # Both nonces have their place, and names hold no space: two different talks never read the same.
        said = hashlib.sha256(nonce + hello + f" {server}".encode()).digest()
        grown = HKDF(SHA256(), 4 * KEY_BYTES, salt=said, info=b"visagent private channel").derive(key)
        of_caller, of_called, self.from_caller, self.from_called = (
            grown[start:start + KEY_BYTES] for start in range(0, len(grown), KEY_BYTES))
        self.proof_of_caller = hmac.digest(of_caller, b"caller" + said, "sha256")
        self.proof_of_called = hmac.digest(of_called, b"called" + said, "sha256")


def _say(wire: Wire, data: bytes, deadline: float) -> None:
    wire.write(len(data).to_bytes(HEADER_BYTES, "big") + data, deadline)


def _hear(wire: Wire, deadline: float) -> bytes:
    length = int.from_bytes(wire.read(HEADER_BYTES, deadline), "big")
    if length > STRANGERS_BYTES:
        raise BadMessage("The other side does not speak this protocol; is the address right?")
    return bytes(wire.read(length, deadline))
