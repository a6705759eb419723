"""Dataset bytes from one transfer syntax to another: other encodings of what is uncompressed,
decompression and compression. Memory holds one frame at a time."""

import zlib
from dataclasses import replace
from typing import IO, Any, cast

from pacsnode.dicom.codecs import LOSSLESS, LOSSY, Codec, unfit
from pacsnode.dicom.compress import Compressor
from pacsnode.dicom.decompress import COMPRESSED, Decompressor, FrameDecoder, can_decompress
from pacsnode.dicom.inflate import Inflater
from pacsnode.dicom.lossy import derived_uid, loss_edits, with_ratio
from pacsnode.dicom.message import DatasetSource, Tick, no_tick
from pacsnode.dicom.picture import Picture, is_halved, picture_of
from pacsnode.dicom.recode import NO_EDITS, Edit, Edits, Pixels, Recoder
from pacsnode.dicom.stream import (
    EXPLICIT_LITTLE,
    FLOAT_PIXEL_DATA,
    IMPLICIT_LITTLE,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_DATA,
    PLANAR_CONFIGURATION,
    SOP_INSTANCE_UID,
    UNDEFINED,
    Encoding,
    Header,
    Reader,
    Scope,
    Writer,
    skip_fragments,
)
from pacsnode.errors import TranscodingError

__all__ = [
    "COMPRESSED",
    "ENCODINGS",
    "LOSSLESS",
    "LOSSY",
    "can_transcode",
    "transcode",
]

DEFLATED = "1.2.840.10008.1.2.1.99"

# Uncompressed, or deflated as a whole.
ENCODINGS = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.1": EXPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": Encoding(False, False),
    DEFLATED: EXPLICIT_LITTLE,
}


def can_transcode(source_uid: str, target_uid: str, *, may_lose: bool = False) -> bool:
    """Whether there is a way, which single datasets may turn out not to be fit for; one that loses
    something only where that `may_lose`."""
    if source_uid == target_uid:
        return True
    if target_uid not in ENCODINGS and _codec(target_uid, may_lose) is None:
        return False
    return source_uid in ENCODINGS or can_decompress(source_uid)


def _codec(uid: str, may_lose: bool) -> Codec | None:
    return LOSSLESS.get(uid) or (LOSSY.get(uid) if may_lose else None)


def transcode(
    source: DatasetSource,
    source_uid: str,
    target_uid: str,
    spool: IO[bytes],
    tick: Tick = no_tick,
    *,
    may_lose: bool = False,
) -> DatasetSource:
    """The dataset in `target_uid`, written to `spool`, an empty file of the caller's; `tick` is
    called between frames and chunks. A compressed source must be seekable, and so must any source
    of what is to be compressed. Raises TranscodingError; OSError passes."""
    if source_uid == target_uid:
        return source
    if not can_transcode(source_uid, target_uid, may_lose=may_lose):
        raise TranscodingError(f"no way from transfer syntax {source_uid} to {target_uid}")
    sop_instance_uid = None
    codec = _codec(target_uid, may_lose)
    if codec is None:
        _encode(source, source_uid, target_uid, spool, tick)
    else:
        sop_instance_uid = _Compression(source, source_uid, target_uid, codec, spool, tick).run()
    length = spool.tell()
    spool.seek(0)
    return DatasetSource(cast(Any, spool), length, sop_instance_uid)


def _encode(
    source: DatasetSource, source_uid: str, target_uid: str, spool: IO[bytes], tick: Tick
) -> None:
    """To an uncompressed encoding."""
    pixels = None if source_uid in ENCODINGS else Decompressor(source_uid)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS) if target_uid == DEFLATED else None

    def write(data: bytes) -> None:
        spool.write(deflate.compress(data) if deflate else data)

    writer = Writer(write, ENCODINGS[target_uid])
    recoder = Recoder(_reader(source, source_uid), writer, tick, pixels)
    recoder.run(ENCODINGS.get(source_uid, EXPLICIT_LITTLE))
    if deflate:
        spool.write(deflate.flush())
        spool.write(b"\0" * (spool.tell() % 2))


def _reader(source: DatasetSource, source_uid: str) -> Reader:
    if source_uid != DEFLATED:
        return Reader(source.file, source.length)
    return Reader(cast(IO[bytes], Inflater(source.file, source.length)), None)


