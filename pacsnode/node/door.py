"""The node's own door, as a peer finds it: which address it has to be told, and whether it would be
let in to store."""

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress

from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Caller, Peer
from pacsnode.errors import NodeUnavailable
from pacsnode.node.build import build_settings
from pacsnode.node.status import ask, holder
from pacsnode.scp.access import Access
from pacsnode.scp.arrival import not_let_in
from pacsnode.scp.hosts import with_network
from pacsnode.scu.doctor.case import Ours
from pacsnode.scu.doctor.steps import Cause, Step, failed, ok
from pacsnode.scu.peer import find_modality

NAME = "own access"
_EVERY_IPV4 = ipaddress.IPv4Address(0)
PATIENCE = 5.0  # seconds for a connection to ourselves


def describe(configuration: Configuration, seen_as: Sequence[str]) -> Ours:
    """What a peer has to be told that sees us at one of the addresses `seen_as`. The ports are
    those of the running node, if one runs."""
    listen = configuration.listen
    host, own = listen.host, _address_of(listen.host)
    if own is not None and (
        own.is_unspecified or (own.is_loopback and not any(map(_is_loopback, seen_as)))
    ):
        served = (address for address in seen_as if own.version == 6 or ":" not in address)
        host = next(served, next(iter(seen_as), socket.gethostname()))
    port, tls_port = listen.port, listen.tls.port if listen.tls is not None else None
    with suppress(NodeUnavailable):
        port, tls_port = _ports(str(ask(configuration.data_dir).get("address", "")))
    return Ours(configuration.ae_title, host, port, tls_port)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    return None


def _ports(addresses: str) -> tuple[int | None, int | None]:
    """Those of `HOST:PORT tls HOST:PORT`, either of which may be missing."""
    plain, _, tls = addresses.partition("tls ")
    first, second = (one.strip().rpartition(":")[2] for one in (plain, tls))
    return int(first) if first else None, int(second) if second else None


def look_at(configuration: Configuration, peer: Peer, address: str, ours: Ours) -> Step:
    """Whether `peer`, calling from `address` by its AE title, would reach this node and could store
    here, as far as can be told without it; `ours` is what it has been told."""
    listen = configuration.listen
    is_running = bool(holder(configuration.data_dir))
    if listen.port == 0 and not is_running:
        text = "listen.port is 0, another one at each start: no peer's table can have it"
        return failed(NAME, Cause.NOT_LISTENING, text)
    if _is_loopback(listen.host) and not _is_loopback(ours.host):
        text = (
            f"listen.host is {listen.host}: programs of this machine alone reach the node, and "
            f"{peer.ae_title} is at {address}"
        )
        return failed(NAME, Cause.OWN_ADDRESS, text)
    if ":" in ours.host and _address_of(listen.host) == _EVERY_IPV4:
        text = f"listen.host is {listen.host}: IPv4 alone, and {peer.ae_title} is at {address}"
        return failed(NAME, Cause.OWN_ADDRESS, text)
    if is_running and not _answers(ours):
        text = f"a node runs, but nobody answers at its address as {peer.ae_title} sees it: {ours}"
        return failed(NAME, Cause.OWN_ADDRESS, text)
    access = Access(build_settings(configuration))
    if not access.welcomes(address):
        text = f"access.networks does not have {address}, {peer.ae_title}'s address"
        networks = with_network(configuration.access.networks, address)
        return failed(NAME, Cause.OWN_NETWORKS, text, networks=networks)
    return _rights(access, configuration, peer, address)


def _answers(ours: Ours) -> bool:
    """Whether somebody listens where the peer is to find us: it is this machine's own address."""
    try:
        socket.create_connection((ours.host, ours.port or ours.tls_port or 0), PATIENCE).close()
    except OSError:
        return False
    return True


def _rights(access: Access, configuration: Configuration, peer: Peer, address: str) -> Step:
    found = find_modality(peer.ae_title, configuration.modalities)
    # Which certificate it will show, nobody knows before.
    subject = found[1].certificate_subject if found is not None else None
    caller = Caller(peer.ae_title, configuration.ae_title, address, 0, certificate_subject=subject)
    rejection = access.admit(caller)
    rights = access.rights(caller)
    if rejection is None and "store" in rights.services:
        remark = f", as an unknown caller: it is {rights.because}" if rights.because else ""
        text = f"{peer.ae_title} may store here, by {rights.deciding_setting}{remark}"
        return ok(NAME, text, setting=rights.deciding_setting)
    text = f"{rights.deciding_setting} does not let {peer.ae_title!r} store"
    text += rights.hint(peer.ae_title)
    away = not_let_in(
        rejection.text if rejection else text, peer.ae_title, address, configuration.modalities
    )
    return failed(NAME, away.cause, away.text, **away.details)


def _is_loopback(address: str) -> bool:
    parsed = _address_of(address.partition("%")[0])
    return parsed is not None and parsed.is_loopback
