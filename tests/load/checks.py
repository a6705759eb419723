"""What must be true when nobody is sending: asked of the node by C-FIND and C-GET, of the index by
SQL, of the tree by `pacsnode verify`."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from blake3 import blake3

from tests.interface.peer import EXPLICIT, STUDY_FIND, STUDY_GET, Association, keys
from tests.load.ledger import Ledger
from tests.load.tree import AE_TITLE, Tree


class Checks:
    """Of a node against a ledger, whose faults tell what was found. `kinds` are the SOP classes and
    transfer syntaxes that instances are of."""

    def __init__(
        self,
        tree: Tree,
        ledger: Ledger,
        kinds: Iterable[tuple[str, str]],
        calling: str = "CHECKS",
    ) -> None:
        self._tree = tree
        self._ledger = ledger
        self._kinds = list(dict.fromkeys(kinds))
        self._calling = calling

    @contextmanager
    def reader(self) -> Iterator[Association]:
        """An association for C-FIND and C-GET, of instances as stored."""
        with Association(
            self._tree.address,
            (STUDY_FIND, [EXPLICIT]),
            (STUDY_GET, [EXPLICIT]),
            *((sop_class, [transfer_syntax]) for sop_class, transfer_syntax in self._kinds),
            as_scp=list({sop_class for sop_class, _ in self._kinds}),
            called=AE_TITLE,
            calling=self._calling,
        ) as peer:
            yield peer
            peer.release()

    def retrieve(self, peer: Association, level: str, **values: str) -> Mapping[str, bytes]:
        """C-GET; digests by SOP Instance UID. What does not come as it should is a fault."""
        peer.stored.clear()
        final = peer.get(STUDY_GET, keys(level, **values))[-1]
        _, completed, failed, warning = final.counters
        if (final.status, completed, failed, warning) != (0, len(peer.stored), 0, 0):
            self._ledger.fault(f"C-GET: {final.status:04X} {final.comment} {final.counters}")
        received = {uid: blake3(data).digest() for uid, _, data in peer.stored}
        if len(received) != len(peer.stored):
            self._ledger.fault("C-GET: an instance came twice")
        return received

    def patient(self, patient_id: str) -> int:
        """What was acknowledged is there once, byte for byte, and nothing that was not sent: what
        C-FIND names C-GET brings. Returns how many are there without an acknowledgement."""
        acknowledged = self._ledger.acknowledged(patient_id)
        found = self._whole(patient_id)
        if lost := sorted(acknowledged.keys() - found.keys()):
            text = f"of {patient_id} are not there: {', '.join(lost[:3])} …"
            self._ledger.lose(len(lost), text)
        self._ledger.settle(patient_id, found)
        return len(found.keys() - acknowledged.keys())

    def deleted(self, patient_id: str) -> None:
        """Of a patient whose deletion was completed nothing is there; of one whose deletion was
        broken off what is there is whole."""
        is_gone = patient_id not in self._ledger.patients()
        found = self._find(patient_id) if is_gone else self._whole(patient_id)
        if is_gone and found:
            self._ledger.fault(f"{patient_id} was deleted, and {len(found)} instances are there")

    def _whole(self, patient_id: str) -> Mapping[str, bytes]:
        """Digests of all that is there of a patient."""
        found = self._find(patient_id)
        if len(set(found)) != len(found):
            self._ledger.fault(f"C-FIND names {len(found) - len(set(found))} instances twice")
        if not found:
            return {}
        with self.reader() as peer:
            received = self.retrieve(peer, "IMAGE", PatientID=patient_id)
        if received.keys() != set(found):
            text = f"C-FIND names {len(found)} of {patient_id}, C-GET brings {len(received)}"
            self._ledger.fault(text)
        for uid, digest in received.items():
            if not self._ledger.may_stand(patient_id, uid, digest):
                self._ledger.fault(f"ALTERED: {uid} of {patient_id} has bytes that were not sent")
        return received

    def _find(self, patient_id: str) -> list[str]:
        with self.reader() as peer:
            answers = peer.find(STUDY_FIND, keys("IMAGE", PatientID=patient_id, SOPInstanceUID=""))
        return [str(each.identifier.SOPInstanceUID) for each in answers[:-1]]

    def leftovers(self) -> None:
        """No temporary files are left of what was under way."""
        folder = self._tree.data_dir / "instances" / ".incoming"
        if left := os.listdir(folder):
            self._ledger.fault(f"left in {folder}: {left}")

    def index(self) -> None:
        """The index is in order and has each instance once, those of whole patients no more and no
        less than were acknowledged; as many files are in the tree."""
        expected = {
            uid: patient_id
            for patient_id in self._ledger.patients()
            for uid in self._ledger.acknowledged(patient_id)
        }
        with closing(sqlite3.connect(self._tree.data_dir / "index.sqlite")) as connection:
            if (said := connection.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
                self._ledger.fault(f"the index: {said}")
            rows = connection.execute(
                "SELECT sop_instance_uid, patient_id FROM instance "
                "JOIN series ON series.id = instance.parent JOIN study ON study.id = series.parent"
            ).fetchall()
        indexed = dict(rows)
        if len(indexed) != len(rows):
            self._ledger.fault(f"{len(rows) - len(indexed)} instances have two rows")
        if lost := [uid for uid, patient in expected.items() if indexed.get(uid) != patient]:
            self._ledger.lose(len(lost), f"are not in the index: {', '.join(lost[:3])} …")
        files = sum(1 for _ in (self._tree.data_dir / "instances").glob("*/*/*.dcm"))
        if files != len(rows):
            self._ledger.fault(f"{files} files, {len(rows)} rows")

    def everything(self) -> None:
        """All patients, and index and tree against each other."""
        for patient_id in self._ledger.patients():
            self.patient(patient_id)
        self.leftovers()
        self.index()
        verified = self._tree.run("verify")
        if verified.returncode != 0:
            self._ledger.fault(f"pacsnode verify: {verified.stdout[-2000:]}")
        if traceback := self._tree.traceback():
            self._ledger.fault(f"in the log: {traceback}")
