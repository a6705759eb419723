"""The association policies: limits, times, who is rejected and why, how the node names itself."""

from pacsnode.config.model import Configuration
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.net import acceptor
from pacsnode.net.listener import WAITING
from pacsnode.net.transport import LONGEST_PDU
from pacsnode.node.build import build_settings
from pacsnode.node.conformance.document import Section, Table, paragraphs
from pacsnode.scp import access
from pacsnode.scu.plan import MOST_CONTEXTS

OUTSTANDING = 1  # operations on an association: the node answers one after the other

REJECTION_COLUMNS = ("Result", "Source", "Reason", "When")
_RESULTS = {1: "1 (rejected-permanent)", 2: "2 (rejected-transient)"}


def association_policies(configuration: Configuration) -> Section:
    return Section(
        "Association Policies",
        sections=(
            Section("General", (_general(configuration),)),
            Section("Number of Associations", (_numbers(configuration),)),
            Section(
                "Asynchronous Nature",
                (
                    Table(
                        "Asynchronous Nature",
                        ("Item", "Value"),
                        (("Outstanding asynchronous transactions", str(OUTSTANDING)),),
                    ),
                    *paragraphs(
                        "Whoever proposes an asynchronous operations window is answered "
                        f"{OUTSTANDING} for both directions; the node proposes none."
                    ),
                ),
            ),
            Section(
                "Implementation Identifying Information",
                (
                    Table(
                        "Implementation Identifying Information",
                        ("Item", "Value"),
                        (
                            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
                            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
                        ),
                    ),
                ),
            ),
        ),
    )


def _general(configuration: Configuration) -> Table:
    max_pdu, times = configuration.listen.max_pdu, configuration.timeouts
    longest = f"{max_pdu} bytes" if max_pdu else f"no limit announced; {LONGEST_PDU} bytes at most"
    rows = (
        ("Application Context Name", acceptor.APPLICATION_CONTEXT),
        ("Maximum length of PDUs received", longest),
        ("Presentation contexts proposed on one association", f"{MOST_CONTEXTS} at most"),
        ("Connecting, TCP and TLS", f"{times.connect:g} s"),
        ("A-ASSOCIATE and A-RELEASE", f"{times.acse:g} s"),
        ("One PDU from its first byte, one blocked write", f"{times.network:g} s"),
        ("A DIMSE response, a gap inside a message", f"{times.dimse:g} s"),
        ("An association between two messages", f"{times.idle:g} s, then A-ABORT"),
    )
    return Table("General Association Policies", ("Item", "Value"), rows)


def _numbers(configuration: Configuration) -> Table:
    listen = configuration.listen
    unknown = build_settings(configuration).max_unknown_associations
    at_once = [modality.associations for modality in configuration.modalities.values()]
    rows = (
        ("As acceptor, in all", str(listen.max_associations)),
        ("As acceptor, of all callers that are no remote AE of the configuration", str(unknown)),
        ("Connections without an association yet", str(max(WAITING, listen.max_associations))),
        (
            "As initiator, for one C-MOVE",
            f"{max(at_once, default=1)} at most, see Remote AE Titles",
        ),
        ("As initiator, in all", "one set of these for each C-MOVE and command under way"),
    )
    return Table("Number of Associations", ("Item", "Value"), rows)


def rejections(configuration: Configuration) -> Table:
    """Why an association is refused, and by which codes."""
    rules = configuration.access
    when = [
        (
            access.CALLING_AE_TITLE_NOT_RECOGNISED,
            "the caller has no right to any service, see Rights of Callers",
        ),
        (access.LOCAL_LIMIT_EXCEEDED, "one of the limits of Number of Associations is reached"),
        (acceptor.WRONG_APPLICATION_CONTEXT, "the application context is not that of DICOM"),
        (acceptor.WRONG_VERSION, "version 1 of the upper layer protocol is not offered"),
    ]
    if rules.check_called_ae_title:
        called = f"the called AE title is not {configuration.ae_title}"
        when.append((access.CALLED_AE_TITLE_NOT_RECOGNISED, called))
    rows = (
        (_RESULTS[result], str(source), str(reason), text)
        for (result, source, reason), text in sorted(when)
    )
    return Table("Association Rejections", REJECTION_COLUMNS, tuple(rows))
