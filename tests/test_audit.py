"""The audit trail: appended by many, and every change shows."""

from __future__ import annotations

import json
import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from visagent.audit import AuditTrail
from visagent.errors import AuditError

KEY = b"k" * 32


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    found = AuditTrail(tmp_path / "audit.jsonl", KEY)
    for number in range(5):
        found.write("identify", {"decision": "unknown", "templates": number})
    return found


def test_entries_are_numbered_timed_and_verified(trail: AuditTrail, tmp_path: Path) -> None:
    assert trail.verify() == 5
    entries = list(trail.entries())
    assert [entry["number"] for entry in entries] == [1, 2, 3, 4, 5]
    assert all(entry["act"] == "identify" and entry["time"] and entry["actor"] for entry in entries)
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600
    assert AuditTrail(tmp_path / "none.jsonl", KEY).verify() == 0


def edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"unknown", b"known"), *lines[1:]]


@pytest.mark.parametrize(("change", "words"), [
    (edited, "entry 1"), (lambda lines: lines[1:], "entry 1"), (lambda lines: [*lines[:2], *lines[3:]], "entry 3"),
    (lambda lines: [lines[1], lines[0], *lines[2:]], "entry 1"), (lambda lines: lines[:4], "5 entries were written"),
    (lambda lines: [*lines, lines[4]], "entry 6"), (lambda lines: [], "5 entries were written"),
])
def test_every_change_shows(trail: AuditTrail, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]],
                            words: str) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(AuditError, match=words):
        trail.verify()


def test_a_chain_made_without_the_key_shows(trail: AuditTrail, tmp_path: Path) -> None:
    other = AuditTrail(tmp_path / "other.jsonl", b"x" * 32)
    for entry in trail.entries():
        other.write(entry["act"], {})
    (tmp_path / "audit.jsonl").write_bytes((tmp_path / "other.jsonl").read_bytes())
    with pytest.raises(AuditError, match="entry 1"):
        trail.verify()


def test_the_head_cannot_be_turned_back(trail: AuditTrail, tmp_path: Path) -> None:
    head = tmp_path / "audit.head"
    head.write_text(head.read_text().replace("5", "4", 1))
    with pytest.raises(AuditError, match="head"):
        trail.verify()
    head.unlink()
    with pytest.raises(AuditError, match="head"):
        trail.verify()


def test_half_a_line_never_counted(trail: AuditTrail, tmp_path: Path) -> None:
    """Killed while it was written: the act did not go on, and the next entry follows the last whole one."""
    file = tmp_path / "audit.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'0123456789abcdef {"number": 6, "ti')
    assert trail.verify() == 5
    trail.write("forget", {})
    assert trail.verify() == 6
    assert file.read_bytes().startswith(whole)


def append(file: Path, times: int) -> None:
    for _ in range(times):
        AuditTrail(file, KEY).write("identify", {})


def test_processes_append_one_after_the_other(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    workers = [multiprocessing.get_context("fork").Process(target=append, args=(file, 20)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert AuditTrail(file, KEY).verify() == 80


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(AuditError, match="nothing was done"):
        AuditTrail(tmp_path / "audit.jsonl", KEY).write("forget", {})


def test_entries_are_plain_json(trail: AuditTrail, tmp_path: Path) -> None:
    for line in (tmp_path / "audit.jsonl").read_text().splitlines():
        assert json.loads(line.split(" ", 1)[1])["act"] == "identify"
