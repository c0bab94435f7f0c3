"""The folders of the parties: who gets what, kept from others, and never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from visagent.errors import DamagedRecord, PrivateKeyError
from visagent.tools.private_match.names import PADDED, new_identity, open_name, seal_name
from visagent.tools.private_match.parties import (
    AuthorityKey,
    Place,
    ServerKey,
    UserKey,
    make_parties,
    read_private,
)
from visagent.tools.private_match.threshold_key import combine


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parties")
    make_parties(folder, 2048, (Place(port=1001), Place(host="two.example", port=1002)))
    return folder


def test_each_party_has_its_own_and_no_more(parties: Path) -> None:
    authority = read_private(parties / "authority/key.json", AuthorityKey)
    servers = [read_private(parties / f"server-{party}/key.json", ServerKey) for party in (1, 2)]
    user = read_private(parties / "user/key.json", UserKey)
    key = authority.key()
    one, other = (server.share() for server in servers)
    hidden = key.public.encrypt(-77)
    assert combine(key.public, one.partial(hidden), other.partial(hidden)) == -77
    assert {user.public, servers[0].public, servers[1].public} == {authority.public}
    assert servers[0].links["server-2"] == servers[1].links["server-1"]
    assert [server.links["user"] for server in servers] == [user.links["server-1"], user.links["server-2"]]
    assert len({*user.links.values(), servers[0].links["server-2"], *authority.storage.values()}) == 5
    assert (servers[0].peer, servers[1].peer) == (servers[1].here, servers[0].here)
    secrets = [f"{authority.prime_p:x}", f"{authority.order_p:x}", f"{one.exponent:x}"]
    for stranger in ("user/key.json", "server-2/key.json"):
        assert not [secret for secret in secrets if secret in (parties / stranger).read_text()]


def test_files_are_their_owner_s_alone(parties: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in parties.rglob("*.json")} == {0o600}
    file = parties / "user/key.json"
    file.chmod(0o640)
    try:
        with pytest.raises(PrivateKeyError, match="chmod 600"):
            read_private(file, UserKey)
    finally:
        file.chmod(0o600)


def test_keys_are_not_overwritten(parties: Path) -> None:
    before = {file: file.read_bytes() for file in parties.rglob("*") if file.is_file()}
    with pytest.raises(PrivateKeyError, match="already"):
        make_parties(parties)
    assert {file: file.read_bytes() for file in parties.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("change", [
    lambda text: text[:-20], lambda text: text.replace('"party": 1', '"party": 3'), lambda text: "[]",
    lambda text: text.replace('"here"', '"there"')])
def test_a_damaged_key_is_refused(change: object, parties: Path, tmp_path: Path) -> None:
    assert callable(change)
    (tmp_path / "key.json").write_text(change((parties / "server-1/key.json").read_text()))
    (tmp_path / "key.json").chmod(0o600)
    with pytest.raises(PrivateKeyError, match=r"damaged|another role"):
        read_private(tmp_path / "key.json", ServerKey)


def test_no_secret_is_shown(parties: Path) -> None:
    for role, kind in (("authority", AuthorityKey), ("server-1", ServerKey), ("user", UserKey)):
        content = json.loads((parties / role / "key.json").read_text())
        shown = repr(read_private(parties / role / "key.json", kind))
        hidden = [content.get(name) for name in ("exponent", "prime_p", "order_q")]
        hidden += [*content.get("links", {}).values(), "PRIVATE KEY"]
        assert not [value for value in hidden if value and value in shown]


def test_only_who_is_elsewhere_needs_tls(parties: Path) -> None:
    own = read_private(parties / "server-1/key.json", ServerKey).certificate
    assert own.tls(Place(port=5), server=True) is None
    context = own.tls(Place(host="192.0.2.7", port=5), server=True)
    assert context is not None and context.minimum_version.name == "TLSv1_3"


def test_a_name_opens_for_its_identity_only() -> None:
    ada, bob = new_identity(), new_identity()
    book = dict(seal_name(identity, name) for identity, name in ((ada, "Ada Lovelace"), (bob, "Böb")))
    assert (open_name(ada, book), open_name(bob, book)) == ("Ada Lovelace", "Böb")
    assert len({len(sealed) for sealed in book.values()}) == 1, "names of different lengths look alike"
    assert b"ovelace".hex() not in str(book)
    with pytest.raises(DamagedRecord):
        open_name(new_identity(), book)
    (tag, sealed), *_ = book.items()
    with pytest.raises(DamagedRecord):
        open_name(ada, {tag: sealed[:-2] + ("00" if sealed[-2:] != "00" else "01")})
    long = "x" * (PADDED + 5)
    assert open_name(ada, dict([seal_name(ada, long)])) == long
