"""The line between two parties: what one sends the other gets, every wait ends, and an error ends it for good."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from visagent.errors import BadMessage, PrivateKeyError, ServerUnreachable, SettingsError
from visagent.tools.private_match import channel as module
from visagent.tools.private_match import wire
from visagent.tools.private_match.channel import Address, Channel, accept, connect, is_loopback, listen

from .lines import KEY, KEY_ID, Middle, Party, meeting, pair

QUICK = 0.3


def both(one: Channel, other: Channel, mine: bytes, theirs: bytes) -> tuple[bytes, bytes]:
    """An exchange, each side in its thread."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(other.exchange, theirs, len(mine))
        return one.exchange(mine, len(theirs)), answer.result()


def test_what_one_sends_the_other_gets() -> None:
    with pair() as (user, server):
        assert (user.peer, server.peer) == ("server-1", "user")
        for data in (b"first", b"", bytes(70_000), b"last"):
            user.send(data)
            assert server.receive() == data
            server.send(data + b"!")
            assert user.receive() == data + b"!"
        assert both(user, server, b"mine", b"other") == (b"other", b"mine")
        user.send(b"one")
        user.send(b"two")
        assert [server.receive(), server.receive()] == [b"one", b"two"]


def test_large_frames_in_both_directions_at_once_do_not_wait_for_each_other() -> None:
    one, other = os.urandom(12 << 20), os.urandom(9 << 20)
    with pair() as (user, server):
        assert both(user, server, one, other) == (other, one)
        with ThreadPoolExecutor(1) as pool:  # also where both send first, and read afterwards
            received = pool.submit(lambda: server.send(other) or server.receive())
            user.send(one)
            assert user.receive() == other and received.result() == one


def test_small_frames_are_not_held_back() -> None:
    """Without TCP_NODELAY the second of two small frames waits for a receipt of the first, 40 ms."""
    def answer(side: Channel) -> None:
        for _ in range(50):
            side.receive()
            side.send(side.receive())

    with pair() as (user, server), ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer, server)
        begun = time.monotonic()
        for _ in range(50):
            user.send(b"one")
            user.send(b"two")
            assert user.receive() == b"two"
        assert time.monotonic() - begun < 1
        answering.result()


@pytest.mark.parametrize(("theirs", "length"), [(b"1234", 3), (b"", 3), (b"12", None), (b"", None)])
def test_an_exchange_demands_a_length(theirs: bytes, length: int | None) -> None:
    """As long as what this side sends, where nothing else is said."""
    with pair() as (user, server):
        server.send(b"123" if length else b"1")
        assert user.exchange(b"1", length) == (b"123" if length else b"1")
        server.send(theirs)
        with pytest.raises(BadMessage, match=f"{len(theirs)} bytes where {length or 1} were due"):
            user.exchange(b"1", length)


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pair(Party(frame_limit=100)) as (user, server):
        user.send(bytes(100))
        assert len(server.receive()) == 100
        with pytest.raises(BadMessage, match="over the limit of 100"):
            user.send(bytes(101))


def test_a_frame_over_the_limit_is_refused_before_it_has_come() -> None:
    with pair(called=Party(frame_limit=100)) as (user, server):
        user.send(bytes(101))
        with pytest.raises(BadMessage, match="over the limit"):
            server.receive()


def test_after_an_error_it_is_closed_for_good() -> None:
    with pair(called=Party(frame_limit=100)) as (user, server):
        user.send(bytes(101))
        user.send(b"good")
        with pytest.raises(BadMessage):
            server.receive()
        for again in (server.receive, lambda: server.send(b"x"), lambda: server.exchange(b"x")):
            with pytest.raises(ServerUnreachable, match="is closed"):
                again()
        with pytest.raises(ServerUnreachable):
            user.receive()


def test_silence_ends_at_the_timeout() -> None:
    with pair(Party(timeout=QUICK)) as (user, _):
        begun = time.monotonic()
        with pytest.raises(ServerUnreachable, match="does not answer in time"):
            user.receive()
        assert QUICK <= time.monotonic() - begun < 3


