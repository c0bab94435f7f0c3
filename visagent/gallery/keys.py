"""Keys: one master key in a file, one data key per person wrapped by it, every record sealed by AES-256-GCM.

```
master.key (0600) --HKDF--> wrapping key --AES-GCM--> a person's data key --AES-GCM--> name, templates, scores
                  `-HKDF--> name key ----HMAC------> tag by which a name is found without being readable
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
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secret)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        raise WrongKey("The gallery's master key cannot be written; is the folder yours, and the key not there "
                       "yet?") from None
    return MasterKey(secret)


def load_master_key(file: Path) -> MasterKey:
    """Read the master key.

    Raises:
        WrongKey: It is missing, readable by others than its owner, or no key.
    """
    try:
        mode = file.stat().st_mode
        secret = file.read_bytes()
    except OSError:
        raise WrongKey("The gallery's master key is missing: put the file master.key back where it was. Without it "
                       "nothing in the gallery can be read.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WrongKey("The gallery's master key can be read by others: chmod 600 master.key, and think about who "
                       "may have read it.")
    if len(secret) != KEY_BYTES:
        raise WrongKey("The gallery's master key is damaged: put the file master.key back from where you keep a copy.")
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
