"""What to change at either side where a step has failed: lines for our configuration, and the
sentence for the other side's administrator."""

from collections.abc import Callable, Mapping, Sequence

from pacsnode.dicom.message import Peer
from pacsnode.scu.doctor import advice_back as back
from pacsnode.scu.doctor.case import Advice, Case, Ours
from pacsnode.scu.doctor.lines import Key, modality, quoted, section
from pacsnode.scu.doctor.steps import Cause, Step


def advise(step: Step, peer: Peer, ours: Ours) -> Advice | None:
    """None where nothing has failed."""
    if step.cause is None:
        return None
    return _ADVICE[step.cause](Case(peer, ours, step))


def _name(case: Case) -> Advice:
    host = Key("host", quoted(case.peer.host), "no such name: correct it, or put an IP address")
    return Advice(
        modality(case.peer, host),
        f"Which host name or IP address does {case.peer.ae_title} have? Ours is {case.us}.",
    )


def _port(case: Case) -> Advice:
    port = Key("port", str(case.peer.port), "as their administrator says, if it is another")
    return Advice(
        modality(case.peer, port),
        f"We do not get through to {case.peer}: {case.step.text}. Does {case.peer.ae_title} "
        f"listen on port {case.peer.port}, and does every firewall let {case.ours.host} through to "
        f"it? We are {case.us}.",
    )


def _no_dicom(case: Case) -> Advice:
    port = Key("port", str(case.peer.port), "another program has this one")
    return Advice(
        modality(case.peer, port),
        f"At {case.peer} no DICOM is spoken: {case.step.text}. On which port does "
        f"{case.peer.ae_title} take associations? We are {case.us}.",
    )


def _aborted(case: Case) -> Advice:
    titles = f"called AE title {case.peer.ae_title}, calling AE title {case.peer.calling_ae_title}"
    return Advice(
        _both_titles(case),
        f"{case.peer} ends the connection on our request for an association ({titles}) without "
        f"saying why: its log should. We are {case.us}.",
    )


def _no_tls(case: Case) -> Advice:
    return Advice(
        modality(case.peer, Key("tls", "false", "or the port on which they speak TLS")),
        f"We call {case.peer} over TLS, and it speaks none there. On which port does it, or is it "
        f"to be called without? We are {case.us}.",
    )


def _tls_wanted(case: Case) -> Advice:
    tls = Key("tls", "{ca: FILE}", "FILE: their authority's certificate (PEM); or: true")
    return Advice(
        modality(case.peer, tls),
        f"{case.peer} speaks TLS: please send us the certificate of the authority that has issued "
        f"its certificate, and say whether it demands one of ours. We are {case.us}.",
    )


def _no_authority(case: Case) -> Advice:
    issuer = case.certificate("issuer", "its issuer")
    return Advice(
        modality(case.peer, Key("tls", "{ca: FILE}", f"FILE: the certificate (PEM) of {issuer}")),
        f"Please send us the certificate of the authority {issuer}, by which the certificate of "
        f"{case.peer} is issued. We are {case.us}.",
    )


def _other_host(case: Case) -> Advice:
    hosts: Sequence[str] = case.details.get("certificate", {}).get("hosts", ())
    names = [host for host in hosts if "*" not in host]
    sentence = (
        f"The certificate of {case.peer} is for {', '.join(hosts) or 'no host at all'}, and we "
        f"call it {case.peer.host}: please have it issued for that name as well. We are {case.us}."
    )
    if names:
        host = Key("host", quoted(names[0]), "the name in their certificate, if it leads there")
        return Advice(modality(case.peer, host), sentence)
    tls = Key(
        "tls", f"{{{_authority(case)}verify_host: false}}", "accepts every name of that authority"
    )
    return Advice(modality(case.peer, tls), sentence)


def _their_certificate(case: Case) -> Advice:
    subject = case.certificate("subject", "without a readable subject")
    until = case.certificate("not_after", "")[:10]
    when = f" (good until {until})" if until else ""
    return Advice(
        (),
        f"The certificate of {case.peer}, {subject}{when}, is not good: {case.step.text}. "
        f"Please renew it. We are {case.us}.",
    )


def _their_clock(case: Case) -> Advice:
    since = case.certificate("not_before", "later")[:10]
    return Advice(
        (),
        f"The certificate of {case.peer} is good from {since} on only: please look at its dates, "
        f"as we look at our clock. We are {case.us}.",
    )


def _our_certificate(case: Case) -> Advice:
    ours = f"{{{_authority(case)}certificate: FILE, key: FILE}}"
    tls = Key("tls", ours, "FILE: ours (PEM), issued by whom they trust")
    return Advice(
        modality(case.peer, tls),
        f"{case.peer} wants to see a certificate of ours: which authorities does it trust, or "
        f"whom shall we send our certificate? We are {case.us}.",
    )


def _authority(case: Case) -> str:
    """As it is set, to stand before other keys; the system's need not be named."""
    settings = case.peer.tls
    return f"ca: {quoted(str(settings.ca))}, " if settings is not None and settings.ca else ""


def _tls_too_old(case: Case) -> Advice:
    return Advice(
        modality(case.peer, Key("tls", "false", "only where the network itself is safe")),
        f"We agree with {case.peer} on no version or cipher suite of TLS: we speak 1.3, and 1.2 "
        f"with ECDHE (PS3.15 B.12). Can it be brought up to date? We are {case.us}.",
    )


def _titles(case: Case) -> tuple[str, str]:
    """Called and calling AE title: those by which the peer takes us, as far as they are known."""
    called = case.details.get("ae_title", case.peer.ae_title)
    return called, case.details.get("calling_ae_title", case.peer.calling_ae_title)


