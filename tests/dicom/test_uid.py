"""UIDs in words."""

import pytest

from pacsnode.dicom.uid import name_of, short_name, word_of

SV1 = "1.2.840.10008.1.2.4.70"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("uid", "short", "word"),
    [
        (SV1, "JPEG Lossless SV1", None),
        ("1.2.840.10008.1.2.5", "RLE Lossless", "RLE Lossless"),
        (CT, "CT", "CT Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.1", "RT Image", "RT Image Storage"),
        ("1.2.3", "1.2.3", "1.2.3"),
        ("", "no UID", "no UID"),
    ],
)
def test_short_and_full(uid: str, short: str, word: str | None) -> None:
    assert short_name(uid) == short
    if word is not None:
        assert word_of(uid) == word


def test_strangers_are_cut_to_what_a_uid_has() -> None:
    assert name_of(CT) == f"CT Image Storage ({CT})"
    assert name_of("9" * 100) == "9" * 64
    assert name_of("") == "an empty UID"
