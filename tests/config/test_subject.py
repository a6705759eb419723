"""The subject of a certificate as people write it."""

import pytest

from pacsnode.config.subject import names_all, parse_subject, subject_text


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("CN=ct1", (("CN", "ct1"),)),
        ("CN=ct1,O=Hospital", (("CN", "ct1"), ("O", "Hospital"))),
        (" cn = ct1 , o = My Hospital ", (("CN", "ct1"), ("O", "My Hospital"))),
        (r"CN=Doe\, John,O=Sue\+Bob \"Ltd\"", (("CN", "Doe, John"), ("O", 'Sue+Bob "Ltd"'))),
        (r"CN=Lu\C4\8Di\C4\87", (("CN", "Lučić"),)),
        (r"CN=\#1\\2", (("CN", "#1\\2"),)),
        ("OU=a+CN=b", (("OU", "a"), ("CN", "b"))),
        ("DC=ct1,DC=example,DC=org", (("DC", "ct1"), ("DC", "example"), ("DC", "org"))),
        ("commonName=ct1,2.5.4.10=H", (("CN", "ct1"), ("O", "H"))),
        ("CN=a=b", (("CN", "a=b"),)),
        ("CN=a\\ ,O=b", (("CN", "a"), ("O", "b"))),
        ("serialNumber=7,1.2.3.4=x", (("SERIALNUMBER", "7"), ("1.2.3.4", "x"))),
    ],
)
def test_a_subject_is_its_attributes(text: str, subject: tuple[tuple[str, str], ...]) -> None:
    assert parse_subject(text) == subject
    assert parse_subject(subject_text(subject)) == subject


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "TYPE=VALUE"),
        ("ct1", "'ct1'"),
        ("CN=ct1,", "''"),
        ("CN=", "CN has no value"),
        ("C N=ct1", "'C N'"),
        ("=ct1", "''"),
        ("CN=#0401", "hexadecimal"),
        ('CN="ct1"', "backslash"),
        ("CN=ct1;O=H", "backslash"),
        ("CN=ct1\\", "backslash"),
        (r"CN=\FF", "UTF-8"),
        (r"CN=\x", "no escape"),
    ],
)
def test_a_fault_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_subject(text)


def test_every_attribute_asked_for_must_be_shown() -> None:
    shown = (("C", "DE"), ("O", " Hospital "), ("OU", "a"), ("OU", "b"), ("CN", "ct1"))
    for text in ("CN=ct1", "cn=ct1,o=Hospital", "OU=b,OU=a", "organizationName=Hospital"):
        assert names_all(parse_subject(text), shown), text
    for text in ("CN=CT1", "CN=ct1,O=Other", "OU=c", "L=Berlin", "CN=ct1,CN=ct2"):
        assert not names_all(parse_subject(text), shown), text
    assert names_all(parse_subject("CN=ct1"), (("commonName", "ct1"),))
