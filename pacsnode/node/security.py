"""TLS of a node: the SSL contexts of its configuration, made before anything is bound or locked,
and made anew on SIGHUP."""

import logging
from collections.abc import Iterator
from ssl import SSLContext
from typing import NamedTuple

from pacsnode.config.model import ClientTLS, Configuration, ServerTLS
from pacsnode.errors import ConfigurationError
from pacsnode.tls import Outgoing, remarks, server_context

logger = logging.getLogger(__name__)


class Security(NamedTuple):
    """Of connections that come in, where there are any over TLS, and of those that go out."""

    incoming: SSLContext | None
    outgoing: Outgoing


def build_security(configuration: Configuration) -> Security:
    """Raises ConfigurationError, with every file that cannot be used."""
    own, faults, incoming = configuration.listen.tls, list[str](), None
    if own is not None:
        try:
            incoming = server_context(own)
        except ConfigurationError as error:
            faults += error.faults
    outgoing = Outgoing(own)
    for where, settings in _peers(configuration):
        try:
            outgoing.context(settings, where)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(*dict.fromkeys(faults))
    return Security(incoming, outgoing)


def warn_of_certificates(configuration: Configuration) -> None:
    """Log which certificates have ended, or will soon. For a configuration whose Security has been
    built."""
    for remark in certificate_remarks(configuration):
        logger.warning("%s", remark)


def certificate_remarks(configuration: Configuration) -> list[str]:
    own = configuration.listen.tls
    shown: list[tuple[str, ServerTLS | ClientTLS]] = [*_peers(configuration)]
    if own is not None:
        shown.insert(0, ("listen.tls", own))
    return [remark for where, settings in shown for remark in remarks(settings, where)]


def _peers(configuration: Configuration) -> Iterator[tuple[str, ClientTLS]]:
    for name, modality in configuration.modalities.items():
        if modality.tls is not None:
            yield f"modalities.{name}.tls", modality.tls
