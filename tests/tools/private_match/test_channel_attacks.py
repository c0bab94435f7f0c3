"""Somebody between two parties, who reads everything and changes what it likes: it learns and achieves nothing."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from visagent.errors import BadMessage, PrivateMatchError, ServerUnreachable
from visagent.tools.private_match.channel import Address, Channel, accept, connect, listen
from visagent.tools.private_match.handshake import VERSION

from .lines import KEY, KEY_ID, Hook, Middle, Party, meeting, outcome, pair, unchanged

SHORT = 1.0
FIRST_FRAME = {"there": 2, "back": 1}
"""How many frames of a direction belong to the handshake."""
SECRET = b"a face" * 20


def flipped(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1:]


def only(direction: str, number: int, make: Callable[[Middle, bytes], list[bytes]]) -> Hook:
    """Changes one frame of the many."""
    def change(middle: Middle, which: str, count: int, frame: bytes) -> list[bytes]:
        return make(middle, frame) if (which, count) == (direction, number) else [frame]

    return change


def test_the_middle_changes_nothing_by_being_there() -> None:
    with pair(change=unchanged) as (user, server):
        user.send(SECRET)
        assert server.receive() == SECRET


def test_what_is_sent_cannot_be_read_and_is_never_the_same() -> None:
    seen: list[bytes] = []

    def watch(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        seen.append(frame)
        return [frame]

    for _ in range(2):
        with pair(change=watch) as (user, server):
            for _ in range(2):
                user.send(SECRET)
                server.receive()
                server.send(SECRET)
                user.receive()
    everything = b"".join(seen)
    assert SECRET[:6] not in everything and KEY not in everything and KEY[:16] not in everything
    assert len(set(seen)) == len(seen) == 2 * (3 + 4)
    bodies = [frame[4:20] for frame in seen if len(frame) == 4 + len(SECRET) + 16]
    assert len(set(bodies)) == len(bodies) == 8, "a key or a nonce was used twice"


ATTACKS: dict[str, Callable[[Middle, bytes], list[bytes]]] = {
    "a bit of the text": lambda middle, frame: [flipped(frame, 4)],
    "a bit in the middle": lambda middle, frame: [flipped(frame, len(frame) // 2)],
    "the last bit of the tag": lambda middle, frame: [flipped(frame, len(frame) - 1)],
    "the length, shorter": lambda middle, frame: [(len(frame) - 5).to_bytes(4, "big") + frame[4:]],
    "cut, and the length put right": lambda middle, frame: [(len(frame) - 8).to_bytes(4, "big") + frame[4:-4]],
    "cut to nothing": lambda middle, frame: [bytes(4)],
    "cut to the tag": lambda middle, frame: [(16).to_bytes(4, "big") + frame[-16:]],
    "grown, and the length put right": lambda middle, frame: [(len(frame) - 3).to_bytes(4, "big") + frame[4:] + b"x"],
    "announced as 4 GiB": lambda middle, frame: [b"\xff\xff\xff\xff" + frame[4:]],
    "announced as 2 GiB": lambda middle, frame: [b"\x80\0\0\0" + frame[4:]],
    "other text": lambda middle, frame: [frame[:4] + os.urandom(len(frame) - 4)],
    "left out": lambda middle, frame: [],
    "put in before": lambda middle, frame: [frame[:4] + os.urandom(len(frame) - 4), frame],
}


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_frame_is_refused_and_ends_the_line(attack: str, direction: str) -> None:
    change = only(direction, FIRST_FRAME[direction] + 1, ATTACKS[attack])
    with pair(change=change) as ends:
        sender, receiver = ends if direction == "there" else ends[::-1]
        sender.send(b"one" * 20)
        assert receiver.receive() == b"one" * 20
        sender.send(b"two" * 20)
        sender.send(b"six" * 20)
        with pytest.raises(BadMessage):
            receiver.receive()
        with pytest.raises(ServerUnreachable, match="is closed"):
            receiver.receive()


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_repeated_frame_is_refused(direction: str) -> None:
    change = only(direction, FIRST_FRAME[direction], lambda middle, frame: [frame, frame])
    with pair(change=change) as ends:
        sender, receiver = ends if direction == "there" else ends[::-1]
        sender.send(SECRET)
        assert receiver.receive() == SECRET
        with pytest.raises(BadMessage, match="altered on the way, left out, or sent twice"):
            receiver.receive()


def test_frames_in_another_order_are_refused() -> None:
    kept: list[bytes] = []

    def swap(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "there" and number in (2, 3):
            kept.insert(0, frame)
            return kept if number == 3 else []
        return [frame]

    with pair(change=swap) as (user, server):
        user.send(b"1")
        user.send(b"2")
        with pytest.raises(BadMessage):
            server.receive()


def test_a_frame_sent_back_to_where_it_came_from_is_refused() -> None:
    def reflect(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "there" and number == 2:
            middle.inject("back", frame)
            return []
        return [frame]

    with pair(change=reflect) as (user, _):
        user.send(SECRET)
        with pytest.raises(BadMessage):
            user.receive()


def test_a_frame_of_an_earlier_connection_is_refused() -> None:
    frames: list[bytes] = []

    def record(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "there" and number == 2:
            frames.append(frame)
            return [frames[0]]
        return [frame]

    with pair(change=record) as (user, server):
        user.send(SECRET)
        assert server.receive() == SECRET
    with pair(change=record) as (user, server):
        user.send(SECRET)
        with pytest.raises(BadMessage):
            server.receive()


@pytest.mark.parametrize(("direction", "number"), [("there", 0), ("back", 0), ("there", 1)])
def test_every_byte_of_the_handshake_counts(direction: str, number: int) -> None:
    """The caller's greeting, the server's proof, the caller's proof: whoever gets a changed one goes no further."""
    lengths: list[int] = []

    def measure(middle: Middle, frame: bytes) -> list[bytes]:
        lengths.append(len(frame))
        return [frame]

    with meeting(change=only(direction, number, measure)) as (user, server):
        assert isinstance(user, Channel) and isinstance(server, Channel)
    quick = Party(timeout=SHORT)
    for at in range(3, lengths[0], 3):
        change = only(direction, number, lambda middle, frame, at=at: [flipped(frame, at)])
        with meeting(quick, quick, change) as (user, server):
            receiver = server if direction == "there" else user
            assert isinstance(receiver, PrivateMatchError), at
            if direction == "there" and number == 1:
                # The caller has proved its own part and cannot know yet that it did not arrive.
                assert isinstance(user, Channel)
                with pytest.raises(PrivateMatchError):
                    user.receive()
            else:
                assert isinstance(user, PrivateMatchError) and isinstance(server, PrivateMatchError), at


