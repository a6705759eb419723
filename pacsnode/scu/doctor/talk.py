"""The steps of the connection doctor on an association: which one there is, C-ECHO, C-FIND."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from pacsnode.dicom import status
from pacsnode.dicom.commitment import STORAGE_COMMITMENT_PUSH_MODEL
from pacsnode.dicom.message import Channel, Connect, Peer, ProposedContext, accepted
from pacsnode.dicom.query import Model
from pacsnode.dicom.route import Route
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    DicomError,
    NetworkError,
    NoPresentationContext,
    PeerTimeout,
    PeerUnreachable,
    RequestFailed,
)
from pacsnode.scu.doctor.road import insecure
from pacsnode.scu.doctor.steps import Cause, Step, failed, ok, skipped
from pacsnode.scu.echo import VERIFICATION
from pacsnode.scu.find import find_on
from pacsnode.scu.models import UNCOMPRESSED, Service, refused, sop_class_uid

_MODELS = {Model.PATIENT_ROOT: "patient root", Model.STUDY_ROOT: "study root"}
SERVICES = {
    VERIFICATION: "C-ECHO",
    **{
        sop_class_uid(service, model): f"C-{service.name} ({words})"
        for service in Service
        for model, words in _MODELS.items()
    },
    STORAGE_COMMITMENT_PUSH_MODEL: "storage commitment",
}

# Source and reason of a rejection (PS3.8 9.3.4).
_REJECTIONS = {
    (1, 3): Cause.CALLING_TITLE,
    (1, 7): Cause.CALLED_TITLE,
    (3, 1): Cause.BUSY,
    (3, 2): Cause.BUSY,
}

# What other programs than DICOM's begin with, as far as it can be told.
_LANGUAGES = {b"HTTP/": "HTTP, as a web server does", b"SSH-": "SSH", b"220": "SMTP or FTP"}


class Opened(NamedTuple):
    """The association that was asked for, if there is one, and the step that says so."""

    step: Step
    channel: Channel | None = None


def associate(peer: Peer, route: Route, connect: Connect, own_ae_title: str) -> Opened:
    """An association for everything that can be asked for. `own_ae_title` is the node's, which may
    be another than the one that it calls this peer by."""
    contexts = [ProposedContext(uid, UNCOMPRESSED[::-1]) for uid in SERVICES]
    try:
        channel = connect(peer, contexts)
    except AssociationRejected as error:
        cause = _REJECTIONS.get((error.source, error.reason), Cause.REJECTED)
        if cause is Cause.BUSY:  # by whichever title
            return Opened(_rejected(peer, error, cause))
        taken_as = _by_other_titles(peer, connect, own_ae_title)
        return Opened(_rejected(peer, error, cause, taken_as))
    except NoPresentationContext:
        return Opened(ok("association", "accepted, for none of these: " + _listed(SERVICES)))
    except PeerUnreachable as error:
        return Opened(_unreachable(peer, route, error))
    except (AssociationLost, PeerTimeout) as error:
        return Opened(_look_around(peer, route, error))
    does = [uid for uid in SERVICES if accepted(channel.contexts, uid) is not None]
    text = (
        f"accepted: {peer.calling_ae_title} may call {peer.ae_title}; it does "
        f"{_listed(does) or 'nothing of what was asked for'}"
    )
    return Opened(ok("association", text, services=[SERVICES[uid] for uid in does]), channel)


def _listed(uids: Sequence[str] | dict[str, str]) -> str:
    return ", ".join(SERVICES[uid] for uid in uids)


def _by_other_titles(peer: Peer, connect: Connect, own_ae_title: str) -> Peer | None:
    """The titles by which the peer does take us, of those that may have been meant: what rejections
    say of titles is often wrong."""
    meant = [
        replace(peer, calling_ae_title=own_ae_title),
        replace(peer, ae_title=peer.ae_title.upper()),
    ]
    for other in meant:
        if other == peer:
            continue
        try:
            connect(other, [ProposedContext(VERIFICATION, UNCOMPRESSED[::-1])]).release()
        except NoPresentationContext:
            return other
        except NetworkError:
            continue
        return other
    return None


def _rejected(
    peer: Peer, error: AssociationRejected, cause: Cause, taken_as: Peer | None = None
) -> Step:
    calling, called = peer.calling_ae_title, peer.ae_title
    words = {
        Cause.CALLING_TITLE: f"it does not know our calling AE title {calling!r}",
        Cause.CALLED_TITLE: f"it says that it does not go by the called AE title {called!r}; some "
        f"say so of a calling AE title as well that they do not know: {calling!r}",
        Cause.BUSY: "it has no room for another association now",
        Cause.REJECTED: f"it may not know our calling AE title {calling!r}, or not go by the "
        f"called AE title {called!r}",
    }[cause]
    titles = {"calling_ae_title": calling, "ae_title": called}
    if taken_as is not None and taken_as.calling_ae_title != calling:
        cause, titles["calling_ae_title"] = Cause.CALLING_TITLE, taken_as.calling_ae_title
        words = f"it does not know our calling AE title {calling!r}, and takes us as "
        words += repr(taken_as.calling_ae_title)
    elif taken_as is not None:
        cause, titles["ae_title"] = Cause.CALLED_TITLE, taken_as.ae_title
        words = f"it does not go by the called AE title {called!r}, but by {taken_as.ae_title!r}"
    codes = {"result": error.result, "source": error.source, "reason": error.reason}
    told = ", ".join(f"{name} {code}" for name, code in codes.items())
    told += f": {str(error).rpartition(': ')[2]}"
    return failed("association", cause, f"rejected ({told}): {words}", **codes, **titles)


def _unreachable(peer: Peer, route: Route, error: PeerUnreachable) -> Step:
    """TLS 1.3 refuses a client's certificate only once the handshake is over."""
    if error.step != "tls":
        return failed("association", Cause.UNREACHABLE, str(error))
    if peer.tls is None:
        return _tls_wanted()
    return insecure("association", route, error.__cause__)


