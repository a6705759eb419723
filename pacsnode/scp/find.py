"""C-FIND (PS3.4 C.4.1): a query in, an answer for each match, a final one."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, FindRequest
from pacsnode.dicom.query import Key, Model, Query, parse_query
from pacsnode.errors import DicomError, IndexFailure, InvalidQuery, PacsnodeError, StorageError
from pacsnode.scp.failure import Table, failure

if TYPE_CHECKING:
    from pacsnode.archive import Archive

log = logging.getLogger(__name__)

MOST_NAMED = 10  # keys in a line of the log

STATUS: Table = {
    InvalidQuery: status.DATASET_DOES_NOT_MATCH,
    DicomError: status.CANNOT_UNDERSTAND,
    StorageError: status.OUT_OF_RESOURCES,
    IndexFailure: status.OUT_OF_RESOURCES,
}

MODELS = {
    "1.2.840.10008.5.1.4.1.2.1.1": Model.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.1": Model.STUDY_ROOT,
    "1.2.840.10008.5.1.4.1.2.3.1": Model.PATIENT_STUDY_ONLY,
}


def find(
    request: FindRequest, archive: "Archive", default_character_set: str | None = None
) -> Iterator[Answer]:
    """FF00 for each match (FF01 where a key had to be ignored), then 0000; FE00 where the caller
    cancelled, which is looked for before each page of answers, and while there are none."""
    try:
        yield from _answers(request, archive, default_character_set)
    except PacsnodeError as error:
        yield failure(error, STATUS)


def _answers(
    request: FindRequest, archive: "Archive", default_character_set: str | None
) -> Iterator[Answer]:
    transfer_syntax = request.context.transfer_syntax
    query = parse_query(
        request.identifier,
        transfer_syntax,
        MODELS[request.context.abstract_syntax],
        default_character_set=default_character_set,
        extensions=request.context.extensions,
    )
    pending = status.PENDING_KEYS_IGNORED if query.ignored else status.PENDING
    if query.ignored:
        log.info("keys that this query cannot be narrowed by (FF01): %s", _why_ignored(query))
    with closing(archive.find(query, transfer_syntax)) as pages:
        for page in pages:
            if request.cancelled():
                yield Answer(status.CANCELLED, "Cancelled by the caller")
                return
            if not page:
                continue
            *first, last = page
            for identifier in first:
                yield Answer(pending, identifier=identifier, more=True)
            yield Answer(pending, identifier=last)
    yield Answer(status.SUCCESS)


def _why_ignored(query: Query) -> str:
    """Their names, not their values."""
    lower = [key for key in query.ignored if key.level > query.level]
    parts = [f"{_names(lower)} of a level below {query.level.word}"] if lower else []
    others = [key for key in query.ignored if key.level <= query.level]
    if others:
        uids = "a definite Study, Series or SOP Instance UID"
        parts.append(f"{_names(others)}, which only files tell: {uids} is needed with them")
    return "; ".join(parts)


def _names(keys: Sequence[Key]) -> str:
    names = [key.keyword or f"({key.tag:08X})" for key in keys]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
