"""Storage commitment asked of the node: each instance is looked into, and the report comes: on the
association or on a new one, at once or when the requester is back, across restarts and kill -9."""

import json
import os
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.conftest import free_port_number, stored_files, wait_until_synced
from tests.interface.requester import (
    COMMITMENT,
    INSTANCE,
    Requester,
    ask_on,
    information,
    pause,
    requesting,
    store_on,
)
from tests.interface.test_commit_command import orthanc

MakeRequester = Callable[..., Requester]

MISSING, OTHER_CLASS, DUPLICATE = 0x0112, 0x0119, 0x0131


@pytest.fixture
def make_requester() -> Iterator[MakeRequester]:
    """`make_requester(listening=…, …)`: on a port of its own; closed at the end."""
    with ExitStack() as stack:

        def make(*, listening: bool = True, **settings: Any) -> Requester:
            requester = Requester(port=free_port_number(), **settings)
            return stack.enter_context(requesting(requester, listening=listening))

        yield make


def configured(*requesters: Requester, row: str = "", **sections: str) -> str:
    """The node's configuration, with a row for each."""
    rows = "".join(
        f"  {one.ae_title}: {{host: 127.0.0.1, port: {one.port}{row and ', ' + row}}}\n"
        for one in requesters
    )
    settings = {"listen": "{port: 0, workers: 1}", "storage": "{min_free: 0}", **sections}
    text = "".join(f"{name}: {value}\n" for name, value in settings.items())
    return text + (f"modalities:\n{rows}" if rows else "")


