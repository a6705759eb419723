"""What callers do to the node: most of it well, some of it badly. Each function is one act, counted
by its name; what must not be is a fault of the ledger."""

import random
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from tests.interface.peer import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    FIND_RQ,
    GET_RQ,
    IMPLICIT,
    PATIENT_FIND,
    STORE_RQ,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Association,
    Ended,
    Rejected,
    command_set,
    keys,
)
from tests.load.instances import (
    NAME,
    Instance,
    Place,
    Template,
    bundled,
    choose,
    new_place,
    new_uid,
    sliced,
)
from tests.load.ledger import Ledger
from tests.net.raw import P_DATA, RQ, RawPeer, associate_rq, pdu, pdv
from tests.soak.destination import AE_TITLE as DESTINATION

MR = "1.2.840.10008.5.1.4.1.1.4"
TEMPLATES: tuple[tuple[Template, int], ...] = (
    (sliced(32, EXPLICIT), 40),
    (sliced(32, IMPLICIT), 10),
    (sliced(32, BIG_ENDIAN), 3),
    (sliced(64, DEFLATED), 3),
    (sliced(512, EXPLICIT), 10),
    (bundled("MR_small_RLE.dcm"), 5),
    (bundled("MR_small_jpeg_ls_lossless.dcm"), 5),
    (bundled("MR_small_jp2klossless.dcm"), 5),
)
KINDS = tuple(dict.fromkeys((each.sop_class_uid, each.transfer_syntax) for each, _ in TEMPLATES))
CONTEXTS = tuple((sop_class, [transfer_syntax]) for sop_class, transfer_syntax in KINDS)
CALLER, STRANGER, BARRED = "SOAK", "STRANGER", "BARRED"
CALLED = "PACSNODE"

SUCCESS, PENDING, CANCELLED, NOT_AUTHORISED = 0x0000, 0xFF00, 0xFE00, 0x0124
SOME_FAILED = 0xB000
NOT_RECOGNISED = (1, 1, 7), (1, 1, 3)


@dataclass
class Visitor:
    """Somebody who visits the node at `address` again and again. `patient_id` says whose instances
    are sent at the moment."""

    address: tuple[str, int]
    ledger: Ledger
    chance: random.Random
    patient_id: Callable[[], str]
    counts: dict[str, int] = field(default_factory=dict)
    _places: dict[str, list[Place]] = field(default_factory=dict)

    def act(self) -> None:
        """Something, by weight."""
        (act,) = self.chance.choices(list(ACTS), list(ACTS.values()))
        try:
            act(self)
        except (Ended, OSError) as error:
            self.ledger.fault(f"{act.__name__}: the association was lost: {error!r}")
        self.count(act.__name__)

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def expect(self, holds: bool, text: str) -> None:
        if not holds:
            self.ledger.fault(text)

    def associate(self, *contexts: Any, **options: Any) -> Association:
        return Association(
            self.address, *contexts, **{"calling": CALLER, "called": CALLED, **options}
        )

    def somebody(self) -> str | None:
        """A patient who stays, for the moment."""
        staying = [each for each in self.ledger.patients() if self.ledger.is_staying(each)]
        return self.chance.choice(staying) if staying else None

    def place(self) -> Place:
        """One of a few series of the patient of the moment."""
        patient_id = self.patient_id()
        if patient_id not in self._places:
            self._places = {patient_id: [new_place(patient_id, self.chance) for _ in range(2)]}
        return self.chance.choice(self._places[patient_id])

    def instance(self) -> Instance:
        return choose(TEMPLATES, self.chance).instance(
            self.place(), new_uid(self.chance), self.chance
        )


def store(visitor: Visitor) -> None:
    """Some instances, of which one may come twice, and another one with other bytes."""
    with visitor.associate(*CONTEXTS) as peer:
        for _ in range(visitor.chance.randrange(1, 15)):
            instance = visitor.instance()
            visitor.ledger.begin(instance)
            if _send(visitor, peer, instance):
                visitor.ledger.acknowledge(instance)
            if visitor.chance.random() < 0.1:
                _send(visitor, peer, instance)
                visitor.count("duplicates")
            if visitor.chance.random() < 0.02 and instance.sop_class_uid == CT:
                other = sliced(8, instance.transfer_syntax).instance(
                    visitor.place(), instance.sop_instance_uid, visitor.chance
                )
                _send(visitor, peer, other)
                visitor.count("conflicts")
        peer.release()


