"""The ledger: nothing is used twice, whatever is killed, and however many ask at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from visagent.errors import BadMessage, DamagedRecord, PrivateMatchError
from visagent.tools.private_match import ledger as module
from visagent.tools.private_match.ledger import Ledger

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TAKING = """
import sys
from pathlib import Path
from visagent.errors import BadMessage
from visagent.tools.private_match.ledger import Ledger
ledger, last = Ledger(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while (index := ledger.next_of("pool")) < last:
    try:
        ledger.take("pool", index)
    except BadMessage:
        continue
    print(index, flush=True)
sys.stdin.readline()
"""
"""Takes numbers, and says which once it has them; then waits to be killed."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server-1" / "ledger.sqlite"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    made = Ledger(file)
    yield made
    made.close()


def taking(file: Path, last: int) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", TAKING, str(file), str(last)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> list[int]:
    """What it has taken, killed or not."""
    out, _ = process.communicate(timeout=60)
    return [int(line) for line in out.splitlines()]


def test_numbers_are_taken_in_their_order(ledger: Ledger) -> None:
    assert ledger.next_of("pool") == 0
    ledger.take("pool", 0)
    ledger.take("pool", 1)
    assert ledger.next_of("pool") == 2 and ledger.next_of("another") == 0
    ledger.take("pool", 9)
    assert ledger.next_of("pool") == 10
    ledger.take("another", 0)
    assert (ledger.next_of("pool"), ledger.next_of("another")) == (10, 1)


def test_a_number_is_taken_once(ledger: Ledger) -> None:
    for index in (5, 3):  # queries that run at once take theirs in any order
        ledger.take("pool", index)
        with pytest.raises(BadMessage, match="used before"):
            ledger.take("pool", index)
        assert ledger.next_of("pool") == 6


def test_the_next_number_was_never_used(ledger: Ledger) -> None:
    assert [ledger.take_next("pool"), ledger.take_next("pool"), ledger.take_next("pool", 7)] == [0, 1, 7]
    assert [ledger.take_next("pool", 3), ledger.take_next("another")] == [8, 0]
    with pytest.raises(BadMessage, match="used before"):
        ledger.take("pool", 8)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: ledger.take_next("busy"), range(40)))
    assert sorted(taken) == list(range(40))


@pytest.mark.parametrize("index", [-1, 1 << 62, 1 << 80])
def test_numbers_that_there_are_not(index: int, ledger: Ledger) -> None:
    with pytest.raises(BadMessage, match="no random numbers"):
        ledger.take("pool", index)
    assert ledger.next_of("pool") == 0


def test_it_is_kept(file: Path) -> None:
    for number in range(3):
        ledger = Ledger(file)
        assert ledger.next_of("pool") == number
        ledger.take("pool", number)
        assert ledger.first_time(b"q" * 16, NOW, 600) is (number == 0)
        ledger.close()


def test_only_its_owner_can_read_it(ledger: Ledger, file: Path) -> None:
    ledger.take("pool", 0)
    files = list(file.parent.iterdir())
    assert len(files) == 3, "with the log and its index"
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_every_commit_reaches_the_disk(ledger: Ledger) -> None:
    with ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_number_taken_before_a_kill_is_lost_and_never_used_again(file: Path) -> None:
    process = taking(file, 4)
    go(process)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert process.returncode == -signal.SIGKILL
    ledger = Ledger(file)
    assert ledger.next_of("pool") == 4
    with pytest.raises(BadMessage, match="used before"):
        ledger.take("pool", 3)
    ledger.take("pool", 4)
    ledger.close()


def test_killed_at_any_moment(file: Path) -> None:
    used: list[int] = []
    for round_ in range(4):
        process = taking(file, 1 << 40)
        go(process)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        threading.Event().wait(0.02 + 0.03 * round_)
        process.kill()
        used += [first, *ended(process)]
    assert len(set(used)) == len(used) > 8 and used == sorted(used)
    ledger = Ledger(file)
    assert ledger.next_of("pool") > used[-1]
    ledger.close()


def test_threads_never_get_the_same_number(ledger: Ledger) -> None:
    start = threading.Barrier(8)

    def work() -> list[int]:
        start.wait()
        got = []
        while (index := ledger.next_of("pool")) < 60:
            try:
                ledger.take("pool", index)
                got.append(index)
            except BadMessage:
                pass
        return got

    with ThreadPoolExecutor(8) as pool:
        taken = [index for run in [pool.submit(work) for _ in range(8)] for index in run.result()]
    assert sorted(taken) == list(range(60))


