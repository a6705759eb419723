"""What must be true when nobody is sending: asked of the node by C-FIND and C-GET, of the index by
SQL, of the tree by `pacsnode verify`."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing

from tests.interface.peer import STUDY_FIND, keys
from tests.load.ledger import Ledger
from tests.storm.senders import reader, retrieve
from tests.storm.tree import Tree


def check_patient(tree: Tree, ledger: Ledger, patient_id: str) -> int:
    """What was acknowledged is there once, byte for byte, and nothing that was not sent: what
    C-FIND names C-GET brings. Returns how many are there without an acknowledgement."""
    acknowledged = ledger.acknowledged(patient_id)
    found = _whole(tree, ledger, patient_id)
    if lost := sorted(acknowledged.keys() - found.keys()):
        ledger.lose(len(lost), f"of {patient_id} are not there: {', '.join(lost[:3])} …")
    ledger.settle(patient_id, found)
    return len(found.keys() - acknowledged.keys())


def check_deleted(tree: Tree, ledger: Ledger, patient_id: str) -> None:
    """Of a patient whose deletion was completed nothing is there; of one whose deletion was killed
    what is there is whole."""
    is_gone = patient_id not in ledger.patients()
    found = _find(tree, patient_id) if is_gone else _whole(tree, ledger, patient_id)
    if is_gone and found:
        ledger.fault(f"{patient_id} was deleted, and {len(found)} instances are there")


def _whole(tree: Tree, ledger: Ledger, patient_id: str) -> Mapping[str, bytes]:
    """Digests of all that is there of a patient."""
    found = _find(tree, patient_id)
    if len(set(found)) != len(found):
        ledger.fault(f"C-FIND names {len(found) - len(set(found))} instances twice")
    if not found:
        return {}
    with reader(tree) as peer:
        received = retrieve(peer, ledger, "IMAGE", PatientID=patient_id)
    if received.keys() != set(found):
        ledger.fault(f"C-FIND names {len(found)} of {patient_id}, C-GET brings {len(received)}")
    for uid, digest in received.items():
        if not ledger.may_stand(patient_id, uid, digest):
            ledger.fault(f"ALTERED: {uid} of {patient_id} has other bytes than were sent")
    return received


def _find(tree: Tree, patient_id: str) -> list[str]:
    with reader(tree) as peer:
        answers = peer.find(STUDY_FIND, keys("IMAGE", PatientID=patient_id, SOPInstanceUID=""))
    return [str(each.identifier.SOPInstanceUID) for each in answers[:-1]]


def check_leftovers(tree: Tree, ledger: Ledger) -> None:
    """No temporary files are left of what was under way."""
    folder = tree.data_dir / "instances" / ".incoming"
    if left := os.listdir(folder):
        ledger.fault(f"left in {folder}: {left}")


def check_index(tree: Tree, ledger: Ledger) -> None:
    """The index is in order and has each instance once, those of whole patients no more and no
    less than were acknowledged; as many files are in the tree."""
    expected = {
        uid: patient_id
        for patient_id in ledger.patients()
        for uid in ledger.acknowledged(patient_id)
    }
    with closing(sqlite3.connect(tree.data_dir / "index.sqlite")) as connection:
        if (said := connection.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            ledger.fault(f"the index: {said}")
        rows = connection.execute(
            "SELECT sop_instance_uid, patient_id FROM instance "
            "JOIN series ON series.id = instance.parent JOIN study ON study.id = series.parent"
        ).fetchall()
    indexed = dict(rows)
    if len(indexed) != len(rows):
        ledger.fault(f"{len(rows) - len(indexed)} instances have two rows")
    if lost := [uid for uid, patient_id in expected.items() if indexed.get(uid) != patient_id]:
        ledger.lose(len(lost), f"are not in the index: {', '.join(lost[:3])} …")
    files = sum(1 for _ in (tree.data_dir / "instances").glob("*/*/*.dcm"))
    if files != len(rows):
        ledger.fault(f"{files} files, {len(rows)} rows")


def check_everything(tree: Tree, ledger: Ledger) -> None:
    """All patients, and index and tree against each other."""
    for patient_id in ledger.patients():
        _whole(tree, ledger, patient_id)
    check_index(tree, ledger)
    verified = tree.run("verify")
    if verified.returncode != 0:
        ledger.fault(f"pacsnode verify: {verified.stdout[-2000:]}")
    if tree.tracebacks():
        ledger.fault(f"a traceback in the log:\n{tree.log_tail()}")
