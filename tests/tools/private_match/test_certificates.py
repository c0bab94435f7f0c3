"""Certificates, and TLS with them: only who they name gets through, and nothing of the keys stays behind."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from visagent.errors import BadMessage, PrivateKeyError, PrivateMatchError, ServerUnreachable
from visagent.tools.private_match.certificates import Certificate, certificate_name, make_certificates, tls_context
from visagent.tools.private_match.channel import Address, Channel, accept, listen

from .lines import KEY, KEY_ID, Party, meeting, outcome, pair

PARTIES = ("user", "server-1", "server-2")


@pytest.fixture(scope="module")
def made() -> dict[str, Certificate]:
    return make_certificates(PARTIES)


@pytest.fixture(scope="module")
def others() -> dict[str, Certificate]:
    """The same parties, of another authority."""
    return make_certificates(PARTIES)


def caller(own: Certificate | None, role: str = "user") -> Party:
    return Party(role=role, timeout=3, tls=None if own is None else tls_context(own, False))


def called(own: Certificate | None, role: str = "user") -> Party:
    return Party(role=role, timeout=3, tls=None if own is None else tls_context(own, True))


def test_the_right_certificates_work(made: dict[str, Certificate]) -> None:
    with pair(caller(made["user"]), called(made["server-1"])) as (user, server), ThreadPoolExecutor(1) as pool:
        assert (user.peer, server.peer) == ("server-1", "user")
        user.send(b"there")
        assert server.receive() == b"there"
        one, other = os.urandom(3 << 20), os.urandom(5 << 20)
        answer = pool.submit(server.exchange, other, len(one))
        assert user.exchange(one, len(other)) == other and answer.result() == one
        session = user._wire._socket
        assert isinstance(session, ssl.SSLSocket) and session.version() == "TLSv1.3"
        server.close()
        with pytest.raises(ServerUnreachable, match="broke off"):
            user.receive()


@pytest.mark.parametrize("attack", ["another authority's server", "another authority's caller", "the wrong server",
                                    "the wrong caller", "a caller without TLS", "a server without TLS"])
def test_others_are_refused(attack: str, made: dict[str, Certificate], others: dict[str, Certificate]) -> None:
    """All of them know the shared key."""
    calling, answering = {
        "another authority's server": (caller(made["user"]), called(others["server-1"])),
        "another authority's caller": (caller(others["user"]), called(made["server-1"])),
        "the wrong server": (caller(made["user"]), called(made["server-2"])),
        "the wrong caller": (caller(made["server-2"]), called(made["server-1"])),
        "a caller without TLS": (caller(None), called(made["server-1"])),
        "a server without TLS": (caller(made["user"]), called(None)),
    }[attack]
    with meeting(calling, answering) as (user, server):
        assert isinstance(user, PrivateMatchError) and isinstance(server, PrivateMatchError)
        if "server" in attack and "TLS" not in attack:
            assert isinstance(user, ServerUnreachable) and "not who it should be: its certificate" in str(user)
        if attack == "the wrong caller":
            assert "certificate is not that of user" in str(server)


def test_another_authority_is_refused_also_by_who_trusts_both(made: dict[str, Certificate],
                                                              others: dict[str, Certificate]) -> None:
    """A caller that would take any server still needs a certificate of the server's authority."""
    context = tls_context(others["user"], False)
    context.load_verify_locations(cadata=made["server-1"].authority.decode())
    with meeting(Party(timeout=3, tls=context), called(made["server-1"])) as (user, server):
        assert isinstance(user, ServerUnreachable) and isinstance(server, ServerUnreachable)
        assert "its certificate" in str(server)


def test_no_certificate_is_refused(made: dict[str, Certificate]) -> None:
    assert {tls_context(made["user"], server).verify_mode for server in (False, True)} == {ssl.CERT_REQUIRED}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=made["user"].authority.decode())
    with meeting(Party(timeout=3, tls=context), called(made["server-1"])) as (user, server):
        assert isinstance(user, ServerUnreachable) and isinstance(server, ServerUnreachable)


def test_an_older_tls_is_refused(made: dict[str, Certificate]) -> None:
    context = tls_context(made["user"], False)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with meeting(Party(timeout=3, tls=context), called(made["server-1"])) as (user, server):
        assert isinstance(user, ServerUnreachable) and isinstance(server, ServerUnreachable)