def test_a_side_that_reads_nothing_ends_at_the_timeout() -> None:
    with pair(Party(timeout=QUICK)) as (user, _), pytest.raises(ServerUnreachable, match="does not answer in time"):
        user.send(bytes(32 << 20))


def test_the_timeout_can_be_changed() -> None:
    with pair() as (user, _):
        user.timeout = 0.05
        begun = time.monotonic()
        with pytest.raises(ServerUnreachable):
            user.receive()
        assert time.monotonic() - begun < 1


def test_a_byte_now_and_then_does_not_keep_it_waiting() -> None:
    stop = threading.Event()

    def trickle(middle: Middle, direction: str, number: int, frame: bytes) -> list[bytes]:
        if direction == "back" and number > 0:
            for byte in frame:
                middle.inject("back", bytes([byte]))
                if stop.wait(0.05):
                    break
            return []
        return [frame]

    with pair(Party(timeout=QUICK), change=trickle) as (user, server):
        server.send(bytes(1000))
        begun = time.monotonic()
        with pytest.raises(ServerUnreachable, match="does not answer in time"):
            user.receive()
        stop.set()
        assert time.monotonic() - begun < 3


def test_when_the_other_side_is_gone() -> None:
    with pair() as (user, server):
        user.send(b"last words")
        user.close()
        user.close()
        assert server.receive() == b"last words"
        with pytest.raises(ServerUnreachable, match="broke off"):
            server.receive()


def test_a_reset_is_an_unreachable_server() -> None:
    with pair() as (user, server):
        server.send(b"never read")
        time.sleep(0.05)
        user.close()  # with something unread, so the system sends a reset
        with pytest.raises(ServerUnreachable, match="broke off"):
            server.receive()


def test_closing_wakes_who_waits() -> None:
    with pair() as (user, _), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(user.receive)
        time.sleep(0.05)
        begun = time.monotonic()
        user.close()
        with pytest.raises(ServerUnreachable):
            waiting.result()
        assert time.monotonic() - begun < 1


def test_threads_take_turns() -> None:
    """A nonce that two frames share would give away both; here no frame would open any more."""
    with pair() as (user, server), ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(user.send, bytes([number]) * 5_000) for number in range(200)]
        received = [server.receive() for _ in sending]
        assert sorted(received) == [bytes([number]) * 5_000 for number in range(200)]


@pytest.mark.parametrize(("called", "words"), [
    (Party(key=bytes(32)), "not who it should be, or holds another key"),
    (Party(role="server-2"), "not who it should be"),
    (Party(key_id="another"), "not who it should be"),
    (Party(server="server-2"), "not who it should be, or holds another key"),
])
def test_who_is_not_who_it_should_be_is_refused(called: Party, words: str) -> None:
    with meeting(called=called) as (caller, answerer):
        assert isinstance(caller, ServerUnreachable) and words in str(caller)
        assert isinstance(answerer, ServerUnreachable) and "caller" in str(answerer)


