"""Codecs work in other processes, which may end as they like."""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacsnode.dicom.message import DatasetSource, no_tick
from pacsnode.errors import StorageError, TranscodingError
from pacsnode.scu import codecs as codecs_module
from pacsnode.scu.codecs import Codecs, Conversion
from tests.conftest import PATIENCE
from tests.dicom import raw

JPEG_LS = "1.2.840.10008.1.2.4.81"
RLE = "1.2.840.10008.1.2.5"

# Found by tests.fuzz: GDCM ends the whole process at it (std::terminate).
CRASHING = base64.b64decode(
    "CAAWAFVJGgAxLjIuODQwLjEwMDA4LjUuMS40LjEuMS43AAgAGABVSUAAMS4yLjgyNi4wLjEuMzY4MDA0My44"
    "LjQ5OC44NjE2NDAwODExNTc3MTE4NTIzODQxNzQzNDIwODI5NTI4NjY4NSgAAgBVUwIAAQAoAAQAQ1MMAE1P"
    "Tk9DSFJPTUUyICgAEABVUwIALQAoABEAVVMCAAoDKAAAAVVTAgAIACgAAQFVUwIACAAoAAIBVVMCAAcAKAAD"
    "AVVTAgAAAOB/EABPQgAA//////7/AOAEAAAAAAAAAP7/AOA4AAAA/9j/9wALCAAtAAoBAREA/9oACAEBAAIA"
    "AFf9/38AAABx/3/gt/98HP9/BS/74Jf/f8EX/f9A/9n+/93gAAAAAA=="
)

Transcode = Callable[..., bytes]


@pytest.fixture
def codecs() -> Iterator[Codecs]:
    with Codecs() as made:
        yield made


def transcode(
    by: Codecs, data: bytes, source_uid: str, tick: Callable[[], None] = no_tick
) -> bytes:
    with tempfile.TemporaryFile() as spool:
        source = DatasetSource(io.BytesIO(data), len(data))
        found = by.transcode(source, Conversion(source_uid, raw.EXPLICIT), spool, tick)
        return found.file.read(found.length)


def rle_dataset() -> tuple[bytes, bytes]:
    """A compressed dataset, and its pixels."""
    ds = pydicom.dcmread(str(get_testdata_file("MR_small_RLE.dcm", download=False)))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue(), ds.pixel_array.tobytes()


def test_a_codec_that_crashes_fails_one_instance_and_the_next_goes_on(
    codecs: Codecs,
) -> None:
    with pytest.raises(TranscodingError, match=r"crashed at the pixel data \(SIGABRT\)"):
        transcode(codecs, CRASHING, JPEG_LS)
    data, pixels = rle_dataset()
    for _ in range(2):
        assert pixels in transcode(codecs, data, RLE)


def test_what_a_codec_refuses_is_told_as_it_says_it(codecs: Codecs) -> None:
    data, _ = rle_dataset()
    with pytest.raises(TranscodingError, match="the codec refuses the pixel data"):
        transcode(codecs, data[:-5000], RLE)


def test_pixel_data_that_would_fill_the_memory_is_refused(codecs: Codecs) -> None:
    """65,535 by 65,535 pixels in 100 bytes."""
    pixels = raw.delimiter(0xE000) + raw.delimiter(0xE000, 64 + 2)
    pixels += (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\0"
    data = raw.dataset(
        (0x00280002, "US", b"\1\0"),
        (0x00280004, "CS", b"MONOCHROME2 "),
        (0x00280010, "US", b"\xff\xff"),
        (0x00280011, "US", b"\xff\xff"),
        (0x00280100, "US", b"\x08\0"),
        (0x00280101, "US", b"\x08\0"),
        (0x00280102, "US", b"\x07\0"),
        (0x00280103, "US", b"\0\0"),
    )
    data += raw.element(0x7FE00010, "OB", pixels + raw.delimiter(0xE0DD), raw.UNDEFINED)
    with pytest.raises(TranscodingError):
        transcode(codecs, data, RLE)


def test_a_codec_that_does_not_get_on_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = (sys.executable, "-c", "import time; time.sleep(600)")
    monkeypatch.setattr(codecs_module, "COMMAND", endless)
    monkeypatch.setattr(codecs_module, "LAST_STEPS", 0.0)
    with Codecs(stuck=0.2) as made, pytest.raises(TranscodingError, match="not got"):
        transcode(made, b"", RLE)


def test_a_pool_that_cannot_start_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ending = (sys.executable, "-S", "-c", "raise SystemExit(3)")
    monkeypatch.setattr(codecs_module, "COMMAND", ending)
    with Codecs() as made, pytest.raises(StorageError, match="ends as soon as it starts"):
        transcode(made, b"", RLE)
    assert "the pool of codecs has ended (3) and is started anew" in caplog.text


def test_whoever_waits_is_told_that_time_passes_and_may_give_up(
    codecs: Codecs,
) -> None:
    class GaveUp(Exception):
        pass

    def tick() -> None:
        raise GaveUp

    data, pixels = rle_dataset()
    with pytest.raises(GaveUp):
        transcode(codecs, data, RLE, tick)
    assert pixels in transcode(codecs, data, RLE)


def test_what_lies_in_the_current_folder_is_not_run(
    codecs: Codecs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of Python itself would come from there first."""
    for name in ("json", "select", "socket", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    data, pixels = rle_dataset()
    assert pixels in transcode(codecs, data, RLE)


def test_a_full_disk_is_no_crash_of_the_codec(codecs: Codecs) -> None:
    data, pixels = rle_dataset()
    source = DatasetSource(io.BytesIO(data), len(data))
    with Path("/dev/full").open("wb") as full, pytest.raises(StorageError, match="No space left"):
        codecs.transcode(source, Conversion(RLE, raw.EXPLICIT), full, no_tick)
    assert pixels in transcode(codecs, data, RLE)


def test_where_no_process_can_be_started_each_instance_is_told_so(
    codecs: Codecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, pixels = rle_dataset()
    with monkeypatch.context() as patched:
        patched.setattr(codecs_module, "COMMAND", ("/nowhere/python",))
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                transcode(codecs, data, RLE)
    assert pixels in transcode(codecs, data, RLE)


def test_a_codec_that_loops_ends_when_nobody_waits_for_it_any_more() -> None:
    """Whoever waited was killed, and no Python is run while a codec loops."""
    loops = (
        "import sys, time; from pacsnode.scu import codec;"
        "codec.LEFT_ALONE = 1; codec.transcode = lambda *_, **__: time.sleep(600);"
        "codec.main(int(sys.argv[1]))"
    )
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        its,
        subprocess.Popen(
            [sys.executable, "-c", loops, str(its.fileno())], pass_fds=[its.fileno()]
        ) as process,
    ):
        with ours, tempfile.TemporaryFile() as file:
            request = {"offset": 0, "length": 0, **Conversion(RLE, raw.EXPLICIT)._asdict()}
            socket.send_fds(ours, [json.dumps(request).encode()], [file.fileno(), file.fileno()])
        assert process.wait(PATIENCE) == -signal.SIGALRM