def test_a_recorded_handshake_opens_nothing() -> None:
    recorded: list[bytes] = []

    def record(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "there":
            recorded.append(frame)
        return [frame]

    with pair(change=record) as (user, server):
        user.send(SECRET)
        server.receive()
    with listen(Address("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        connection, _ = listener.accept()
        caller.sendall(b"".join(recorded))
        with pytest.raises(ServerUnreachable, match="not user, or holds another key"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)


def test_a_recorded_server_is_not_believed() -> None:
    recorded: list[bytes] = []

    def record(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "back":
            recorded.append(frame)
        return [frame]

    with pair(change=record):
        pass
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        calling = pool.submit(Party().call, listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"".join(recorded))
            with pytest.raises(ServerUnreachable, match="not who it should be, or holds another key"):
                calling.result()


def test_a_server_cannot_be_made_to_answer_itself() -> None:
    """Server 1 and server 2 share one key and each may call the other. A call of server 1 is led back to itself, with
    the name of server 2 in it: the proof it then gives names both sides, and fits no call of its own."""
    with listen(Address("127.0.0.1", 0)) as own, socket.create_server(("127.0.0.1", 0)) as fake, \
            ThreadPoolExecutor(2) as pool:
        party = Party(role="server-1", server="server-2", timeout=SHORT)
        calling = pool.submit(outcome, lambda: party.call(fake.getsockname()[1]))
        called, _ = fake.accept()
        with called, socket.create_connection(own.getsockname()) as back:
            connection, _ = own.accept()
            answering = pool.submit(outcome, lambda: accept(connection, {"server-2": KEY}, "server-1", KEY_ID,
                                                            timeout=SHORT))
            back.sendall(called.recv(1000).replace(b"server-1", b"server-2"))
            called.sendall(back.recv(1000))
            assert isinstance(calling.result(), ServerUnreachable)
            with suppress(OSError):
                called.shutdown(socket.SHUT_RDWR)
            back.shutdown(socket.SHUT_WR)
            assert isinstance(answering.result(), ServerUnreachable)


def test_an_older_or_newer_version_is_refused() -> None:
    change = only("there", 0, lambda middle, frame: [frame.replace(VERSION, VERSION.replace(b"1", b"2"))])
    with meeting(change=change) as (user, server):
        assert isinstance(server, BadMessage) and "another version" in str(server)
        assert isinstance(user, ServerUnreachable)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Something like it, and never it."""
    while True:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            at = rng.randrange(len(changed) + 1)
            length = rng.choice((1, 1, 2, 4, 30))
            kind = rng.randrange(6)
            if kind == 0:
                changed[at:at + 1] = bytes([rng.randrange(256)])
            elif kind == 1:
                changed[at:at] = rng.randbytes(length)
            elif kind == 2:
                del changed[at:at + length]
            elif kind == 3:
                changed[at:at] = changed[at:at + length]
            elif kind == 4:
                del changed[at:]
            else:
                changed[0:4] = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4), b"\0\0" + rng.randbytes(2)))
        if bytes(changed) != data:
            return bytes(changed)


def cut_off(middle: Middle, direction: str, data: bytes) -> list[bytes]:
    """Send something as the last there is, so that nobody waits for the rest of it."""
    with suppress(OSError):
        middle.inject(direction, data)
        middle.end(direction)
    return []


@pytest.mark.parametrize(("direction", "number", "seed"), [("there", 0, 1), ("back", 0, 2), ("there", 1, 3)])
def test_fuzzed_handshakes_end_in_typed_errors(direction: str, number: int, seed: int) -> None:
    rng, party = random.Random(seed), Party(timeout=2)
    change = only(direction, number, lambda middle, frame: cut_off(middle, direction, mutated(frame, rng)))
    for _ in range(250):
        begun = time.monotonic()
        with meeting(party, party, change) as (user, server):
            receiver = server if direction == "there" else user
            # A whole frame with something behind it is still a whole frame, and what is behind it comes next.
            if isinstance(receiver, Channel):
                with pytest.raises(PrivateMatchError):
                    receiver.receive()
        assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize(("direction", "seed"), [("there", 4), ("back", 5)])
def test_fuzzed_frames_end_in_typed_errors(direction: str, seed: int) -> None:
    rng, party = random.Random(seed), Party(timeout=2)
    change = only(direction, FIRST_FRAME[direction],
                  lambda middle, frame: cut_off(middle, direction, mutated(frame, rng)))
    for _ in range(250):
        begun = time.monotonic()
        with pair(party, party, change) as ends:
            sender, receiver = ends if direction == "there" else ends[::-1]
            sender.send(SECRET)
            with pytest.raises(PrivateMatchError):
                assert receiver.receive() == SECRET
                receiver.receive()
        assert time.monotonic() - begun < 1.5


def test_noise_is_no_handshake() -> None:
    rng = random.Random(6)
    with listen(Address("127.0.0.1", 0)) as listener:
        for _ in range(200):
            with socket.create_connection(listener.getsockname()) as caller:
                connection, _ = listener.accept()
                caller.sendall(rng.randbytes(rng.randrange(200)))
                caller.shutdown(socket.SHUT_WR)
                with pytest.raises(PrivateMatchError):
                    accept(connection, {"user": KEY}, "server-1", KEY_ID)


def test_noise_is_no_server() -> None:
    rng = random.Random(7)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        for _ in range(100):
            calling = pool.submit(outcome, lambda: connect(
                Address(*listener.getsockname()), "user", "server-1", KEY_ID, KEY, timeout=2))
            connection, _ = listener.accept()
            with connection:
                connection.sendall(rng.choice((b"\0\0\0\x40", b"")) + rng.randbytes(rng.randrange(200)))
                connection.shutdown(socket.SHUT_WR)
                assert isinstance(calling.result(), PrivateMatchError)
