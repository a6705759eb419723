"""C-FIND: answers, their statuses, cancelling, failures."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom import Dataset

from pacsnode import errors
from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.level import Level
from pacsnode.dicom.message import Answer, Context, FindRequest
from pacsnode.dicom.query import Model, Query
from pacsnode.errors import AssociationLost, IndexFailure, PacsnodeError, StorageError
from pacsnode.scp.failure import status_of
from pacsnode.scp.find import MODELS, STATUS, find
from tests.scp.conftest import CALLER, STUDY_FIND, Requester, identifier
from tests.scu.scripted import EXPLICIT, IMPLICIT

PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_STUDY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"


@dataclass
class Archive:
    """Answers every query with `count` datasets in pages of `size`, then raises `error`."""

    count: int = 3
    error: PacsnodeError | None = None
    size: int = 1
    queries: list[Query] = field(default_factory=list)
    closed: bool = False

    def find(self, query: Query, transfer_syntax: str) -> Generator[list[bytes], None, None]:
        self.queries.append(query)
        answers = [answer(number, transfer_syntax) for number in range(self.count)]
        try:
            for start in range(0, self.count, self.size):
                yield answers[start : start + self.size]
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def answer(number: int, transfer_syntax: str) -> bytes:
    ds = Dataset()
    ds.StudyInstanceUID = f"1.2.{number}"
    return encode_dataset(ds, transfer_syntax)


def request(
    data: bytes | None = None,
    *,
    requester: Requester | None = None,
    sop_class: str = STUDY_FIND,
    transfer_syntax: str = EXPLICIT,
    level: str = "STUDY",
    **keys: Any,
) -> FindRequest:
    requester = requester or Requester()
    if data is None:
        data = encode_dataset(identifier(level, **keys), transfer_syntax)
    return FindRequest(
        caller=CALLER,
        context=Context(1, sop_class, transfer_syntax),
        message_id=1,
        sop_class_uid=sop_class,
        identifier=data,
        cancelled=requester.cancelled,
        send=requester.send,
    )


def statuses(answers: list[Answer]) -> list[str]:
    return [status.text(answer.status) for answer in answers]


def test_each_match_is_pending_and_the_end_is_success() -> None:
    answers = list(find(request(), Archive()))
    assert statuses(answers) == ["FF00", "FF00", "FF00", "0000"]
    assert answers[-1].identifier is None
    uids = [decode_dataset(a.identifier or b"", EXPLICIT).StudyInstanceUID for a in answers[:-1]]
    assert uids == ["1.2.0", "1.2.1", "1.2.2"]


def test_no_match_is_success_alone() -> None:
    assert statuses(list(find(request(), Archive(count=0)))) == ["0000"]


def test_answers_are_in_the_transfer_syntax_of_the_context() -> None:
    first = next(iter(find(request(transfer_syntax=IMPLICIT), Archive())))
    assert first.identifier == answer(0, IMPLICIT) != answer(0, EXPLICIT)


def test_all_answers_say_that_a_key_of_a_lower_level_was_ignored() -> None:
    answers = list(find(request(SeriesInstanceUID="1.2.3"), Archive()))
    assert statuses(answers) == ["FF01", "FF01", "FF01", "0000"]


@pytest.mark.parametrize(
    ("sop_class", "model"),
    [
        (PATIENT_FIND, Model.PATIENT_ROOT),
        (STUDY_FIND, Model.STUDY_ROOT),
        (PATIENT_STUDY_FIND, Model.PATIENT_STUDY_ONLY),
    ],
)
def test_the_context_says_which_model_is_asked(sop_class: str, model: Model) -> None:
    archive = Archive()
    list(find(request(sop_class=sop_class), archive))
    (query,) = archive.queries
    assert (query.model, query.level) == (model, Level.STUDY)
    assert len(MODELS) == 3


@pytest.mark.parametrize(
    ("sop_class", "level"),
    [
        (STUDY_FIND, "PATIENT"),
        (PATIENT_STUDY_FIND, "SERIES"),
        (STUDY_FIND, "ROW"),
        (STUDY_FIND, ""),
    ],
)
def test_a_level_that_is_not_of_the_model_is_a900(sop_class: str, level: str) -> None:
    (answer,) = find(request(sop_class=sop_class, level=level), Archive())
    assert status.text(answer.status) == "A900"
    assert answer.comment
    assert answer.comment.isascii()


def test_a_missing_level_is_a900() -> None:
    data = encode_dataset(Dataset(), EXPLICIT)
    assert statuses(list(find(request(data), Archive()))) == ["A900"]


def test_an_identifier_that_cannot_be_read_is_c000() -> None:
    data = encode_dataset(identifier(), EXPLICIT) + b"\x10\x00\x20\x00LO"
    assert statuses(list(find(request(data), Archive()))) == ["C000"]


@pytest.mark.parametrize("error", [IndexFailure("/secret/index: gone"), StorageError("/secret")])
def test_a_failing_archive_is_a700_without_inner_detail(error: PacsnodeError) -> None:
    answers = list(find(request(), Archive(count=1, error=error)))
    assert statuses(answers) == ["FF00", "A700"]
    assert "secret" not in answers[-1].comment


def test_a_cancel_ends_between_two_answers() -> None:
    requester, archive = Requester(), Archive(count=1000)
    answers = find(request(requester=requester), archive)
    assert statuses([next(answers), next(answers)]) == ["FF00", "FF00"]
    requester.cancel_when = lambda: True
    assert statuses(list(answers)) == ["FE00"]
    assert archive.closed


def test_all_answers_of_a_page_but_its_last_may_wait_for_the_next() -> None:
    answers = list(find(request(), Archive(count=5, size=2)))
    assert [answer.more for answer in answers] == [True, False, True, False, False, False]
    assert statuses(answers) == ["FF00"] * 5 + ["0000"]


def test_a_cancel_is_looked_for_once_a_page() -> None:
    requester = Requester()
    looks = iter((False, False, True))
    requester.cancel_when = lambda: next(looks)
    answers = list(find(request(requester=requester), Archive(count=1000, size=100)))
    assert statuses(answers) == ["FF00"] * 200 + ["FE00"]


def test_a_cancel_is_looked_for_while_nothing_matches() -> None:
    class Empty(Archive):
        def find(self, query: Query, transfer_syntax: str) -> Generator[list[bytes], None, None]:
            yield from ([] for _ in range(1000))

    requester = Requester()
    looks = iter((False, False, True))
    requester.cancel_when = lambda: next(looks)
    assert statuses(list(find(request(requester=requester), Empty(count=0)))) == ["FE00"]
    assert statuses(list(find(request(), Empty(count=0)))) == ["0000"]


def test_a_peer_that_is_gone_ends_the_query() -> None:
    requester, archive = Requester(), Archive(count=1000)
    answers = find(request(requester=requester), archive)
    next(answers)
    requester.gone = AssociationLost("the peer aborted")
    with pytest.raises(AssociationLost):
        next(answers)
    assert archive.closed


def test_the_character_set_of_the_caller_is_assumed_where_none_is_declared() -> None:
    ds = identifier()
    ds.PatientName = "X"
    data = encode_dataset(ds, EXPLICIT).replace(b"X ", b"\xdc ")
    archive = Archive()
    list(find(request(data), archive, "ISO_IR 100"))
    assert archive.queries[0].key("PatientName").values == ("Ü",)  # type: ignore[union-attr]


def test_every_error_that_the_archive_or_a_query_raises_has_a_status() -> None:
    raised = [errors.DicomError, errors.StorageError, errors.IndexFailure]
    kinds = [kind for base in raised for kind in (base, *_all_below(base))]
    assert all(status_of(kind, STATUS) is not None for kind in kinds)
    assert status_of(errors.InvalidQuery, STATUS) == 0xA900
    assert status_of(errors.UnreadableIdentifier, STATUS) == 0xC000


def _all_below(kind: type) -> list[type]:
    return [each for below in kind.__subclasses__() for each in (below, *_all_below(below))]


def test_the_log_says_which_keys_were_ignored_and_what_they_lack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    keys = {"PatientID": "SECRET", "Modality": "CT", "SOPInstanceUID": "1.2.3"}
    list(find(request(level="SERIES", **keys), Archive()))  # type: ignore[arg-type]
    assert "(FF01): SOPInstanceUID of a level below SERIES" in caplog.text
    caplog.clear()
    list(find(request(level="IMAGE", AcquisitionTime="10-11"), Archive()))  # type: ignore[arg-type]
    assert "AcquisitionTime, which only files tell: a definite Study, Series or SOP" in caplog.text
    assert "SECRET" not in caplog.text
    caplog.clear()
    list(find(request(PatientID="1"), Archive()))  # type: ignore[arg-type]
    assert not caplog.records
