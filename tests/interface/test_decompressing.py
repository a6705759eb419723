"""Destinations that do not take what is stored, or fail in the middle: DCMTK's storescp in its
less helpful moods."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.processes import codecs_of
from tests.conftest import Dcmtk, RunningNode, StartNode, new_dataset
from tests.interface.conftest import OPEN, Dial, free_port_number, store_all, stored_files
from tests.interface.peer import (
    EXPLICIT,
    GET_RQ,
    IMPLICIT,
    STUDY_GET,
    STUDY_MOVE,
    Association,
    File,
    Response,
    decoded,
    keys,
    read_file,
)
from tests.interface.test_receipt import RLE, part10_files

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:Expected explicit VR")

MR = "1.2.840.10008.5.1.4.1.1.4"

# A JPEG 2000 stream that no codec can read.
WITHOUT_CODEC = {"1.3.6.1.4.1.5962.1.1.8.1.3.20040826185059.5457"}


def _one_of_each() -> dict[str, File]:
    files: dict[str, File] = {}
    for file in part10_files():
        files.setdefault(file.sop_instance_uid, file)
    return files


def _store(node: RunningNode, files: Sequence[File]) -> None:
    for file in files:
        context = (file.sop_class_uid, [file.transfer_syntax])
        with Association((node.host, node.port), context) as peer:
            status = peer.store(file.sop_class_uid, file.sop_instance_uid, file.dataset).status
            assert status == 0


def _move(node: RunningNode, dial: Dial, uids: Sequence[str]) -> Response:
    association = dial(node, (STUDY_MOVE, [EXPLICIT]))
    identifier = keys("IMAGE", SOPInstanceUID=list(uids))
    return association.move(STUDY_MOVE, identifier, "STORESCP")[-1]


@pytest.fixture
def site(
    start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path
) -> Callable[..., tuple[RunningNode, Path]]:
    """A node, and a storescp with these options that writes into the folder."""

    def start(*options: str) -> tuple[RunningNode, Path]:
        port, came = free_port_number(), tmp_path / "came"
        came.mkdir()
        dcmtk.serve("storescp", *options, "-od", came, port, port=port)
        where = f"{{host: 127.0.0.1, port: {port}}}"
        return start_node(f"{OPEN}modalities: {{STORESCP: {where}}}\n"), came

    return start


@pytest.mark.parametrize(("option", "syntax"), [("+xi", IMPLICIT), ("+xe", EXPLICIT)])
def test_what_a_destination_does_not_take_is_sent_decompressed(
    site: Callable[..., tuple[RunningNode, Path]], dial: Dial, option: str, syntax: str
) -> None:
    node, came = site(option, "+B")
    files = _one_of_each()
    _store(node, list(files.values()))
    final = _move(node, dial, list(files))
    assert (final.status, set(final.failed)) == (0xB000, WITHOUT_CODEC)
    arrived = {file.sop_instance_uid: file for file in map(_read, stored_files(came))}
    assert set(arrived) == set(files) - WITHOUT_CODEC
    compared = 0
    for uid, file in arrived.items():
        original = files[uid]
        if file.transfer_syntax == original.transfer_syntax:
            assert file.dataset == original.dataset
            continue
        if option == "+xi":
            assert file.transfer_syntax == syntax
        compared += _has_the_same_pixels(original, file)
    assert compared > 10
    for uid in WITHOUT_CODEC:
        assert f"sub-operation {uid}: " in node.log


def _read(path: Path) -> File:
    return read_file(path.read_bytes())


def _has_the_same_pixels(original: File, sent: File) -> bool:
    before = decoded(original.dataset, original.transfer_syntax)
    after = decoded(sent.dataset, sent.transfer_syntax)
    if "PixelData" not in before:
        return False
    try:
        expected = before.pixel_array
    except (ValueError, RuntimeError):  # damaged on purpose; of 12 bits, which pydicom cannot read
        return False
    assert np.array_equal(expected, after.pixel_array)
    return True


@pytest.mark.parametrize("mood", ["--abort-after", "--abort-during"])
def test_a_destination_that_aborts_is_a702_with_all_of_them(
    site: Callable[..., tuple[RunningNode, Path]], dial: Dial, mood: str
) -> None:
    node, _ = site(mood)
    datasets = [new_dataset() for _ in range(3)]
    store_all(node, datasets)
    uids = [ds.SOPInstanceUID for ds in datasets]
    final = _move(node, dial, uids)
    assert (final.status, final.counters) == (0xA702, (None, 0, 3, 0))
    assert sorted(final.failed) == sorted(uids)
    assert 0 < len(final.comment) <= 64


def test_pending_answers_come_while_one_instance_is_slow(
    site: Callable[..., tuple[RunningNode, Path]], dial: Dial
) -> None:
    node, came = site("--sleep-during", "1")
    ds = new_dataset()
    store_all(node, [ds])
    association = dial(node, (STUDY_MOVE, [EXPLICIT]))
    responses = association.move(STUDY_MOVE, keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID),
                                 "STORESCP")  # fmt: skip
    pending = [response.counters for response in responses[:-1]]
    assert pending.count((1, 0, 0, 0)) >= 2
    assert set(pending) <= {(1, 0, 0, 0), (0, 1, 0, 0)}
    assert (responses[-1].status, responses[-1].counters) == (0, (None, 1, 0, 0))
    assert len(stored_files(came)) == 1


def test_pending_answers_come_while_a_codec_is_slow(start_node: StartNode, dial: Dial) -> None:
    """As slow as a pool that is stopped, until two answers have come."""
    node = start_node(OPEN)
    kind = MR, RLE
    (compressed, *_) = [
        file for file in part10_files() if (file.sop_class_uid, file.transfer_syntax) == kind
    ]
    _store(node, [compressed])
    association = dial(node, (STUDY_GET, [EXPLICIT]), (MR, [EXPLICIT]), as_scp=[MR])
    (pool,) = codecs_of(node.process.pid)
    os.kill(pool, signal.SIGSTOP)
    try:
        uid = compressed.sop_instance_uid
        association.ask(GET_RQ, STUDY_GET, keys("IMAGE", SOPInstanceUID=uid))
        answers = association.responses()
        waiting = [next(answers) for _ in range(2)]
    finally:
        os.kill(pool, signal.SIGCONT)
    assert [(each.status, each.counters) for each in waiting] == [(0xFF00, (1, 0, 0, 0))] * 2
    assert list(answers)[-1].status == 0
    assert [stored[:2] for stored in association.stored] == [(uid, EXPLICIT)]
