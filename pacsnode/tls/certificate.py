"""What an X.509 certificate says of itself (RFC 5280 4.1): whose it is, whose word for that it is,
how long it is good, and for which hosts.

The standard library tells these of a peer's certificate alone, and not of the node's own."""

import ipaddress
import re
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

Subject = tuple[tuple[str, str], ...]

_BLOCK = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE, _SET, _OBJECT_IDENTIFIER, _VERSION = 0x30, 0x31, 0x06, 0xA0
_UTC_TIME, _GENERALISED_TIME = 0x17, 0x18
_LONG = 0x80  # a length in several bytes
_MORE = 0x80  # a number goes on in the next byte
_EXTENSIONS, _DNS_NAME, _IP_ADDRESS = 0xA3, 0x82, 0x87
_SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"

# How the bytes of a text are to be read, by its tag; T61String holds what its writer had in mind.
_ENCODINGS = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}

# RFC 4514 3, and what else is common; others go by their numbers.
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "EMAILADDRESS",
}


class Certificate(NamedTuple):
    """Attributes of subject and issuer in the order of RFC 4514: the last of the certificate first.
    `hosts` are its subject alternative names: DNS names and IP addresses."""

    subject: Subject
    not_before: datetime
    not_after: datetime
    issuer: Subject = ()
    hosts: tuple[str, ...] = ()


def certificates_in(pem: bytes) -> list[Certificate]:
    """Those of a PEM file that can be read: what OpenSSL takes may be odder than that."""
    found = []
    for block in _BLOCK.findall(pem):
        with suppress(ValueError):
            found.append(read_certificate(ssl.PEM_cert_to_DER_cert(block.decode("latin-1"))))
    return found


def read_certificate(der: bytes) -> Certificate:
    """A certificate in DER. Raises ValueError."""
    try:
        body = next(_elements(_only(der)))[1]
        fields = [field for field in _elements(body) if field[0] != _VERSION]
        # Serial number, algorithm, issuer, validity, subject.
        not_before, not_after = (_moment(*time) for time in _elements(fields[3][1]))
        subject = _name(fields[4][1])
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError("a certificate that cannot be read") from error
    issuer: Subject = ()
    hosts: tuple[str, ...] = ()
    # Nobody's rights depend on these two, and authorities write odd things.
    with suppress(ValueError, IndexError, StopIteration):
        issuer = _name(fields[2][1])
    with suppress(ValueError, IndexError, StopIteration):
        hosts = _hosts(fields[5:])
    return Certificate(subject, not_before, not_after, issuer, hosts)


def _name(content: bytes) -> Subject:
    """A distinguished name."""
    names = [_attribute(one) for group in _elements(content) for one in _group(group)]
    return tuple(reversed(names))


def _hosts(fields: Iterable[tuple[int, bytes]]) -> tuple[str, ...]:
    """DNS names and IP addresses of the subject alternative name (RFC 5280 4.2.1.6)."""
    extensions = (content for tag, content in fields if tag == _EXTENSIONS)
    for _, extension in (one for content in extensions for one in _elements(_only(content))):
        parts = list(_elements(extension))
        if _dotted(parts[0][1]) == _SUBJECT_ALTERNATIVE_NAME:
            names = (_host(*name) for name in _elements(_only(parts[-1][1])))
            return tuple(name for name in names if name)
    return ()


def _host(tag: int, content: bytes) -> str:
    """ "" for names of other kinds: of mailboxes, of resources."""
    if tag == _DNS_NAME:
        return content.decode("ascii")
    return str(ipaddress.ip_address(content)) if tag == _IP_ADDRESS else ""


def _only(der: bytes) -> bytes:
    return next(_elements(der))[1]


def _group(element: tuple[int, bytes]) -> Iterator[bytes]:
    return (content for _, content in _elements(element[1]))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of what stands one after the other in `data`. Raises IndexError where it
    is cut off."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & _LONG:
            count = length & ~_LONG
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise IndexError(f"an element of {length} bytes is cut off")
        yield tag, data[position : position + length]
        position += length


def _moment(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits stand for 1950 to 2049 (RFC 5280 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALISED_TIME:
        raise ValueError(f"a time with the tag {tag:02X}")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _attribute(content: bytes) -> tuple[str, str]:
    (tag, identifier), (value_tag, value) = _elements(content)
    if tag != _OBJECT_IDENTIFIER:
        raise ValueError("an attribute without its type")
    number, encoding = _dotted(identifier), _ENCODINGS.get(value_tag, "latin-1")
    return _SHORT_NAMES.get(number, number), value.decode(encoding, "replace")


def _dotted(identifier: bytes) -> str:
    numbers, number = [], 0
    for byte in identifier:
        number = number << 7 | byte & ~_MORE
        if not byte & _MORE:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
