"""Which statuses each service answers, and when: the errors of its own table in scp/, in the words
of the errors, and what it answers besides."""

import inspect
from collections.abc import Mapping
from typing import NamedTuple

from pacsnode.dicom import status
from pacsnode.dicom.commitment import MOST_REFERENCES
from pacsnode.errors import PacsnodeError
from pacsnode.net.contexts import Service
from pacsnode.node.conformance.document import Table, table
from pacsnode.scp.commit import STATUS as COMMIT_ERRORS
from pacsnode.scp.failure import Table as Errors
from pacsnode.scp.failure import status_of
from pacsnode.scp.find import STATUS as FIND_ERRORS
from pacsnode.scp.retrieve import STATUS as RETRIEVE_ERRORS
from pacsnode.scp.retrieve import TELL_EACH, TELL_EVERY
from pacsnode.scp.store import STATUS as STORE_ERRORS

COLUMNS = ("Service Status", "Status Code", "Further Meaning", "When")

ERRORS: Mapping[Service, Errors] = {
    Service.STORE: STORE_ERRORS,
    Service.FIND: FIND_ERRORS,
    Service.MOVE: RETRIEVE_ERRORS,
    Service.GET: RETRIEVE_ERRORS,
    Service.COMMIT: COMMIT_ERRORS,
}


class Meaning(NamedTuple):
    """What the standard calls a status of a service; when the node answers it, where no error is
    behind it."""

    name: str
    when: str = ""


_MOST_RANGES = 4

_COUNTED = (
    f"while sub-operations go on, every {TELL_EVERY:g} s and {TELL_EACH} instances, "
    "with all four counters"
)

_RETRIEVE: Mapping[int, Meaning] = {
    status.SUCCESS: Meaning(
        "Sub-operations Complete - No Failures",
        "all instances went out, or none matched (the counters are then 0)",
    ),
    status.PENDING: Meaning("Sub-operations are continuing", _COUNTED),
    status.CANCELLED: Meaning(
        "Sub-operations terminated due to a Cancel Indication",
        "a C-CANCEL came; what was under way is finished, nothing further begun",
    ),
    status.SUBOPERATIONS_COMPLETE_WITH_FAILURES: Meaning(
        "Sub-operations Complete - One or more Failures",
        "some sub-operations failed or ended with a warning; those that failed are named in Failed "
        "SOP Instance UID List (0008,0058)",
    ),
    status.CANNOT_COUNT_MATCHES: Meaning(
        "Out of Resources - Unable to calculate number of matches"
    ),
    status.CANNOT_PERFORM_SUBOPERATIONS: Meaning(
        "Out of Resources - Unable to perform sub-operations",
        "all sub-operations failed; the Error Comment says why the first did",
    ),
    status.DATASET_DOES_NOT_MATCH: Meaning("Identifier does not match SOP Class"),
    status.CANNOT_UNDERSTAND: Meaning("Unable to process"),
}

MEANINGS: Mapping[Service, Mapping[int, Meaning]] = {
    Service.ECHO: {status.SUCCESS: Meaning("Success", "the node serves associations")},
    Service.STORE: {
        status.SUCCESS: Meaning(
            "Success", "the instance is stored and indexed: a C-FIND that is sent now finds it"
        ),
        status.DUPLICATE_SOP_INSTANCE: Meaning("Duplicate SOP Instance"),
        status.OUT_OF_RESOURCES: Meaning("Refused: Out of Resources"),
        status.DATASET_DOES_NOT_MATCH: Meaning("Error: Data Set does not match SOP Class"),
        status.CANNOT_UNDERSTAND: Meaning("Error: Cannot understand"),
    },
    Service.FIND: {
        status.SUCCESS: Meaning(
            "Matching is complete - No final Identifier is supplied", "after the last match"
        ),
        status.PENDING: Meaning(
            "Matches are continuing - Current Match is supplied and any Optional Keys were "
            "supported in the same manner as Required Keys",
            "each match",
        ),
        status.PENDING_KEYS_IGNORED: Meaning(
            "Matches are continuing - Warning that one or more Optional Keys were not supported "
            "for existence and/or matching for this Identifier",
            "each match of a query with a key that had to be ignored",
        ),
        status.CANCELLED: Meaning("Matching terminated due to Cancel request", "a C-CANCEL came"),
        status.OUT_OF_RESOURCES: Meaning("Refused: Out of Resources"),
        status.DATASET_DOES_NOT_MATCH: Meaning("Error: Identifier does not match SOP Class"),
        status.CANNOT_UNDERSTAND: Meaning("Failed: Unable to process"),
    },
    Service.MOVE: {
        **_RETRIEVE,
        status.CANNOT_PERFORM_SUBOPERATIONS: Meaning(
            "Out of Resources - Unable to perform sub-operations",
            "all sub-operations failed, or the destination cannot be reached; the Error Comment "
            "says why the first failed, or at which step: name, TCP, TLS or association",
        ),
        status.MOVE_DESTINATION_UNKNOWN: Meaning(
            "Refused: Move Destination unknown",
            "no remote AE of the configuration has this title; the Error Comment names it",
        ),
    },
    Service.GET: _RETRIEVE,
    Service.COMMIT: {
        status.SUCCESS: Meaning(
            "Success", "the request is on stable storage; its report follows as N-EVENT-REPORT"
        ),
        status.NO_SUCH_SOP_INSTANCE: Meaning(
            "No such SOP Instance", "not the well-known SOP Instance UID of the Push Model"
        ),
        status.INVALID_ARGUMENT: Meaning(
            "Invalid argument value",
            f"the information cannot be read, or has over {MOST_REFERENCES:,} references",
        ),
        status.NO_SUCH_SOP_CLASS: Meaning("No such SOP Class", "not the Push Model"),
        status.NO_SUCH_ACTION: Meaning("No such Action", "the Action Type ID is not 1"),
        status.RESOURCE_LIMITATION: Meaning(
            "Resource limitation",
            "the request cannot be kept now, or too many wait for their reports",
        ),
    },
}

