"""C-STORE's answers: every failure has its status and its sentence."""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pacsnode import errors
from pacsnode.archive import Archive, OnDuplicate, Policy, behind, open_archive
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Context, StoreRequest
from pacsnode.errors import IndexFailure, PacsnodeError, StorageError
from pacsnode.index import Index
from pacsnode.scp.failure import status_of
from pacsnode.scp.store import COMMENTS, STATUS, begin_store, comment_of
from tests.archive.instances import CT, EXPLICIT, Sample, everything, files, read
from tests.scp.conftest import CALLER

SAMPLE = Sample("1.2.3.1")


def request(sample: Sample = SAMPLE, sop_class: str = CT) -> StoreRequest:
    return StoreRequest(
        caller=CALLER,
        context=Context(1, CT, EXPLICIT),
        message_id=1,
        sop_class_uid=sop_class,
        sop_instance_uid=sample.sop,
    )


def send(
    archive: Archive, sample: Sample = SAMPLE, data: bytes | None = None, sop_class: str = CT
) -> Answer:
    sink = begin_store(request(sample, sop_class), archive)
    data = sample.dataset if data is None else data
    for start in range(0, len(data), 100):
        sink.write(memoryview(data)[start : start + 100])
    return sink.finish()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def open_it(data_dir: Path) -> Iterator[Callable[..., Archive]]:
    opened: list[Archive] = []

    def open_one(on_duplicate: str = "keep", min_free: int = 0) -> Archive:
        policy = Policy("NODE", OnDuplicate(on_duplicate), min_free)
        opened.append(open_archive(data_dir, policy))
        return opened[-1]

    yield open_one
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(open_it: Callable[..., Archive]) -> Archive:
    return open_it()


def test_success_is_answered_when_it_is_stored(archive: Archive) -> None:
    assert send(archive) == Answer(status.SUCCESS)
    assert read(archive, SAMPLE) == SAMPLE.dataset
    assert everything(archive)[SAMPLE.sop].source_ae_title == CALLER.ae_title


@pytest.mark.parametrize("extra", ["", "other"])
@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("keep", status.SUCCESS),
        ("replace", status.SUCCESS),
        ("reject", status.DUPLICATE_SOP_INSTANCE),
    ],
)
def test_duplicates_are_answered_by_policy(
    open_it: Callable[..., Archive], policy: str, code: int, extra: str
) -> None:
    archive = open_it(policy)
    send(archive)
    assert send(archive, SAMPLE.but(extra=extra)).status == code


@pytest.mark.parametrize(
    ("data", "sop_class", "code"),
    [
        (b"", CT, status.CANNOT_UNDERSTAND),
        (b"rubbish" * 99, CT, status.CANNOT_UNDERSTAND),
        (SAMPLE.but(series="").dataset, CT, status.CANNOT_UNDERSTAND),
        (SAMPLE.but(series="1" * 130).dataset, CT, status.CANNOT_UNDERSTAND),
        (SAMPLE.but(sop="1.2.3.2").dataset, CT, status.DATASET_DOES_NOT_MATCH),
        (SAMPLE.dataset, "1.2.840.10008.5.1.4.1.1.4", status.DATASET_DOES_NOT_MATCH),
    ],
)
def test_a_dataset_that_cannot_be_taken_is_refused_and_leaves_nothing(
    archive: Archive, data_dir: Path, data: bytes, sop_class: str, code: int
) -> None:
    answer = send(archive, data=data, sop_class=sop_class)
    assert answer.status == code
    assert answer.comment
    assert not list(files(data_dir / "instances"))
    assert send(archive).status == status.SUCCESS


@pytest.mark.parametrize(
    ("changed", "comment"),
    [
        ({"study": ""}, "StudyInstanceUID is missing"),
        ({"series": "1" * 130}, "SeriesInstanceUID is 130 bytes long"),
    ],
)
def test_the_uid_that_cannot_be_used_is_named(
    archive: Archive, changed: dict[str, str], comment: str
) -> None:
    assert send(archive, data=SAMPLE.but(**changed).dataset).comment == comment


