"""Elements one by one: forms, headers out of order, sequences passed over."""

import zlib
from io import BytesIO
from itertools import islice

import pytest

from pacsnode.dicom.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Element,
    Form,
    Walker,
    Window,
    forms_of,
    items_of,
    parse,
)
from pacsnode.errors import UnreadableDataset
from tests.dicom.raw import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    delimiter,
    element,
    implicit,
)

AFTER = element(0x00100020, "LO", b"7 ")


def tags(data: bytes, form: Form = EXPLICIT_LITTLE) -> list[int]:
    return [found.tag for found in parse(data, form)]


@pytest.mark.parametrize(
    ("declared", "head", "first"),
    [
        (EXPLICIT, element(0x00080005, "CS", b""), EXPLICIT_LITTLE),
        (IMPLICIT, element(0x00080005, "CS", b""), EXPLICIT_LITTLE),
        (EXPLICIT, implicit(0x00080005, b"ISO_IR 100"), IMPLICIT_LITTLE),
        ("1.2.3", element(0x00080005, "CS", b"", order=">"), EXPLICIT_BIG),
        (BIG_ENDIAN, element(0x00080005, "CS", b"", order=">"), EXPLICIT_BIG),
        (EXPLICIT, b"", IMPLICIT_LITTLE),
    ],
)
def test_the_first_bytes_tell_the_form(declared: str, head: bytes, first: Form) -> None:
    assert forms_of(declared, head[:8])[0] == first


@pytest.mark.parametrize(
    "odd",
    [
        element(0x00091001, "UN", b"12345"),
        element(0x00091001, "ZZ", b"\3\0\0\0abc", length=0),  # a VR of times to come
        element(0x00091001, "??", b"abcd"),
        element(0x00091001, "zz", b"abcd"),
        implicit(0x00091001, b"abcd"),
        delimiter(0xE0DD),
        delimiter(0xE00D),
    ],
)
def test_odd_headers_do_not_lose_the_place(odd: bytes) -> None:
    assert tags(odd + AFTER)[-1] == 0x00100020


def test_sequences_of_undefined_length_are_passed_over() -> None:
    inner = element(0x00081155, "UI", b"1.2\0")
    item = delimiter(0xE000, len(inner)) + inner
    loose = delimiter(0xE000, UNDEFINED) + inner + delimiter(0xE00D)
    unknown = delimiter(0xE000, UNDEFINED) + implicit(0x00081155, b"1.2\0") + delimiter(0xE00D)
    end = delimiter(0xE0DD)
    for data in (
        element(0x00081140, "SQ", end, length=UNDEFINED),
        element(0x00081140, "SQ", item + loose + item + end, length=UNDEFINED),
        element(0x00081140, "UN", unknown + end, length=UNDEFINED),
        # The item's own delimiter is missing.
        element(0x00081140, "SQ", delimiter(0xE000, UNDEFINED) + inner + end, length=UNDEFINED),
    ):
        assert tags(data + AFTER) == [0x00081140, 0x00100020]


def test_items_are_read_in_the_form_of_their_sequence() -> None:
    inner = element(0x00081155, "UI", b"1.2\0")
    item = delimiter(0xE000, len(inner)) + inner
    (sequence,) = parse(element(0x00081140, "SQ", item + item), EXPLICIT_LITTLE)
    assert [[found.raw for found in each] for each in items_of(sequence)] == [[b"1.2\0"]] * 2
    hidden = implicit(0x00081155, b"1.2\0")
    (sequence,) = parse(
        element(0x00081140, "UN", delimiter(0xE000, len(hidden)) + hidden), EXPLICIT_LITTLE
    )
    assert [[found.raw for found in each] for each in items_of(sequence)] == [[b"1.2\0"]]


def test_what_can_be_read_of_a_broken_item_is_read() -> None:
    inner = element(0x00081155, "UI", b"1.2\0") + element(0x00081199, "LO", b"x", length=99)
    raw = delimiter(0xE000, 500) + inner
    (item,) = items_of(Element(0x00081140, "SQ", raw, EXPLICIT_LITTLE))
    assert [found.tag for found in item] == [0x00081155]


def test_only_what_is_wanted_is_given_and_long_values_are_not() -> None:
    data = element(0x00080005, "CS", b"") + element(0x00091001, "OB", bytes(100)) + AFTER
    walker = Walker(Window(BytesIO(data)), EXPLICIT_LITTLE)
    assert [found.tag for found in walker.walk(longest=50)] == [0x00080005, 0x00100020]
    walker = Walker(Window(BytesIO(data)), EXPLICIT_LITTLE)
    assert [found.tag for found in walker.walk({0x00100020})] == [0x00100020]
    walker = Walker(Window(BytesIO(data)), EXPLICIT_LITTLE)
    assert [found.tag for found in walker.walk(stop=0x00100000)][-1] == 0x00091001
    assert walker.position == len(data) - len(AFTER)


@pytest.mark.parametrize("more", [b"\1", b"\x10\0\x20\0LO", b"\x10\0\x20\0OB\0\0\1\0"])
def test_half_an_element_is_unreadable(more: bytes) -> None:
    with pytest.raises(UnreadableDataset):
        tags(AFTER + more)


@pytest.mark.parametrize("shift", range(0, 40, 2))
def test_elements_that_lie_across_two_reads_are_read_whole(shift: int) -> None:
    """A file is read in pieces: wherever one ends, the elements are those of the whole."""
    data = element(0x00090010, "LO", bytes(16340 + shift))
    data += b"".join(element(0x00100000 + 2 * i, "LO", b"%06d" % i) for i in range(3000))
    found = list(Walker(Window(BytesIO(data)), EXPLICIT_LITTLE).walk())
    assert [each.raw for each in found[1:]] == [b"%06d" % i for i in range(3000)]
    assert found == list(parse(data, EXPLICIT_LITTLE))


def test_what_is_inflated_has_fewer_elements() -> None:
    """A million of them are sent in ten thousand bytes."""
    elements = element(0x00090010, "LO", b"") * 200_000
    bomb = BytesIO(zlib.compress(elements, 9, wbits=-zlib.MAX_WBITS))
    found = Walker(Window(bomb, is_deflated=True), EXPLICIT_LITTLE).walk()
    assert sum(1 for _ in islice(found, 100_000)) == 100_000
    with pytest.raises(UnreadableDataset, match="more elements"):
        next(found)


def test_no_dataset_has_elements_without_end() -> None:
    elements = parse(element(0x00090010, "LO", b"") * 600_000, EXPLICIT_LITTLE)
    assert sum(1 for _ in islice(elements, 500_000)) == 500_000
    with pytest.raises(UnreadableDataset, match="more elements"):
        next(elements)
