"""What to change at either side where the way back has failed: at the peer's table of destinations,
and at our own door."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pacsnode.dicom.message import Peer
from pacsnode.scu.doctor.case import Advice, Case
from pacsnode.scu.doctor.lines import Key, modality, name_of, quoted, section

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # nothing is bound here


def not_stored(case: Case) -> Advice:
    return Advice(
        (),
        f"{case.peer} does not store a Secondary Capture image of ours: {case.step.text}. Please "
        f"allow us to store, with {case.us}.",
    )


def not_found(case: Case) -> Advice:
    study = case.details.get("study_instance_uid", "")
    return Advice(
        (),
        f"{case.peer} took an image (StudyInstanceUID {study}), and does not find it when asked "
        f"to move it: {case.step.text}. Does it keep what it is sent under this AE title? We are "
        f"{case.us}.",
    )


def destination(case: Case) -> Advice:
    return Advice(
        (),
        f"Please enter us as a C-MOVE destination of {case.peer.ae_title}: {case.ours}.",
    )


def wrong_destination(case: Case) -> Advice:
    return Advice(
        (),
        f"{case.peer.ae_title} knows us as a C-MOVE destination, but its connection for our AE "
        f"title does not lead to us: please correct the entry to {case.ours}, and let "
        f"{case.peer.ae_title} through every firewall to it.",
    )


def not_moved(case: Case) -> Advice:
    return Advice(
        (),
        f"{case.peer.ae_title} fails to move to our AE title, and says not why: its log should. "
        f"Please look whether its C-MOVE destinations have us as {case.ours}, and whether "
        f"firewalls let it through.",
    )


def not_listening(case: Case) -> Advice:
    return Advice(
        section("listen", Key("port", str(case.ours.port or 11112), case.step.text)),
        f"Please wait with {case.peer.ae_title}: our node does not take associations yet. It will "
        f"be {case.ours}.",
    )


def own_address(case: Case) -> Advice:
    remark = "every address of this machine; or the one the peer shall use"
    host = Key("host", EVERY_ADDRESS, remark)
    if ":" in case.ours.host:
        host = Key("host", quoted("::"), f"IPv4 and IPv6, {remark}")
    return Advice(
        section("listen", host),
        f"Please enter us as a C-MOVE destination of {case.peer.ae_title}: {case.ours}.",
    )


def own_networks(case: Case) -> Advice:
    networks = ", ".join(map(quoted, case.details.get("networks", ())))
    key = Key("networks", f"[{networks}]", "its address is the last one")
    return Advice(section("access", key), destination(case).sentence)


def own_rights(case: Case) -> Advice:
    """The row of whoever came: it may call itself otherwise than we call it."""
    title, host = case.details.get("ae_title", case.peer.ae_title), case.details.get("host")
    caller = _row(case)
    if title != caller.ae_title:
        caller = replace(caller, name=title, ae_title=title, host=host or caller.host)
    services = ", ".join(case.details.get("allow", ("echo", "store")))
    allow = Key("allow", f"[{services}]", f"so that {name_of(caller)} may store")
    return Advice(modality(caller, allow), destination(case).sentence)


def own_host(case: Case) -> Advice:
    """The row's host is also where we call it, and may be right as that."""
    name, host = name_of(_row(case)), case.details.get("host", "another host")
    check = Key("check_host", "false", f"or give {name} a host name that has {host} as well")
    return Advice(
        section("access", check),
        f"{case.peer.ae_title} calls us from {host}, and we call it at {case.peer.host}: from "
        f"which addresses may it call? We are {case.ours}.",
    )


def own_certificate(case: Case) -> Advice:
    subject = Key("certificate_subject", "null", "or the subject that its certificate shall show")
    return Advice(
        modality(_row(case), subject),
        f"{case.peer.ae_title} comes to us without the certificate that we expect: "
        f"{case.step.text}. Which one does it have for {case.ours}?",
    )


def _row(case: Case) -> Peer:
    """That of whoever came, where it is another than that of the peer."""
    row: Mapping[str, Any] | None = case.details.get("modality")
    return case.peer if row is None else replace(case.peer, **row)


def own_limits(case: Case) -> Advice:
    sentence = destination(case).sentence
    if "access.max_unknown_associations" in case.step.text:
        most = Key("max_unknown_associations", "null", "nine tenths of all; or make the peer known")
        return Advice(section("access", most), sentence)
    if f"modalities.{name_of(_row(case))}.max_associations" in case.step.text:
        most = Key("max_associations", "null", "no limit of its own; or more than now")
        return Advice(modality(_row(case), most), sentence)
    most = Key("max_associations", "200", "more than now; or end what holds the places")
    return Advice(section("listen", most), sentence)


def own_title(case: Case) -> Advice:
    return Advice(
        section("access", Key("check_called_ae_title", "false", "or have the peer call us right")),
        destination(case).sentence,
    )


def own_archive(case: Case) -> Advice:
    return Advice(
        (),
        f"Nothing is known to be wrong at {case.peer.ae_title}: our own archive fails "
        f"({case.step.text}). `pacsnode verify` says more.",
    )


def not_removed(case: Case) -> Advice:
    study = case.details.get("study_instance_uid", "")
    return Advice(
        (),
        f"Nothing is wrong at {case.peer.ae_title}. Remove the test object here with: pacsnode "
        f"delete -L study -k StudyInstanceUID={study}",
    )