def store(node: RunningNode, requester: Requester, count: int = 1) -> list[str]:
    """Store so many instances; their UIDs."""
    datasets = [
        new_dataset(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4") for _ in range(count)
    ]
    with requester.associated(node) as association:
        for ds in datasets:
            store_on(association, ds)
    return [str(ds.SOPInstanceUID) for ds in datasets]


# --- where the report goes --------------------------------------------------------------------


@pytest.mark.parametrize("takes_roles", [True, False])
def test_the_report_comes_on_a_new_association_proposing_the_scp_role(
    start_node: StartNode, make_requester: MakeRequester, takes_roles: bool
) -> None:
    """Also to a peer that ignores the negotiation of roles."""
    requester = make_requester(takes_roles=takes_roles)
    node = start_node(configured(requester, row="calling_ae_title: ARCHIVE1"))
    uids = store(node, requester, 3)
    transaction = requester.ask(node, *uids)
    report = requester.report()
    assert report.is_new
    assert (report.event_type, report.transaction_uid) == (1, transaction)
    assert (report.committed, report.failed) == (uids, {})
    assert report.ae_title == "ARCHIVE1"
    assert report.roles == (False, True)


def test_the_report_comes_on_the_same_association_where_the_row_says_so(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester()
    node = start_node(configured(requester, row="commit_report: same"))
    (uid,) = store(node, requester)
    with requester.associated(node) as association:
        transaction, status = ask_on(association, [uid])
        assert status == 0x0000
        report = requester.report()
        store_on(association, new_dataset())  # it goes on to serve
    assert not report.is_new
    assert (report.transaction_uid, report.committed) == (transaction, [uid])


def test_what_fails_on_the_same_association_is_tried_on_a_new_one(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(answer=lambda report: 0x0000 if report.is_new else 0x0110)
    node = start_node(configured(requester, row="commit_report: same"))
    uids = store(node, requester, 3)
    with requester.associated(node) as association:
        ask_on(association, uids)
        assert not requester.report().is_new
        report = requester.report()
    assert report.is_new
    assert report.committed == uids


def test_who_releases_the_association_at_once_gets_the_report_all_the_same(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester()
    node = start_node(configured(requester, row="commit_report: same"))
    uids = store(node, requester, 100)
    requester.ask(node, *uids)
    assert requester.report().committed == uids
    assert "aborted" not in node.log


def test_an_unknown_caller_gets_it_on_the_same_association(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(ae_title="STRANGER")
    node = start_node(configured(access="{unknown_callers: all}"))
    (uid,) = store(node, requester)
    with requester.associated(node) as association:
        ask_on(association, [uid])
        assert requester.report().committed == [uid]
    node.wait_for_log("reported on the same association")


def test_what_an_unknown_caller_did_not_wait_for_is_logged_and_over(
    start_node: StartNode, make_requester: MakeRequester, tmp_path: Path
) -> None:
    requester = make_requester(ae_title="STRANGER", listening=False, answer=0x0110)
    config = configured(access="{unknown_callers: all}")
    node = start_node(config)
    (uid,) = store(node, requester)
    transaction = requester.ask(node, uid)
    log = node.wait_for_log("was not reported")
    assert f"{transaction} of 'STRANGER' from 127.0.0.1, 1 instances" in log
    node.stop()
    assert open_transactions(node) == 0


def open_transactions(node: RunningNode) -> int:
    import sqlite3

    with closing(sqlite3.connect(node.data_dir / "index.sqlite")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM commitment").fetchone()
    return int(count)


# --- what is looked into ----------------------------------------------------------------------


def test_each_instance_that_is_not_safe_has_its_reason(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester()
    node = start_node(configured(requester))
    good, gone, altered, deleted = store(node, requester, 4)
    wait_until_synced(node)
    damage = {gone: os.unlink, altered: flip_last_byte}
    for path in stored_files(node.data_dir / "instances"):
        uid = next((uid for uid in damage if uid.encode() in path.read_bytes()), None)
        if uid is not None:
            damage[uid](path)
    assert (
        node.command("delete", "--yes", "-L", "image", "-k", f"SOPInstanceUID={deleted}").returncode
        == 0
    )
    asked = information([good, gone, altered, deleted, "1.2.404"])
    wrong = new_dataset()
    with requester.associated(node) as association:
        store_on(association, wrong)
        asked.ReferencedSOPSequence.append(Dataset())
        asked.ReferencedSOPSequence[-1].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        asked.ReferencedSOPSequence[-1].ReferencedSOPInstanceUID = wrong.SOPInstanceUID
        pause(association)
        association.send_n_action(asked, 1, COMMITMENT, INSTANCE)
    report = requester.report()
    assert report.event_type == 2
    assert report.committed == [good]
    assert report.failed == {
        **dict.fromkeys((gone, altered, deleted, "1.2.404"), MISSING),
        str(wrong.SOPInstanceUID): OTHER_CLASS,
    }
    listed = node.command("ls", "-L", "image", "-k", "InstanceAvailability", "--format", "json")
    states = [item["00080056"]["Value"][0] for item in json.loads(listed.stdout)]
    assert states.count("UNAVAILABLE") == 2


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_ten_thousand_references_are_reported_on(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester()
    node = start_node(configured(requester))
    uids = store(node, requester, 50)
    strangers = [f"1.2.840.99999.{number}" for number in range(9_950)]
    requester.ask(node, *uids, *strangers)
    report = requester.report()
    assert report.committed == uids
    assert report.failed == dict.fromkeys(strangers, MISSING)


# --- what is refused --------------------------------------------------------------------------


def empty(ds: Dataset) -> Dataset:
    ds.ReferencedSOPSequence = []
    return ds


def without(ds: Dataset, keyword: str) -> Dataset:
    delattr(ds, keyword)
    return ds


@pytest.mark.parametrize(
    ("asked", "action", "instance", "status"),
    [
        (information(["1.2.3"]), 2, INSTANCE, 0x0123),
        (information(["1.2.3"]), 1, "1.2.3", 0x0112),
        (without(information(["1.2.3"]), "TransactionUID"), 1, INSTANCE, 0x0115),
        (without(information(["1.2.3"]), "ReferencedSOPSequence"), 1, INSTANCE, 0x0115),
        (empty(information(["1.2.3"])), 1, INSTANCE, 0x0115),
        (information(["1.2.3", ""]), 1, INSTANCE, 0x0115),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused(
    open_node: RunningNode,
    make_requester: MakeRequester,
    asked: Dataset,
    action: int,
    instance: str,
    status: int,
) -> None:
    requester = make_requester(listening=False)
    with requester.associated(open_node) as association:
        pause(association)
        answer, _ = association.send_n_action(asked, action, COMMITMENT, instance)
        assert answer.Status == status
        assert answer.ErrorComment
        assert requester.reports.empty()


def test_a_caller_without_the_right_is_refused(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(listening=False)
    node = start_node(configured(requester, row="allow: [store]"))
    with requester.associated(node) as association:
        assert ask_on(association, ["1.2.3"])[1] == 0x0124
    assert "modalities.CT1.allow" in node.log


def test_a_full_disk_takes_no_request(start_node: StartNode, make_requester: MakeRequester) -> None:
    requester = make_requester(listening=False)
    node = start_node(configured(requester, storage="{min_free: 1000TiB}"))
    with requester.associated(node) as association:
        assert ask_on(association, ["1.2.3"])[1] == 0x0213


# --- when it cannot be delivered --------------------------------------------------------------


def test_a_requester_that_is_back_gets_all_that_waits(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(listening=False)
    node = start_node(configured(requester))
    uids = store(node, requester, 3)
    asked = {requester.ask(node, uid): uid for uid in uids[:2]}
    node.wait_for_log("the next is in 10 s")
    requester.listen()
    asked[requester.ask(node, uids[2])] = uids[2]
    reports = [requester.report() for _ in uids]
    assert {report.transaction_uid: report.committed[0] for report in reports} == asked


def test_a_transaction_uid_that_is_open_fails_as_a_duplicate(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(listening=False)
    config = configured(requester)
    node = start_node(config)
    (uid,) = store(node, requester)
    for _ in range(2):
        requester.ask(node, uid, transaction="1.2.9")
    node.stop()
    requester.listen()
    start_node(config)
    reports = [requester.report() for _ in range(2)]
    assert sorted((report.event_type, *report.failed.values()) for report in reports) == [
        (1,),
        (2, DUPLICATE),
    ]
    assert {report.transaction_uid for report in reports} == {"1.2.9"}


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_between_answer_and_report_loses_no_transaction(
    start_node: StartNode, make_requester: MakeRequester, workers: int
) -> None:
    """Killed while the requester's answer to the report is awaited."""
    requester = make_requester(listening=False)
    config = configured(requester, listen=f"{{port: 0, workers: {workers}}}")
    node = start_node(config)
    uids = store(node, requester, 5)
    with closing(socket.create_server(("127.0.0.1", requester.port))) as silent:
        silent.settimeout(PATIENCE)
        transaction = requester.ask(node, *uids)
        connection, _ = silent.accept()  # the association for the report is asked for
        with connection:
            kill_all(node)
    requester.listen()
    node = start_node(config)
    report = requester.report()
    assert (report.transaction_uid, report.committed) == (transaction, uids)
    node.stop()
    assert open_transactions(node) == 0


def kill_all(node: RunningNode) -> None:
    """The whole tree."""
    parent = node.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(parent, signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    node.stop()


def test_the_end_of_a_node_waits_for_no_peer_that_is_silent(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(listening=False)
    config = configured(requester)
    node = start_node(config)
    (uid,) = store(node, requester)
    with closing(socket.create_server(("127.0.0.1", requester.port))) as silent:
        silent.settimeout(PATIENCE)
        requester.ask(node, uid)
        connection, _ = silent.accept()
        with connection:
            assert node.stop() == 0
    assert "fault" not in node.log
    assert "does not end" not in node.log
    requester.listen()
    start_node(config)
    assert requester.report().committed == [uid]


def test_a_report_that_is_refused_is_tried_again(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    answers = iter([0x0110, 0x0000])
    requester = make_requester(answer=lambda report: next(answers))
    config = configured(requester)
    node = start_node(config)
    (uid,) = store(node, requester)
    requester.ask(node, uid)
    assert requester.report().committed == [uid]
    node.wait_for_log("N-EVENT-REPORT was answered 0110")
    # Another report that is taken shows that the requester is well: the first goes again at once.
    answers = iter([0x0000, 0x0000])
    second = requester.ask(node, uid)
    assert {requester.report().transaction_uid, requester.report().transaction_uid} > {second}
    node.stop()
    assert open_transactions(node) == 0


def test_a_reload_that_mends_the_address_is_acted_on_at_once(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester()
    config = configured(requester)
    node = start_node(config.replace(f"port: {requester.port}", f"port: {free_port_number()}"))
    (uid,) = store(node, requester)
    requester.ask(node, uid)
    node.wait_for_log("the next is in 10 s")
    node.config.write_text(config, "utf-8")
    node.process.send_signal(signal.SIGHUP)
    assert requester.report().committed == [uid]


def test_after_retry_hours_a_report_is_given_up(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requester = make_requester(listening=False)
    node = start_node(configured(requester, commit="{retry_hours: 0}"))
    (uid,) = store(node, requester)
    transaction = requester.ask(node, uid)
    log = node.wait_for_log("is given up")
    assert re.search(rf"ERROR .*{re.escape(transaction)} of 'CT1'.*retry_hours", log)
    node.stop()
    assert open_transactions(node) == 0


def test_reindex_keeps_what_is_open(start_node: StartNode, make_requester: MakeRequester) -> None:
    requester = make_requester(listening=False)
    config = configured(requester)
    node = start_node(config)
    uids = store(node, requester, 3)
    transaction = requester.ask(node, *uids)
    node.stop()
    done = node.command("reindex")
    assert done.returncode == 0, done.stderr
    requester.listen()
    start_node(config)
    report = requester.report()
    assert (report.transaction_uid, report.committed) == (transaction, uids)


def test_several_workers_report_each_transaction_once(
    start_node: StartNode, make_requester: MakeRequester
) -> None:
    requesters = [make_requester(ae_title=f"CT{number}") for number in range(3)]
    node = start_node(configured(*requesters, listen="{port: 0, workers: 3}"))
    uids = store(node, requesters[0], 4)
    asked: dict[str, set[str]] = {requester.ae_title: set() for requester in requesters}

    def ask(requester: Requester) -> None:
        for _ in range(10):
            asked[requester.ae_title].add(requester.ask(node, *uids))

    threads = [threading.Thread(target=ask, args=(requester,)) for requester in requesters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for requester in requesters:
        reports = [requester.report() for _ in range(10)]
        assert {report.transaction_uid for report in reports} == asked[requester.ae_title]
        assert all(report.committed == uids for report in reports)
    node.stop()
    assert open_transactions(node) == 0
    assert all(requester.reports.empty() for requester in requesters)


# --- Orthanc ----------------------------------------------------------------------------------


def test_orthanc_asks_for_commitment(start_node: StartNode, tmp_path: Path) -> None:
    port, rest_port = free_port_number(), free_port_number()
    node = start_node(f"modalities: {{ORTHANC: {{host: 127.0.0.1, port: {port}}}}}\n")
    ds = new_dataset()
    with Requester("ORTHANC").associated(node) as association:
        store_on(association, ds)
    instances = [
        {"SOPClassUID": str(ds.SOPClassUID), "SOPInstanceUID": uid}
        for uid in (str(ds.SOPInstanceUID), "1.2.404")
    ]
    with orthanc(tmp_path / "orthanc", port, rest_port, node.port) as address:
        for wanted, outcome in ((instances[:1], "Success"), (instances, "Failure")):
            asked = rest(
                f"{address}/modalities/node/storage-commitment", {"DicomInstances": wanted}
            )
            node.wait_for_log(f"{asked['ID']} of 'ORTHANC'")
            told = rest(f"{address}{asked['Path']}")
            assert told["Status"] == outcome
            assert told["Success"] == instances[:1]
    assert [one["FailureReason"] for one in told["Failures"]] == [MISSING]


def rest(address: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(address, data, PATIENCE) as answer:
        return json.load(answer)
