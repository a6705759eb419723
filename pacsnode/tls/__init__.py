"""Transport Layer Security for both sides, with the standard library: contexts from the
configuration, what certificates say, and OpenSSL's reasons in words."""

from pacsnode.tls.certificate import Certificate, Subject, certificates_in, read_certificate
from pacsnode.tls.contexts import (
    Outgoing,
    client_context,
    remarks,
    server_context,
    trusting_context,
)
from pacsnode.tls.failure import SUITES, Fault, alert, client_fault, fault_of, reason, server_fault

__all__ = [
    "SUITES",
    "Certificate",
    "Fault",
    "Outgoing",
    "Subject",
    "alert",
    "certificates_in",
    "client_context",
    "client_fault",
    "fault_of",
    "read_certificate",
    "reason",
    "remarks",
    "server_context",
    "server_fault",
    "trusting_context",
]
