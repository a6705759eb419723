"""The list of `send --resume` survives whatever ends the sending."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.errors import StorageError, UsageError
from pacsnode.scu.acknowledged import Acknowledged
from tests.scu.scripted import PEER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def test_what_was_acknowledged_is_known_by_uid_and_file(path: Path, tmp_path: Path) -> None:
    with Acknowledged(path, PEER) as listed:
        listed.add("1.2.3", tmp_path / "a.dcm")
        listed.add("1.2.4", None)
    with Acknowledged(path, PEER) as listed:
        assert listed.has("1.2.3", tmp_path / "a.dcm")
        assert not listed.has("1.2.3", tmp_path / "b.dcm")
        assert not listed.has("1.2.3", None)
        assert listed.has("1.2.4", None)


def test_a_file_that_has_changed_since_is_another(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    with Acknowledged(path, PEER) as listed:
        listed.add("1.2.3", file)
    with Acknowledged(path, PEER) as listed:
        assert listed.has("1.2.3", file)
        file.write_bytes(b"two")
        assert not listed.has("1.2.3", file)
        os.utime(file, ns=(1, 1))
        assert listed.has("1.2.3", file)
        file.write_bytes(b"three")
        os.utime(file, ns=(1, 1))
        assert not listed.has("1.2.3", file)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_keeps_no_lines_is_no_list(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(UsageError, match="is no regular file"):
        Acknowledged(path, PEER)


def test_a_line_is_whole_when_the_call_returns(path: Path) -> None:
    with Acknowledged(path, PEER) as listed:
        listed.add("1.2.3", None)
        assert path.read_text().endswith("\n1.2.3\t-\n")


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_does_not_count_and_spoils_nothing(path: Path, cut: int) -> None:
    with Acknowledged(path, PEER) as listed:
        listed.add("1.2.3", None)
        listed.add("1.2.35.6.7", None)
    path.write_bytes(path.read_bytes()[:-cut])
    with Acknowledged(path, PEER) as listed:
        assert listed.has("1.2.3", None)
        assert not listed.has("1.2.35.6.7", None)
        listed.add("1.2.8", None)
    with Acknowledged(path, PEER) as listed:
        assert [listed.has(uid, None) for uid in ("1.2.3", "1.2.35.6.7", "1.2.8")] == [
            True, False, True,
        ]  # fmt: skip


def test_a_list_that_was_torn_in_its_first_line_is_begun_anew(path: Path) -> None:
    with Acknowledged(path, PEER):
        whole = path.read_bytes()
    for length in range(whole.index(b"\n")):
        path.write_bytes(whole[:length])
        with Acknowledged(path, PEER) as listed:
            listed.add("1.2.3", None)
        assert path.read_bytes() == whole + b"1.2.3\t-\n"


def test_another_peers_list_is_refused_and_left_alone(path: Path) -> None:
    with Acknowledged(path, PEER) as listed:
        listed.add("1.2.3", None)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"STORESCP@peer\.example:104 has acknowledged"):
        Acknowledged(path, replace(PEER, port=105))
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["notes", "notes\nand more\n", "# pacsnode\n"])
def test_a_file_that_is_no_list_is_refused_and_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match="no list of"):
        Acknowledged(path, PEER)
    assert path.read_text() == text


def test_two_runs_at_once_are_refused(path: Path) -> None:
    with Acknowledged(path, PEER), pytest.raises(UsageError, match="in use by another run"):
        Acknowledged(path, PEER)


def test_file_names_of_any_kind_take_one_line_each(path: Path, tmp_path: Path) -> None:
    names = ["a\nb", "a\\nb", "a\tb", "a\udcffb", "ä"]
    with Acknowledged(path, PEER) as listed:
        for name in names[::2]:
            listed.add("1.2.3", tmp_path / name)
        listed.add("1.2\n3", None)
    with Acknowledged(path, PEER) as listed:
        assert [listed.has("1.2.3", tmp_path / name) for name in names] == [
            True, False, True, False, True,
        ]  # fmt: skip
        assert not listed.has("1.2\n3", None)


def test_a_full_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Acknowledged(path, PEER) as listed:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            listed.add("1.2.3", None)
