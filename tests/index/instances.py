"""Instances as values, without files: what an index is filled with in tests."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from pacsnode.dicom.dictionary import tag_of, vr_of
from pacsnode.dicom.instance import Instance, InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level, level_of
from pacsnode.dicom.query import Key, Model, Query
from pacsnode.index import Index, Match

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


class Made(NamedTuple):
    instance: Instance
    stored: StoredInstance


def make(
    study: str = "1.2.1",
    series: str = "1.2.1.1",
    uid: str = "1.2.1.1.1",
    *,
    sop_class: str = CT,
    requests: tuple[tuple[str, str], ...] = (),
    others: Mapping[Level, str] | None = None,
    received_at: int = 1_700_000_000_000_000,
    source: str = "CT1",
    length: int = 1000,
    content: str = "",
    **values: str,
) -> Made:
    """An instance; `values` by keyword, several values joined by backslashes."""
    uids = InstanceUIDs(study, series, uid)
    split = {keyword: tuple(text.split("\\")) for keyword, text in values.items() if text}
    split["StudyInstanceUID"] = (study,)
    split["SeriesInstanceUID"] = (series,)
    split["SOPInstanceUID"] = (uid,)
    split["SOPClassUID"] = (sop_class,)
    instance = Instance(
        uids=uids,
        sop_class_uid=sop_class,
        values=split,
        others={
            Level.PATIENT: "{}",
            Level.STUDY: "{}",
            Level.SERIES: _others_of_series(requests),
            **(others or {}),
        },
    )
    digest = hashlib.sha256((uid + content + repr(sorted(split.items()))).encode()).digest()
    stored = StoredInstance(uids, sop_class, EXPLICIT, source, length, digest, received_at)
    return Made(instance, stored)


def _others_of_series(requests: tuple[tuple[str, str], ...]) -> str:
    """`requests`: ScheduledProcedureStepID and RequestedProcedureID, item by item."""
    items = [
        {
            tag: {"vr": "SH", "Value": [text]} if text else {"vr": "SH"}
            for tag, text in zip(("00400009", "00401001"), item, strict=True)
        }
        for item in requests
    ]
    return json.dumps({"00400275": {"vr": "SQ", "Value": items}} if items else {})


def key(keyword: str, *values: str, items: tuple[Key, ...] = ()) -> Key:
    tag = tag_of(keyword)
    return Key(tag, keyword, vr_of(tag), level_of(keyword), values, items)


def query(
    level: Level, *keys: Key, returned: tuple[str, ...] = (), model: Model | None = None
) -> Query:
    """A query with these matching keys, which also asks for the attributes in `returned`."""
    asked = (*keys, *(key(keyword) for keyword in returned))
    return Query(level, model or Model.PATIENT_ROOT, keys, asked)


def matches(index: Index, asked: Query) -> Iterator[Match]:
    """What the index finds, without its pages."""
    return chain.from_iterable(index.find(asked))


def next_connection(index: Index) -> sqlite3.Connection:
    """The one that the next transaction of this thread gets, while no other has one."""
    with index._database.lent() as connection:
        return connection
