"""What this room relies on in pynetdicom beyond its public interface, and the settings that make
pynetdicom take what real peers send. tests/net/test_internals.py fails when one of these changes.

Used and overridden (pynetdicom 3.0):
- `dul.DULServiceProvider`: `send_pdu`, `receive_pdu`, `_send`, `_decode_pdu`,
  `_process_recv_primitive`, `event_queue`, `to_provider_queue`, `to_user_queue`, `_recv_pdu`,
  `artim_timer` (a `timer.Timer`), `state_machine`, `kill_dul`, `_kill_thread`, `socket`; its thread
  is never started. `_send` is given `pdu.A_ASSOCIATE_AC`.
- `pdu`: an A-ASSOCIATE-RQ is decoded, and an A-ASSOCIATE-AC encoded, without presentation contexts.
- `fsm.StateMachine`: `do_action`, which raises what its actions do, `current_state`;
  `fsm.InvalidEventError`; names of events and states.
- `transport.AssociationSocket`: `__init__`, `connect`, `close`, `send`, `_shutdown_socket`,
  `_is_connected`, `event_queue`, `provider_queue`, `_ready`, which `ACSE` waits for;
  `transport.AddressInformation`.
- `acse.ACSE`: `_negotiate_as_acceptor`, `negotiate_association`, `send_accept`, `send_reject`,
  `negotiate_release`, `send_release`, `send_abort`, `is_release_requested`.
- `association.Association`: `run_reactor`, `abort` and `kill` overridden; `set_socket`,
  `acse_timeout`, `is_established`, `is_aborted`, `accepted_contexts`, `_accepted_cx` and
  `_rejected_cx`, which are empty where the acceptor answers, `_kill`; its `requestor` and
  `acceptor`, each a `ServiceUser`: `primitive`, `requested_contexts`, `role_selection`,
  `sop_class_extended`, `asynchronous_operations`, `add_negotiation_item`, `maximum_length`,
  `ae_title`, `address_info`, `implementation_class_uid` and `implementation_version_name`.
- `dimse.DIMSEServiceProvider`: replaced as `Association.dimse`; `maximum_pdu_size`,
  `receive_primitive`, and `msg_queue`, which the state machine's actions put an end mark into.
- `_globals`: `MODE_ACCEPTOR`, `MODE_REQUESTOR`.
- `_config`: `VALIDATORS`, `LOG_HANDLER_LEVEL`, `LOG_REQUEST_IDENTIFIERS`,
  `LOG_RESPONSE_IDENTIFIERS`.
"""

import logging
from typing import Any

import pydicom.config
from pynetdicom import _config


def _take_anything(_value: Any) -> tuple[bool, str]:
    return True, ""


def configure() -> None:
    """Set pynetdicom up once, for the process: UIDs over 64 characters and titles outside ASCII
    must not break an association, and no handler of its own may format or print what passes
    (identifiers are patient data)."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.VALIDATORS["UI"] = _take_anything
    _config.VALIDATORS["AE"] = _take_anything
    # pydicom would warn of each UID that is none, and remember each warning for ever.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logger = logging.getLogger("pynetdicom")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    # Its warnings on every odd UID cost more than the message they belong to.
    logger.setLevel(logging.CRITICAL)
