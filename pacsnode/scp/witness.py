"""Tells the audit trail what callers do, in its own words: audit/events.py says which message is of
what. Where no trail is configured none of this costs anything."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pacsnode.archive import Kind
from pacsnode.archive import Outcome as Taken
from pacsnode.audit import Party, Silent, Study, Tally, Trail, events
from pacsnode.config.subject import subject_text
from pacsnode.dicom import status
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.message import (
    Answer,
    Caller,
    FindRequest,
    Peer,
    Rejection,
    Request,
    StoreRequest,
)
from pacsnode.errors import PacsnodeError
from pacsnode.scp.access import Rights
from pacsnode.scu.sendable import Outcome

if TYPE_CHECKING:
    from pacsnode.archive import Archive

ACTIONS = {
    Kind.STORED: events.CREATE,
    Kind.ALREADY_HERE: events.READ,
    Kind.RESTORED: events.UPDATE,
    Kind.REPLACED: events.UPDATE,
    Kind.CONFLICT: events.READ,
}


Classes = Sequence[tuple[str, int]]


class _Way(NamedTuple):
    """How instances went: they are told of together that went the same way."""

    action: str = events.READ
    failure: str = ""


class Witness:
    """Of one process's associations. Thread-safe."""

    def __init__(self, trail: Trail, archive: "Archive") -> None:
        self._trail = trail
        self._archive = archive
        self._receiving: dict[int, ReceivingWitness] = {}
        self._refused: dict[int, set[str]] = {}

    def turned_away(self, host: str, reason: str) -> None:
        """A connection that came to no association."""
        if self._trail.is_on:
            party = Party("", host)
            self._trail.record(events.association_refused(self._trail.node, party, reason))

    def decided(self, caller: Caller, rights: Rights, rejection: Rejection | None) -> None:
        """On an association."""
        if not self._trail.is_on:
            return
        party = _party(caller, rights)
        if rejection is None:
            self._trail.record(events.opened(self._trail.node, party))
        else:
            refused = events.association_refused(self._trail.node, party, rejection.text)
            self._trail.record(refused)

    def ended(self, caller: Caller, rights: Rights) -> None:
        """An association that was admitted."""
        if not self._trail.is_on:
            return
        self._refused.pop(caller.association, None)
        receiving = self._receiving.pop(caller.association, None)
        if receiving is not None:
            receiving.end()
        self._trail.record(events.closed(self._trail.node, _party(caller, rights)))

    def refused(self, caller: Caller, rights: Rights, what: str, reason: str) -> None:
        """A service, or a destination: told once for each association."""
        if not self._trail.is_on:
            return
        known = self._refused.setdefault(caller.association, set())
        if what not in known:
            known.add(what)
            party = _party(caller, rights)
            self._trail.record(events.service_refused(self._trail.node, party, reason))

    def receiving(self, caller: Caller, rights: Rights) -> "ReceivingWitness | None":
        """Who is told of the instances that come in on an association, if anybody is."""
        if not self._trail.is_on:
            return None
        receiving = self._receiving.get(caller.association)
        if receiving is None:
            receiving = ReceivingWitness(self._trail, _party(caller, rights))
            self._receiving[caller.association] = receiving
        return receiving

    def querying(
        self, request: FindRequest, rights: Rights, answers: Iterator[Answer]
    ) -> Iterator[Answer]:
        """The answers, and what was asked once they are over."""
        if not self._trail.is_on:
            return answers
        return self._queried(request, rights, answers)

    def _queried(
        self, request: FindRequest, rights: Rights, answers: Iterator[Answer]
    ) -> Iterator[Answer]:
        last = None
        try:
            for last in answers:
                yield last
        finally:
            query = events.query(
                self._trail.node,
                _party(request.caller, rights),
                request.context.abstract_syntax,
                request.context.transfer_syntax,
                request.identifier,
                _failure(last),
            )
            self._trail.record(query)

    def sending(
        self, request: Request, rights: Rights, destination: Peer | None
    ) -> "SendingWitness":
        """Who is told of the instances of one retrieve; without a `destination` they go back to the
        caller."""
        if not self._trail.is_on:
            return UNSEEN
        caller = _party(request.caller, rights)
        there = caller
        if destination is not None:
            there = Party(destination.ae_title, destination.host, destination.name)
        return SendingWitness(self._trail, self._archive, there, caller)


