"""What the node has acknowledged, and what it may have besides."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.load.instances import Instance


@dataclass
class _Patient:
    """By SOP Instance UID: the digest that was acknowledged last, and it with those that were begun
    since. One that `is_leaving` is being deleted."""

    acknowledged: dict[str, bytes] = field(default_factory=dict)
    begun: dict[str, set[bytes]] = field(default_factory=dict)
    is_leaving: bool = False


class Ledger:
    """By patient, for many threads. A SOP Instance UID is one sender's, which waits for one answer
    before it sends it again; with bytes that replace those before them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._patients: dict[str, _Patient] = {}
        self._sent: dict[str, set[bytes]] = {}
        self._faults: list[str] = []
        self.acknowledgements = 0
        self.compared = 0
        self.lost = 0

    def begin(self, instance: Instance) -> None:
        """From now on the node may have it."""
        with self._lock:
            patient = self._patients.setdefault(instance.patient_id, _Patient())
            for digests in (patient.begun, self._sent):
                digests.setdefault(instance.sop_instance_uid, set()).add(instance.digest)

    def acknowledge(self, instance: Instance) -> None:
        """From now on the node must have it."""
        with self._lock:
            patient = self._patients[instance.patient_id]
            patient.acknowledged[instance.sop_instance_uid] = instance.digest
            patient.begun[instance.sop_instance_uid] = {instance.digest}
            self.acknowledgements += 1

    def fault(self, text: str) -> None:
        """Something that must not be."""
        with self._lock:
            self._faults.append(text)

    def lose(self, count: int, text: str) -> None:
        """The worst of them."""
        with self._lock:
            self.lost += count
            self._faults.append(f"LOST: {count} acknowledged instances {text}")

    @property
    def faults(self) -> Sequence[str]:
        with self._lock:
            return list(self._faults)

    def patients(self) -> list[str]:
        """In the order of their first instances."""
        with self._lock:
            return list(self._patients)

    def acknowledged(self, patient_id: str) -> Mapping[str, bytes]:
        """What must be there at this moment; nothing of a patient that is leaving."""
        with self._lock:
            patient = self._patients.get(patient_id, _Patient())
            return {} if patient.is_leaving else dict(patient.acknowledged)

    def may_stand(self, patient_id: str, uid: str, digest: bytes) -> bool:
        """Whether these bytes, while nothing is under way, are what must be there, or were begun
        after it."""
        with self._lock:
            self.compared += 1
            patient = self._patients.get(patient_id, _Patient())
            return digest in patient.begun.get(uid, ())

    def was_sent(self, uid: str, digest: bytes) -> bool:
        """Whether these bytes are whole: what may be seen while they are being replaced."""
        with self._lock:
            self.compared += 1
            return digest in self._sent.get(uid, ())

    def is_staying(self, patient_id: str) -> bool:
        """Whether it is there, and nobody deletes it."""
        with self._lock:
            return patient_id in self._patients and not self._patients[patient_id].is_leaving

    def leaving(self, patient_id: str) -> None:
        with self._lock:
            self._patients[patient_id].is_leaving = True

    def gone(self, patient_id: str) -> None:
        with self._lock:
            del self._patients[patient_id]

    def settle(self, patient_id: str, found: Mapping[str, bytes]) -> None:
        """Nothing is under way: what is there stays there, and nothing else may come."""
        with self._lock:
            patient = self._patients.setdefault(patient_id, _Patient())
            patient.acknowledged = dict(found)
            patient.begun = {uid: {digest} for uid, digest in found.items()}
