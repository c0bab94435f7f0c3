"""The audit trail: who did what with whose templates, in an append-only file that shows every change.

One JSON line for each act, also for those that were refused. Each line carries a keyed digest over itself and the line
before it (HMAC-SHA256): a line that is edited, taken out or moved breaks the chain for all that follow. The head file
holds the newest line's number, so that lines cut off at the end are missed too. Who holds the key can rewrite it all:
the trail proves nothing against the machine's owner.

It holds no picture, no template, no score and no name: people stand in it by random ids, which mean nothing once a
person is forgotten.
"""

from __future__ import annotations

import fcntl
import getpass
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from visagent.errors import AuditError

MOST_LINE_BYTES: Final = 1 << 16
_START: Final = "0" * 64


class AuditTrail:
    """The trail of one gallery. Several processes may write to it.

    Args:
        file: `NAME.jsonl`; made with the first entry. The head is beside it as `NAME.head`.
        key: Secret of the digests.
    """

    def __init__(self, file: Path, key: bytes) -> None:
        self._file = file
        self._head = file.with_suffix(".head")
        self._key = key

    def write(self, act: str, facts: Mapping[str, object]) -> None:
        """Append an entry.

        Args:
            act: What was done: identify, enrol, forget ...
            facts: Plain JSON values; no names, scores or embeddings.

        Raises:
            AuditError: It cannot be written, so the act must not go on.
        """
        try:
            with self._locked() as stream:
                number, digest = self._last(stream)
                entry = {"number": number + 1, "time": datetime.now(UTC).isoformat(), "actor": _actor(), "act": act,
                         **facts}
                text = json.dumps(entry, sort_keys=True, ensure_ascii=True)
                digest = self._digest(digest, text)
                stream.write(f"{digest} {text}\n".encode())
                stream.flush()
                os.fsync(stream.fileno())
                self._write_head(number + 1, digest)
        except OSError:
            raise AuditError("The audit trail cannot be written, so nothing was done; is the disk full, or the folder "
                             "not yours?") from None

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, oldest first, unchecked."""
        if self._file.exists():
            with self._file.open("rb") as stream:
                for line in stream:
                    if line.endswith(b"\n"):
                        yield json.loads(line.split(b" ", 1)[1])

    def verify(self) -> int:
        """Check the whole chain; the number of entries.

        Raises:
            AuditError: An entry was changed, moved, added or taken out, with the number of the first that is wrong.
        """
        count, digest = 0, _START
        if self._file.exists():
            with self._file.open("rb") as stream:
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # cut off while it was written: it never counted
                    stated, _, text = line.rstrip(b"\n").partition(b" ")
                    digest = self._digest(digest, text.decode("utf-8", "replace"))
                    if not hmac.compare_digest(stated, digest.encode()) \
                            or json.loads(text).get("number") != count + 1:
                        raise AuditError(f"The audit trail was changed: entry {count + 1} is not what was written, or "
                                         "not in its place.")
                    count += 1
        newest = self._read_head()
        if newest > count:
            raise AuditError(f"The audit trail was cut: {newest} entries were written, and {count} are there.")
        return count

    def _digest(self, before: str, text: str) -> str:
        return hmac.new(self._key, f"{before} {text}".encode(), "sha256").hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream

    def _last(self, stream: BinaryIO) -> tuple[int, str]:
        """Number and digest of the newest whole line; the stream stands behind it, half a line after it is dropped."""
        end = stream.seek(0, os.SEEK_END)
        start = max(0, end - MOST_LINE_BYTES)
        stream.seek(start)
        tail = stream.read()
        whole = tail.rfind(b"\n") + 1
        stream.seek(start + whole)
        stream.truncate()
        if not whole:
            if start:
                raise AuditError("The audit trail is damaged: its last entry has no end.")
            return 0, _START
        line = tail[:whole - 1].rsplit(b"\n", 1)[-1]
        digest, _, text = line.partition(b" ")
        try:
            return int(json.loads(text)["number"]), digest.decode()
        except (ValueError, KeyError):
            raise AuditError("The audit trail was changed: its last entry cannot be read.") from None

    def _write_head(self, number: int, digest: str) -> None:
        seal = self._digest("head", f"{number} {digest}")
        fresh = self._head.with_suffix(".head.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{number} {digest} {seal}\n")
        os.replace(fresh, self._head)

    def _read_head(self) -> int:
        if not self._head.exists():
            if self._file.exists() and self._file.stat().st_size:
                raise AuditError("The audit trail's head file is missing: entries may have been cut off.")
            return 0
        try:
            number, digest, seal = self._head.read_text().split()
        except ValueError:
            raise AuditError("The audit trail's head file was changed.") from None
        if not hmac.compare_digest(seal, self._digest("head", f"{number} {digest}")):
            raise AuditError("The audit trail's head file was changed.")
        return int(number)


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return f"uid {os.getuid()}"
