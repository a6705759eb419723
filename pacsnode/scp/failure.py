"""Errors to answers: each service has a table of its own, this reads it."""

from collections.abc import Mapping

from pacsnode.dicom.message import Answer
from pacsnode.errors import DicomError, PacsnodeError

Table = Mapping[type[PacsnodeError], int]


def status_of(error: PacsnodeError | type[PacsnodeError], table: Table) -> int | None:
    """The status of the nearest class of `error` that `table` knows."""
    kind = error if isinstance(error, type) else type(error)
    return next((table[base] for base in kind.__mro__ if base in table), None)


def failure(error: PacsnodeError, table: Table) -> Answer:
    """The final answer that `table` has for `error`, which is raised again where it has none. The
    peer is told what is wrong with its request, but nothing of our inside."""
    status = status_of(error, table)
    if status is None:
        raise error
    comment = str(error) if isinstance(error, DicomError) else "The archive cannot be read now"
    return Answer(status, comment)
