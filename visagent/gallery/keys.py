"""Keys: one master key in a file, one data key per person wrapped by it, every record sealed by AES-256-GCM.

```
master.key (0600) --HKDF--> wrapping key --AES-GCM-> a person's data key --AES-GCM-> name, templates, scores, thumbnail
                  `-HKDF--> name key ----HMAC------> tag by which a name is found without being readable
audit.key (0600), made from the first master key and never changed ----HMAC------> the chain of the audit trail
```

A record is bound to where it belongs by associated data: collection, person, contract, kind. Moved elsewhere it does
not open. Deleting a person's wrapped key makes all of the person's records unreadable, wherever copies of them are;
copies of the wrapped key itself (backups) are made worthless by a new master key (`Gallery.rotate_key`).
"""

from __future__ import annotations

import hmac
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from visagent.errors import TamperedGallery, WrongKey

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
AUDIT_KEY: Final = "audit.key"
"""Name of the file that holds the audit trail's key, in the gallery's folder."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The root of all keys of a gallery."""

    secret: bytes = field(repr=False)

    def derived(self, purpose: str) -> bytes:
        """A key for one purpose only (HKDF-SHA256)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"visagent {purpose}".encode()).derive(self.secret)

    def tag(self, purpose: str, text: str) -> bytes:
        """32 bytes by which equal texts are recognised and no text can be guessed without the key (HMAC-SHA256)."""
        return hmac.digest(self.derived(purpose), text.encode(), "sha256")


def new_key() -> bytes:
    """A fresh 256-bit key from the system's random numbers."""
    return os.urandom(KEY_BYTES)


def create_master_key(file: Path) -> MasterKey:
    """Write a new master key, readable by its owner only; never over an existing file.

    Raises:
        WrongKey: The file is there already, or cannot be written.
    """
    secret = new_key()
    try:
        _write_exclusively(file, secret)
    except OSError:
        raise WrongKey("The gallery's master key cannot be written; is the folder yours, and the key not there "
                       "yet?") from None
    return MasterKey(secret)


def keep_audit_key(file: Path, master: MasterKey) -> MasterKey:
    """The key of the audit trail, written at the first call: the trail must outlive the master key it began under.

    Args:
        file: `audit.key`, beside the trail.
        master: The master key of now. The trail's key cannot be turned back into it.

    Raises:
        WrongKey: It cannot be read or written.
    """
    if not file.exists():
        try:
            _write_exclusively(file, master.derived("audit"))
        except FileExistsError:
            pass  # another process was faster, with the same key
        except OSError:
            raise WrongKey("The key of the audit trail cannot be written; is the folder yours?") from None
    return _load(file, "the audit trail's key")


def _write_exclusively(file: Path, secret: bytes) -> None:
    """Never over a file that is there, and never half: a link takes its name in one step."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secret)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(fresh, file)
    finally:
        fresh.unlink()


def load_master_key(file: Path) -> MasterKey:
    """Read the master key.

    Raises:
        WrongKey: It is missing, readable by others than its owner, or no key.
    """
    return _load(file, "the gallery's master key")


def _load(file: Path, what: str) -> MasterKey:
    try:
        mode = file.stat().st_mode
        secret = file.read_bytes()
    except OSError:
        raise WrongKey(f"{what.capitalize()} is missing: put the file {file.name} back where it was. Without it "
                       "nothing that it guards can be read.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WrongKey(f"{what.capitalize()} can be read by others: chmod 600 {file.name}, and think about who may "
                       "have read it.")
    if len(secret) != KEY_BYTES:
        raise WrongKey(f"{what.capitalize()} is damaged: put the file {file.name} back from where you keep a copy.")
    return MasterKey(secret)


def seal(key: bytes, plain: bytes, *place: str) -> bytes:
    """Encrypt a record: nonce and AES-256-GCM ciphertext, bound to its place."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, _bound(place))


def unseal(key: bytes, sealed: bytes, *place: str) -> bytes:
    """Decrypt a record. Raises TamperedGallery if it was changed, cut, moved from its place, or sealed otherwise."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(place))
    except (InvalidTag, ValueError):
        raise TamperedGallery("A record of the gallery is not what was stored: it was changed, cut or moved. Restore "
                              "the gallery from a copy.") from None


def _bound(place: tuple[str, ...]) -> bytes:
    return json.dumps(["visagent", 1, *place]).encode()
