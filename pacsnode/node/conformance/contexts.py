"""Tables of presentation contexts: those that the node accepts, and those that it proposes in each
of its activities, as the very functions that propose them say."""

from collections.abc import Iterable, Iterator, Sequence

from pacsnode.dicom.message import ProposedContext
from pacsnode.dicom.query import Model
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import registry
from pacsnode.node.conformance.document import Table, table
from pacsnode.node.conformance.negotiation import agreed_text
from pacsnode.scu import models
from pacsnode.scu.get import propose
from pacsnode.scu.plan import sendable_as

CONTEXT_COLUMNS = (
    "Abstract Syntax", "UID", "Transfer Syntaxes", "Transfer Syntax UIDs", "Role",
    "Extended Negotiation",
)  # fmt: skip
PROPOSED_COLUMNS = ("Abstract Syntax", "UID", "Transfer Syntaxes", "Transfer Syntax UIDs", "Role")
SENT_COLUMNS = ("Stored in", "UID", "Proposed, best first", "Transfer Syntax UIDs")

OWN_ROOTS = (Model.PATIENT_ROOT, Model.STUDY_ROOT)
ANY_STORED = "1.2.840.10008.5.1.4.1.1.2"  # CT Image Storage stands for every SOP class


def sop_class_table(title: str, service: Service) -> Table:
    """The SOP classes of a service, with the roles that the node takes and has."""
    rows = (
        (one.text, one.uid, "Yes" if _is_asked_for(one.uid, service) else "No", "Yes")
        for one in registry.sop_classes(service)
    )
    return table(title, ("SOP Class", "SOP Class UID", "SCU", "SCP"), rows)


def _is_asked_for(sop_class_uid: str, service: Service) -> bool:
    """Whether the node, or a command of it, is SCU of this SOP class as well."""
    wanted = {models.sop_class_uid(own, model) for own in models.Service for model in OWN_ROOTS}
    return service in (Service.ECHO, Service.STORE, Service.COMMIT) or sop_class_uid in wanted


def transfer_syntax_table(title: str, service: Service) -> Table:
    """The transfer syntaxes that the node accepts for the SOP classes of a service."""
    rows = ((one.text, one.uid) for one in registry.transfer_syntaxes(service))
    return table(title, ("Transfer Syntax", "UID"), rows)


def accepted_table(title: str, services: Iterable[Service]) -> Table:
    """Presentation contexts that the node accepts."""
    rows = (
        (
            one.text,
            one.uid,
            ", ".join(syntax.name for syntax in registry.transfer_syntaxes(service)),
            ", ".join(syntax.uid for syntax in registry.transfer_syntaxes(service)),
            _role_of(one.uid),
            agreed_text(one.uid),
        )
        for service in services
        for one in registry.sop_classes(service)
    )
    return table(title, CONTEXT_COLUMNS, rows)


def _role_of(sop_class_uid: str) -> str:
    """The node's own, where the requestor asks for all that it may have."""
    return "SCP, SCU" if registry.requestor_roles(sop_class_uid).scp else "SCP"


def proposed_table(title: str, contexts: Iterable[ProposedContext]) -> Table:
    """Presentation contexts that the node proposes."""
    rows = (
        (
            registry.name_of(context.abstract_syntax),
            context.abstract_syntax,
            registry.names_of(context.transfer_syntaxes),
            ", ".join(context.transfer_syntaxes),
            _own_role(context),
        )
        for context in contexts
    )
    return table(title, PROPOSED_COLUMNS, rows)


def _own_role(context: ProposedContext) -> str:
    names = [name for name, has in (("SCU", context.as_scu), ("SCP", context.as_scp)) if has]
    return ", ".join(names) + (" (role selection)" if context.as_scp else "")


def query_proposals(service: models.Service) -> list[ProposedContext]:
    """Of C-FIND, C-MOVE or C-GET, one model on each association."""
    return [models.proposal(service, model) for model in OWN_ROOTS]


def get_proposals() -> list[ProposedContext]:
    """What stands beside the C-GET itself, where instances of one SOP class are fetched."""
    return propose(Model.STUDY_ROOT, [ANY_STORED])[1:]


def sent_table(title: str, wanted: Sequence[str] | None, *, may_lose: bool = False) -> Table:
    """For each transfer syntax that an instance may be stored in, those that are proposed to send
    it, each in a presentation context of its own."""
    return table(title, SENT_COLUMNS, _sent_rows(wanted, may_lose))


def _sent_rows(wanted: Sequence[str] | None, may_lose: bool) -> Iterator[tuple[str, ...]]:
    for one in registry.transfer_syntaxes(Service.STORE):
        proposed = sendable_as(one.uid, wanted, may_lose=may_lose)
        names = registry.names_of(proposed) or "none: it cannot be sent to this AE"
        yield one.text, one.uid, names, ", ".join(proposed)