# Of every service, whoever serves it: scp/__init__.py and net/serving.py.
OF_ALL: Mapping[int, Meaning] = {
    status.NOT_AUTHORISED: Meaning(
        "Refused: Not Authorized",
        "the configuration does not allow the caller this service (of a C-MOVE: this destination)",
    ),
    status.SOP_CLASS_NOT_SUPPORTED: Meaning(
        "Refused: SOP Class not supported",
        "the request came on a presentation context of another service, or in the wrong role",
    ),
    status.UNRECOGNISED_OPERATION: Meaning(
        "Unrecognized operation", "a DIMSE service that no SOP class of the node has"
    ),
    status.PROCESSING_FAILURE: Meaning(
        "Error: Cannot understand, or Unable to process", "an unexpected fault of the node"
    ),
}

# What a report on storage commitment is answered (scu/commit.py).
OF_REPORTS: Mapping[int, Meaning] = {
    status.SUCCESS: Meaning("Success", "the report is kept"),
    status.CANNOT_PROCESS: Meaning("Processing failure", "the report cannot be kept now"),
    status.NO_SUCH_EVENT: Meaning("No such Event Type", "the Event Type ID is neither 1 nor 2"),
    status.INVALID_ARGUMENT: Meaning(
        "Invalid argument value",
        "the report cannot be read, or is of a transaction that the node has not asked for",
    ),
    status.RESOURCE_LIMITATION: Meaning("Resource limitation", "too many reports are kept"),
}

# Why an instance is not committed (PS3.3 C.14.1.1): archive/commit.py.
FAILURE_REASONS: Mapping[int, Meaning] = {
    status.CANNOT_PROCESS: Meaning("Processing failure", "its file cannot be read now"),
    status.NO_SUCH_SOP_INSTANCE: Meaning(
        "No such object instance",
        "the node does not have it, or its bytes are no longer those that were received",
    ),
    status.CLASS_INSTANCE_CONFLICT: Meaning(
        "Class / Instance conflict", "the node has it with another SOP Class UID"
    ),
    status.DUPLICATE_TRANSACTION_UID: Meaning(
        "Duplicate transaction UID", "the Transaction UID is in use for another request"
    ),
}


def status_table(service: Service) -> Table:
    """What the node answers to requests of a service."""
    return _table(
        f"{title_of(service)}: Response Statuses", MEANINGS[service], ERRORS.get(service, {})
    )


def answered(service: Service, error: type[PacsnodeError]) -> str:
    """What a service answers where this error is met."""
    code = status_of(error, ERRORS[service])
    return status.text(status.PROCESSING_FAILURE if code is None else code)


def common_table() -> Table:
    return _table("All Services: Further Response Statuses", OF_ALL)


def response_table() -> Table:
    """What the node takes the responses of others for."""
    codes = range(0x10000)
    rows = (
        (kind, _ranges([code for code in codes if kind_of(code) == kind]), effect)
        for kind, effect in _EFFECTS.items()
    )
    return table("Responses to Requests of the Node", ("Taken for", "Status Codes", "Effect"), rows)


_EFFECTS = {
    "Success": "done",
    "Pending": "further responses follow",
    "Warning": "done, with a remark in the log; a retrieve ends with B000",
    "Cancel": "ended early, as asked",
    "Failure": "named in the log with the Error Comment; a command ends with exit code 1",
}


def _ranges(codes: list[int]) -> str:
    """Successive codes as one range; where there are many ranges, all others."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    if len(ranges) > _MOST_RANGES:
        return "all others"
    return ", ".join(
        status.text(first) if first == last else f"{status.text(first)} to {status.text(last)}"
        for first, last in ranges
    )


def report_table() -> Table:
    return _table("N-EVENT-REPORT: Response Statuses", OF_REPORTS)


def reason_table() -> Table:
    rows = [
        (status.text(code), meaning.name, meaning.when)
        for code, meaning in sorted(FAILURE_REASONS.items())
    ]
    return Table(
        "Storage Commitment: Failure Reasons", ("Failure Reason", "Meaning", "When"), tuple(rows)
    )


def title_of(service: Service) -> str:
    """The DIMSE service behind one of ours."""
    return "N-ACTION" if service is Service.COMMIT else f"C-{service.name}"


def _table(title: str, meanings: Mapping[int, Meaning], errors: Errors | None = None) -> Table:
    errors = errors or {}
    codes = sorted({*meanings, *errors.values()})
    rows = [(kind_of(code), status.text(code), *_words(code, meanings, errors)) for code in codes]
    return Table(title, COLUMNS, tuple(rows))


def _words(code: int, meanings: Mapping[int, Meaning], errors: Errors) -> tuple[str, str]:
    meaning = meanings.get(code, Meaning("Failure"))
    whens = [meaning.when] if meaning.when else [
        _first_sentence(error) for error, answered in errors.items() if answered == code
    ]  # fmt: skip
    return meaning.name, "; ".join(whens)


def _first_sentence(error: type[Exception]) -> str:
    """What an error stands for, as its own docstring says."""
    text = " ".join((inspect.getdoc(error) or "").split())
    sentence = text.partition(". ")[0].removesuffix(".")
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def kind_of(code: int) -> str:
    """The group that a status is in (PS3.7 annex C)."""
    if status.is_success(code):
        return "Success"
    if status.is_pending(code):
        return "Pending"
    if status.is_warning(code):
        return "Warning"
    return "Cancel" if code == status.CANCELLED else "Failure"
