"""Who records associations, and that nobody waits for it."""

import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pacsnode.config.model import Modality
from pacsnode.dicom.recording import Begin, CommandSet, DatasetPassed, End, Opening, Record
from pacsnode.errors import RecordingDamaged
from pacsnode.node import trace_sockets, traces
from pacsnode.node.trace_sockets import FOLDER, TraceSocket
from pacsnode.node.traces import Recording, Traces, whose

CALL = Opening(True, "CT1", "PACSNODE", "127.0.0.1")


class Kept:
    """A sink that keeps what it is given, once it is let."""

    def __init__(self, *, is_slow: bool = False, most: int = 1 << 30) -> None:
        self.records: list[Record] = []
        self.go_on = threading.Event()
        self.is_closed = threading.Event()
        self._most = most
        if not is_slow:
            self.go_on.set()

    def write(self, record: Record) -> bool:
        self.go_on.wait(30)
        self.records.append(record)
        return len(self.records) < self._most

    def close(self) -> None:
        self.is_closed.set()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[TraceSocket]:
    made = TraceSocket(tmp_path)
    yield made
    made.close()


def modality(name: str, host: str, **more: object) -> Modality:
    return Modality.model_validate({"ae_title": name, "host": host, **more})


def modalities(**hosts: str) -> Mapping[str, Modality]:
    return {name: modality(name, host) for name, host in hosts.items()}


def same(host: str, address: str) -> bool:
    return host == address


def take(listening: TraceSocket, count: int) -> list[Record]:
    found: list[Record] = []
    for _ in range(1000):
        found += listening.records(5)
        if len(found) >= count:
            return found
    pytest.fail(f"{found} only")


def test_an_association_is_recorded_whole_and_in_order() -> None:
    sink = Kept()
    recording = Recording(CALL, [sink])
    recording.pdu(False, b"\5")
    recording.command(False, 1, b"command")
    recording.dataset(False, 1, 4, b"data")
    recording.dataset(True, 1, 2 << 20, bytes(2 << 20))
    recording.end("idle")
    assert sink.is_closed.wait(30)
    begin, _, command, short, long, end = sink.records
    assert isinstance(begin, Begin)
    assert begin.opening == CALL
    assert isinstance(command, CommandSet)
    assert isinstance(short, DatasetPassed)
    assert short.data == b"data"
    assert isinstance(long, DatasetPassed)
    assert (long.length, long.data) == (2 << 20, None)
    assert isinstance(end, End)
    assert (end.reason, end.lost) == ("idle", 0)
    assert len({record.association for record in sink.records}) == 1
    assert [record.at for record in sink.records] == sorted(record.at for record in sink.records)


def test_who_is_slow_holds_nobody_up_and_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traces, "LAST_WORDS", 0)
    sink = Kept(is_slow=True)
    recording = Recording(CALL, [sink])
    for _ in range(10_000):
        recording.command(False, 1, bytes(1000))
    recording.end("")
    sink.go_on.set()
    assert sink.is_closed.wait(30)
    end = sink.records[-1]
    assert isinstance(end, End)
    assert end.lost > 0
    assert end.lost + len(sink.records) == 10_002
    assert sum(isinstance(record, CommandSet) for record in sink.records) < 5000


def test_who_wants_no_more_is_left_alone_and_others_go_on() -> None:
    first, second = Kept(most=2), Kept()
    recording = Recording(CALL, [first, second])
    for _ in range(5):
        recording.command(False, 1, b"")
    recording.end("")
    assert second.is_closed.wait(30)
    assert first.is_closed.is_set()
    assert [len(first.records), len(second.records)] == [2, 7]


def test_a_fault_while_writing_ends_the_recording_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Kept):
        def write(self, record: Record) -> bool:
            raise ValueError("broken")

    sink = Broken()
    recording = Recording(CALL, [sink])
    assert sink.is_closed.wait(30)
    recording.command(False, 1, b"")
    recording.end("")
    assert "unexpected fault" in caplog.text


def test_nobody_is_recorded_where_nobody_asks(tmp_path: Path) -> None:
    assert Traces(tmp_path, "PACSNODE", lambda: modalities(CT1="127.0.0.1")).begin(CALL) is None
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_listens_is_told(tmp_path: Path, listening: TraceSocket) -> None:
    recorder = Traces(tmp_path, "PACSNODE", dict).begin(CALL)
    assert recorder is not None
    recorder.command(False, 1, b"command")
    recorder.end("")
    found = take(listening, 3)
    assert [type(record) for record in found] == [Begin, CommandSet, End]


def test_a_command_that_does_not_want_it_is_told_no_more(
    tmp_path: Path, listening: TraceSocket
) -> None:
    recorder = Traces(tmp_path, "PACSNODE", dict).begin(CALL)
    assert recorder is not None
    (begin,) = take(listening, 1)
    listening.refuse(begin.association)
    for _ in range(100):
        recorder.command(False, 1, bytes(1000))
    recorder.end("")
    assert list(listening.records(0)) == []


def test_a_socket_that_nobody_listens_on_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / FOLDER
    folder.mkdir()
    dead = folder / "dead.socket"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(dead))
    assert Traces(tmp_path, "PACSNODE", dict).begin(CALL) is None
    assert not dead.exists()
    assert "its command has gone" in caplog.text


def test_a_file_that_cannot_be_written_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"CT1": modality("CT1", "192.0.2.1", trace=tmp_path / "none" / "a.trace")}
    recorder = Traces(tmp_path, "PACSNODE", lambda: table).begin(CALL)
    assert recorder is not None
    recorder.command(False, 1, b"")
    recorder.end("")
    assert caplog.text.count("modalities.CT1.trace: ") == 1
    assert "No such file or directory" in caplog.text


def test_the_peer_of_an_association_is_who_has_its_title_else_who_has_its_host() -> None:
    known = modalities(CT1="192.0.2.1", CT2="192.0.2.2", MR="192.0.2.2")
    asked = {"CT2": "192.0.2.2"}

    def of(title: str, host: str, *, is_incoming: bool = True) -> str | None:
        titles = (title, "PACSNODE") if is_incoming else ("PACSNODE", title)
        return whose(Opening(is_incoming, *titles, host), known, asked, same)

    assert of("CT1", "192.0.2.2") == "CT1"
    assert of("CT1 ", "x") == "CT1"
    assert of("STRANGER", "192.0.2.2") == "CT2"
    assert of("STRANGER", "192.0.2.1") is None
    assert of("CT2", "x", is_incoming=False) == "CT2"
    assert of("X", "192.0.2.2", is_incoming=False) == "CT2"


def test_an_association_whose_process_was_killed_has_an_end(
    tmp_path: Path, listening: TraceSocket
) -> None:
    (sink,) = trace_sockets.listening(tmp_path)
    sink.write(CommandSet("a", 1.0, False, 1, b""))
    sink.close()
    found = take(listening, 2)
    end = found[1]
    assert isinstance(end, End)
    assert (end.association, end.reason) == ("a", "the process that had it was ended")


def test_what_no_node_says_ends_the_recording(tmp_path: Path, listening: TraceSocket) -> None:
    (path,) = (tmp_path / FOLDER).iterdir()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.sendall(b"hello\n")
        with pytest.raises(RecordingDamaged, match="no JSON"):
            take(listening, 1)


def test_a_folder_that_is_anothers_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("no folder")
    assert Traces(tmp_path, "PACSNODE", dict).begin(CALL) is None
    assert "an association is not recorded: Not a directory" in caplog.text
