"""The acceptor's side of negotiation, answered from the request alone: pynetdicom would copy its
table of presentation contexts for each association."""

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.acse import ACSE
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_role

from pacsnode.dicom.message import BASELINE, Context, Extensions
from pacsnode.net import associate, extensions
from pacsnode.net.contexts import Roles, choose_roles, choose_transfer_syntax, service_of
from pacsnode.net.upper_layer import DrivenAssociation

ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4  # PS3.8 9.3.3.2


class Acceptance(ACSE):
    """Answers an A-ASSOCIATE-RQ; what is accepted goes to `contexts`, by number."""

    def __init__(self, association: DrivenAssociation, contexts: dict[int, Context]) -> None:
        super().__init__(association)
        self._association = association
        self._contexts = contexts

    def _negotiate_as_acceptor(self) -> None:
        roles = {
            str(uid): Roles(bool(item.scu_role), bool(item.scp_role))
            for uid, item in self.requestor.role_selection.items()
        }
        agreed = choose_roles(roles)
        extended = self._answer_extensions()
        layer = self._association.dul
        layer.answered = [self._answer(context, agreed, extended) for context in layer.proposed]
        for uid, role in agreed.items():
            self.acceptor.add_negotiation_item(build_role(uid, role.scu, role.scp))
        self._answer_operations_window()
        self._answer_user_identity()
        self.send_accept()
        self._association.is_established = True

    def _answer(
        self,
        proposed: associate.ProposedContext,
        roles: dict[str, Roles],
        extended: dict[str, Extensions],
    ) -> associate.AnsweredContext:
        number, uid, transfer_syntaxes = proposed
        service = service_of(uid)
        # The transfer syntax of a context which is not accepted says nothing (PS3.8 9.3.3.2).
        if service is None:
            return associate.AnsweredContext(number, NO_ABSTRACT_SYNTAX, ImplicitVRLittleEndian)
        chosen = choose_transfer_syntax(service, transfer_syntaxes)
        if chosen is None:
            return associate.AnsweredContext(number, NO_TRANSFER_SYNTAX, ImplicitVRLittleEndian)
        role = roles.get(uid, Roles(scu=True, scp=False))
        self._contexts[number] = Context(
            number,
            uid,
            chosen,
            as_scu=role.scp,
            as_scp=role.scu,
            extensions=extended.get(uid, BASELINE),
        )
        return associate.AnsweredContext(number, ACCEPTED, chosen)

    def _answer_extensions(self) -> dict[str, Extensions]:
        """What has been agreed on, by SOP class."""
        agreed = {}
        for uid, asked in self.requestor.sop_class_extended.items():
            answer = extensions.answer(str(uid), asked)
            if answer:
                item = SOPClassExtendedNegotiation()
                item.sop_class_uid = uid
                item.service_class_application_information = answer
                self.acceptor.add_negotiation_item(item)
                agreed[str(uid)] = extensions.agreed(str(uid), asked)
        return agreed

    def _answer_operations_window(self) -> None:
        """Messages come one at a time."""
        if self.requestor.asynchronous_operations != (1, 1):
            window = AsynchronousOperationsWindowNegotiation()
            window.maximum_number_operations_invoked = 1
            window.maximum_number_operations_performed = 1
            self.acceptor.add_negotiation_item(window)

    def _answer_user_identity(self) -> None:
        """A username is taken as it is said. Of a ticket, an assertion and a token a positive
        response would say that it was verified, which nobody here can (PS3.7 D.3.3.7)."""
        identity = associate.user_identity(self._association.dul.request_pdu)
        if identity is not None and identity.wants_response and identity.is_username:
            item = UserIdentityNegotiation()
            item.server_response = b""
            self.acceptor.add_negotiation_item(item)
