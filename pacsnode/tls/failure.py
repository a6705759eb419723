"""Why TLS failed, in words: what is wrong, at which side, and the setting that decides it."""

import ssl
from enum import Enum, auto

# X509_V_ERR_… of OpenSSL.
_EXPIRED, _NOT_YET_VALID = 10, 9
_NO_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 63, 64})

_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "UNKNOWN_PROTOCOL"})
_NO_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG", "BAD_RECORD_TYPE",
    }
)  # fmt: skip
_NOTHING_IN_COMMON = frozenset(
    {
        "NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_SHARED_GROUP",
        "NO_SUITABLE_KEY_SHARE", "NO_SHARED_SIGNATURE_ALGORITHMS",
    }
)  # fmt: skip
_CERTIFICATE_WANTED = frozenset({"CERTIFICATE_REQUIRED", "NO_CERTIFICATE"})
_CERTIFICATE_REFUSED = frozenset(
    {
        "UNKNOWN_CA", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED", "DECRYPT_ERROR",
    }
)  # fmt: skip

SUITES = "TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20 (PS3.15 B.12)"


def reason(error: OSError) -> str:
    """What the operating system or OpenSSL says, without its decoration."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "TLS failed"
    return error.strerror or str(error)


def alert(error: OSError) -> str | None:
    """The name of the alert (RFC 8446 6.2) by which the peer ended TLS; None for anything else."""
    text = error.reason if isinstance(error, ssl.SSLError) else None
    if not text or not text.startswith(("SSLV3_ALERT_", "TLSV1_ALERT_", "TLSV13_ALERT_")):
        return None
    return text.partition("_ALERT_")[2]


def client_fault(error: OSError) -> str:
    """Why a client was refused, or refused the node: to follow its name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, "listen.tls.client_ca")
    sent = alert(error)
    if sent in _CERTIFICATE_REFUSED:
        return f"it refuses the node's certificate, listen.tls.certificate: {_words(sent)}"
    if sent is not None:
        return f"it broke off the TLS handshake: {_words(sent)}"
    code = error.reason if isinstance(error, ssl.SSLError) else None
    if code in _TOO_OLD:
        return "it offers no version of TLS from 1.2 on"
    if code in _NOTHING_IN_COMMON:
        return f"it offers none of what is taken: {SUITES}"
    if code == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it shows no certificate, which listen.tls.require_client_certificate demands"
    if _has_left(error):
        return "it left during the TLS handshake"
    return f"the TLS handshake failed: {reason(error)}"


class Fault(Enum):
    """What is wrong with a server, or what it finds wrong with the node."""

    OTHER_NAME = auto()
    EXPIRED = auto()
    NOT_YET_VALID = auto()
    NO_AUTHORITY = auto()
    UNTRUSTED = auto()
    CERTIFICATE_WANTED = auto()
    CERTIFICATE_REFUSED = auto()
    REFUSED = auto()
    TOO_OLD = auto()
    BROKEN_OFF = auto()
    NO_TLS = auto()
    HAS_LEFT = auto()
    OTHER = auto()


def fault_of(error: OSError) -> Fault:
    """What a failed handshake with a server comes from."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _fault_of_certificate(error.verify_code)
    sent = alert(error)
    code = error.reason if isinstance(error, ssl.SSLError) else None
    if sent in _CERTIFICATE_WANTED:
        return Fault.CERTIFICATE_WANTED
    if sent in _CERTIFICATE_REFUSED:
        return Fault.CERTIFICATE_REFUSED
    if sent == "HANDSHAKE_FAILURE":
        return Fault.REFUSED
    if sent == "PROTOCOL_VERSION" or code in _TOO_OLD:
        return Fault.TOO_OLD
    if sent is not None:
        return Fault.BROKEN_OFF
    if code in _NO_TLS:
        return Fault.NO_TLS
    return Fault.HAS_LEFT if _has_left(error) else Fault.OTHER


def _fault_of_certificate(verify_code: int) -> Fault:
    if verify_code in _OTHER_NAME:
        return Fault.OTHER_NAME
    if verify_code in _NO_AUTHORITY:
        return Fault.NO_AUTHORITY
    return {_EXPIRED: Fault.EXPIRED, _NOT_YET_VALID: Fault.NOT_YET_VALID}.get(
        verify_code, Fault.UNTRUSTED
    )


def server_fault(error: OSError, where: str, host: str, *, has_ca: bool) -> str:
    """Why a server was refused, or refused the node. `where` is the key path of its TLS settings,
    `host` what it was called by; `has_ca` says whether they name authorities."""
    fault = fault_of(error)
    if isinstance(error, ssl.SSLCertVerificationError) and fault is not Fault.OTHER_NAME:
        authorities = f"{where}.ca" if has_ca else f"the system's authorities ({where}.ca is null)"
        return _untrusted(error, authorities)
    words = {
        Fault.OTHER_NAME: f"its certificate is not for {host}: correct "
        f"{where.removesuffix('.tls')}.host, or set {where}.verify_host to false",
        Fault.CERTIFICATE_WANTED: f"it demands a certificate, which {where}.certificate names",
        Fault.CERTIFICATE_REFUSED: "it refuses the certificate it was shown, "
        f"{where}.certificate: {_words(alert(error))}",
        Fault.REFUSED: f"it refuses: it may demand a certificate, which {where}.certificate names, "
        f"or know none of {SUITES}",
        Fault.TOO_OLD: "it knows no version of TLS from 1.2 on",
        Fault.BROKEN_OFF: f"it broke off TLS: {_words(alert(error))}",
        Fault.NO_TLS: f"it does not answer in TLS on this port, which {where} says it speaks",
        Fault.HAS_LEFT: "it closed the connection during the TLS handshake: does it speak TLS "
        f"({where})?",
    }
    return words.get(fault, f"the TLS handshake failed: {reason(error)}")


def _untrusted(error: ssl.SSLCertVerificationError, authorities: str) -> str:
    if error.verify_code == _EXPIRED:
        return "its certificate, or one above it, has expired"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate, or one above it, is not valid yet: are both clocks right?"
    if error.verify_code in _NO_AUTHORITY:
        return f"its certificate is of no authority in {authorities}: {error.verify_message}"
    return f"its certificate is refused: {error.verify_message}"


def _has_left(error: OSError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError)


def _words(name: str | None) -> str:
    return (name or "").replace("_", " ").lower().replace(" ca", " authority")
