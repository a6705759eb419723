"""What each step of the connection doctor comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(Enum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Cause(Enum):
    """Why a step failed, as far as it decides what is to be changed, and where."""

    NAME = "the host name is not known"
    REFUSED = "the connection is refused"
    SILENT_HOST = "the host does not answer"
    UNREACHABLE = "there is no way to the host"
    NO_TLS = "the peer speaks no TLS"
    TLS_WANTED = "the peer speaks TLS, and nothing else"
    NO_AUTHORITY = "the certificate is of an authority that is not trusted"
    OTHER_HOST = "the certificate is for another host"
    EXPIRED = "the certificate has expired"
    NOT_YET_VALID = "the certificate is not valid yet"
    UNTRUSTED = "the certificate is refused"
    CERTIFICATE_WANTED = "the peer demands a certificate of ours"
    CERTIFICATE_REFUSED = "the peer refuses our certificate"
    TLS_TOO_OLD = "the peer knows no version of TLS from 1.2 on"
    TLS_FAILED = "the TLS handshake fails"
    NO_DICOM = "the peer does not speak DICOM on this port"
    SILENT = "the peer says nothing"
    ABORTED = "the peer breaks off the association"
    CALLING_TITLE = "the peer does not know our AE title"
    CALLED_TITLE = "the peer does not go by this AE title"
    BUSY = "the peer has no room for another association"
    REJECTED = "the peer rejects associations without saying why"
    NO_ROOT = "the peer does not do what is asked of it"
    REQUEST_REFUSED = "the peer refuses the request"
    OWN_SYNTAXES = "the peer takes none of the transfer syntaxes that it is to be sent"
    LOST = "the association ended under the request"
    UNANSWERED = "the peer leaves the request without an answer"
    NOT_LISTENING = "nobody listens at this node's address"
    OWN_ADDRESS = "this node listens where the peer cannot reach it"
    OWN_NETWORKS = "this node takes no connections from the peer's network"
    OWN_RIGHTS = "this node does not let the peer store"
    OWN_HOST = "this node takes the peer for a stranger, as it calls from another host"
    OWN_CERTIFICATE = "this node takes the peer for a stranger, for want of its certificate"
    OWN_LIMITS = "this node has no room for another association"
    OWN_TITLE = "this node goes by another AE title"
    OWN_ARCHIVE = "this node's own archive fails"
    NOT_STORED = "the peer does not take the test object"
    NOT_FOUND = "the peer does not find what it has just been sent"
    UNKNOWN_DESTINATION = "the peer does not know our AE title as a destination"
    NOT_DELIVERED = "the peer cannot deliver to us"
    NOT_MOVED = "the peer fails at the C-MOVE and does not say why"
    DELIVERED_ELSEWHERE = "the peer delivers to somebody else"
    NOT_REMOVED = "the test object is still here"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `text` is for people; `details` is what was found, as JSON has it."""

    name: str
    verdict: Verdict
    text: str
    cause: Cause | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        return self.verdict is Verdict.FAILED


def ok(name: str, text: str, **details: Any) -> Step:
    return Step(name, Verdict.OK, text, None, details)


def failed(name: str, cause: Cause, text: str, **details: Any) -> Step:
    return Step(name, Verdict.FAILED, text, cause, details)


def skipped(name: str, text: str) -> Step:
    return Step(name, Verdict.SKIPPED, text)