def test_an_expired_certificate_is_refused() -> None:
    old = make_certificates(PARTIES, valid_days=0)
    with meeting(caller(old["user"]), called(old["server-1"])) as (user, server):
        assert isinstance(user, ServerUnreachable) and "expired" in str(user)
        assert isinstance(server, ServerUnreachable)


def test_what_is_altered_under_tls_is_refused(made: dict[str, Certificate]) -> None:
    """Bytes are not frames here, so whatever passes after the handshakes is changed."""
    with listen(Address("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as front, \
            ThreadPoolExecutor(2) as pool:
        calling = pool.submit(outcome, lambda: caller(made["user"]).call(front.getsockname()[1]))
        left, _ = front.accept()
        right = socket.create_connection(listener.getsockname())
        answering = pool.submit(outcome, lambda: called(made["server-1"]).answer(listener))
        altering = [False]
        with ThreadPoolExecutor(2) as wires, left, right:
            def forward(source: socket.socket, sink: socket.socket) -> None:
                while data := source.recv(1 << 16):
                    sink.sendall(data[:-1] + bytes([data[-1] ^ 1]) if altering[0] else data)
                sink.shutdown(socket.SHUT_WR)

            runs = [wires.submit(forward, left, right), wires.submit(forward, right, left)]
            user, server = calling.result(), answering.result()
            assert isinstance(user, Channel) and isinstance(server, Channel)
            with user, server:
                user.send(b"unchanged")
                assert server.receive() == b"unchanged"
                altering[0] = True
                user.send(b"changed")
                with pytest.raises(BadMessage, match="altered on the way"):
                    server.receive()
            for run in runs:
                run.exception()


def test_slow_and_noisy_callers_do_not_keep_a_server_with_tls(made: dict[str, Certificate]) -> None:
    with listen(Address("127.0.0.1", 0), tls_context(made["server-1"], True)) as listener:
        for noise in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x40\x00" + bytes(100), b"GET / HTTP/1.1\r\n\r\n",
                      os.urandom(300)):
            with socket.create_connection(listener.getsockname()) as caller:
                connection, _ = listener.accept()
                caller.sendall(noise)
                with pytest.raises(ServerUnreachable):
                    accept(connection, {"user": KEY}, "server-1", KEY_ID, timeout=0.2,
                           tls=tls_context(made["server-1"], True))
                assert connection.fileno() == -1


def test_certificates_say_what_they_should(made: dict[str, Certificate]) -> None:
    authority = x509.load_pem_x509_certificate(made["user"].authority)
    assert {one.authority for one in made.values()} == {made["user"].authority}
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value.ca and basic.value.path_length == 0
    for party, own in made.items():
        certificate = x509.load_pem_x509_certificate(own.certificate)
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [certificate_name(party)] == [f"{party}.visagent.invalid"]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        key = load_pem_private_key(own.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
        assert key.public_key() == certificate.public_key() != authority.public_key(), "the authority's is forgotten"
        lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert 729 < lasts.days < 733
    assert len({own.key for own in made.values()}) == 3
    assert "PRIVATE" not in repr(made)


def test_keys_are_loaded_without_leaving_anything_behind(made: dict[str, Certificate], tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        tls_context(made["user"], False)
    assert len(os.listdir("/proc/self/fd")) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["key of another", "no key", "no certificate", "cut", "authority cut",
                                    "authority not text", "no authority", "encrypted key"])
def test_what_does_not_fit_is_refused(damage: str, made: dict[str, Certificate]) -> None:
    own, other = made["user"], made["server-1"]
    encrypted = load_pem_private_key(own.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    broken = {
        "key of another": Certificate(own.certificate, other.key, own.authority),
        "no key": Certificate(own.certificate, b"", own.authority),
        "no certificate": Certificate(b"", own.key, own.authority),
        "cut": Certificate(own.certificate[:200], own.key, own.authority),
        "authority cut": Certificate(own.certificate, own.key, own.authority[:200]),
        "authority not text": Certificate(own.certificate, own.key, b"\xff\xfe"),
        "no authority": Certificate(own.certificate, own.key, b""),
        "encrypted key": Certificate(own.certificate, encrypted, own.authority),
    }[damage]
    for server in (False, True):
        with pytest.raises(PrivateKeyError, match="certificates for connections between machines"):
            tls_context(broken, server)