def test_two_processes_never_get_the_same_number(file: Path) -> None:
    processes = [taking(file, 150) for _ in range(2)]
    for process in processes:
        go(process)
    for process in processes:
        go(process)
    parts = [ended(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(parts[0] + parts[1]) == list(range(150))


def test_several_may_make_it_at_once(file: Path) -> None:
    for number in range(10):
        start, new = threading.Barrier(4), file.with_name(f"{number}.sqlite")

        def make(start: threading.Barrier = start, new: Path = new) -> Ledger:
            start.wait()
            return Ledger(new)

        with ThreadPoolExecutor(4) as pool:
            for made in [pool.submit(make) for _ in range(4)]:
                made.result().close()


def test_making_it_waits_for_who_is_making_it(file: Path) -> None:
    """What two processes run into that open a new one at the same moment, held still."""
    file.parent.mkdir()
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    release.start()
    ledger = Ledger(file)
    ledger.take("pool", 0)
    ledger.close()
    release.join()
    other.close()


def test_a_query_is_new_once(ledger: Ledger) -> None:
    assert ledger.first_time(b"a" * 16, NOW, 600)
    assert not ledger.first_time(b"a" * 16, NOW, 600)
    assert ledger.first_time(b"b" * 16, NOW, 600)
    for seconds in (1, 599, 600):
        assert not ledger.first_time(b"a" * 16, NOW + timedelta(seconds=seconds), 600), seconds


def test_a_query_sent_by_many_at_once_is_new_once(ledger: Ledger) -> None:
    start = threading.Barrier(8)

    def ask() -> bool:
        start.wait()
        return ledger.first_time(b"a" * 16, NOW, 600)

    with ThreadPoolExecutor(8) as pool:
        assert sum(run.result() for run in [pool.submit(ask) for _ in range(8)]) == 1


def test_what_is_over_is_forgotten(ledger: Ledger, file: Path) -> None:
    for second in range(50):
        assert ledger.first_time(second.to_bytes(16, "big"), NOW + timedelta(seconds=second), 10)
    with sqlite3.connect(file) as connection:
        left = connection.execute("SELECT count(*) FROM queries").fetchone()[0]
    connection.close()
    assert left == 11
    assert ledger.first_time(bytes(16), NOW + timedelta(days=1), 10)


def test_zones_do_not_matter(ledger: Ledger) -> None:
    assert ledger.first_time(b"a" * 16, NOW, 600)
    elsewhere = (NOW + timedelta(seconds=300)).astimezone(datetime.now().astimezone().tzinfo)
    assert not ledger.first_time(b"a" * 16, elsewhere, 600)


@pytest.mark.parametrize("length", [0, 1, 15, 65, 10_000])
def test_ids_of_other_lengths_are_refused(length: int, ledger: Ledger) -> None:
    with pytest.raises(BadMessage, match="no such thing"):
        ledger.first_time(bytes(length), NOW, 600)


def test_after_closing_nothing_is_taken(ledger: Ledger) -> None:
    ledger.take("pool", 0)
    ledger.close()
    for act in (lambda: ledger.take("pool", 1), lambda: ledger.next_of("pool"),
                lambda: ledger.first_time(bytes(16), NOW, 1)):
        with pytest.raises(PrivateMatchError, match="is stopping"):
            act()


def test_somebody_who_keeps_writing_is_an_error_in_words(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    ledger, other = Ledger(file), sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for act in (lambda: ledger.take("pool", 0), lambda: ledger.first_time(bytes(16), NOW, 1)):
        with pytest.raises(PrivateMatchError, match="running twice") as found:
            act()
        assert str(file) not in str(found.value)
    assert ledger.next_of("pool") == 0, "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    ledger.take("pool", 0)
    ledger.close()


@pytest.mark.parametrize("what", ["no database", "another database", "cut", "overwritten"])
def test_what_is_no_ledger_is_refused(what: str, file: Path) -> None:
    file.parent.mkdir()
    if what == "no database":
        file.write_bytes(b"something else entirely" * 100)
    elif what == "another database":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE people (name TEXT)")
        connection.close()
    else:
        ledger = Ledger(file)
        ledger.take("pool", 0)
        ledger.close()
        content = file.read_bytes()
        file.write_bytes(content[:4096] if what == "cut" else content[:4096] + os.urandom(len(content) - 4096))
    with pytest.raises(DamagedRecord, match="ledger") as found:
        ledger = Ledger(file)
        try:
            ledger.take("pool", 1)
            ledger.first_time(bytes(16), NOW, 1)
        finally:
            ledger.close()
    assert str(file.parent) not in str(found.value)


def test_a_newer_ledger_is_refused(file: Path) -> None:
    Ledger(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DamagedRecord, match="newer visagent"):
        Ledger(file)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PrivateMatchError, match="cannot be read or written") as found:
        Ledger(tmp_path / "file" / "ledger.sqlite")
    assert str(tmp_path) not in str(found.value)
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(PrivateMatchError, match="cannot be read or written"):
        Ledger(tmp_path / "ledger.sqlite")


def test_file_names_with_special_characters(tmp_path: Path) -> None:
    file = tmp_path / "a folder? with #signs%20" / "ledger.sqlite"
    Ledger(file).close()
    assert file.stat().st_size > 0 and len(list(tmp_path.iterdir())) == 1
