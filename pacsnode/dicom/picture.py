"""What a dataset says of its pixels (PS3.3 C.7.6.3.1), and its frames in the one form in which the
codecs get and give them: colour by pixel, each sample in as many bytes as Bits Allocated says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pacsnode.dicom.stream import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_REPRESENTATION,
    PLANAR_CONFIGURATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    Scope,
)
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    import numpy

    # A frame: rows, columns and, of colours, samples. Of one bit: 0 and 1, in a byte each.
    Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """The description of pixel data; one that is missing a part has 0 or nothing in its place."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    is_planar: bool
    frames: int

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def frame_bits(self) -> int:
        """Of a native frame; frames of single bits follow one another without a gap."""
        return self.pixels * self.samples * self.bits_allocated

    @property
    def length(self) -> int:
        """Bytes of all frames."""
        return (self.frame_bits * self.frames + 7) // 8

    @property
    def sample_type(self) -> str:
        """As numpy names it."""
        kind = "i" if self.is_signed and self.bits_allocated > 1 else "u"
        return f"<{kind}{max(self.bits_allocated // 8, 1)}"


def picture_of(scope: Scope) -> Picture:
    """Raises TranscodingError where pixels so described are none that exist."""
    bits = scope.number(BITS_ALLOCATED) or 0
    picture = Picture(
        rows=scope.number(ROWS) or 0,
        columns=scope.number(COLUMNS) or 0,
        samples=scope.number(SAMPLES_PER_PIXEL) or 1,
        bits_allocated=bits,
        bits_stored=min(scope.number(BITS_STORED) or bits, bits),
        is_signed=scope.number(PIXEL_REPRESENTATION) == 1,
        photometric=scope.text(PHOTOMETRIC_INTERPRETATION),
        is_planar=scope.number(PLANAR_CONFIGURATION) == 1,
        frames=_number_of_frames(scope),
    )
    if bits not in (1, 8, 16, 32):
        raise TranscodingError(f"pixel data with Bits Allocated {bits}")
    if not picture.length:
        raise TranscodingError("pixel data would be 0 bytes long: no Rows or Columns")
    return picture


def _number_of_frames(scope: Scope) -> int:
    text = scope.text(NUMBER_OF_FRAMES)
    if not text:
        return 1
    try:
        return max(int(float(text)), 1)
    except (ValueError, OverflowError) as error:
        raise TranscodingError(f"Number of Frames is {text!r}") from error


def is_halved(picture: Picture, length: int) -> bool:
    """Whether native pixel data of `length` bytes has half as much colour as brightness, two pixels
    being four bytes (PS3.3 C.7.6.3.1.2, YBR_FULL_422). Some say so and have all of it."""
    return picture.photometric == "YBR_FULL_422" and length < picture.length


def native_frames(picture: Picture, length: int, read: Callable[[int], bytes]) -> "Iterator[Array]":
    """The frames in `length` bytes of native pixel data, which `read` gives, little endian. Raises
    TranscodingError at once where other frames are described."""
    halved = is_halved(picture, length)
    bits = picture.pixels * 16 if halved else picture.frame_bits
    expected = (bits * picture.frames + 7) // 8
    if not expected <= length < expected + max(bits // 8, 2):
        raise TranscodingError(f"pixel data has {length} bytes where {expected} are described")
    if bits % 8:
        return _bit_frames(picture, read)
    arrange = _doubled if halved else arranged
    return (arrange(read(bits // 8), picture) for _ in range(picture.frames))


def _bit_frames(picture: Picture, read: Callable[[int], bytes]) -> "Iterator[Array]":
    """Of single bits that end within a byte."""
    import numpy

    ahead = numpy.zeros(0, "u1")
    for _ in range(picture.frames):
        missing = (picture.frame_bits - len(ahead) + 7) // 8
        data = numpy.frombuffer(read(missing), "u1")
        ahead = numpy.concatenate((ahead, numpy.unpackbits(data, bitorder="little")))
        yield ahead[: picture.frame_bits].reshape(shape_of(picture))
        ahead = ahead[picture.frame_bits :]


def shape_of(picture: Picture) -> tuple[int, ...]:
    shape = picture.rows, picture.columns
    return shape if picture.samples == 1 else (*shape, picture.samples)


def arranged(frame: bytes, picture: Picture) -> "Array":
    """A frame from its bytes, little endian, colour by pixel or by plane as the dataset says."""
    import numpy

    if picture.bits_allocated == 1:
        data = numpy.frombuffer(frame, "u1")
        bits = numpy.unpackbits(data, count=picture.frame_bits, bitorder="little")
        return bits.reshape(shape_of(picture))
    array = numpy.frombuffer(frame, picture.sample_type)
    if picture.is_planar and picture.samples > 1:
        planes = array.reshape(picture.samples, picture.rows, picture.columns)
        return numpy.ascontiguousarray(planes.transpose(1, 2, 0))
    return array.reshape(shape_of(picture))


def _doubled(frame: bytes, picture: Picture) -> "Array":
    """Each pixel with the colour that it shared with its neighbour."""
    import numpy

    pairs = numpy.frombuffer(frame, picture.sample_type).reshape(-1, 4)
    return pairs[:, [0, 2, 3, 1, 2, 3]].reshape(shape_of(picture))


def signed(frame: "Array", bits: int) -> "Array":
    """Samples of which the lowest `bits` count, with their sign in all bits above."""
    unused = frame.dtype.itemsize * 8 - bits
    return (frame << unused) >> unused if unused else frame


def limits(picture: Picture) -> tuple[int, int]:
    """The least and the greatest value that Bits Stored can hold."""
    if picture.is_signed:
        return -(1 << picture.bits_stored - 1), (1 << picture.bits_stored - 1) - 1
    return 0, (1 << picture.bits_stored) - 1


class NativeWriter:
    """Frames to native pixel data, bit by bit where they are of single bits."""

    def __init__(self, write: Callable[[bytes], object], word: int) -> None:
        """The bytes of each `word` are to be reversed."""
        self._write = write
        self._word = word
        self._left: Array | None = None

    def write(self, frame: "Array", picture: Picture) -> None:
        import numpy

        from pacsnode.dicom.stream import swap

        if picture.bits_allocated > 1:
            self._write(swap(frame.tobytes(), self._word))
            return
        bits = frame.reshape(-1)
        if self._left is not None:
            bits = numpy.concatenate((self._left, bits))
        whole = len(bits) // 8 * 8
        self._write(numpy.packbits(bits[:whole], bitorder="little").tobytes())
        self._left = bits[whole:]

    def finish(self) -> None:
        import numpy

        if self._left is not None and len(self._left):
            self._write(numpy.packbits(self._left, bitorder="little").tobytes())
