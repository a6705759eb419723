"""Every status of C-FIND, and every rejection of an association with its line in the log."""

import re

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import RunningNode, StartNode, new_dataset
from tests.interface.conftest import Dial, damage_index, store_all
from tests.interface.peer import (
    EXPLICIT,
    FIND_RQ,
    IMPLICIT,
    ONLY_FIND,
    PATIENT_FIND,
    STUDY_FIND,
    VERIFICATION,
    Association,
    Rejected,
    Response,
    keys,
)
from tests.interface.test_store_statuses import assert_refused

ECHO = (VERIFICATION, [IMPLICIT])


def find(node: RunningNode, dial: Dial, identifier: Dataset | bytes) -> list[Response]:
    return dial(node, (STUDY_FIND, [EXPLICIT])).find(STUDY_FIND, identifier)


def codes(responses: list[Response]) -> list[str]:
    return [f"{response.status:04X}" for response in responses]


def image_keys(ds: Dataset, **more: object) -> Dataset:
    return keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID, **more)


def test_ff00_for_each_match_and_0000_at_the_end(open_node: RunningNode, dial: Dial) -> None:
    datasets = [new_dataset(AccessionNumber="FF00") for _ in range(3)]
    store_all(open_node, datasets)
    responses = find(open_node, dial, keys("STUDY", AccessionNumber="FF00"))
    assert codes(responses) == ["FF00"] * 3 + ["0000"]
    assert responses[-1].dataset == b""
    found = {response.identifier.StudyInstanceUID for response in responses[:-1]}
    assert found == {ds.StudyInstanceUID for ds in datasets}


def test_0000_alone_where_nothing_matches(open_node: RunningNode, dial: Dial) -> None:
    assert codes(find(open_node, dial, keys("STUDY", StudyInstanceUID="1.2.3.9"))) == ["0000"]


@pytest.mark.parametrize(
    ("level", "key"),
    [
        ("STUDY", {"SeriesDescription": "HEAD"}),
        ("STUDY", {"SOPInstanceUID": ""}),
        ("SERIES", {"InstanceNumber": "1"}),
        ("IMAGE", {"ImageComments": "SOMETHING"}),
    ],
)
def test_ff01_for_all_answers_where_a_key_is_ignored(
    open_node: RunningNode, dial: Dial, level: str, key: dict[str, str]
) -> None:
    accession = f"F{generate_uid()[-10:]}"
    datasets = [new_dataset(AccessionNumber=accession) for _ in range(2)]
    store_all(open_node, datasets)
    responses = find(open_node, dial, keys(level, AccessionNumber=accession, **key))
    assert codes(responses) == ["FF01", "FF01", "0000"]


def test_ff00_where_a_definite_uid_lets_the_key_match(open_node: RunningNode, dial: Dial) -> None:
    ds = new_dataset(ImageComments="SOMETHING")
    store_all(open_node, [ds])
    matching = find(open_node, dial, image_keys(ds, ImageComments="SOME*"))
    assert codes(matching) == ["FF00", "0000"]
    assert matching[0].identifier.ImageComments == "SOMETHING"
    assert codes(find(open_node, dial, image_keys(ds, ImageComments="OTHER"))) == ["0000"]
    assert codes(find(open_node, dial, image_keys(ds, ImageComments=""))) == ["FF00", "0000"]


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (STUDY_FIND, None),
        (STUDY_FIND, ""),
        (STUDY_FIND, "FRAME"),
        (STUDY_FIND, "study"),
        (STUDY_FIND, "PATIENT"),
        (ONLY_FIND, "SERIES"),
        (PATIENT_FIND, "STUDY\\SERIES"),
    ],
)
def test_a900_where_the_level_is_missing_unknown_or_of_another_model(
    open_node: RunningNode, dial: Dial, model: str, level: str | None
) -> None:
    identifier = keys(level or "", StudyInstanceUID="")
    if level is None:
        del identifier.QueryRetrieveLevel
    (final,) = dial(open_node, (model, [EXPLICIT])).find(model, identifier)
    assert_refused(final, 0xA900)


