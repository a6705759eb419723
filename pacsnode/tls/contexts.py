"""SSL contexts as the BCP 195 profile of PS3.15 B.12 wants them (RFC 8996, RFC 9325): TLS 1.3, or
1.2 with ephemeral keys and authenticated encryption; nothing older, nothing renegotiated."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pacsnode.config.model import ClientTLS, ServerTLS
from pacsnode.errors import ConfigurationError
from pacsnode.tls.certificate import certificates_in
from pacsnode.tls.failure import reason

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all as good
SOON = timedelta(days=30)  # before a certificate's end it is time to speak of it

CERTIFICATE, KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"

_TOO_WEAK = frozenset(
    {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_MD_TOO_WEAK", "DH_KEY_TOO_SMALL"}
)


class _Identity(NamedTuple):
    """A certificate with its key, and the key path of the settings that name them."""

    certificate: Path
    key: Path
    password: str | None
    where: str

    @classmethod
    def of(cls, settings: ServerTLS | ClientTLS, certificate: Path, where: str) -> "_Identity":
        secret = settings.key_password
        password = secret.get_secret_value() if secret is not None else None
        return cls(certificate, settings.key or certificate, password, where)


def server_context(settings: ServerTLS, where: str = "listen.tls") -> ssl.SSLContext:
    """For connections that come in. `where` is the key path of `settings`. Raises
    ConfigurationError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # Tickets would be written in vain: associations are long, and no modality resumes a session.
    context.num_tickets = 0
    _identify(context, _Identity.of(settings, settings.certificate, where))
    if settings.client_ca is not None:
        _trust(context, settings.client_ca, f"{where}.client_ca")
        demanded = settings.require_client_certificate
        context.verify_mode = ssl.CERT_REQUIRED if demanded else ssl.CERT_OPTIONAL
    return context


def client_context(settings: ClientTLS, own: ServerTLS | None, where: str) -> ssl.SSLContext:
    """For connections to a peer; `own` is the node's certificate, shown where `settings` name no
    other, `where` their key path. Raises ConfigurationError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.verify_host
    if settings.ca is None:
        context.load_default_certs()
    else:
        _trust(context, settings.ca, f"{where}.ca")
    identity = _shown(settings, own, where)
    if identity is not None:
        _identify(context, identity)
    return context


def trusting_context() -> ssl.SSLContext:
    """For a look at what a server shows, whoever it is. Nothing is ever sent over it."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Outgoing:
    """Client contexts, each made when it is first asked for: reading all of a system's authorities
    takes a while. `own` as for client_context."""

    def __init__(self, own: ServerTLS | None) -> None:
        self._own = own
        self._made: dict[ClientTLS, ssl.SSLContext] = {}

    def take_over(self, changed: "Outgoing") -> None:
        """Go on with the contexts of another, for new connections."""
        self._own, self._made = changed._own, changed._made  # noqa: SLF001  # of this class

    def context(self, settings: ClientTLS, where: str) -> ssl.SSLContext:
        """As client_context."""
        made = self._made.get(settings)
        if made is None:
            made = self._made[settings] = client_context(settings, self._own, where)
        return made


def remarks(settings: ServerTLS | ClientTLS, where: str) -> Sequence[str]:
    """What is to be said of the certificates that are shown: those that have expired, or will
    soon. For settings that a context was made of."""
    if settings.certificate is None:
        return []
    try:
        shown = certificates_in(settings.certificate.read_bytes())
    except OSError:  # it is being renewed this moment
        return []
    now, said = datetime.now(UTC), []
    for certificate in shown:
        day = f"{certificate.not_after:%Y-%m-%d}"
        file = f"{where}.certificate: {settings.certificate}"
        if certificate.not_after < now:
            said.append(f"{file}: expired on {day}: peers will refuse it")
        elif certificate.not_after < now + SOON:
            said.append(f"{file}: expires on {day}")
        elif certificate.not_before > now:
            said.append(f"{file}: is valid from {certificate.not_before:%Y-%m-%d} on only")
    return said


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # Real peers end TLS by closing the connection; where a PDU ends, DICOM itself knows. And a
    # thread that is woken by the end of its input can go on to send (net/transport.py).
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    # Who is trusted may be named by its own certificate, of whichever authority.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def _shown(settings: ClientTLS, own: ServerTLS | None, where: str) -> _Identity | None:
    if settings.certificate is not None:
        return _Identity.of(settings, settings.certificate, where)
    if own is not None:
        return _Identity.of(own, own.certificate, "listen.tls")
    return None


def _trust(context: ssl.SSLContext, authorities: Path, key_path: str) -> None:
    _read(authorities, key_path, CERTIFICATE, "certificate")
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise ConfigurationError(f"{key_path}: {authorities}: {reason(error)}") from error


def _identify(context: ssl.SSLContext, identity: _Identity) -> None:
    certificate, key, password, where = identity
    _read(certificate, f"{where}.certificate", CERTIFICATE, "certificate")
    _read(key, f"{where}.key", KEY, "private key")
    asked = False

    def answer() -> str:  # without this OpenSSL asks on the terminal
        nonlocal asked
        asked = True
        return password or ""

    # Alone first: what is wrong is then in the key.
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, f"{where}.certificate")
    try:
        context.load_cert_chain(certificate, key, answer)
    except ValueError as error:  # a password of over 1,024 bytes
        raise ConfigurationError(f"{where}.key_password: {error}") from error
    except OSError as error:
        fault = _misfit(error, identity, is_encrypted=asked)
        raise ConfigurationError(fault) from error


def _misfit(error: OSError, identity: _Identity, *, is_encrypted: bool) -> str:
    """Why OpenSSL did not take a certificate and its key."""
    certificate, key, password, where = identity
    code = error.reason if isinstance(error, ssl.SSLError) else None
    if code in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"{where}.key: {key}: is not the key of the certificate in {certificate}"
    if code in _TOO_WEAK:
        return f"{where}.certificate: {certificate}: {reason(error)}: peers would refuse it"
    if is_encrypted and password is None:
        return f"{where}.key_password: missing, and {key} is encrypted: !env NAME or !file PATH"
    if is_encrypted:
        return f"{where}.key_password: is not the one of {key}"
    return f"{where}.key: {key}: no key that can be read for {certificate}: {reason(error)}"


def _read(path: Path, key_path: str, mark: bytes, what: str) -> bytes:
    """A PEM file. Raises ConfigurationError where it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{key_path}: {path}: {error.strerror}") from error
    if mark in content:
        return content
    form = "is in DER, where PEM is needed" if content[:1] == b"\x30" else f"holds no PEM {what}"
    raise ConfigurationError(f"{key_path}: {path}: {form}")
