"""Single values of the configuration file: what each may be, and from YAML to what the program
wants. A ValueError's text says what is wrong; a field's description says what is allowed.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo

from pacsnode.config.subject import Subject, parse_subject

SERVICES = frozenset({"echo", "store", "find", "move", "get", "commit"})

# poll() counts milliseconds in 32 bits.
LONGEST = 1_000_000

LATER = "comes in a later version"

MOST_WORKERS = 64
MOST_ASSOCIATIONS = 100_000
MOST_BYTES = 1 << 62

# Those that pydicom does not list among its own.
NEWER_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2.1.98": "EncapsulatedUncompressedExplicitVRLittleEndian",
    "1.2.840.10008.1.2.4.110": "JPEGXLLossless",
    "1.2.840.10008.1.2.4.111": "JPEGXLJPEGRecompression",
    "1.2.840.10008.1.2.4.112": "JPEGXL",
    "1.2.840.10008.1.2.8.1": "DeflatedImageFrameCompression",
}
LIVE_VIDEO = "1.2.840.10008.1.2.7."  # SMPTE ST 2110

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MULTIPLES = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}


class Unavailable:
    """Stands for a value that the file leaves to another place, where it cannot be had."""

    def __init__(self, text: str) -> None:
        self.text = text


def _ae_title(value: str) -> str:
    """Rules of VR AE (PS3.5 6.2): default repertoire less backslash and control characters."""
    title = value.strip(" ")
    if not title:
        raise ValueError(f"{value!r} is empty or nothing but spaces")
    if len(title) > 16:
        raise ValueError(f"{value!r} has {len(title)} characters")
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise ValueError(f"{value!r} has a character that AE titles may not have")
    return title


def _host(value: str) -> str:
    host = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
    if not host or any(character.isspace() or not character.isprintable() for character in host):
        raise ValueError(f"{value!r} is no host")
    return host


def _seconds(value: float) -> float:
    if not 0 < value <= LONGEST:
        raise ValueError(f"{value} is no time to wait")
    return value


def to_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _MULTIPLES:
        raise ValueError(f"{value!r} is no number of bytes")
    count = float(match[1]) * _MULTIPLES[match[2].upper()]
    if count > MOST_BYTES:  # infinity too
        raise ValueError(f"{value[:40]!r} is more than any disk has")
    return int(count)


def _services(value: object) -> object:
    if value == "all":
        return SERVICES
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"{value!r} is no list")  # noqa: TRY004 pydantic reports ValueErrors only
    for service in value:
        if not isinstance(service, str) or service not in SERVICES:
            raise ValueError(f"{service!r} is no service")
    return frozenset(value)


def _names(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r} is no list of names")
    return tuple(value)


def _networks(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no list of networks")
    return tuple(_network(entry) for entry in value)


def _network(value: object) -> Network:
    try:
        if isinstance(value, str):  # a number would be taken for an address
            return _plain(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is no network: {error}") from error
    raise ValueError(f"{value!r} is no network")


def _plain(network: Network) -> Network:
    """An IPv4 network without the prefix that maps it into IPv6: callers have none either."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))


def _certificate_subject(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 pydantic reports ValueErrors only
    return parse_subject(value)


def _character_set(value: str) -> str:
    from pydicom.charset import python_encoding

    for term in value.split("\\"):
        if term.strip() not in python_encoding or not value.strip():
            raise ValueError(f"{term!r} is no defined term of Specific Character Set")
    return value


def _transfer_syntaxes(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no list of transfer syntaxes")
    return tuple(dict.fromkeys(_transfer_syntax(entry) for entry in value))


def _transfer_syntax(value: object) -> str:
    from pydicom.uid import AllTransferSyntaxes

    known = {str(uid): uid.keyword for uid in AllTransferSyntaxes} | NEWER_TRANSFER_SYNTAXES
    for uid, keyword in known.items():
        if value in (uid, keyword):
            if uid.startswith(LIVE_VIDEO):
                raise ValueError(f"{value!r} is of live video, which no instance is sent in")
            return uid
    raise ValueError(f"{value!r} is no transfer syntax")


def upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def same_association(value: object) -> object:
    return "same" if value == "same association" else value


def _workers(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value != "auto" and not (is_number and value in range(1, MOST_WORKERS + 1)):
        raise ValueError(f"{value!r} is no number of processes")
    return value


def _max_pdu(value: int) -> int:
    if value and not 4096 <= value <= 16 * 1024**2:
        raise ValueError(f"{value} bytes is out of bounds")
    return value


def only_null(what: str) -> Any:
    def check(value: object) -> object:
        # The value is not quoted: it may hold a password.
        if isinstance(value, str) and value.startswith(what):
            raise ValueError(f"{what} {LATER}")
        if value is not None:
            raise ValueError("a URL that is not known here")
        return value

    return check


def section(value: object) -> object:
    """A section with every line of it commented out is one of defaults."""
    return {} if value is None else value


def in_folder(info: ValidationInfo, value: object, what: str) -> Path:
    """Relative to the configuration file's folder, which load.py hands over as context."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"{value!r} is no {what}")
    base = (info.context or {}).get("folder") or Path.cwd()
    try:
        return Path(base, Path(value).expanduser()).absolute()
    except RuntimeError as error:
        raise ValueError(f"{value!r} is no {what}: {error}") from error


def _folder(value: object, info: ValidationInfo) -> Path:
    return in_folder(info, value, "folder")


def _file(value: object, info: ValidationInfo) -> Path | None:
    return None if value is None else in_folder(info, value, "file")


AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_host)]
Seconds = Annotated[float, AfterValidator(_seconds)]
Bytes = Annotated[int, BeforeValidator(to_bytes)]
Services = Annotated[frozenset[str], BeforeValidator(_services)]
Names = Annotated[tuple[str, ...] | None, BeforeValidator(_names)]
CertificateSubject = Annotated[Subject | None, BeforeValidator(_certificate_subject)]
Networks = Annotated[tuple[Network, ...] | None, BeforeValidator(_networks)]
CharacterSet = Annotated[str, AfterValidator(_character_set)]
TransferSyntaxes = Annotated[tuple[str, ...] | None, BeforeValidator(_transfer_syntaxes)]
Workers = Annotated[Literal["auto"] | int, BeforeValidator(_workers)]
MaxPDU = Annotated[int, AfterValidator(_max_pdu)]
Folder = Annotated[Path, BeforeValidator(_folder)]
File = Annotated[Path, BeforeValidator(_file)]
OptionalFile = Annotated[Path | None, BeforeValidator(_file)]
Secret = SecretStr | None