def _tls_wanted() -> Step:
    return failed("association", Cause.TLS_WANTED, "it speaks TLS here, and we have called plainly")


def _look_around(peer: Peer, route: Route, error: NetworkError) -> Step:
    """Why there is neither an association nor a rejection."""
    if peer.tls is None and route.speaks_tls():
        return _tls_wanted()
    words = route.first_words()
    if words is None:
        return failed(
            "association",
            Cause.SILENT,
            "it takes the connection, and says nothing to a request for an association",
        )
    if not words or _is_pdu(words):
        return failed("association", Cause.ABORTED, str(error))
    first = words.split(b"\r\n")[0].decode("latin-1")
    language = next((name for begin, name in _LANGUAGES.items() if words.startswith(begin)), "")
    what = f"it speaks {language}" if language else "what it speaks is no DICOM"
    return failed("association", Cause.NO_DICOM, f"{what}: {first!r}", answer=first)


def _is_pdu(words: bytes) -> bool:
    return words[0] in range(1, 8) and words[1:2] == b"\0"


def echo(channel: Channel) -> Step:
    if accepted(channel.contexts, VERIFICATION) is None:
        return skipped("C-ECHO", "it does not do C-ECHO, as every peer should")
    try:
        response = channel.echo()
    except NetworkError as error:
        return lost("C-ECHO", error)
    if not status.is_success(response.status):
        error_text = str(refused("C-ECHO", response))
        return failed("C-ECHO", Cause.REQUEST_REFUSED, error_text, status=response.status)
    return ok("C-ECHO", "answered")


def lost(name: str, error: NetworkError) -> Step:
    """The step at which an association ended, or was given up as no answer came."""
    is_late = isinstance(error, PeerTimeout)
    return failed(name, Cause.UNANSWERED if is_late else Cause.LOST, str(error))


def find(peer: Peer, channel: Channel) -> Step:
    """Ask for what cannot exist: nothing is shown, and nothing takes long."""
    model = root_of(channel, Service.FIND)
    if model is None:
        return skipped("C-FIND", "it cannot be queried")
    if not channel.is_open:
        return skipped("C-FIND", "the association has ended")
    answers = find_on(channel, model, _nothing(model), peer.character_set)
    try:
        found = next(answers, None)
        answers.close()
    except RequestFailed as error:
        return failed("C-FIND", Cause.REQUEST_REFUSED, str(error), status=error.status)
    except NetworkError as error:
        return lost("C-FIND", error)
    except DicomError as error:
        return failed("C-FIND", Cause.REQUEST_REFUSED, f"its answer cannot be read: {error}")
    if found is not None:
        return ok("C-FIND", "answered, but with a match for a UID that it cannot have", matches=1)
    return ok("C-FIND", "answered: no match, as it should be", matches=0)


def root_of(channel: Channel, service: Service) -> Model | None:
    """The information model to ask by, Study Root where the peer has it."""
    for model in (Model.STUDY_ROOT, Model.PATIENT_ROOT):
        if accepted(channel.contexts, sop_class_uid(service, model)) is not None:
            return model
    return None


def _nothing(model: Model) -> Dataset:
    """An identifier that matches nothing anywhere."""
    identifier = Dataset()
    uid = generate_uid(prefix=None)
    if model is Model.STUDY_ROOT:
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = uid
    else:
        identifier.QueryRetrieveLevel = "PATIENT"
        identifier.PatientID = uid
    return identifier
