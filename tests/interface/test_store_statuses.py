"""Every status that a C-STORE or C-ECHO can be answered, provoked over a real association."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from pacsnode.config.load import load
from pacsnode.node.build import Node
from tests.conftest import RunningNode, StartNode, new_dataset
from tests.interface.conftest import Dial, damage_index, stored_files
from tests.interface.peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    Association,
    Response,
    encoded,
    keys,
)

ALL = "access: {unknown_callers: all}\n"


def assert_refused(response: Response, status: int, *words: str) -> None:
    """The status, and a comment for people: ASCII, at most 64 characters, with these words."""
    assert f"{response.status:04X}" == f"{status:04X}"
    assert 0 < len(response.comment) <= 64
    for word in words:
        assert word in response.comment
    for inner in ("sqlite", "Traceback", "Error:", "pacsnode.", "/tmp"):
        assert inner not in response.comment


def storing(node: RunningNode, dial: Dial, **options: str) -> Association:
    return dial(node, (CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), **options)


def found(node: RunningNode, dial: Dial, uid: str) -> int:
    responses = dial(node, (STUDY_FIND, [EXPLICIT])).find(
        STUDY_FIND, keys("IMAGE", SOPInstanceUID=uid)
    )
    assert responses[-1].status == 0
    return len(responses) - 1


def test_0000_has_no_comment_and_is_found_by_the_next_query(
    open_node: RunningNode, dial: Dial
) -> None:
    ds = new_dataset()
    association = storing(open_node, dial)
    response = association.store_dataset(ds)
    assert (response.status, response.comment) == (0, "")
    assert found(open_node, dial, ds.SOPInstanceUID) == 1
    assert association.echo().status == 0


def test_a700_where_less_than_min_free_is_free(start_node: StartNode, dial: Dial) -> None:
    node = start_node(ALL + "storage: {min_free: 900000TiB}\n")
    association = storing(node, dial)
    assert_refused(association.store_dataset(new_dataset()), 0xA700, "full")
    assert association.echo().status == 0
    assert stored_files(node.data_dir) == []


def test_a700_where_nothing_can_be_written(start_node: StartNode, dial: Dial) -> None:
    node = start_node(ALL)
    incoming = node.data_dir / "instances" / ".incoming"
    incoming.rename(node.folder / "away")
    incoming.write_bytes(b"in the way")
    association = storing(node, dial)
    assert_refused(association.store_dataset(new_dataset()), 0xA700, "write")
    incoming.unlink()
    (node.folder / "away").rename(incoming)
    assert association.store_dataset(new_dataset()).status == 0


def test_a700_where_the_index_fails(start_node: StartNode, dial: Dial) -> None:
    node = start_node(ALL)
    first, second = new_dataset(), new_dataset()
    assert storing(node, dial).store_dataset(first).status == 0
    damage_index(node)
    association = storing(node, dial)
    assert_refused(association.store_dataset(second), 0xA700, "index")
    assert association.echo().status == 0
    assert "pacsnode reindex" in node.log


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_a900_where_the_dataset_is_not_what_the_command_says(
    open_node: RunningNode, dial: Dial, keyword: str
) -> None:
    ds = new_dataset()
    data = encoded(ds)
    uid = "1.2.3.4" if keyword == "SOPInstanceUID" else ds.SOPInstanceUID
    if keyword == "SOPClassUID":
        data = data.replace(CT.encode(), b"1.2.840.10008.5.1.4.1.1.4")
    association = storing(open_node, dial)
    assert_refused(association.store(CT, uid, data), 0xA900, "UID")
    assert found(open_node, dial, ds.SOPInstanceUID) == 0


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_c000_where_a_uid_is_missing(open_node: RunningNode, dial: Dial, keyword: str) -> None:
    ds = new_dataset()
    uid = ds.SOPInstanceUID
    delattr(ds, keyword)
    response = storing(open_node, dial).store(CT, uid, encoded(ds))
    assert_refused(response, 0xC000, "UID")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x08\0", b"no dataset at all", bytes(4000), b"\xff" * 4000],
    ids=["nothing", "cut", "text", "zeros", "ones"],
)
def test_c000_where_the_dataset_cannot_be_read(
    open_node: RunningNode, dial: Dial, data: bytes
) -> None:
    association = storing(open_node, dial)
    assert_refused(association.store(CT, "1.2.3.5", data), 0xC000)
    assert association.store_dataset(new_dataset()).status == 0


def test_c000_where_a_uid_has_more_than_128_characters(open_node: RunningNode, dial: Dial) -> None:
    ds = new_dataset()
    uid = ds.SeriesInstanceUID.encode()
    uid += b"\0" * (len(uid) % 2)
    head = b"\x20\0\x0e\0UI"
    data = encoded(ds)
    before, after = data.split(head + struct.pack("<H", len(uid)) + uid)
    data = before + head + struct.pack("<H", 130) + b"1." * 65 + after
    assert_refused(storing(open_node, dial).store(CT, ds.SOPInstanceUID, data), 0xC000, "UID")


@pytest.mark.parametrize("other_bytes", [False, True])
def test_0111_where_duplicates_are_refused(
    start_node: StartNode, dial: Dial, other_bytes: bool
) -> None:
    node = start_node(ALL + "storage: {on_duplicate: reject}\n")
    ds = new_dataset()
    association = storing(node, dial)
    assert association.store_dataset(ds).status == 0
    if other_bytes:
        ds.PatientName = "ANOTHER"
    assert_refused(association.store_dataset(ds), 0x0111, "duplicate")
    assert len(stored_files(node.data_dir)) == 1


def test_0124_where_the_caller_may_not_store(start_node: StartNode, dial: Dial) -> None:
    node = start_node(
        "access: {unknown_callers: [echo]}\n"
        "modalities: {CT1: {host: 127.0.0.1, port: 104, allow: [store]}}\n"
    )
    stranger = storing(node, dial, calling="STRANGER")
    assert stranger.echo().status == 0
    assert_refused(stranger.store_dataset(new_dataset()), 0x0124, "store")
    assert stored_files(node.data_dir) == []
    known = storing(node, dial, calling="CT1")
    assert known.store_dataset(new_dataset()).status == 0
    assert_refused(known.echo(), 0x0124, "echo")
    assert "'STRANGER' from 127.0.0.1 may not store: access.unknown_callers decides" in node.log
    assert "'CT1' from 127.0.0.1 may not echo: modalities.CT1.allow decides" in node.log


@pytest.fixture
def faulty_node(tmp_path: Path) -> "Callable[[], Node]":
    config = tmp_path / "config.yaml"
    config.write_text(ALL + "listen: {port: 0}\n")
    return lambda: Node(load(config))


def test_c001_after_an_unexpected_fault_and_the_node_goes_on(
    faulty_node: "Callable[[], Node]",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = faulty_node()
    node.start()

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the inner detail")

    monkeypatch.setattr(node._archive, "begin", break_down)
    monkeypatch.setattr(node._archive, "find", break_down)
    try:
        contexts = [(CT, [EXPLICIT]), (STUDY_FIND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
        with Association(node.addresses.plain, *contexts) as association:
            ds: Dataset = new_dataset()
            for answer in (
                association.store_dataset(ds),
                association.find(STUDY_FIND, keys("STUDY", StudyInstanceUID=""))[-1],
            ):
                assert_refused(answer, 0xC001)
                assert "inner" not in answer.comment
            assert association.echo().status == 0
            association.release()
    finally:
        node.stop(1)
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 2
    assert all(str(record.threadName).startswith("association") for record in faults)