def test_a_server_that_speaks_first_learns_nothing_and_proves_nothing() -> None:
    """The same key on both sides, and each proof is of one side only: nothing that a caller sent can be its answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        calling = pool.submit(Party(timeout=QUICK).call, listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            hello = connection.recv(1000)
            connection.sendall(hello)
            with pytest.raises(BadMessage, match="does not speak this protocol"):
                calling.result()


@pytest.mark.parametrize(("role", "key_id", "key"), [
    ("user", KEY_ID, b"short"), ("user", KEY_ID, b""), ("User", KEY_ID, KEY), ("", KEY_ID, KEY),
    ("user server-1", KEY_ID, KEY), ("user", "", KEY), ("user", "an id", KEY), ("user", "i" * 65, KEY),
    ("ü", KEY_ID, KEY), ("user\n", KEY_ID, KEY),
])
def test_damaged_keys_and_names_are_not_used(role: str, key_id: str, key: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(PrivateKeyError, match="damaged"):
        Party(role=role, key_id=key_id, key=key).call(listener.getsockname()[1])


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServerUnreachable, match="address: it is taken"):
            listen(Address("127.0.0.1", port))
    with pytest.raises(ServerUnreachable, match="server-1 does not answer; is it running"):
        Party().call(port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_do_not_exist(port: int) -> None:
    with pytest.raises(SettingsError, match="1 to 65535"):
        Address("127.0.0.1", port)


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True),
    ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("192.168.1.2", False),
    ("::ffff:10.0.0.1", False), ("127.1", False), ("0x7f.0.0.1", False), ("localhost.example", False),
    ("127.0.0.1.example", False), ("server.example", False), (" 127.0.0.1", False),
])
def test_what_stays_on_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "", "server.example"])
def test_other_machines_are_spoken_with_by_tls_only(host: str) -> None:
    with pytest.raises(PrivateKeyError, match="TLS with certificates only"):
        connect(Address(host, 4), "user", "server-1", KEY_ID, KEY)
    with pytest.raises(PrivateKeyError, match="TLS with certificates only"):
        listen(Address(host, 0))


def test_the_sixth_version_of_the_internet_protocol() -> None:
    try:
        listener = listen(Address("::1", 0))
    except ServerUnreachable:
        pytest.skip("this machine has none")
    with listener, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(Party().answer, listener)
        port = listener.getsockname()[1]
        with connect(Address("::1", port), "user", "server-1", KEY_ID, KEY) as user, answering.result() as server:
            user.send(b"there")
            assert server.receive() == b"there"


def test_a_name_for_this_machine_that_leads_elsewhere_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_loopback", lambda host: host == "localhost")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PrivateKeyError, match="TLS with certificates only"):
            connect(Address("localhost", port), "user", "server-1", KEY_ID, KEY)
        with socket.create_connection(("127.0.0.1", port)):
            connection, _ = listener.accept()
            with pytest.raises(PrivateKeyError, match="TLS with certificates only"):
                accept(connection, {"user": KEY}, "server-1", KEY_ID)
            assert connection.fileno() == -1, "it is closed"


def test_a_server_that_says_nothing_does_not_keep_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", QUICK)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = time.monotonic()
        with pytest.raises(ServerUnreachable, match="does not answer in time"):
            Party(timeout=60).call(listener.getsockname()[1])
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize(("begins", "then"), [(b"", b""), (b"\0\0", b""), (b"\0\0\0\x50visagent", b"x")])
def test_a_caller_that_is_slow_does_not_keep_its_server(begins: bytes, then: bytes, monkeypatch: pytest.MonkeyPatch
                                                        ) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", QUICK)
    with listen(Address("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        connection, _ = listener.accept()
        done = threading.Event()

        def trickle() -> None:
            caller.sendall(begins)
            while not done.wait(0.05):
                try:
                    caller.sendall(then)
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(ServerUnreachable, match="does not answer in time"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)
        took = time.monotonic() - begun
        done.set()
        thread.join()
        assert took < 3 and connection.fileno() == -1


def test_five_seconds_to_prove_who_one_is() -> None:
    assert module.HANDSHAKE_S == 5


@pytest.mark.parametrize("length", [(1 << 32) - 1, 1 << 31, wire.STRANGERS_BYTES + 1])
def test_a_stranger_that_announces_much_is_refused_at_once(length: int) -> None:
    with listen(Address("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        connection, _ = listener.accept()
        caller.sendall(length.to_bytes(4, "big"))
        with pytest.raises(BadMessage, match="does not speak this protocol"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)
        assert caller.recv(1) == b"", "and is told nothing"


def test_a_web_browser_is_refused() -> None:
    with listen(Address("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        connection, _ = listener.accept()
        caller.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(BadMessage, match="does not speak this protocol"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)


def test_a_caller_that_is_gone_before_it_is_answered() -> None:
    with listen(Address("127.0.0.1", 0)) as listener:
        socket.create_connection(listener.getsockname()).close()
        connection, _ = listener.accept()
        with pytest.raises(ServerUnreachable, match="caller broke off"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)
        connection = socket.socket()  # never connected
        with pytest.raises(ServerUnreachable, match="broke off"):
            accept(connection, {"user": KEY}, "server-1", KEY_ID)