def test_below_min_free_the_dataset_is_drained(
    open_it: Callable[..., Archive], data_dir: Path
) -> None:
    archive = open_it(min_free=1 << 60)
    assert send(archive).status == status.OUT_OF_RESOURCES
    assert not list(files(data_dir / "instances"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_meanwhile_is_answered_at_the_end_and_given_back_at_once(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    sink = begin_store(request(), archive)
    sink.write(memoryview(SAMPLE.dataset + bytes(100_000)))
    assert list(files(data_dir / "instances"))
    with monkeypatch.context() as patch:

        def fail(descriptor: int, parts: list[memoryview]) -> int:
            raise OSError(code, os.strerror(code))

        patch.setattr(os, "writev", fail)
        sink.write(memoryview(bytes(100)))
    assert not list(files(data_dir / "instances"))
    sink.write(memoryview(b"the rest"))
    answer = sink.finish()
    assert answer.status == status.OUT_OF_RESOURCES
    assert ("full" in answer.comment) == (code != errno.EIO)
    assert send(archive).status == status.SUCCESS


def test_a_failed_sync_is_never_trusted(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "MOST", 0)  # small instances too are synced at once
    with monkeypatch.context() as patch:

        def fail(descriptor: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(os, "fsync", fail)
        assert send(archive).status == status.OUT_OF_RESOURCES
    assert not list(files(data_dir / "instances"))
    assert not everything(archive)
    assert send(archive).status == status.SUCCESS


def test_an_index_that_fails_is_out_of_resources(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise IndexFailure("/var/index.sqlite: disk I/O error")

        patch.setattr(Index, "add", fail)
        answer = send(archive)
    assert answer.status == status.OUT_OF_RESOURCES
    assert "sqlite" not in answer.comment
    assert not list(files(data_dir / "instances"))
    assert send(archive).status == status.SUCCESS


def test_a_fault_of_ours_is_left_to_those_who_log_it(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        patch.setattr(Index, "add", fail)
        with pytest.raises(ZeroDivisionError):
            send(archive)
    assert send(archive).status == status.SUCCESS


def test_discarding_leaves_nothing(archive: Archive, data_dir: Path) -> None:
    sink = begin_store(request(), archive)
    sink.write(memoryview(SAMPLE.dataset))
    sink.discard()
    assert not list(files(data_dir / "instances"))


def all_errors(base: type[PacsnodeError] = PacsnodeError) -> Iterator[type[PacsnodeError]]:
    yield base
    for kind in base.__subclasses__():
        yield from all_errors(kind)


# What begin, write and finish say that they raise, with all below it.
RAISED = {
    kind
    for base in (
        errors.UnreadableDataset,
        errors.MismatchedUID,
        errors.DuplicateRefused,
        StorageError,
        IndexFailure,
    )
    for kind in all_errors(base)
}


def test_the_table_is_complete() -> None:
    for kind in RAISED:
        assert status_of(kind, STATUS) is not None, kind
        assert comment_of(kind("inner detail"))
    assert {kind for kind in all_errors() if status_of(kind, STATUS) is not None} == RAISED
    assert set(STATUS.values()) == {
        status.OUT_OF_RESOURCES,
        status.DATASET_DOES_NOT_MATCH,
        status.CANNOT_UNDERSTAND,
        status.DUPLICATE_SOP_INSTANCE,
    }


@pytest.mark.parametrize("comment", COMMENTS.values())
def test_comments_are_short_and_ascii(comment: str) -> None:
    assert comment.isascii()
    assert len(comment) <= 64


def test_a_failure_is_logged_with_its_association_and_without_the_patient(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        send(archive, data=SAMPLE.but(series="").dataset)
    (record,) = [record for record in caplog.records if record.name == "pacsnode.scp.store"]
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    for part in ("C000", "'WORKSTATION'", "'1.2.3.1'", "SeriesInstanceUID"):
        assert part in text
    assert "DOE" not in caplog.text
    assert "4711" not in caplog.text


@pytest.mark.parametrize(("policy", "word"), [("keep", "set aside"), ("replace", "replaced")])
def test_what_people_should_know_of_a_stored_instance_is_logged(
    open_it: Callable[..., Archive],
    caplog: pytest.LogCaptureFixture,
    policy: str,
    word: str,
) -> None:
    archive = open_it(policy)
    with caplog.at_level(logging.INFO):
        send(archive)
        assert "pacsnode.scp.store" not in [record.name for record in caplog.records]
        send(archive, SAMPLE.but(extra="other"))
    assert f"store from 'WORKSTATION': '1.2.3.1': {word}" in caplog.text
