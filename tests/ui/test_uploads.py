"""Uploads: each file belongs to who sent it, is read by nobody else, and goes when it was used or has got old."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from visagent.errors import PictureError
from visagent.ui import uploads as module
from visagent.ui.uploads import KEPT_SECONDS, Uploads

ADA, BOB = "ada", "bob"


def sent(folder: Path, data: bytes = b"pixels", name: str = "face.jpg") -> Path:
    """A file where Gradio puts it: in a folder that is named after its content."""
    home = folder / hashlib.sha256(data).hexdigest()
    home.mkdir(exist_ok=True)
    (home / name).write_bytes(data)
    return home / name


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_nobody_owns_what_nobody_registered(folder: Path, uploads: Uploads) -> None:
    path = sent(folder)
    assert not uploads.owns(ADA, str(path))
    with pytest.raises(PictureError, match="attach the file again"):
        uploads.read(ADA, str(path))
    assert path.exists()


def test_only_who_sent_a_file_may_read_it(folder: Path, uploads: Uploads) -> None:
    path = sent(folder)
    uploads.register(ADA, [str(path)])
    assert uploads.owns(ADA, str(path)) and not uploads.owns(BOB, str(path))
    assert uploads.read(ADA, str(path)) == b"pixels"
    for look in (uploads.read, uploads.take):
        with pytest.raises(PictureError):
            look(BOB, str(path))
    assert path.exists()


def test_reading_leaves_the_file(folder: Path, uploads: Uploads) -> None:
    path = sent(folder)
    uploads.register(ADA, [str(path)])
    assert [uploads.read(ADA, str(path)) for _ in range(2)] == [b"pixels"] * 2
    assert uploads.owns(ADA, str(path)) and path.exists()


def test_taking_deletes_the_file_with_its_folder(folder: Path, uploads: Uploads) -> None:
    path, other = sent(folder), sent(folder, b"others")
    uploads.register(ADA, [str(path), str(other)])
    assert uploads.take(ADA, str(path)) == b"pixels"
    assert not path.parent.exists() and other.exists() and folder.exists()
    assert not uploads.owns(ADA, str(path)) and uploads.owns(ADA, str(other))
    with pytest.raises(PictureError):
        uploads.take(ADA, str(path))


def test_the_same_file_of_two_visitors_goes_with_the_second(folder: Path, uploads: Uploads) -> None:
    path = sent(folder)
    uploads.register(ADA, [str(path)])
    uploads.register(BOB, [str(path)])
    assert uploads.take(ADA, str(path)) == b"pixels"
    assert path.exists() and not uploads.owns(ADA, str(path)) and uploads.owns(BOB, str(path))
    with pytest.raises(PictureError):
        uploads.read(ADA, str(path))
    assert uploads.take(BOB, str(path)) == b"pixels"
    assert not path.parent.exists()


def test_a_file_that_is_sent_again_is_owned_again(folder: Path, uploads: Uploads) -> None:
    for _ in range(2):
        path = sent(folder)
        uploads.register(ADA, [str(path)])
        assert uploads.take(ADA, str(path)) == b"pixels"


def test_forgetting_a_visitor_deletes_all_that_is_theirs_alone(folder: Path, uploads: Uploads) -> None:
    own, shared, others = sent(folder, b"own"), sent(folder, b"shared"), sent(folder, b"others")
    uploads.register(ADA, [str(own), str(shared)])
    uploads.register(BOB, [str(shared), str(others)])
    uploads.forget(ADA)
    assert [path.exists() for path in (own, shared, others)] == [False, True, True]
    assert not own.parent.exists()
    assert not uploads.owns(ADA, str(shared)) and uploads.owns(BOB, str(shared))
    uploads.forget("a stranger")
    assert shared.exists() and others.exists()


def test_a_file_that_somebody_else_deleted_is_gone(folder: Path, uploads: Uploads) -> None:
    path = sent(folder)
    uploads.register(ADA, [str(path)])
    path.unlink()
    for look in (uploads.read, uploads.take):
        with pytest.raises(PictureError, match="gone") as caught:
            look(ADA, str(path))
        assert str(folder) not in str(caught.value)


def test_relative_paths_and_dots_name_the_same_file(folder: Path, uploads: Uploads,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    path = sent(folder)
    monkeypatch.chdir(folder)
    uploads.register(ADA, [str(path.relative_to(folder))])
    roundabout = f"{folder}/../{folder.name}/{path.parent.name}/./{path.name}"
    assert uploads.owns(ADA, roundabout) and uploads.take(ADA, roundabout) == b"pixels"
    assert not path.exists()


def _outside(folder: Path) -> str:
    """A file beside the folder, two levels deep as an upload is."""
    beside = folder.parent / "private" / "deep" / "secret.txt"
    beside.parent.mkdir(parents=True)
    beside.write_bytes(b"secret")
    return str(beside)


def _with_dots(folder: Path) -> str:
    _outside(folder)
    return f"{folder}/../private/deep/secret.txt"


def _link_out(folder: Path) -> str:
    home = folder / "link"
    home.mkdir()
    (home / "face.jpg").symlink_to(_outside(folder))
    return str(home / "face.jpg")


def _folder_link_out(folder: Path) -> str:
    (folder / "link").symlink_to(Path(_outside(folder)).parent)
    return str(folder / "link" / "secret.txt")


def _directly_inside(folder: Path) -> str:
    (folder / "secret.txt").write_bytes(b"secret")
    return str(folder / "secret.txt")


def _too_deep(folder: Path) -> str:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "secret.txt").write_bytes(b"secret")
    return str(folder / "a" / "b" / "secret.txt")


def _alike(folder: Path) -> str:
    """In a folder whose path begins with the same letters."""
    other = folder.with_name(f"{folder.name}-others") / "deep"
    other.mkdir(parents=True)
    (other / "secret.txt").write_bytes(b"secret")
    return str(other / "secret.txt")


def _null_byte(folder: Path) -> str:
    return f"{sent(folder, b'secret')}\0.jpg"


def _not_encodable(folder: Path) -> str:
    return f"{sent(folder, b'secret').parent}/\ud800.jpg"


def _the_folder(folder: Path) -> str:
    (folder / "secret.txt").write_bytes(b"secret")
    return str(folder)


def _content_folder(folder: Path) -> str:
    return str(sent(folder, b"secret").parent)


def _nothing(folder: Path) -> str:
    (folder / "secret.txt").write_bytes(b"secret")
    return ""


@pytest.mark.parametrize("make", [
    _outside, _with_dots, _link_out, _folder_link_out, _directly_inside, _too_deep, _alike, _null_byte, _not_encodable,
    _the_folder, _content_folder, _nothing])
def test_what_is_no_upload_is_never_owned_read_or_deleted(make: Callable[[Path], str], folder: Path,
                                                          uploads: Uploads, clock: Clock) -> None:
    path = make(folder)
    uploads.register(ADA, [path])
    assert not uploads.owns(ADA, path)
    for look in (uploads.read, uploads.take):
        with pytest.raises(PictureError):
            look(ADA, path)
    clock.now += 10 * KEPT_SECONDS
    uploads.purge()
    uploads.forget(ADA)
    secrets = [file for file in folder.parent.rglob("*") if file.is_file() and file.read_bytes() == b"secret"]
    assert secrets, "the file that was named is still there"


def test_a_link_that_is_made_later_leads_nowhere(folder: Path, uploads: Uploads) -> None:
    """The path was an upload when it was registered; what it has become since then is not."""
    path, secret = sent(folder), Path(_outside(folder))
    uploads.register(ADA, [str(path)])
    path.unlink()
    path.symlink_to(secret)
    assert not uploads.owns(ADA, str(path))
    with pytest.raises(PictureError):
        uploads.take(ADA, str(path))
    uploads.forget(ADA)
    assert secret.read_bytes() == b"secret"


def test_a_link_to_the_uploads_folder_is_followed_when_it_begins(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    uploads, path = Uploads(tmp_path / "link"), sent(folder)
    uploads.register(ADA, [str(tmp_path / "link" / path.relative_to(folder))])
    assert uploads.read(ADA, str(path)) == b"pixels"


def test_old_uploads_are_deleted_and_newer_ones_stay(folder: Path, uploads: Uploads, clock: Clock) -> None:
    old, new = sent(folder, b"old"), sent(folder, b"new")
    uploads.register(ADA, [str(old)])
    uploads.register(BOB, [str(old)])
    clock.now += KEPT_SECONDS - 1
    uploads.register(ADA, [str(new)])
    uploads.purge()
    assert old.exists() and new.exists()
    clock.now += 2
    uploads.purge()
    assert not old.parent.exists() and new.exists()
    assert not uploads.owns(ADA, str(old)) and not uploads.owns(BOB, str(old)) and uploads.owns(ADA, str(new))
    clock.now += KEPT_SECONDS
    uploads.purge()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("touch", ["read", "register"])
def test_what_is_used_stays_longer(touch: str, folder: Path, uploads: Uploads, clock: Clock) -> None:
    path = sent(folder)
    uploads.register(ADA, [str(path)])
    clock.now += KEPT_SECONDS - 1
    if touch == "read":
        uploads.read(ADA, str(path))
    else:
        uploads.register(ADA, [str(path)])
    clock.now += KEPT_SECONDS - 1
    uploads.purge()
    assert path.exists()
    clock.now += 2
    uploads.purge()
    assert not path.exists()


def test_many_threads_at_once_lose_and_leave_nothing(folder: Path, uploads: Uploads) -> None:
    failures: list[BaseException] = []
    ready = threading.Barrier(8)

    def visit(visitor: str) -> None:
        try:
            ready.wait(10)
            for number in range(25):
                data = f"{visitor} {number}".encode()
                path = str(sent(folder, data))
                uploads.register(visitor, [path])
                assert uploads.owns(visitor, path)
                if number % 5:
                    assert uploads.take(visitor, path) == data
                else:
                    uploads.purge()
            uploads.forget(visitor)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=visit, args=(f"visitor {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures and not any(thread.is_alive() for thread in threads)
    assert list(folder.iterdir()) == []


def test_one_content_under_two_names_is_two_files(folder: Path) -> None:
    """Gradio names the folder by the content: what one visitor uses up must not take the other's file along."""
    uploads = Uploads(folder)
    home = folder / "sha"
    home.mkdir()
    for visitor, name in (("ada", "a.jpg"), ("bob", "b.jpg")):
        (home / name).write_bytes(b"same")
        uploads.register(visitor, [str(home / name)])
    assert uploads.take("ada", str(home / "a.jpg")) == b"same"
    assert not uploads.owns("ada", str(home / "a.jpg"))
    assert uploads.take("bob", str(home / "b.jpg")) == b"same"
    assert not home.exists()


def test_a_loop_of_links_is_nobodys(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    uploads = Uploads(folder)
    uploads.register("ada", [str(folder / "loop" / "a.jpg")])
    assert not uploads.owns("ada", str(folder / "loop" / "a.jpg"))
