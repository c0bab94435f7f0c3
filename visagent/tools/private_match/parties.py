"""The folders of the three roles, and what each of them may know.

```
authority/   key.json (everything secret), gallery/ (an ordinary encrypted gallery of visagent)
server-1/    key.json (one half of the key), records.sqlite (sealed records, dealt numbers), ledger.sqlite
server-2/    the same
user/        key.json (no secret but the ways to both servers), terms.json (what the gallery was made with)
```

Each of the last three is copied to the machine where it belongs; none of them needs another.
"""

from __future__ import annotations

import os
import secrets
import ssl
import stat
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from gmpy2 import mpz
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.certificates import Certificate, make_certificates, tls_context
from visagent.tools.private_match.channel import Address, is_loopback
from visagent.tools.private_match.paillier import PublicKey, SecretKey, generate_key
from visagent.tools.private_match.threshold_key import KeyShare, split_key

Way = Literal["shared", "packed", "reference"]
"""How a gallery is searched: docs/private-recognition.md tells who learns what, and how fast each is."""

KEY_FILE: Final = "key.json"
TERMS_FILE: Final = "terms.json"
USER: Final = "user"
PORTS: Final = (8471, 8472)

Number = Annotated[mpz, BeforeValidator(lambda value: mpz(value, 16) if isinstance(value, str) else mpz(value)),
                   PlainSerializer(lambda value: f"{value:x}", return_type=str)]
Secret = Annotated[bytes, BeforeValidator(lambda v: bytes.fromhex(v) if isinstance(v, str) else v),
                   PlainSerializer(lambda value: value.hex(), return_type=str)]
