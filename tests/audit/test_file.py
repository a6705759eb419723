"""The audit trail as a file."""

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from pacsnode.audit import file as module
from pacsnode.audit.file import AuditFile
from pacsnode.errors import ConfigurationError


def lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text("first\n", "ascii")
    file = AuditFile(path)
    assert file.send([b"second\n", b"third\n"]) == 2
    file.close()
    assert lines(path) == ["first", "second", "third"]


def test_the_file_is_for_its_owner_and_their_group(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    before = os.umask(0)
    try:
        AuditFile(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    file = AuditFile(path)
    file.send([b"1\n"])
    path.rename(tmp_path / "audit.json.1")
    file.send([b"2\n"])
    path.rename(tmp_path / "audit.json.2")
    path.touch()  # as logrotate's `create` does
    file.send([b"3\n"])
    file.close()
    assert lines(tmp_path / "audit.json.1") == ["1"]
    assert lines(tmp_path / "audit.json.2") == ["2"]
    assert lines(path) == ["3"]


def test_a_file_that_was_cut_goes_on_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    file = AuditFile(path)
    file.send([b"1\n"])
    os.truncate(path, 0)  # as logrotate's `copytruncate` does
    file.send([b"2\n"])
    file.close()
    assert path.read_bytes() == b"2\n"


def test_a_line_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.json"
    file = AuditFile(path)
    file.send([b"first\n"])
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda fd, data: write(fd, data[:3]))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.send([b"second\n"])
    monkeypatch.undo()
    file.send([b"third\n"])
    file.close()
    assert lines(path) == ["first", "third"]


def test_lines_of_many_writers_are_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"

    def write(number: int) -> None:
        file = AuditFile(path)
        for count in range(200):
            fields = {"writer": number, "line": count, "x": "y" * 5000}
            file.send([json.dumps(fields).encode() + b"\n"])
        file.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [json.loads(line) for line in lines(path)]
    for number in range(4):
        assert [each["line"] for each in found if each["writer"] == number] == list(range(200))


@pytest.mark.parametrize("place", ["missing/audit.json", "."])
def test_a_file_that_cannot_be_written_is_told_at_start(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"audit\.file: .*allowed is a file in a folder"):
        AuditFile(tmp_path / place)
