"""The steps of the connection doctor before DICOM: name, TCP, TLS."""

import errno
from typing import Any

from pacsnode.dicom.message import Peer
from pacsnode.dicom.route import Route, Shown
from pacsnode.errors import PeerUnreachable
from pacsnode.scu.doctor.steps import Cause, Step, failed, ok, skipped
from pacsnode.tls import SUITES, Fault, fault_of, reason

_UNREACHABLE = {
    errno.ECONNREFUSED: Cause.REFUSED,
    errno.ETIMEDOUT: Cause.SILENT_HOST,
    errno.EHOSTDOWN: Cause.SILENT_HOST,
}
_TCP_WORDS = {
    Cause.REFUSED: "refused: the host is there, but no program listens on port {port}, or a "
    "firewall refuses",
    Cause.SILENT_HOST: "no answer: the host is off, or a firewall drops what comes to port {port}",
    Cause.UNREACHABLE: "there is no way there: {reason}",
}

_FAULTS = {
    Fault.OTHER_NAME: Cause.OTHER_HOST,
    Fault.EXPIRED: Cause.EXPIRED,
    Fault.NOT_YET_VALID: Cause.NOT_YET_VALID,
    Fault.NO_AUTHORITY: Cause.NO_AUTHORITY,
    Fault.UNTRUSTED: Cause.UNTRUSTED,
    Fault.CERTIFICATE_WANTED: Cause.CERTIFICATE_WANTED,
    Fault.CERTIFICATE_REFUSED: Cause.CERTIFICATE_REFUSED,
    Fault.REFUSED: Cause.CERTIFICATE_WANTED,
    Fault.TOO_OLD: Cause.TLS_TOO_OLD,
    Fault.NO_TLS: Cause.NO_TLS,
    Fault.HAS_LEFT: Cause.NO_TLS,
}
_OF_THE_CERTIFICATE = frozenset(
    {Cause.OTHER_HOST, Cause.EXPIRED, Cause.NOT_YET_VALID, Cause.NO_AUTHORITY, Cause.UNTRUSTED}
)


def find_name(peer: Peer, route: Route) -> Step:
    try:
        addresses = route.look_up()
    except PeerUnreachable as error:
        why = error.__cause__
        words = getattr(why, "strerror", None) or "the name service is silent"
        if isinstance(why, UnicodeError):  # before anybody was asked
            words = "no host name: a part of it is empty, or longer than 63 characters"
        return failed("name", Cause.NAME, f"{peer.host}: {words}")
    text = ", ".join(addresses)
    if peer.host not in addresses:
        text = f"{peer.host} is {text}"
    return ok("name", text, addresses=list(addresses))


def reach(peer: Peer, route: Route) -> Step:
    try:
        reached = route.reach()
    except PeerUnreachable as error:
        number = getattr(error.__cause__, "errno", None)
        cause = _UNREACHABLE.get(number or 0, Cause.UNREACHABLE)
        why = getattr(error.__cause__, "strerror", None) or str(error)
        return failed("TCP", cause, _TCP_WORDS[cause].format(port=peer.port, reason=why))
    milliseconds = reached.seconds * 1000
    text = (
        f"{reached.address} port {reached.port} after {milliseconds:.1f} ms, from our address "
        f"{reached.own_address}"
    )
    return ok(
        "TCP",
        text,
        address=reached.address,
        port=reached.port,
        own_address=reached.own_address,
        milliseconds=round(milliseconds, 1),
    )


def secure(peer: Peer, route: Route) -> Step:
    if peer.tls is None:
        return skipped("TLS", "not set for this peer: the connection is plain")
    try:
        secured = route.secure()
    except PeerUnreachable as error:
        return insecure("TLS", route, error.__cause__)
    text = f"{secured.protocol} with {secured.cipher}"
    if secured.certificate is not None:
        text += f"; its certificate is {_words(secured.certificate)}"
    details = {"protocol": secured.protocol, "cipher": secured.cipher}
    return ok("TLS", text, **details, **certificate_details(secured.certificate))


def insecure(name: str, route: Route, error: BaseException | None) -> Step:
    """The step at which TLS failed for this reason."""
    if not isinstance(error, OSError):
        return failed(name, Cause.TLS_FAILED, "the host name is none that a certificate can have")
    if isinstance(error, TimeoutError):
        return failed(name, Cause.NO_TLS, "no answer to the TLS handshake: it speaks no TLS here")
    fault = fault_of(error)
    cause = _FAULTS.get(fault, Cause.TLS_FAILED)
    words = cause.value
    if fault is Fault.REFUSED:
        words = f"it refuses: it may demand a certificate of ours, or know none of {SUITES}"
    elif cause is Cause.NO_TLS:
        words = f"{words} on this port"
    elif cause in (Cause.CERTIFICATE_REFUSED, Cause.TLS_FAILED, Cause.UNTRUSTED):
        words = f"{words}: {reason(error)}"
    shown = route.certificate() if cause in _OF_THE_CERTIFICATE else None
    if shown is not None:
        words = f"{words}: it is {_words(shown)}"
    if shown is not None and cause is Cause.OTHER_HOST and shown.hosts:
        words = f"{words}; good for {', '.join(shown.hosts)}"
    return failed(name, cause, words, **certificate_details(shown))


def certificate_details(shown: Shown | None) -> dict[str, Any]:
    if shown is None:
        return {}
    return {
        "certificate": {
            "subject": shown.subject,
            "issuer": shown.issuer,
            "not_before": shown.not_before.isoformat(),
            "not_after": shown.not_after.isoformat(),
            "hosts": list(shown.hosts),
        }
    }


def _words(shown: Shown) -> str:
    subject = shown.subject or "without a subject"
    return f"{subject}, issued by {shown.issuer}, good until {shown.not_after:%Y-%m-%d}"