ModelT = TypeVar("ModelT", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PublicNumbers(_Part):
    """The public key."""

    n: Number
    base: Number
    strength: int

    def key(self) -> PublicKey:
        """It, ready for use."""
        return PublicKey(self.n, self.base, self.strength)


class Place(_Part):
    """Where a server listens."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)

    def address(self) -> Address:
        """The same for `channel`."""
        return Address(self.host, self.port)


class OwnCertificate(_Part):
    """A party's certificate, for connections that leave the machine; PEM.

    Attributes:
        authority: Of the authority that signed all three and was forgotten.
        certificate: The party's.
        key: Its private key.
    """

    authority: str
    certificate: str
    key: str = Field(repr=False)

    @classmethod
    def of(cls, made: Certificate) -> OwnCertificate:
        """To be kept in a file."""
        return cls(authority=made.authority.decode(), certificate=made.certificate.decode(), key=made.key.decode())

    def tls(self, place: Place, *, server: bool) -> ssl.SSLContext | None:
        """How to speak with a place, as who is called or who calls; None on this machine. Raises PrivateKeyError."""
        if is_loopback(place.host):
            return None
        return tls_context(Certificate(self.certificate.encode(), self.key.encode(), self.authority.encode()), server)


class AuthorityKey(_Part):
    """All secrets of the organisation.

    Attributes:
        storage: Per server the key that its records are sealed with.
    """

    public: PublicNumbers
    prime_p: Number = Field(repr=False)
    prime_q: Number = Field(repr=False)
    order_p: Number = Field(repr=False)
    order_q: Number = Field(repr=False)
    storage: dict[str, Secret] = Field(repr=False)

    def key(self) -> SecretKey:
        """The secret key."""
        return SecretKey(self.public.key(), self.prime_p, self.prime_q, self.order_p, self.order_q)


class ServerKey(_Part):
    """What one server knows.

    Attributes:
        party: 1 or 2.
        exponent: Its half of the key.
        storage: Key that its records are sealed with.
        links: Pre-shared keys by the role at the other end.
        here: Where it listens.
        peer: Where the other server listens.
        certificate: For connections that leave the machine.
    """

    party: Literal[1, 2]
    public: PublicNumbers
    exponent: Number = Field(repr=False)
    storage: Secret = Field(repr=False)
    links: dict[str, Secret] = Field(repr=False)
    here: Place
    peer: Place
    certificate: OwnCertificate

    @property
    def role(self) -> str:
        """Its name."""
        return server_role(self.party)

    @property
    def peer_role(self) -> str:
        """The other server's name."""
        return server_role(3 - self.party)

    def share(self) -> KeyShare:
        """Its half of the key, ready for use."""
        return KeyShare(self.public.key(), self.party, self.exponent)


class UserKey(_Part):
    """What a user knows: how to reach the servers, and the public key."""

    public: PublicNumbers
    links: dict[str, Secret] = Field(repr=False)
    servers: dict[str, Place]
    certificate: OwnCertificate


class Terms(_Part):
    """What a gallery was made with: needed to ask, no secret.

    Attributes:
        generation: Which making of the gallery this is; it grows.
        way: How it is searched.
        encoder: Id of the embedding contract.
        model: The encoder in words.
        dimension: Numbers in a template.
        bits: Of each number.
        records: People.
        templates: Their templates, of which each record is the mean.
        threshold: Greatest squared distance at which a person is named.
        similarity: The cosine similarity that stands for it.
        threshold_source: Where that comes from.
        names: Names sealed for whoever finds the person: tag and sealed name, both hexadecimal.
    """

    generation: int
    way: Way
    encoder: str
    model: str
    digest: str
    dimension: int = Field(ge=2, le=4096)
    bits: Literal[8, 10]
    records: int = Field(ge=0)
    templates: int = Field(ge=0)
    threshold: int
    similarity: float
    threshold_source: str
    names: dict[str, str] = Field(default={}, repr=False)


def server_role(party: int) -> str:
    """The name of a server."""
    return f"server-{party}"


def make_parties(folder: Path, bits: int = 2048, places: tuple[Place, Place] | None = None) -> None:
    """Make the keys of all parties, in four folders that only their owner can read.

    Args:
        folder: Where; made if it is not there.
        bits: Of the key, 2048 or 3072.
        places: Where the servers will listen; on this machine by default.

    Raises:
        PrivateKeyError: There are keys already, the folder cannot be written, or another key size.
    """
    one, two = places or (Place(port=PORTS[0]), Place(port=PORTS[1]))
    roles = [server_role(1), server_role(2)]
    if any((folder / name / KEY_FILE).exists() for name in ("authority", USER, *roles)):
        raise PrivateKeyError("There are keys in this folder already. New keys make all that was encrypted with the "
                              "old ones useless: name another folder, or take the old one away first.")
    key = generate_key(bits)
    public = PublicNumbers(n=key.public.n, base=key.public.base, strength=key.public.strength)
    certificates = make_certificates([USER, *roles])
    storage = {role: secrets.token_bytes(32) for role in roles}
    between = {pair: secrets.token_bytes(32) for pair in ("servers", *roles)}
    write_private(folder / "authority" / KEY_FILE, AuthorityKey(
        public=public, prime_p=key.prime_p, prime_q=key.prime_q, order_p=key.order_p, order_q=key.order_q,
        storage=storage))
    for share, here, peer in zip(split_key(key), (one, two), (two, one), strict=True):
        role, other = server_role(share.party), server_role(3 - share.party)
        party: Literal[1, 2] = 1 if share.party == 1 else 2
        write_private(folder / role / KEY_FILE, ServerKey(
            party=party, public=public, exponent=share.exponent, storage=storage[role],
            links={USER: between[role], other: between["servers"]}, here=here, peer=peer,
            certificate=OwnCertificate.of(certificates[role])))
    write_private(folder / USER / KEY_FILE, UserKey(
        public=public, links={role: between[role] for role in roles},
        servers=dict(zip(roles, (one, two), strict=True)), certificate=OwnCertificate.of(certificates[USER])))


def write_private(file: Path, content: BaseModel) -> None:
    """Write a file that only its owner can read: whole or not at all. Raises PrivateKeyError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content.model_dump_json(indent=2))
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError:
        raise PrivateKeyError(f"The file {file.name} cannot be written; is the folder yours, and the disk not "
                              "full?") from None


def read_private(file: Path, kind: type[ModelT]) -> ModelT:
    """Read such a file.

    Raises:
        PrivateKeyError: It is missing, damaged, of another role, or others can read it.
    """
    what = f"{file.parent.name}/{file.name}"
    try:
        mode = file.stat().st_mode
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise PrivateKeyError(f"There is no readable {what}: make the keys with `visagent private keygen`, or name "
                              "the folder that holds them.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PrivateKeyError(f"{what} can be read by others: chmod 600 it, and think about who may have read it.")
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        raise PrivateKeyError(f"{what} is damaged, or of another role; copy it again from where the keys were "
                              "made.") from None
