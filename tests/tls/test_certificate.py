"""Subjects and dates of certificates, as another library wrote them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.tls import certificates_in, read_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN, END = datetime(2020, 2, 29, 1, 2, 3, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, tzinfo=UTC)


def certificate(
    groups: Sequence[Sequence[x509.NameAttribute[str]]],
    begin: datetime = BEGIN,
    end: datetime = END,
) -> x509.Certificate:
    names = x509.Name([x509.RelativeDistinguishedName(group) for group in groups])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")])
    builder = x509.CertificateBuilder(issuer, names, KEY.public_key(), 12345, begin, end)
    return builder.sign(KEY, hashes.SHA256())


def der(
    *groups: Sequence[x509.NameAttribute[str]], begin: datetime = BEGIN, end: datetime = END
) -> bytes:
    return certificate(groups, begin, end).public_bytes(serialization.Encoding.DER)


def attribute(
    oid: ObjectIdentifier, value: str, kind: _ASN1Type | None = None
) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value, kind)


def test_the_subject_is_told_in_short_names_the_last_first() -> None:
    found = read_certificate(
        der(
            [attribute(NameOID.COUNTRY_NAME, "DE")],
            [attribute(NameOID.ORGANIZATION_NAME, "Hospital, Inc.")],
            [attribute(NameOID.COMMON_NAME, "ct1"), attribute(NameOID.USER_ID, "7")],
            [attribute(ObjectIdentifier("1.3.6.1.4.1.99999.200"), "x")],
        )
    )
    assert found.subject[0] == ("1.3.6.1.4.1.99999.200", "x")
    assert set(found.subject[1:3]) == {("CN", "ct1"), ("UID", "7")}
    assert found.subject[3:] == (("O", "Hospital, Inc."), ("C", "DE"))


def test_issuer_and_hosts_are_told() -> None:
    names = x509.Name([attribute(NameOID.COMMON_NAME, "ct1")])
    issuer = x509.Name([attribute(NameOID.COMMON_NAME, "the authority")])
    builder = x509.CertificateBuilder(issuer, names, KEY.public_key(), 12345, BEGIN, END)
    hosts = [
        x509.DNSName("ct1.example"),
        x509.RFC822Name("admin@example"),
        x509.IPAddress(ip_address("10.0.0.5")),
        x509.IPAddress(ip_address("fd00::5")),
    ]
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(x509.SubjectAlternativeName(hosts), False)
    signed = builder.sign(KEY, hashes.SHA256())
    found = read_certificate(signed.public_bytes(serialization.Encoding.DER))
    assert found.issuer == (("CN", "the authority"),)
    assert found.hosts == ("ct1.example", "10.0.0.5", "fd00::5")


def test_hosts_that_cannot_be_read_cost_nobody_the_subject() -> None:
    names = x509.Name([attribute(NameOID.COMMON_NAME, "ct1")])
    builder = x509.CertificateBuilder(names, names, KEY.public_key(), 12345, BEGIN, END)
    odd = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\x30\x04\x82\x02\xff\xfe")
    signed = builder.add_extension(odd, False).sign(KEY, hashes.SHA256())
    found = read_certificate(signed.public_bytes(serialization.Encoding.DER))
    assert (found.subject, found.hosts) == ((("CN", "ct1"),), ())


@pytest.mark.parametrize(
    "kind", [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString]
)
def test_text_is_read_in_every_encoding(kind: _ASN1Type) -> None:
    found = read_certificate(der([attribute(NameOID.COMMON_NAME, "Röntgen 雪", kind)]))
    assert found.subject == (("CN", "Röntgen 雪"),)


@pytest.mark.parametrize(
    "moment", [datetime(1950, 1, 1), datetime(1999, 12, 31, 23, 59, 59), datetime(2050, 1, 1)]
)
def test_dates_of_all_centuries(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    found = read_certificate(der(begin=moment, end=moment + timedelta(days=40_000)))
    assert (found.not_before, found.not_after) == (moment, moment + timedelta(days=40_000))


def test_a_long_subject() -> None:
    groups = [
        [attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{number:060}")] for number in range(99)
    ]
    assert len(read_certificate(der(*groups)).subject) == 99


def test_a_file_holds_several() -> None:
    pem = b"some words before\n"
    for name in ("one", "two"):
        made = certificate([[attribute(NameOID.COMMON_NAME, name)]])
        pem += made.public_bytes(serialization.Encoding.PEM)
    pem += b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert [found.subject for found in certificates_in(pem)] == [(("CN", "one"),), (("CN", "two"),)]


WHOLE = der([attribute(NameOID.COMMON_NAME, "ct1")])


@given(st.data())
def test_what_is_no_certificate_is_a_value_error(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(WHOLE) - 1))
    changed = WHOLE[:place] + data.draw(st.binary(max_size=3)) + WHOLE[place + 1 :]
    for content in (changed, WHOLE[:place], data.draw(st.binary(max_size=200))):
        try:
            read_certificate(content)
        except ValueError:
            continue