class _Compression:
    """One dataset to a compressed transfer syntax: read up to its pixels first, as what comes
    before them says what they are, and becomes another."""

    def __init__(
        self,
        source: DatasetSource,
        source_uid: str,
        target_uid: str,
        codec: Codec,
        spool: IO[bytes],
        tick: Tick,
    ) -> None:
        self._source = source
        self._source_uid = source_uid
        self._target_uid = target_uid
        self._codec = codec
        self._spool = spool
        self._tick = tick
        self._ratio_at = 0

    def run(self) -> str | None:
        """The SOP Instance UID of the copy, if it has one of its own."""
        scope, header = self._survey()
        if header is None or header.tag > PIXEL_DATA or not header.length:
            is_native = self._source_uid in ENCODINGS
            self._write(None if is_native else Decompressor(self._source_uid), NO_EDITS)
            return None
        if header.tag != PIXEL_DATA:
            raise TranscodingError("floating point pixel data cannot be compressed")
        stored, picture = self._pictures(scope, header)
        edits, sop_instance_uid = self._edits(scope, picture)
        uids = self._source_uid, self._target_uid
        pixels = Compressor(self._codec, stored, picture, uids, self._spool)
        self._write(pixels, edits)
        if sop_instance_uid is not None:
            self._note_ratio(scope, picture.length / max(pixels.compressed, 1))
        return sop_instance_uid

    def _survey(self) -> tuple[Scope, Header | None]:
        start = self._source.file.tell()
        reader = _reader(self._source, self._source_uid)
        recoder = Recoder(reader, Writer(_drop, EXPLICIT_LITTLE), self._tick, _Passed())
        found = recoder.run(self._source_encoding(), until=FLOAT_PIXEL_DATA)
        self._source.file.seek(start)
        return found

    def _source_encoding(self) -> Encoding:
        return ENCODINGS.get(self._source_uid, EXPLICIT_LITTLE)

    def _pictures(self, scope: Scope, header: Header) -> tuple[Picture, Picture]:
        """As stored, and as it is compressed. Raises TranscodingError where the codec is not for
        such pixels."""
        stored = picture_of(scope)
        photometric = stored.photometric
        if header.length == UNDEFINED:
            if self._source_uid in ENCODINGS:
                raise TranscodingError("encapsulated pixel data in an uncompressed dataset")
            photometric = FrameDecoder(self._source_uid).photometric(scope)
        elif is_halved(stored, header.length) or photometric == "YBR_FULL_422":
            photometric = "YBR_FULL"
        picture = replace(stored, photometric=photometric, is_planar=False)
        reason = unfit(self._codec, picture)
        if reason is not None:
            raise TranscodingError(f"transfer syntax {self._target_uid} is not for {reason}")
        return stored, picture

    def _edits(self, scope: Scope, picture: Picture) -> tuple[Edits, str | None]:
        values: dict[int, Edit | None] = {}
        photometric = self._codec.photometric[picture.photometric]
        if photometric != scope.text(PHOTOMETRIC_INTERPRETATION):
            text = photometric.encode()
            values[PHOTOMETRIC_INTERPRETATION] = Edit("CS", text + b" " * (len(text) % 2))
        if picture.samples > 1:
            values[PLANAR_CONFIGURATION] = Edit("US", b"\0\0")
        if not self._codec.method:
            return Edits(values, {}), None
        original = scope.text(SOP_INSTANCE_UID)
        if not original:
            raise TranscodingError("a copy with losses needs the SOP Instance UID of its original")
        uid = derived_uid(original, self._target_uid, self._codec.parameters)
        changes = loss_edits(scope, self._codec, uid, self._at_ratio)
        return Edits({**values, **changes.values}, changes.items), uid

    def _at_ratio(self) -> None:
        self._ratio_at = self._spool.tell() + 8  # bytes of its header

    def _note_ratio(self, scope: Scope, ratio: float) -> None:
        end = self._spool.tell()
        self._spool.seek(self._ratio_at)
        self._spool.write(with_ratio(scope, ratio))
        self._spool.seek(end)

    def _write(self, pixels: Pixels | None, edits: Edits) -> None:
        reader = _reader(self._source, self._source_uid)
        writer = Writer(self._spool.write, EXPLICIT_LITTLE)
        Recoder(reader, writer, self._tick, pixels, edits).run(self._source_encoding())


def _drop(_: bytes) -> None:
    return None


class _Passed:
    """recode.Pixels that are only read, on the way to others."""

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        return value

    def write_encapsulated(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        skip_fragments(reader)

    def write_native(
        self, scope: Scope, length: int, word: int, reader: Reader, writer: Writer, tick: Tick
    ) -> bool:
        return False
