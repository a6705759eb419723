"""Files that several processes add recordings to."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pacsnode.dicom.recording import End, Header, header_line, read_recording, to_line
from pacsnode.node.trace_file import TraceFile

HEADER = Header("pacsnode 1", "PACSNODE", "CT1", 1.5, True)
LINE = to_line(End("a", 1.0, "", 0))

ADD = """
import sys
from pathlib import Path
from pacsnode.dicom.recording import End, Header, to_line
from pacsnode.node.trace_file import TraceFile
file = TraceFile(Path(sys.argv[1]), Header("pacsnode 1", "PACSNODE", "CT1", 1.5, True), 20_000)
for number in range(300):
    file.add([to_line(End(f"{sys.argv[2]}-{number}", 1.0, "", 0))])
"""


def read(path: Path) -> list[str]:
    with open(path, "rb") as file:
        header, records = read_recording(file, str(path))
        assert header == HEADER
        return [record.association for record in records]


def test_a_file_begins_with_its_header_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    for _ in range(3):
        assert not TraceFile(path, HEADER).add([LINE])
    assert path.read_bytes() == header_line(HEADER) + LINE * 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_makes_way(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    largest = len(header_line(HEADER)) + 3 * len(LINE)
    file = TraceFile(path, HEADER, largest)
    assert [file.add([LINE]) for _ in range(8)] == [False] * 3 + [True] + [False] * 2 + [
        True,
        False,
    ]
    assert len(read(path)) == 2
    assert len(read(file.previous)) == 3
    assert sorted(tmp_path.iterdir()) == [path, file.previous]


def test_a_line_longer_than_a_file_may_be_gets_one_of_its_own(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "a.trace", HEADER, 10)
    assert [file.add([LINE]), file.add([LINE])] == [False, True]
    assert len(read(tmp_path / "a.trace")) == 1


def test_several_processes_add_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    root = str(Path(__file__).parent.parent.parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(path), str(number)],
            env={**os.environ, "PYTHONPATH": root},
        )
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    kept = read(path.with_name("a.trace.1")) + read(path)
    assert len(kept) == len(set(kept)) > 300
    assert path.stat().st_size <= 20_000


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TraceFile(tmp_path / "none" / "a.trace", HEADER).add([LINE])


def test_a_fifo_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.trace")
    with pytest.raises(OSError, match="No such device"):
        TraceFile(tmp_path / "a.trace", HEADER).add([LINE])