def _send(visitor: Visitor, peer: Association, instance: Instance) -> bool:
    response = peer.store(
        instance.sop_class_uid, instance.sop_instance_uid, instance.data, instance.transfer_syntax
    )
    visitor.expect(response.status == SUCCESS, f"C-STORE: {response.status:04X} {response.comment}")
    visitor.count("instances")
    return response.status == SUCCESS


def find(visitor: Visitor) -> None:
    """A patient's studies or instances; or all patients."""
    with visitor.associate((STUDY_FIND, [EXPLICIT]), (PATIENT_FIND, [IMPLICIT])) as peer:
        patient_id = visitor.somebody()
        expected = visitor.ledger.acknowledged(patient_id or "").keys()
        level = visitor.chance.choice(["PATIENT", "STUDY", "IMAGE"])
        if level == "PATIENT":
            answers = peer.find(PATIENT_FIND, keys(level, PatientName=NAME[:4] + "*", PatientID=""))
        else:
            wanted = {"PatientID": patient_id or "NOBODY", "SOPInstanceUID": "", "StudyDate": ""}
            if level == "STUDY":
                del wanted["SOPInstanceUID"]
            answers = peer.find(STUDY_FIND, keys(level, **wanted))
        visitor.expect(answers[-1].status == SUCCESS, f"C-FIND: {answers[-1].status:04X}")
        if level == "IMAGE" and patient_id and visitor.ledger.is_staying(patient_id):
            found = {str(answer.identifier.SOPInstanceUID) for answer in answers[:-1]}
            visitor.expect(expected <= found, f"C-FIND: {len(expected - found)} are not found")
        peer.release()


def get(visitor: Visitor) -> None:
    """A series, as stored."""
    _get(visitor, CONTEXTS, as_stored=True)


def get_decompressed(visitor: Visitor) -> None:
    """A series, for somebody who takes nothing compressed."""
    _get(visitor, ((CT, [EXPLICIT, IMPLICIT]), (MR, [EXPLICIT])), as_stored=False)


def _get(visitor: Visitor, contexts: Any, *, as_stored: bool) -> None:
    patient_id = visitor.somebody()
    series = _some_series(visitor, patient_id)
    if patient_id is None or series is None:
        return
    with visitor.associate((STUDY_GET, [EXPLICIT]), *contexts, as_scp=[CT, MR]) as peer:
        final = peer.get(STUDY_GET, keys("SERIES", SeriesInstanceUID=series))[-1]
        if as_stored and visitor.ledger.is_staying(patient_id):
            visitor.expect(final.status == SUCCESS, f"C-GET: {final.status:04X} {final.comment}")
        for uid, _, data in peer.stored if as_stored else ():
            is_whole = visitor.ledger.was_sent(uid, blake3(data).digest())
            visitor.expect(is_whole, f"C-GET brought {uid}, which was never sent like this")
        visitor.count("retrieved", len(peer.stored))
        peer.release()


def _some_series(visitor: Visitor, patient_id: str | None) -> str | None:
    if patient_id is None:
        return None
    with visitor.associate((STUDY_FIND, [EXPLICIT])) as peer:
        wanted = keys("SERIES", PatientID=patient_id, SeriesInstanceUID="")
        answers = peer.find(STUDY_FIND, wanted)[:-1]
        peer.release()
    if not answers:
        return None
    return str(visitor.chance.choice(answers).identifier.SeriesInstanceUID)


def move(visitor: Visitor) -> None:
    """A series to a third."""
    patient_id = visitor.somebody()
    series = _some_series(visitor, patient_id)
    if patient_id is None or series is None:
        return
    with visitor.associate((STUDY_MOVE, [EXPLICIT])) as peer:
        wanted = keys("SERIES", SeriesInstanceUID=series)
        final = peer.move(STUDY_MOVE, wanted, DESTINATION)[-1]
        if visitor.ledger.is_staying(patient_id):
            visitor.expect(final.status == SUCCESS, f"C-MOVE: {final.status:04X} {final.comment}")
        visitor.count("moved", final.counters[1] or 0)
        peer.release()