class ReceivingWitness:
    """Instances of one association. For its thread."""

    def __init__(self, trail: Trail, caller: Party) -> None:
        def tell(way: _Way, study: Study, classes: Classes) -> None:
            event = events.received(trail.node, caller, study, classes, way.action, way.failure)
            trail.record(event)

        self._tally = trail.tally(tell)

    def taken(self, outcome: Taken) -> None:
        """An instance has come in, and what became of it."""
        failure = outcome.kind.value if outcome.kind is Kind.CONFLICT else ""
        way = _Way(ACTIONS[outcome.kind], failure)
        stored = outcome.stored
        study_uid = stored.uids.study_instance_uid
        self._tally.add(study_uid, stored.sop_class_uid, partial(study_of, outcome), way)

    def failed(self, request: StoreRequest, answer: Answer) -> None:
        """An instance was not taken: of which study it was is not known then."""
        way = _Way(events.CREATE, _failure(answer))
        self._tally.add("", request.sop_class_uid, partial(Study, ""), way)

    def end(self) -> None:
        self._tally.flush()


class SendingWitness:
    """Instances of one retrieve. For its thread."""

    def __init__(
        self, trail: Trail, archive: "Archive | None", destination: Party, requestor: Party
    ) -> None:
        self._archive = archive

        def tell_plan(_: _Way, study: Study, classes: Classes) -> None:
            trail.record(events.begins_sending(trail.node, destination, requestor, study, classes))

        def tell(way: _Way, study: Study, classes: Classes) -> None:
            event = events.sent(trail.node, destination, requestor, study, classes, way.failure)
            trail.record(event)

        self._planned = trail.tally(tell_plan)
        self._done = trail.tally(tell)

    def plan(self, stored: StoredInstance) -> None:
        """It will be sent."""
        self._count(self._planned, stored)

    def begin(self) -> None:
        """All that will be sent is planned."""
        self._planned.flush()

    def done(self, stored: StoredInstance, outcome: Outcome) -> None:
        """It was tried, and what became of it."""
        failure = ""
        if outcome.is_failure:
            failure = "not sent" if outcome.status is None else status.text(outcome.status)
        self._count(self._done, stored, failure)

    def end(self) -> None:
        self._done.flush()

    def _count(self, tally: Tally[_Way], stored: StoredInstance, failure: str = "") -> None:
        study_uid = stored.uids.study_instance_uid
        way = _Way(failure=failure)
        tally.add(study_uid, stored.sop_class_uid, partial(self._describe, study_uid), way)

    def _describe(self, study_instance_uid: str) -> Study:
        return describe(self._archive, study_instance_uid) if self._archive else Study("")


class _Unseen(SendingWitness):
    """Where nobody is told."""

    def __init__(self) -> None:
        super().__init__(Silent(), None, Silent.node, Silent.node)

    def plan(self, stored: StoredInstance) -> None:
        pass

    def done(self, stored: StoredInstance, outcome: Outcome) -> None:
        pass


UNSEEN = _Unseen()


def describe(archive: "Archive", study_instance_uid: str) -> Study:
    """What the index knows of a study; where it cannot be read, its UID alone."""
    try:
        columns = archive.study(study_instance_uid)
    except PacsnodeError:  # whoever needs the index more will say so
        columns = {}
    return Study(
        study_instance_uid,
        columns.get("PatientID", ""),
        columns.get("PatientName", ""),
        columns.get("AccessionNumber", ""),
    )


def study_of(outcome: Taken) -> Study:
    """The study of an instance that has come in, as its own header has it."""
    first = outcome.instance.first
    return Study(
        outcome.stored.uids.study_instance_uid,
        first("PatientID"),
        first("PatientName"),
        first("AccessionNumber"),
    )


def _party(caller: Caller, rights: Rights) -> Party:
    subject = caller.certificate_subject
    return Party(
        caller.ae_title.strip(" \0"),
        caller.host,
        rights.name or "",
        subject_text(subject) if subject is not None else "",
        caller.user or "",
    )


def _failure(last: Answer | None) -> str:
    """What was wrong, by an operation's last answer."""
    if last is None or status.is_pending(last.status):
        return "broken off"
    if status.is_success(last.status) or last.status == status.CANCELLED:
        return ""
    return f"{status.text(last.status)} {last.comment}".rstrip()
