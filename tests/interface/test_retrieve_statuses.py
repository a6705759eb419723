"""Every status of C-MOVE and C-GET with counters, lists and comments, over real associations."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import RunningNode, StartNode, new_dataset, running_node
from tests.interface.conftest import (
    OPEN,
    Dial,
    damage_index,
    free_port_number,
    store_all,
    stored_files,
)
from tests.interface.peer import (
    CT,
    EXPLICIT,
    GET_RQ,
    IMPLICIT,
    MOVE_RQ,
    ONLY_GET,
    ONLY_MOVE,
    PATIENT_GET,
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    Association,
    Response,
    keys,
    read_file,
)
from tests.interface.test_store_statuses import assert_refused

MR = "1.2.840.10008.5.1.4.1.1.4"
RETRIEVES = {PATIENT_GET: "get", STUDY_GET: "get", PATIENT_MOVE: "move", STUDY_MOVE: "move"}


@dataclass
class Site:
    """A node, and a second one that is its destination."""

    node: RunningNode
    destination: RunningNode


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    for name in ("node", "destination"):
        (home / name).mkdir()
    with ExitStack() as stack:
        destination = stack.enter_context(
            running_node(
                home / "destination",
                "ae_title: DEST\naccess: {unknown_callers: [store]}\n"
                "modalities: {BARRED: {host: 127.0.0.1, port: 104, allow: [echo]},\n"
                "  OUTCAST: {host: 127.0.0.1, port: 104, allow: []}}\n"
                "storage: {fsync: false, min_free: 1}\n",
            )
        )
        local = f"host: 127.0.0.1, port: {destination.port}"
        node = stack.enter_context(
            running_node(
                home / "node",
                OPEN + "timeouts: {connect: 2, acse: 2}\nmodalities:\n"
                f"  DEST: {{{local}}}\n"
                f"  WRONG: {{{local}, calling_ae_title: OUTCAST}}\n"
                f"  REFUSES: {{{local}, calling_ae_title: BARRED}}\n"
                "  NAMELESS: {host: no-such-host.invalid, port: 104}\n"
                f"  CLOSED: {{host: 127.0.0.1, port: {free_port_number()}}}\n",
            )
        )
        yield Site(node, destination)


def study(count: int, **elements: object) -> list[Dataset]:
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    return [new_dataset(**{**common, "InstanceNumber": n, **elements}) for n in range(count)]


def study_keys(datasets: Sequence[Dataset]) -> Dataset:
    return keys("STUDY", StudyInstanceUID=datasets[0].StudyInstanceUID)


def getting(dial: Dial, node: RunningNode, *classes: str, model: str = STUDY_GET) -> Association:
    classes = classes or (CT,)
    contexts = [(uid, [EXPLICIT]) for uid in classes]
    return dial(node, (model, [EXPLICIT]), *contexts, as_scp=classes)


def move(dial: Dial, site: Site, identifier: Dataset, to: str = "DEST") -> list[Response]:
    return dial(site.node, (STUDY_MOVE, [EXPLICIT])).move(STUDY_MOVE, identifier, to)


def numbers(response: Response) -> tuple[str, tuple[int | None, ...]]:
    return f"{response.status:04X}", response.counters


def test_0000_with_true_counters(site: Site, dial: Dial) -> None:
    datasets = study(3)
    store_all(site.node, datasets)
    final = move(dial, site, study_keys(datasets))[-1]
    assert numbers(final) == ("0000", (None, 3, 0, 0))
    assert final.dataset == b""
    arrived = {
        read_file(path.read_bytes()).sop_instance_uid
        for path in stored_files(site.destination.data_dir)
    }
    assert {ds.SOPInstanceUID for ds in datasets} <= arrived
    association = getting(dial, site.node)
    responses = association.get(STUDY_GET, study_keys(datasets))
    assert numbers(responses[-1]) == ("0000", (None, 3, 0, 0))
    assert len(association.stored) == 3


def test_0000_with_counters_of_0_where_nothing_matches(site: Site, dial: Dial) -> None:
    nothing = keys("STUDY", StudyInstanceUID="1.2.3.4.5.6.7")
    assert [numbers(r) for r in move(dial, site, nothing)] == [("0000", (None, 0, 0, 0))]
    responses = getting(dial, site.node).get(STUDY_GET, nothing)
    assert [numbers(r) for r in responses] == [("0000", (None, 0, 0, 0))]


def test_ff00_every_100_instances_with_the_four_counters(site: Site, dial: Dial) -> None:
    datasets = study(250)
    store_all(site.node, datasets)
    responses = getting(dial, site.node).get(STUDY_GET, study_keys(datasets))
    pending = [response for response in responses if response.status == 0xFF00]
    assert len(pending) >= 2
    for response in pending:
        remaining, completed, failed, warning = response.counters
        assert (remaining or 0) + (completed or 0) == 250
        assert (failed, warning) == (0, 0)
    assert numbers(responses[-1]) == ("0000", (None, 250, 0, 0))


def test_b000_where_some_fail_with_their_list(site: Site, dial: Dial) -> None:
    datasets = study(2) + study(1, SOPClassUID=MR)
    for ds in datasets[2:]:
        ds.StudyInstanceUID = datasets[0].StudyInstanceUID
    store_all(site.node, datasets)
    final = getting(dial, site.node).get(STUDY_GET, study_keys(datasets))[-1]
    assert numbers(final) == ("B000", (None, 2, 1, 0))
    assert_refused(final, 0xB000, "1 of 3")
    assert final.failed == [datasets[2].SOPInstanceUID]


def test_b000_where_some_end_with_a_warning(site: Site, dial: Dial) -> None:
    datasets = study(2)
    store_all(site.node, datasets)
    association = getting(dial, site.node)
    association.store_status = 0xB007
    final = association.get(STUDY_GET, study_keys(datasets))[-1]
    assert numbers(final) == ("B000", (None, 0, 0, 2))
    assert_refused(final, 0xB000, "warning")
    assert final.failed == []


def test_a_lost_file_fails_alone_and_is_unavailable_from_then_on(site: Site, dial: Dial) -> None:
    datasets = study(3)
    store_all(site.node, datasets)
    lost = datasets[1].SOPInstanceUID
    next(site.node.data_dir.rglob(f"*{lost}*.dcm")).unlink()
    final = move(dial, site, study_keys(datasets))[-1]
    assert numbers(final) == ("B000", (None, 2, 1, 0))
    assert final.failed == [lost]
    found = site.node.command(
        "find",
        site.node.peer,
        "-L",
        "image",
        "-k",
        f"SOPInstanceUID={lost}",
        "-k",
        "InstanceAvailability",
        "--format",
        "csv",
    )
    assert "UNAVAILABLE" in found.stdout


@pytest.mark.parametrize(
    ("to", "step"),
    [("NAMELESS", "name"), ("CLOSED", "TCP"), ("WRONG", "association")],
)
def test_a702_where_the_destination_cannot_be_reached_says_at_which_step(
    site: Site, dial: Dial, to: str, step: str
) -> None:
    datasets = study(2)
    store_all(site.node, datasets)
    final = move(dial, site, study_keys(datasets), to)[-1]
    assert numbers(final) == ("A702", (None, 0, 2, 0))
    assert_refused(final, 0xA702, step)
    assert sorted(final.failed) == sorted(ds.SOPInstanceUID for ds in datasets)


def test_a702_where_the_destination_refuses_all(site: Site, dial: Dial) -> None:
    datasets = study(2)
    store_all(site.node, datasets)
    final = move(dial, site, study_keys(datasets), "REFUSES")[-1]
    assert numbers(final) == ("A702", (None, 0, 2, 0))
    assert_refused(final, 0xA702, "0124")


def test_a702_where_the_caller_took_no_context(site: Site, dial: Dial) -> None:
    datasets = study(2)
    store_all(site.node, datasets)
    final = getting(dial, site.node, MR).get(STUDY_GET, study_keys(datasets))[-1]
    assert numbers(final) == ("A702", (None, 0, 2, 0))
    assert_refused(final, 0xA702, f"Propose {CT} with the SCP role")
    assert sorted(final.failed) == sorted(ds.SOPInstanceUID for ds in datasets)


def test_a801_names_the_destination(site: Site, dial: Dial) -> None:
    datasets = study(1)
    store_all(site.node, datasets)
    (final,) = move(dial, site, study_keys(datasets), "NOBODY")
    assert_refused(final, 0xA801, "NOBODY")
    # Titles are compared with case, and trimmed.
    (final,) = move(dial, site, study_keys(datasets), "dest")
    assert_refused(final, 0xA801, "dest")
    assert numbers(move(dial, site, study_keys(datasets), " DEST ")[-1])[0] == "0000"


INVALID = {
    "no level": keys("STUDY", StudyInstanceUID="1.2"),
    "an unknown level": keys("FRAME", StudyInstanceUID="1.2"),
    "a level of another model": keys("PATIENT", PatientID="1"),
    "no unique key": keys("STUDY", PatientName="DOE*"),
    "a unique key without value": keys("STUDY", StudyInstanceUID=""),
    "a unique key of wildcards": keys("STUDY", StudyInstanceUID="*"),
    "a key that cannot be matched": keys(
        "STUDY", StudyInstanceUID="1.2", NumberOfStudyRelatedInstances="2"
    ),
    "a key of a lower level": keys("STUDY", StudyInstanceUID="1.2", SOPInstanceUID="1.2.3"),
}
del INVALID["no level"].QueryRetrieveLevel


@pytest.mark.parametrize("identifier", INVALID.values(), ids=INVALID)
def test_a900_where_the_identifier_asks_for_the_impossible(
    site: Site, dial: Dial, identifier: Dataset
) -> None:
    (final,) = move(dial, site, identifier)
    assert_refused(final, 0xA900)
    (final,) = getting(dial, site.node).get(STUDY_GET, identifier)
    assert_refused(final, 0xA900)


def test_further_keys_narrow(site: Site, dial: Dial) -> None:
    datasets = study(2)
    datasets[1].SOPClassUID, datasets[1].SeriesInstanceUID = MR, generate_uid()
    datasets[1].Modality = "MR"
    store_all(site.node, datasets)
    identifier = keys(
        "SERIES", StudyInstanceUID=datasets[0].StudyInstanceUID, Modality="MR", SeriesInstanceUID=""
    )
    association = getting(dial, site.node, CT, MR)
    assert numbers(association.get(STUDY_GET, identifier)[-1]) == ("0000", (None, 1, 0, 0))
    assert association.stored[0][0] == datasets[1].SOPInstanceUID


@pytest.mark.parametrize(
    "data",
    [
        b"no identifier at all",
        b"\x08\0\x52\0CS\x40\0STUDY ",
        # A further key that says it is longer than all there is: it must not be passed over.
        b"\x08\0\x52\0CS\6\0STUDY \x20\0\x0d\0UI\4\x001.2\0\x40\0\0\4UT\0\0\0\0\0\x7fA",
    ],
    ids=["text", "cut", "a lying length"],
)
def test_c000_where_the_identifier_cannot_be_read(site: Site, dial: Dial, data: bytes) -> None:
    final = dial(site.node, (STUDY_MOVE, [EXPLICIT])).move(STUDY_MOVE, data, "DEST")[-1]
    assert_refused(final, 0xC000)
    assert_refused(getting(dial, site.node).get(STUDY_GET, data)[-1], 0xC000)


def test_0124_where_the_caller_may_not(start_node: StartNode, dial: Dial) -> None:
    node = start_node("access: {unknown_callers: [echo]}\n")
    for model, kind in RETRIEVES.items():
        association = dial(node, (model, [EXPLICIT]), (CT, [EXPLICIT]), as_scp=[CT])
        identifier = keys("STUDY", StudyInstanceUID="1.2")
        ask: Callable[..., list[Response]] = getattr(association, kind)
        more = ("DEST",) if kind == "move" else ()
        (final,) = ask(model, identifier, *more)
        assert_refused(final, 0x0124, kind)


def test_a701_where_the_index_fails(start_node: StartNode, dial: Dial) -> None:
    node = start_node(OPEN + "modalities: {DEST: {host: 127.0.0.1, port: 104}}\n")
    datasets = study(1)
    store_all(node, datasets)
    damage_index(node)
    final = dial(node, (STUDY_MOVE, [EXPLICIT])).move(STUDY_MOVE, study_keys(datasets), "DEST")[-1]
    assert_refused(final, 0xA701)
    assert_refused(getting(dial, node).get(STUDY_GET, study_keys(datasets))[-1], 0xA701)


def test_fe00_where_the_caller_cancels(site: Site, dial: Dial) -> None:
    datasets = study(300)
    store_all(site.node, datasets)
    association = getting(dial, site.node)
    association.ask(GET_RQ, STUDY_GET, study_keys(datasets))
    responses = association.responses()
    assert next(responses).status == 0xFF00
    association.cancel(STUDY_GET)
    final = list(responses)[-1]
    assert final.status == 0xFE00
    remaining, completed, failed, warning = final.counters
    assert completed == len(association.stored) < 110
    assert (remaining, failed, warning) == (300 - len(association.stored), 0, 0)


def test_fe00_of_a_move(site: Site, dial: Dial) -> None:
    datasets = study(200)
    store_all(site.node, datasets)
    association = dial(site.node, (STUDY_MOVE, [EXPLICIT]))
    association.ask(MOVE_RQ, STUDY_MOVE, study_keys(datasets), and_cancel=True, x0600="DEST")
    final = list(association.responses())[-1]
    assert final.status == 0xFE00
    remaining, completed, *rest = final.counters
    assert rest == [0, 0]
    assert (remaining or 0) + (completed or 0) == 200
    assert (remaining or 0) > 100


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT])
def test_the_failed_list_in_each_transfer_syntax(
    site: Site, dial: Dial, transfer_syntax: str
) -> None:
    datasets = study(130)
    store_all(site.node, datasets)
    association = dial(site.node, (STUDY_MOVE, [transfer_syntax]))
    final = association.move(STUDY_MOVE, study_keys(datasets), "CLOSED")[-1]
    assert numbers(final) == ("A702", (None, 0, 130, 0))
    assert sorted(final.failed) == sorted(ds.SOPInstanceUID for ds in datasets)


@pytest.mark.parametrize(
    ("model", "kind"),
    [(ONLY_GET, "get"), (PATIENT_GET, "get"), (ONLY_MOVE, "move"), (PATIENT_MOVE, "move")],
)
def test_every_model_retrieves(site: Site, dial: Dial, model: str, kind: str) -> None:
    datasets = study(2, PatientID=f"PID{generate_uid()[-12:]}")
    store_all(site.node, datasets)
    association = getting(dial, site.node, model=model)
    ask: Callable[..., list[Response]] = getattr(association, kind)
    identifier = keys("PATIENT", PatientID=datasets[0].PatientID)
    final = ask(model, identifier, *(("DEST",) if kind == "move" else ()))[-1]
    assert numbers(final) == ("0000", (None, 2, 0, 0))


def test_the_log_has_no_patient_and_every_failure(site: Site, dial: Dial) -> None:
    datasets = study(1)
    store_all(site.node, datasets)
    assert move(dial, site, study_keys(datasets), "NAMELESS")[-1].status == 0xA702
    assert not re.search(r"DOE|JOHN|PID\d", site.node.log)
    assert "no-such-host.invalid" in site.node.log
