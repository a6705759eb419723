"""Bytes made wrong: bits flipped, lengths that lie, stretches cut, doubled and exchanged."""

import struct
from collections.abc import Callable, Sequence
from random import Random

# Numbers at which length fields, counters and signs turn over.
NUMBERS = (
    0, 1, 2, 3, 4, 7, 8, 12, 16, 127, 128, 255, 256, 4095, 16384, 0x7FFF,
    0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,
)  # fmt: skip

# What stands for something in a dataset, a name, a path, a pattern or a terminal.
WORDS = (
    b"\0", b"\\", b"^", b"=", b"*", b"?", b"../", b"/", b"-", b"+", b".", b"\n", b"\x1b[2J",
    b"\x9b31m", b"\x1b$B", b"\x1b(B", b"\x1b)I", b"\x1b$)C", b"\x1b-A", b"\xcc\x81\xcc\x96",
    b"\xe2\x80\xae", b"\xff\xfe", b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0",
    b"SQ\0\0", b"UN\0\0\xff\xff\xff\xff", b"OB\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0",
    b"1e999", b"nan", b"-0", b"19991231", b"235959.999999", b"20200101-20210101", b"ISO 2022 IR 87",
    b"ISO_IR 192", b"GB18030", b"\xe0\x7f\x10\0", b"\x08\0\x05\0", b"\x08\0\x52\0",
)  # fmt: skip

LONGEST = 64 << 10  # bytes of a mutated input: what is slow is found at this length too

Step = Callable[[Random, bytearray, Sequence[bytes]], None]


def mutated(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` after one to six steps, mostly few; `others` lend stretches of theirs."""
    changed = bytearray(data)
    for _ in range(1 + int(random.expovariate(0.9)) % 6):
        random.choice(STEPS)(random, changed, others)
    return bytes(changed[:LONGEST])


def _place(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _stretch(random: Random, data: Sequence[int]) -> slice:
    start = random.randrange(len(data) + 1)
    longest = max(len(data) - start, 0)
    length = min(longest, int(random.expovariate(1 / 12)) + 1)
    return slice(start, start + (length if random.random() < 0.9 else longest))


def _flip(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _byte(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.randrange(256)


def _number(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """A field of 1, 2 or 4 bytes, either byte order, becomes a number of those above, or another
    one close to it."""
    size, code = random.choice(((1, "B"), (2, "H"), (4, "L")))
    if len(data) < size:
        return
    place = random.randrange(len(data) - size + 1)
    order = random.choice("<>")
    (before,) = struct.unpack_from(order + code, data, place)
    near = before + random.randint(-4, 4)
    number = random.choice((random.choice(NUMBERS), near, len(data) - place)) & (1 << 8 * size) - 1
    struct.pack_into(order + code, data, place, number)


def _remove(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_stretch(random, data)]


def _cut(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_place(random, data) :]


def _double(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """A stretch again, at times very often."""
    stretch = bytes(data[_stretch(random, data)])
    if stretch:
        often = random.choice((1, 1, 1, 2, 8, min(5000, LONGEST // len(stretch))))
        place = _place(random, data)
        data[place:place] = stretch * often
        del data[LONGEST:]


def _word(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    place = _place(random, data)
    word = random.choice(WORDS)
    data[place : place + random.choice((0, len(word)))] = word


def _noise(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    place = _place(random, data)
    data[place:place] = random.randbytes(random.randint(1, 16))


def _splice(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if others:
        other = random.choice(others)
        data[_stretch(random, data)] = other[_stretch(random, other)]


def _exchange(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    one, two = _stretch(random, data), _stretch(random, data)
    data[one], data[two] = data[two], data[one]


STEPS: Sequence[Step] = (
    _flip, _flip, _byte, _number, _number, _number, _remove, _cut, _double, _word, _word, _noise,
    _splice, _exchange,
)  # fmt: skip