def _calling_title(case: Case) -> Advice:
    _, calling = _titles(case)
    key = Key("calling_ae_title", quoted(calling), "as they have entered us")
    return Advice(
        modality(case.peer, key),
        f"{case.peer} does not know our calling AE title {case.peer.calling_ae_title}, or not from "
        f"our host: please enter us there, with {case.us}.",
    )


def _called_title(case: Case) -> Advice:
    called, _ = _titles(case)
    where = f"{case.peer.host}, port {case.peer.port}"
    if called != case.peer.ae_title:
        lines = modality(case.peer, Key("ae_title", quoted(called), "as they go by"))
        return Advice(
            lines, f"We call your system at {where} {called} from now on. We are {case.us}."
        )
    return Advice(
        _both_titles(case),
        f"Which AE title does your system at {where}, go by? {called} it rejects as called AE "
        f"title. And does it know our calling AE title {case.peer.calling_ae_title}? We are "
        f"{case.us}.",
    )


def _both_titles(case: Case) -> Sequence[str]:
    called, calling = _titles(case)
    return modality(
        case.peer,
        Key("ae_title", quoted(called), "as they go by, to the letter"),
        Key("calling_ae_title", quoted(calling), "as they have entered us"),
    )


def _rejected(case: Case) -> Advice:
    return Advice(
        _both_titles(case),
        f"{case.peer} rejects our association and does not say why: does it go by the AE title "
        f"{case.peer.ae_title}, and does it know us? We call as {case.peer.calling_ae_title}; "
        f"enter us with {case.us}.",
    )


def _busy(case: Case) -> Advice:
    return Advice(
        modality(case.peer, Key("associations", "1", "so that we open no more than one")),
        f"{case.peer} has no room for another association: please raise its limit, or end what "
        f"holds its places. We are {case.us}.",
    )


def _request(case: Case) -> Advice:
    return Advice(
        (),
        f"{case.peer} takes our association, but not our {case.step.name}: {case.step.text}. "
        f"Please allow it for {case.us}.",
    )


def _own_syntaxes(case: Case) -> Advice:
    """Those that it takes, in place of those that it does not."""
    uids = ", ".join(quoted(uid) for uid in case.details.get("transfer_syntax_uids", ()))
    key = Key("transfer_syntaxes", f"[{uids}]", "what it takes of something, in our order")
    return Advice(
        modality(case.peer, key),
        f"{case.peer} takes none of the transfer syntaxes that we are to send it: which ones does "
        f"it take of which SOP classes? We are {case.us}.",
    )


def _lost(case: Case) -> Advice:
    """Some take every association, and abort it on a request of a title that they do not know."""
    title = case.peer.calling_ae_title
    key = Key("calling_ae_title", quoted(title), "or by which title they have entered us")
    return Advice(
        modality(case.peer, key),
        f"{case.peer} takes our association, and ends it on our {case.step.name} "
        f"({case.step.text}): does it know our calling AE title {title}? Please enter us there, "
        f"with {case.us}.",
    )


def _unanswered(case: Case) -> Advice:
    return Advice(
        section("timeouts", Key("dimse", "300", "seconds, if it is only slow")),
        f"{case.peer} takes our association, and then leaves us waiting: {case.step.text}. Does it "
        f"hang, or have too much to do? Its log may say. We are {case.us}.",
    )


_ADVICE: Mapping[Cause, Callable[[Case], Advice]] = {
    Cause.NAME: _name,
    Cause.REFUSED: _port,
    Cause.SILENT_HOST: _port,
    Cause.UNREACHABLE: _port,
    Cause.NO_TLS: _no_tls,
    Cause.TLS_WANTED: _tls_wanted,
    Cause.NO_AUTHORITY: _no_authority,
    Cause.OTHER_HOST: _other_host,
    Cause.EXPIRED: _their_certificate,
    Cause.UNTRUSTED: _their_certificate,
    Cause.NOT_YET_VALID: _their_clock,
    Cause.CERTIFICATE_WANTED: _our_certificate,
    Cause.CERTIFICATE_REFUSED: _our_certificate,
    Cause.TLS_TOO_OLD: _tls_too_old,
    Cause.TLS_FAILED: _tls_too_old,
    Cause.NO_DICOM: _no_dicom,
    Cause.SILENT: _no_dicom,
    Cause.ABORTED: _aborted,
    Cause.CALLING_TITLE: _calling_title,
    Cause.CALLED_TITLE: _called_title,
    Cause.BUSY: _busy,
    Cause.REJECTED: _rejected,
    Cause.NO_ROOT: _request,
    Cause.REQUEST_REFUSED: _request,
    Cause.OWN_SYNTAXES: _own_syntaxes,
    Cause.LOST: _lost,
    Cause.UNANSWERED: _unanswered,
    Cause.NOT_LISTENING: back.not_listening,
    Cause.OWN_ADDRESS: back.own_address,
    Cause.OWN_NETWORKS: back.own_networks,
    Cause.OWN_RIGHTS: back.own_rights,
    Cause.OWN_HOST: back.own_host,
    Cause.OWN_CERTIFICATE: back.own_certificate,
    Cause.OWN_LIMITS: back.own_limits,
    Cause.OWN_ARCHIVE: back.own_archive,
    Cause.OWN_TITLE: back.own_title,
    Cause.NOT_STORED: back.not_stored,
    Cause.NOT_FOUND: back.not_found,
    Cause.UNKNOWN_DESTINATION: back.destination,
    Cause.NOT_MOVED: back.not_moved,
    Cause.NOT_DELIVERED: back.wrong_destination,
    Cause.DELIVERED_ELSEWHERE: back.wrong_destination,
    Cause.NOT_REMOVED: back.not_removed,
}
