"""The subject of a certificate as people write it: CN=ct1,O=Hospital (RFC 4514)."""

import re

Subject = tuple[tuple[str, str], ...]

# What RFC 4514 calls them, by the names and numbers that else stand for them.
_SHORT_NAMES = {
    "COMMONNAME": "CN",
    "2.5.4.3": "CN",
    "LOCALITYNAME": "L",
    "2.5.4.7": "L",
    "STATEORPROVINCENAME": "ST",
    "2.5.4.8": "ST",
    "ORGANIZATIONNAME": "O",
    "2.5.4.10": "O",
    "ORGANIZATIONALUNITNAME": "OU",
    "2.5.4.11": "OU",
    "COUNTRYNAME": "C",
    "2.5.4.6": "C",
    "STREETADDRESS": "STREET",
    "2.5.4.9": "STREET",
    "DOMAINCOMPONENT": "DC",
    "0.9.2342.19200300.100.1.25": "DC",
    "USERID": "UID",
    "0.9.2342.19200300.100.1.1": "UID",
    "2.5.4.5": "SERIALNUMBER",
    "E": "EMAILADDRESS",
    "1.2.840.113549.1.9.1": "EMAILADDRESS",
}
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)+")
_SPECIAL = ' "#+,;<=>\\'
_ESCAPE = re.compile(r"\\(?P<pairs>[0-9A-Fa-f]{2}(?:\\[0-9A-Fa-f]{2})*)|\\(?P<character>.)")


def parse_subject(text: str) -> Subject:
    """Its attributes, in the order of the text. Raises ValueError with what is wrong."""
    return tuple(map(_attribute, _split(text)))


def subject_text(subject: Subject) -> str:
    """The other way round, for people."""
    return ",".join(f"{kind}={_escaped(value)}" for kind, value in subject)


def names_all(wanted: Subject, shown: Subject) -> bool:
    """Whether a certificate with the subject `shown` has every attribute of `wanted`: types without
    regard to case, values exact but for spaces around them."""
    return _comparable(wanted) <= _comparable(shown)


def _comparable(subject: Subject) -> frozenset[tuple[str, str]]:
    return frozenset((_short(kind), value.strip()) for kind, value in subject)


def _short(kind: str) -> str:
    return _SHORT_NAMES.get(kind.upper(), kind.upper())


def _split(text: str) -> list[str]:
    """At the commas and plus signs that are not escaped."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] in ",+":
            parts.append(text[start:position])
            start = position + 1
        position += 2 if text[position] == "\\" else 1
    return [*parts, text[start:]]


def _attribute(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    kind, value = kind.strip(), value.lstrip(" ")
    if not equals:
        raise ValueError(f"{text.strip()!r} is no TYPE=VALUE")
    if not _TYPE.fullmatch(kind):
        raise ValueError(f"{kind!r} is no type of an attribute, such as CN or O")
    if value.startswith("#"):
        raise ValueError(f"{value!r}: a value in hexadecimal is not taken here")
    plain = _ESCAPE.sub("", value)
    if any(character in plain for character in '";<>\\\0'):
        raise ValueError(f"{value!r} has a character that takes a backslash before it")
    unescaped = _ESCAPE.sub(_unescape, value).strip()
    if not unescaped:
        raise ValueError(f"{kind} has no value")
    return _short(kind), unescaped


def _unescape(match: re.Match[str]) -> str:
    if match["pairs"]:
        try:
            return bytes.fromhex(match["pairs"].replace("\\", "")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{match[0]!r} is not UTF-8") from error
    if match["character"] not in _SPECIAL:
        raise ValueError(f"{match[0]!r} escapes what needs no escape")
    return match["character"]


def _escaped(value: str) -> str:
    return re.sub(r'(^[# ]| $|["+,;<>\\])', r"\\\1", value)
