"""Deflated datasets, as they come (PS3.5 A.5)."""

import zlib
from typing import IO

from pacsnode.errors import TranscodingError

BLOCK = 1 << 16  # bytes that are inflated together
LONGEST_INFLATED = 1 << 30  # bytes: what is deflated are reports and parameters


class Inflater:
    """The reading half of a file, for the bytes behind a raw deflate stream: up to a thousand
    for each that came, so there is an end to them."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._block = b""
        self._position = 0
        self._room = LONGEST_INFLATED

    def read(self, count: int = -1) -> bytes:
        parts = []
        while count:
            if self._position == len(self._block):
                self._block, self._position = self._next_block(), 0
                if not self._block:
                    break
            part = self._block[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _next_block(self) -> bytes:
        """Empty at the end of the stream."""
        while not self._inflate.eof:
            compressed = self._inflate.unconsumed_tail
            if not compressed:
                compressed = self._file.read(min(BLOCK, self._left))
                self._left -= len(compressed)
            try:
                data = self._inflate.decompress(compressed, BLOCK)
            except zlib.error as error:
                raise TranscodingError(f"the deflated dataset cannot be read: {error}") from error
            self._room -= len(data)
            if self._room < 0:
                raise TranscodingError(f"the dataset inflates to over {LONGEST_INFLATED >> 20} MiB")
            if data:
                return data
            if not compressed:
                raise TranscodingError("the deflated dataset is cut off")
        return b""
