"""Certificates for connections between machines: an authority that signs once and is then forgotten."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from visagent.errors import PrivateKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import CertificateBuilder, KeyUsage

AUTHORITY: Final = "visagent private match"
VALID_DAYS: Final = 730
CLOCKS_APART: Final = timedelta(days=1)
"""By how much the clocks of two machines may differ."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a party shows to others, and by what it knows theirs. All in PEM.

    Attributes:
        certificate: The party's own; everybody may see it.
        key: Its private key; the party's alone.
        authority: The certificate of the authority that signed all parties'.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes


def certificate_name(party: str) -> str:
    """The DNS name in a party's certificate; nobody can own a name under `.invalid`."""
    return f"{party}.visagent.invalid"


def make_certificates(parties: Sequence[str], valid_days: int = VALID_DAYS) -> dict[str, Certificate]:
    """A fresh authority and one certificate for each party, all with ECDSA on P-256.

    The authority's private key is never kept, so nobody can add a party later: to add one, make all anew.

    Args:
        parties: Such as `user`, `server-1`, `server-2`.
        valid_days: From now; when they are over all must be made anew.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority_key = ec.generate_private_key(ec.SECP256R1())
    builder = _for_authority(_builder(AUTHORITY, authority_key, valid_days), authority_key)
    authority = builder.sign(authority_key, SHA256())
    made = {}
    for party in parties:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _for_party(_builder(party, key, valid_days), party, authority_key)
        certificate = builder.sign(authority_key, SHA256())
        made[party] = Certificate(certificate.public_bytes(Encoding.PEM),
                                  key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                                  authority.public_bytes(Encoding.PEM))
    return made


def tls_context(own: Certificate, server: bool) -> ssl.SSLContext:
    """TLS 1.3 in which both sides must show a certificate of this one authority; no other authority counts.

    Args:
        own: This party's certificate.
        server: Whether this party is called, or calls.

    Raises:
        PrivateKeyError: The certificate, its key or the authority's certificate is damaged, or they do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = not server  # the name of who calls is checked once it has said who it is
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if server:
        context.num_tickets = 0  # every connection shows its certificates anew
    try:
        context.load_verify_locations(cadata=own.authority.decode("ascii"))
        _load(context, own)
    except (ssl.SSLError, ValueError):
        raise PrivateKeyError("The certificates for connections between machines are damaged or do not belong to each "
                              "other; give this party those that were made together.") from None
    return context


def _load(context: ssl.SSLContext, own: Certificate) -> None:
    """OpenSSL reads keys from files only; this one is in memory and gone when it is closed, even after a crash."""
    descriptor = os.memfd_create("certificate")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(own.certificate + b"\n" + own.key)
        stream.flush()
        # An encrypted key must be refused, not ask for its password at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=b"")


def _builder(name: str, key: EllipticCurvePrivateKey, valid_days: int) -> CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, AUTHORITY))
    now = datetime.now(UTC)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCKS_APART).not_valid_after(now + timedelta(days=valid_days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False))


def _for_authority(builder: CertificateBuilder, key: EllipticCurvePrivateKey) -> CertificateBuilder:
    from cryptography import x509

    return (builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True))


def _for_party(builder: CertificateBuilder, party: str, authority: EllipticCurvePrivateKey) -> CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # a server also calls the other one
    return (builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(certificate_name(party))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(issuer, critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True))


def _usage(*, signs_certificates: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
                         data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
                         crl_sign=signs_certificates, encipher_only=False, decipher_only=False)
