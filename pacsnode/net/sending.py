"""Messages on their way out (PS3.7 6.3, PS3.8 annex E): cut into the fragments that the peer takes.
Of a file as many fragments go to one write as fit a buffer: peers with short PDUs, DCMTK's 16 KB
say, cost hardly more than those that take any length."""

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from pacsnode.dicom.message import DatasetSource
from pacsnode.errors import InstanceDamaged
from pacsnode.net.transport import P_DATA

COMMAND, LAST = 0x01, 0x02

LARGEST_FRAGMENT = 128 << 10  # bytes, for a peer that takes any length
ONE_WRITE = 1 << 20  # bytes: a CT slice goes out whole
FOR_COMMAND = 1 << 10  # bytes before the dataset; a command set has a few hundred

_HEADERS = struct.Struct(">BxLLBB")  # of a PDU with one presentation data value
_PDV_HEADER = 6  # bytes that count towards the length of the PDU
_MOST_PIECES = 1024  # that one preadv takes (IOV_MAX)


def largest_fragment(maximum_pdu_size: int | None) -> int:
    """The peer's limit counts a PDU's variable field (PS3.8 D.1); 0 is none. Fragments have an even
    length."""
    limit = maximum_pdu_size or LARGEST_FRAGMENT + _PDV_HEADER
    return max(min(limit - _PDV_HEADER, LARGEST_FRAGMENT) & ~1, 2)


def fragments(context_id: int, kind: int, data: bytes, largest: int) -> Iterator[bytes]:
    """The PDUs of a command set (`kind` is COMMAND) or a dataset in memory (0)."""
    for start in range(0, max(len(data), 1), largest):
        chunk = data[start : start + largest]
        control = kind | (LAST if start + largest >= len(data) else 0)
        yield _headers(context_id, control, len(chunk)) + chunk


def _headers(context_id: int, control: int, length: int) -> bytes:
    return _HEADERS.pack(P_DATA, length + _PDV_HEADER, length + 2, context_id, control)


class Outbox:
    """Where the datasets that go out on one association are read to, between the headers of their
    PDUs. It grows with what is sent, up to ONE_WRITE."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        slot = _HEADERS.size + largest
        self._most = min(max(ONE_WRITE // slot, 1), _MOST_PIECES)
        self._view = memoryview(b"")
        self._heads: list[memoryview] = []  # room for the headers of each fragment
        self._contents: list[memoryview] = []  # and for its bytes
        self._source: DatasetSource | None = None
        self._context_id = 0
        self._left = 0  # bytes of the dataset that have not been read
        self._end = FOR_COMMAND

    def load(self, context_id: int, source: DatasetSource) -> None:
        """Read the beginning of a dataset, as much as goes to one write. Raises InstanceDamaged
        where the file ends before; OSError."""
        self._source = None
        self._context_id = context_id
        self._left = source.length
        self._make_room(source.length)
        self._read(source)
        self._source = source

    @property
    def length(self) -> int:
        """Bytes of the dataset that was loaded."""
        return self._source.length if self._source is not None else 0

    def holds(self, context_id: int, source: DatasetSource) -> bool:
        """Whether this is what was loaded and has not gone out."""
        return self._source is source and self._context_id == context_id

    def unload(self, command: bytes) -> Iterator[memoryview]:
        """All PDUs of the message: `command`, framed, and the dataset that was loaded. Each view is
        valid until the next one. Raises what `load` raises."""
        source, self._source = self._source, None
        assert source is not None  # noqa: S101  # loaded
        start = FOR_COMMAND - len(command)
        if start < 0:
            yield memoryview(command)
            start = FOR_COMMAND
        else:
            self._view[start:FOR_COMMAND] = command
        yield self._view[start : self._end]
        while self._left:
            self._read(source)
            yield self._view[FOR_COMMAND : self._end]

    def _make_room(self, length: int) -> None:
        needed = min(max(-(-length // self._largest), 1), self._most)
        if needed <= len(self._contents):
            return
        count = min(max(needed, 2 * len(self._contents)), self._most)
        slot = _HEADERS.size + self._largest
        view = memoryview(bytearray(FOR_COMMAND + count * slot))
        starts = range(FOR_COMMAND, len(view), slot)
        self._heads = [view[start : start + _HEADERS.size] for start in starts]
        self._contents = [view[start + _HEADERS.size : start + slot] for start in starts]
        self._view = view

    def _read(self, source: DatasetSource) -> None:
        """Fill the buffer with what comes next of the dataset."""
        whole = min(self._left // self._largest, len(self._contents))
        pieces = self._contents[:whole]
        headers = _headers(self._context_id, 0, self._largest)
        for head in self._heads[:whole]:
            head[:] = headers
        length = whole * self._largest
        rest = self._left - length
        if whole < len(self._contents) and (rest or not whole):
            pieces.append(self._contents[whole][:rest])
            self._heads[whole][:] = _headers(self._context_id, 0, rest)
            length += rest
        self._left -= length
        if not self._left:
            self._heads[len(pieces) - 1][-1] = LAST
        self._end = FOR_COMMAND + len(pieces) * _HEADERS.size + length
        if not _read_into(pieces, length, source.file):
            raise InstanceDamaged("the file ended before its dataset did")


def _read_into(pieces: list[memoryview], total: int, file: BinaryIO) -> bool:
    """Fill `pieces`; False where the file has less than their `total` bytes."""
    if isinstance(file, io.BufferedReader):  # a file of the system's, and not one in memory
        offset = file.tell()
        if os.preadv(file.fileno(), pieces, offset) == total:
            file.seek(offset + total)
            return True
    read = file.readinto  # type: ignore[attr-defined]  # every file of ours has it
    return all(read(piece) == len(piece) for piece in pieces)
