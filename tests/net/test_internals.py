"""What net/ uses of pynetdicom beyond its public interface is still there, and still behaves."""

import inspect
import socket
from typing import Any

import pynetdicom
import pytest
from pydicom.uid import UID
from pynetdicom import (
    _config,
    _globals,
    acse,
    association,
    dimse,
    dul,
    fsm,
    pdu,
    pdu_primitives,
    timer,
    transport,
)
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity

NAMES = {
    dul.DULServiceProvider: [
        "send_pdu", "receive_pdu", "_send", "_decode_pdu", "_process_recv_primitive", "kill_dul",
        "peek_next_pdu",
    ],
    fsm: ["InvalidEventError", "TRANSITION_TABLE"],
    fsm.StateMachine: ["do_action"],
    _globals: ["MODE_ACCEPTOR", "MODE_REQUESTOR"],
    transport.AssociationSocket: [
        "close", "connect", "send", "_shutdown_socket", "provider_queue", "event_queue",
    ],
    transport.AddressInformation: ["from_tuple"],
    association.ServiceUser: [
        "requested_contexts", "role_selection", "sop_class_extended",
        "asynchronous_operations", "add_negotiation_item", "maximum_length", "ae_title",
        "implementation_class_uid", "implementation_version_name",
    ],
    acse.ACSE: [
        "_negotiate_as_acceptor", "_negotiate_as_requestor", "negotiate_association",
        "negotiate_release", "send_accept", "send_reject", "send_abort", "send_release",
        "is_release_requested",
    ],
    association.Association: ["abort", "kill", "run_reactor", "set_socket", "accepted_contexts"],
    dimse.DIMSEServiceProvider: ["receive_primitive", "maximum_pdu_size"],
    timer.Timer: ["start", "stop", "restart"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in NAMES.items() for name in names]
)
def test_a_name_that_the_wire_relies_on_exists(owner: Any, name: str) -> None:
    assert hasattr(owner, name), (
        f"pynetdicom {pynetdicom.__version__} has no {owner.__name__}.{name}: see net/internals.py"
    )


def test_instances_have_the_attributes_that_the_wire_relies_on() -> None:
    made = association.Association(ApplicationEntity("TEST"), MODE_ACCEPTOR)
    for name in (
        "requestor",
        "acceptor",
        "is_established",
        "_accepted_cx",
        "_rejected_cx",
        "_kill",
        "dul",
        "dimse",
        "acse",
        "is_aborted",
    ):
        assert hasattr(made, name), f"Association.{name}"
    assert hasattr(made.requestor, "primitive")
    for name in (
        "event_queue", "to_provider_queue", "to_user_queue", "_recv_pdu", "artim_timer",
        "state_machine", "_kill_thread", "socket",
    ):  # fmt: skip
        assert hasattr(made.dul, name), f"DULServiceProvider.{name}"
    assert made.dul.state_machine.current_state == "Sta1"
    assert not made.dul.is_alive(), "the upper layer's thread would have been started"


def test_a_socket_that_is_handed_in_counts_as_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = association.Association(ApplicationEntity("TEST"), MODE_ACCEPTOR)
        connection = transport.AssociationSocket(made, client_socket=ours)
        assert connection._is_connected
        assert connection._ready.is_set()
        assert made.dul.event_queue.get(block=False) == "Evt5"


def test_association_pdus_need_no_presentation_contexts() -> None:
    """The wire reads and writes those itself: see net/associate.py."""
    primitive = pdu_primitives.A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PEER", "NODE"
    length = pdu_primitives.MaximumLengthNotification()
    implementation = pdu_primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3")
    primitive.user_information = [length, implementation]
    primitive.presentation_context_definition_list = []
    request = pdu.A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    decoded = pdu.A_ASSOCIATE_RQ()
    decoded.decode(request.encode())
    assert decoded.to_primitive().presentation_context_definition_list == []
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = []
    answer = pdu.A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    assert answer.encode()


def test_the_settings_exist() -> None:
    for name in (
        "VALIDATORS", "LOG_HANDLER_LEVEL", "LOG_REQUEST_IDENTIFIERS", "LOG_RESPONSE_IDENTIFIERS",
    ):  # fmt: skip
        assert hasattr(_config, name)
    assert {"UI", "AE"} <= set(_config.VALIDATORS)


def test_the_state_machine_knows_the_events_that_the_wire_raises() -> None:
    assert ("Evt17", "Sta6") in fsm.TRANSITION_TABLE
    assert ("Evt18", "Sta13") in fsm.TRANSITION_TABLE
    assert ("Evt19", "Sta6") in fsm.TRANSITION_TABLE
    assert "msg_queue.put" in inspect.getsource(fsm.AA_4), "the end mark that nobody reads"
