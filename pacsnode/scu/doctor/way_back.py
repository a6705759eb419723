"""The steps of the connection doctor that prove the way back: a test object is sent to the peer,
and asked back by C-MOVE to this node's AE title."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace

from pydicom.dataset import Dataset

from pacsnode.dicom import status
from pacsnode.dicom.message import Connect, Peer
from pacsnode.dicom.query import Model
from pacsnode.errors import NetworkError, NoPresentationContext, PacsnodeError, PeerTimeout
from pacsnode.scu.doctor.arrivals import Arrivals
from pacsnode.scu.doctor.sample import PATIENT_ID, PATIENT_NAME, Sample
from pacsnode.scu.doctor.steps import Cause, Step, failed, ok, skipped
from pacsnode.scu.doctor.talk import SERVICES, lost
from pacsnode.scu.models import Progress, Service, sop_class_uid
from pacsnode.scu.move import move
from pacsnode.scu.store import send

ATTEMPTS = 5  # at a C-MOVE of what the peer has not filed yet
PAUSE = 2.0  # seconds between two of them
PATIENCE = 15.0  # seconds for what the peer says it has delivered
AFTERTHOUGHT = 2.0  # seconds for what it says it could not deliver
LOOK = 0.2  # seconds between two looks

Sleep = Callable[[float], None]


def movable(steps: Iterable[Step]) -> Model | None:
    """The information model to ask back by, as far as the peer does C-MOVE at all."""
    does = [service for step in steps for service in step.details.get("services", ())]
    for model in (Model.STUDY_ROOT, Model.PATIENT_ROOT):
        if SERVICES[sop_class_uid(Service.MOVE, model)] in does:
            return model
    return None


def send_sample(peer: Peer, connect: Connect, sample: Sample) -> Step:
    """The test object, as it is, on an association of its own."""
    (outcome,) = send(connect, replace(peer, transfer_syntaxes=None, associations=1), [sample])
    if isinstance(outcome.error, PeerTimeout):
        return lost("C-STORE", outcome.error)
    if outcome.is_failure:
        return failed("C-STORE", Cause.NOT_STORED, outcome.text, status=outcome.status)
    text = (
        f"{PATIENT_NAME}, StudyInstanceUID {sample.study_instance_uid}, is stored there, and stays "
        "there"
    )
    return ok("C-STORE", text, study_instance_uid=sample.study_instance_uid)


def ask_back(
    peer: Peer,
    connect: Connect,
    sample: Sample,
    model: Model,
    destination: str,
    arrivals: Arrivals,
    sleep: Sleep = time.sleep,
) -> Generator[Step, None, None]:
    """C-MOVE, arrival and removal."""
    moved = _move(peer, connect, sample, model, destination, sleep)
    arrival = _await(arrivals, AFTERTHOUGHT if moved.has_failed else PATIENCE, sleep)
    yield _because_of_us(moved, arrivals) if moved.has_failed else moved
    if arrival is not None:
        yield arrival
        yield _remove(arrivals, sample)
    elif not moved.has_failed:
        yield _lost_on_the_way(peer, arrivals, sample)
    else:
        yield skipped("arrival", "nothing has arrived here")


def _move(
    peer: Peer, connect: Connect, sample: Sample, model: Model, destination: str, sleep: Sleep
) -> Step:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            last = _ask(peer, connect, sample, model, destination)
        except NoPresentationContext as error:
            return failed("C-MOVE", Cause.NO_ROOT, str(error))
        except NetworkError as error:
            return lost("C-MOVE", error)
        if last is None or not _found_nothing(last):
            break
        if attempt < ATTEMPTS:  # some file what they are sent only after a while
            sleep(PAUSE)
    if last is None:
        return failed("C-MOVE", Cause.LOST, "it ended without an answer")
    return _judge(last, sample, destination)


def _ask(
    peer: Peer, connect: Connect, sample: Sample, model: Model, destination: str
) -> Progress | None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = sample.study_instance_uid
    if model is Model.PATIENT_ROOT:
        identifier.PatientID = PATIENT_ID
    with closing(move(connect, peer, model, identifier, destination)) as answers:
        last = deque(answers, maxlen=1)
    return last[0] if last else None


def _found_nothing(last: Progress) -> bool:
    counters = last.counters
    if not last.is_success:
        return False
    return counters is None or counters.completed + counters.failed + counters.warning == 0


def _judge(last: Progress, sample: Sample, destination: str) -> Step:
    """What the last answer to the C-MOVE means."""
    comment = f": {last.comment}" if last.comment else ""
    answer = f"answered {status.text(last.status)}{comment}"
    counters = last.counters
    if last.status == status.MOVE_DESTINATION_UNKNOWN:
        text = f"{answer}: it has no destination with the AE title {destination!r}"
        return failed("C-MOVE", Cause.UNKNOWN_DESTINATION, text, status=last.status)
    if (counters is not None and counters.failed) or last.status in _NOT_DELIVERED:
        text = f"{answer}: it knows {destination!r}, and could not deliver to it"
        return failed("C-MOVE", Cause.NOT_DELIVERED, text, status=last.status)
    if last.status == status.CANNOT_PROCESS or last.status >> 12 == 0xC:
        text = f"{answer}, which does not say why: it may not know {destination!r}, or not reach it"
        return failed("C-MOVE", Cause.NOT_MOVED, text, status=last.status)
    if not last.is_success and not last.is_warning:
        return failed("C-MOVE", Cause.REQUEST_REFUSED, answer, status=last.status)
    if _found_nothing(last):
        text = f"{answer}, and moved nothing, though it has just taken the test object"
        study = sample.study_instance_uid
        return failed("C-MOVE", Cause.NOT_FOUND, text, study_instance_uid=study)
    return ok("C-MOVE", f"{answer}: it says that it has delivered to {destination!r}")


_NOT_DELIVERED = (
    status.CANNOT_PERFORM_SUBOPERATIONS,
    status.SUBOPERATIONS_COMPLETE_WITH_FAILURES,
)


def _await(arrivals: Arrivals, seconds: float, sleep: Sleep) -> Step | None:
    deadline = time.monotonic() + seconds
    while (arrival := arrivals.arrived()) is None:
        if time.monotonic() >= deadline or arrivals.turned_away():
            return None
        sleep(LOOK)
    where = f" at {arrival.host}" if arrival.host else ""
    remark = f"; {arrival.remark}" if arrival.remark else ""
    text = f"{arrival.taken_by} took it from {arrival.ae_title!r}{where}{remark}"
    return ok("arrival", text, ae_title=arrival.ae_title, host=arrival.host)


def _because_of_us(moved: Step, arrivals: Arrivals) -> Step:
    """A C-MOVE that failed because the peer came, and was not let in."""
    if moved.cause in (Cause.UNKNOWN_DESTINATION, Cause.NOT_FOUND):  # it has not even tried
        return moved
    for one in arrivals.turned_away():
        text = f"{moved.text}; but this node turned it away: {one.text}"
        return failed(moved.name, one.cause, text, **one.details)
    return moved


def _lost_on_the_way(peer: Peer, arrivals: Arrivals, sample: Sample) -> Step:
    for one in arrivals.turned_away():
        return failed("arrival", one.cause, f"turned away: {one.text}", **one.details)
    return failed(
        "arrival",
        Cause.DELIVERED_ELSEWHERE,
        f"nothing has come here: {peer.ae_title}'s entry for our AE title leads to somebody else "
        "(should it come later, remove it: pacsnode delete -L study -k "
        f"StudyInstanceUID={sample.study_instance_uid})",
    )


def _remove(arrivals: Arrivals, sample: Sample) -> Step:
    try:
        count = arrivals.remove()
    except PacsnodeError as error:
        study = sample.study_instance_uid
        return failed("removal", Cause.NOT_REMOVED, str(error), study_instance_uid=study)
    if not count:
        return ok("removal", "nothing was kept here")
    return ok("removal", f"{count} instance removed here")
