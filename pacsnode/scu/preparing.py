"""An instance got ready to go out in a presentation context: as stored, recoded, or brought into
another transfer syntax by a codec, which may begin long before the instance has its turn."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Self, cast

from pacsnode.dicom.message import Context, DatasetSource, Suboperation
from pacsnode.dicom.transcode import ENCODINGS, transcode
from pacsnode.errors import PacsnodeError, TranscodingError
from pacsnode.scu.codecs import Conversion, Transcoding
from pacsnode.scu.sendable import Sendable, Sending

IN_MEMORY = 16 << 20  # bytes of a recoded dataset that are not worth a file


def needs_codec(stored_in: str, target: str) -> bool:
    """Whether there is more to do than to encode the same values differently."""
    return stored_in != target and not (stored_in in ENCODINGS and target in ENCODINGS)


class Preparation:
    """One instance. `contexts` are those that it may go in, best first: where it turns out not to
    be fit for one the next is taken. To be closed: files are open."""

    def __init__(self, sendable: Sendable, contexts: Sequence[Context], sending: Sending) -> None:
        self.sendable = sendable
        self._contexts = contexts
        self._sending = sending
        self._files = ExitStack()
        self._source: DatasetSource | None = None
        self._transcoding: Transcoding | None = None
        self._error: PacsnodeError | OSError | None = None
        self.operation: Suboperation | None = None  # once it is known what goes out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()
        self._source = self._transcoding = self.operation = None

    @property
    def context(self) -> Context:
        """The one that it goes in, unless it turns out not to be fit for it."""
        return self._contexts[0]

    @property
    def is_as_stored(self) -> bool:
        return self.context.transfer_syntax == self.sendable.transfer_syntax_uid

    @property
    def needs_codec(self) -> bool:
        return needs_codec(self.sendable.transfer_syntax_uid, self.context.transfer_syntax)

    @property
    def is_ready(self) -> bool:
        """Whether `dataset` need not wait."""
        if self._error is not None:
            return True
        return self.is_as_stored or (self._transcoding is not None and self._transcoding.is_done)

    def begin(self) -> None:
        """Open the file, and have a codec begin where one is needed. What goes wrong is told by
        `dataset`."""
        try:
            self._begin()
        except (PacsnodeError, OSError) as error:
            self._error = error

    def fail(self, error: PacsnodeError | OSError) -> None:
        """To be told by `dataset`."""
        self.close()
        self._error = error

    def dataset(self) -> DatasetSource:
        """What goes out, in the transfer syntax of `context`, once it is there. Raises what opening
        the file or transcoding raises, and what the tick raises."""
        while True:
            try:
                return self._dataset()
            except TranscodingError:
                others = self._others()
                if not others:
                    raise
            self.close()
            self._contexts = others

    def _others(self) -> Sequence[Context]:
        """What is left to be tried. What cannot be decompressed can go as stored, and only so."""
        others = self._contexts[1:]
        if self.context.transfer_syntax not in ENCODINGS:
            return others
        stored = self.sendable.transfer_syntax_uid
        return [context for context in others if context.transfer_syntax == stored]

    def _begin(self) -> None:
        if self._source is not None:
            return
        self._source = self._files.enter_context(self.sendable.open())
        if self.needs_codec:
            folder = self._sending.spool_folder
            spool = self._files.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
            conversion = Conversion(
                self.sendable.transfer_syntax_uid,
                self.context.transfer_syntax,
                self._sending.wishes.may_lose,
                self._sending.priority,
            )
            self._transcoding = self._files.enter_context(
                self._sending.codecs.begin(self._source, conversion, spool)
            )

    def _dataset(self) -> DatasetSource:
        error, self._error = self._error, None
        if error is not None:
            raise error
        self._begin()
        assert self._source is not None  # noqa: S101  # begun
        if self._transcoding is not None:
            return self._transcoding.result(self._sending.tick)
        return self._source if self.is_as_stored else self._recoded(self._source)

    def _recoded(self, source: DatasetSource) -> DatasetSource:
        spool = self._files.enter_context(
            tempfile.SpooledTemporaryFile(  # noqa: SIM115
                max_size=IN_MEMORY, dir=self._sending.spool_folder
            )
        )
        uids = self.sendable.transfer_syntax_uid, self.context.transfer_syntax
        return transcode(source, *uids, cast(IO[bytes], spool), self._sending.tick)