def abort(visitor: Visitor) -> None:
    """In the middle of a dataset, by an A-ABORT, a FIN or a reset. It must leave nothing."""
    instance = visitor.instance()
    peer = RawPeer(visitor.address)
    try:
        contexts = [(1, instance.sop_class_uid, [instance.transfer_syntax])]
        peer.associate(*contexts, calling=CALLER, called=CALLED)
        command = command_set(
            x0002=instance.sop_class_uid,
            x0100=STORE_RQ,
            x0110=1,
            x0700=0,
            x0800=1,
            x1000=instance.sop_instance_uid,
        )
        half = instance.data[: min(len(instance.data) // 2, 100_000)]
        pieces = [half[at : at + 16_000] for at in range(0, len(half), 16_000)]
        stream = b"".join(pdu(P_DATA, pdv(1, 0, piece)) for piece in pieces)
        peer.send(pdu(P_DATA, pdv(1, 3, command)) + stream)
        how = visitor.chance.randrange(3)
        if how == 0:
            peer.send(pdu(7))
        elif how == 1:  # close() makes a reset of it
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        peer.close()


def cancel(visitor: Visitor) -> None:
    """A query, or a retrieve, that is cancelled in the same breath."""
    patient_id = visitor.somebody()
    contexts = ((STUDY_FIND, [EXPLICIT]), (STUDY_GET, [EXPLICIT]), *CONTEXTS)
    with visitor.associate(*contexts, as_scp=[CT, MR]) as peer:
        wanted = keys("IMAGE", PatientID=patient_id or "NOBODY", SOPInstanceUID="")
        if visitor.chance.random() < 0.5:
            peer.ask(FIND_RQ, STUDY_FIND, wanted, and_cancel=True)
        else:
            del wanted.SOPInstanceUID
            peer.ask(GET_RQ, STUDY_GET, wanted, and_cancel=True)
        final = list(peer.responses())[-1]
        is_fine = final.status in (SUCCESS, CANCELLED)
        if patient_id and visitor.ledger.is_staying(patient_id):
            visitor.expect(is_fine, f"cancelled: {final.status:04X} {final.comment}")
        peer.release()


def rejected(visitor: Visitor) -> None:
    """By a wrong called AE title, or as a caller with no right at all."""
    wrong = visitor.chance.choice([{"called": "OTHER"}, {"calling": BARRED}])
    try:
        with visitor.associate((VERIFICATION, [IMPLICIT]), **wrong):
            visitor.ledger.fault(f"{wrong} was let in")
    except Rejected as rejection:
        visitor.expect(rejection.codes in NOT_RECOGNISED, f"rejected with {rejection.codes}")


def refused(visitor: Visitor) -> None:
    """A stranger may ask for a sign of life, and nothing else."""
    instance = sliced(32, EXPLICIT).instance(
        visitor.place(), new_uid(visitor.chance), visitor.chance
    )
    contexts = ((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]))
    with visitor.associate(*contexts, calling=STRANGER) as peer:
        visitor.expect(peer.echo().status == SUCCESS, "C-ECHO")
        response = peer.store(CT, instance.sop_instance_uid, instance.data)
        visitor.expect(response.status == NOT_AUTHORISED, f"a stranger: {response.status:04X}")
        peer.release()


def misspeak(visitor: Visitor) -> None:
    """Say nothing, half of a request, or what is no DICOM; then go."""
    request = associate_rq([(1, VERIFICATION, [IMPLICIT])], calling=CALLER, called=CALLED)
    said = visitor.chance.choice([b"", request[:40], b"GET / HTTP/1.1\r\n\r\n", pdu(RQ, b"\0" * 9)])
    with socket.create_connection(visitor.address, 20) as connection:
        connection.sendall(said)


ACTS: Mapping[Callable[[Visitor], None], int] = {
    store: 40,
    find: 20,
    get: 8,
    get_decompressed: 2,
    move: 6,
    abort: 8,
    cancel: 6,
    rejected: 4,
    refused: 3,
    misspeak: 4,
}
