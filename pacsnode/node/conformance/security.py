"""Security: TLS as it is agreed on, who is let in, the audit trail, user identity."""

from collections.abc import Iterator, Mapping

from pacsnode import tls
from pacsnode.audit import events
from pacsnode.audit.event import Code
from pacsnode.config.model import Configuration, ServerTLS
from pacsnode.node.conformance.document import (
    Block,
    Items,
    Paragraph,
    Section,
    Table,
    paragraphs,
    table,
)

# When each message is sent; a test holds it against the codes of audit/events.py.
MOMENTS: Mapping[Code, str] = {
    events.APPLICATION_ACTIVITY: "the node starts, stops",
    events.USER_AUTHENTICATION: "an association opens, ends",
    events.SECURITY_ALERT: "a connection, association, service or destination is refused; audit "
    "messages were lost",
    events.INSTANCES_TRANSFERRED: "instances have come in, or gone out by C-MOVE and C-GET",
    events.BEGIN_TRANSFERRING: "a C-MOVE or C-GET begins to send a study",
    events.IMPORT: "instances come from files",
    events.QUERY: "C-FIND, with its identifier",
    events.STUDY_DELETED: "a study was deleted",
    events.INSTANCES_ACCESSED: "part of a study was deleted, or a conflict settled",
}


def security_section(configuration: Configuration) -> Section:
    return Section(
        "Security",
        sections=(
            Section("Security Profiles", _profiles(configuration)),
            _association_level(configuration),
            Section(
                "Application Level Security",
                paragraphs(
                    "Which service a caller may use is decided for each AE title, see Rights of "
                    "Callers; a service that it may not use is answered 0124. Access is not "
                    "decided by patient, study or user.",
                    "User Identity Negotiation: a user name is logged and named in the audit "
                    "trail, never verified, and gives no rights. Passcodes and tokens are not "
                    "kept.",
                ),
            ),
            Section("Audit Trail", _audit(configuration)),
        ),
    )


def _profiles(configuration: Configuration) -> tuple[Block, ...]:
    blocks: list[Block] = []
    served = configuration.listen.tls
    blocks.append(Paragraph(_served_text(served)))
    over_tls = [name for name, peer in configuration.modalities.items() if peer.tls is not None]
    blocks.append(Paragraph(f"Opened over TLS: associations to {', '.join(over_tls) or 'nobody'}."))
    if served is not None or over_tls:
        blocks.append(cipher_table())
    if configuration.listen.port is not None:
        blocks.append(Paragraph("Associations without TLS are taken on the plain port."))
    return tuple(blocks)


def _served_text(served: ServerTLS | None) -> str:
    if served is None:
        return "TLS is not served: listen.tls is null."
    if served.client_ca is None:
        clients = "no client certificate is asked for"
    elif served.require_client_certificate:
        clients = "clients must show a certificate of a configured authority"
    else:
        clients = "clients may show a certificate of a configured authority"
    return (
        "TLS is served by the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile "
        f"(PS3.15 B.12) on TCP port {served.port or 'that is told at start'}; {clients}. "
        "Renegotiation, compression and session tickets are off."
    )


def cipher_table() -> Table:
    """Those that connections may agree on, best first, by OpenSSL's names and IANA's numbers."""
    return table("TLS Cipher Suites", ("Protocol", "Cipher Suite", "IANA Number"), _ciphers())


def _ciphers() -> Iterator[tuple[str, ...]]:
    for cipher in tls.trusting_context().get_ciphers():
        number = cipher["id"] & 0xFFFF
        yield (
            str(cipher["protocol"]),
            str(cipher["name"]),
            f"{number >> 8:02X},{number & 0xFF:02X}",
        )


def _association_level(configuration: Configuration) -> Section:
    access = configuration.access
    checks = [
        f"Called AE title: must be {configuration.ae_title}"
        if access.check_called_ae_title
        else "Called AE title: any is taken",
        "Calling AE title: decides on the rights, see Rights of Callers",
        "Calling host: must be that of the remote AE, else it counts as unknown"
        if access.check_host
        else "Calling host: not checked against the AE title",
    ]
    if access.networks is not None:
        checks.append(f"Networks: {', '.join(map(str, access.networks))} alone")
    bound = [
        name
        for name, peer in configuration.modalities.items()
        if peer.certificate_subject is not None
    ]
    if bound:
        checks.append(f"Certificate's subject: checked of {', '.join(bound)}")
    return Section("Association Level Security", (Items(tuple(checks)),))


def _audit(configuration: Configuration) -> tuple[Block, ...]:
    audit = configuration.audit
    ways = []
    if audit.syslog is not None:
        server = audit.syslog
        over = "UDP (RFC 5426)" if server.transport == "udp" else "TLS (RFC 5425)"
        ways.append(f"to the syslog server {server.host} over {over}, in the form of RFC 5424")
    if audit.file is not None:
        ways.append("as JSON lines to a file")
    if not ways:
        return paragraphs("No audit trail is configured.")
    told = f"Audit messages (PS3.15 A.5) go {' and '.join(ways)}."
    if audit.syslog is not None:
        told += f" While the server is away {audit.queue:,} messages wait, then the oldest go."
    rows = ((code.value, code.meaning, when) for code, when in MOMENTS.items())
    return (
        Paragraph(told),
        table("Audit Messages", ("Event ID", "Meaning", "When"), rows),
    )