@pytest.mark.parametrize("model", [STUDY_FIND, PATIENT_FIND, ONLY_FIND])
def test_a_query_without_upper_keys_is_relational_and_no_error(
    open_node: RunningNode, dial: Dial, model: str
) -> None:
    ds = new_dataset()
    store_all(open_node, [ds])
    level = "STUDY" if model == ONLY_FIND else "IMAGE"
    wanted = {"STUDY": "StudyInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    identifier = keys(level, **{wanted: ds[wanted].value})
    responses = dial(open_node, (model, [EXPLICIT])).find(model, identifier)
    assert codes(responses) == ["FF00", "0000"]


@pytest.mark.parametrize("data", [b"no identifier at all", b"\x08\0\x52\0CS\x40\0STUDY ", b"\x08"])
def test_c000_where_the_identifier_cannot_be_read(
    open_node: RunningNode, dial: Dial, data: bytes
) -> None:
    assert_refused(find(open_node, dial, data)[-1], 0xC000)


def test_a700_where_the_index_fails(start_node: StartNode, dial: Dial) -> None:
    node = start_node()
    store_all(node, [new_dataset()])
    damage_index(node)
    association = dial(node, (STUDY_FIND, [EXPLICIT]), ECHO)
    responses = association.find(STUDY_FIND, keys("STUDY", StudyInstanceUID=""))
    assert_refused(responses[-1], 0xA700)
    assert association.echo().status == 0


def test_0124_where_the_caller_may_not_find(start_node: StartNode, dial: Dial) -> None:
    node = start_node("access: {unknown_callers: [echo]}\n")
    for model in (STUDY_FIND, PATIENT_FIND, ONLY_FIND):
        (final,) = dial(node, (model, [EXPLICIT])).find(model, keys("STUDY", StudyInstanceUID=""))
        assert_refused(final, 0x0124, "find")


def test_fe00_where_the_caller_cancels(open_node: RunningNode, dial: Dial) -> None:
    datasets = [new_dataset(AccessionNumber="CANCELLED") for _ in range(300)]
    store_all(open_node, datasets)
    association = dial(open_node, (STUDY_FIND, [EXPLICIT]), ECHO)
    wanted = keys("STUDY", AccessionNumber="CANCELLED")
    association.ask(FIND_RQ, STUDY_FIND, wanted, and_cancel=True)
    responses = list(association.responses())
    assert responses[-1].status == 0xFE00
    assert len(responses) < 300
    assert association.echo().status == 0
    assert codes(association.find(STUDY_FIND, wanted)) == ["FF00"] * 300 + ["0000"]


LOCKED = """
access: {unknown_callers: [], check_called_ae_title: true, check_host: true}
listen: {port: 0, max_associations: 3}
modalities:
  CT1: {host: 127.0.0.1, port: 104, max_associations: 1}
  MR1: {host: 127.0.0.1, port: 104}
  AWAY: {host: 192.0.2.1, port: 104}
"""


def rejection(node: RunningNode, **options: str | bytes) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as caught:
        Association((node.host, node.port), ECHO, **options)
    return caught.value.codes


def test_rejections_say_why_and_the_log_says_what_to_change(
    start_node: StartNode, dial: Dial
) -> None:
    node = start_node(LOCKED)
    assert rejection(node, calling="MR2") == (1, 1, 3)
    log = node.wait_for_log("'MR2'")
    line = next(line for line in log.splitlines() if "'MR2'" in line)
    for word in ("127.0.0.1", "access.unknown_callers", "'MR1'", "1/1/3"):
        assert word in line
    assert rejection(node, calling="AWAY") == (1, 1, 3)
    line = node.wait_for_log("'AWAY'")
    for word in ("access.check_host", "modalities.AWAY", "192.0.2.1"):
        assert word in line
    assert rejection(node, calling="MR1", called="pacsnode") == (1, 1, 7)
    line = node.wait_for_log("access.check_called_ae_title")
    assert re.search(r"'MR1'.*127\.0\.0\.1.*'pacsnode'.*'PACSNODE'", line)
    first = dial(node, ECHO, calling="CT1")
    assert rejection(node, calling="CT1") == (2, 3, 2)
    assert "modalities.CT1.max_associations is 1" in node.wait_for_log("CT1.max_associations")
    for _ in range(2):
        assert dial(node, ECHO, calling="MR1").echo().status == 0
    assert rejection(node, calling="MR1") == (2, 3, 2)
    assert "listen.max_associations is 3" in node.wait_for_log("listen.max_associations")
    assert first.echo().status == 0


@pytest.mark.parametrize("calling", [b"", b"lower case", "GERÄT".encode("latin-1"), b"\0" * 16])
def test_odd_calling_titles_break_nothing(
    open_node: RunningNode, dial: Dial, calling: bytes
) -> None:
    ds = new_dataset()
    association = dial(open_node, (ds.SOPClassUID, [EXPLICIT]), ECHO, calling=calling)
    assert association.store_dataset(ds).status == 0
    assert association.echo().status == 0
    association.release()


@pytest.mark.parametrize("calling", [b" CT1 ", b"CT1\0\0\0"])
def test_titles_are_compared_trimmed(start_node: StartNode, dial: Dial, calling: bytes) -> None:
    node = start_node(LOCKED)
    assert dial(node, ECHO, calling=calling, called=b"PACSNODE\0").echo().status == 0
