"""What the index hands out: rows of a query, notes, figures."""

from collections.abc import Mapping
from typing import NamedTuple

from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level

REMOVE = "remove"
REPLACE = "replace"


class Match(NamedTuple):
    """One match of a query. `values` has the columns of its level and those above by keyword, as
    received, several values joined by backslashes. `others` has each of these levels' further
    attributes as DICOM JSON text (empty where the row has none). `computed` has what the query
    asked for of COMPUTED and OF_THE_ANSWER (less RetrieveAETitle, which the index does not know),
    each a tuple of values. `stored` is there at image level only."""

    level: Level
    values: Mapping[str, str]
    others: Mapping[Level, str]
    computed: Mapping[str, tuple[str, ...]] = {}
    stored: StoredInstance | None = None


class Flag(NamedTuple):
    """Something odd that a person should know. UIDs that do not apply are empty; `noted_at` is in
    microseconds since 1970 UTC."""

    kind: str
    uids: InstanceUIDs
    text: str
    noted_at: int


class Pending(NamedTuple):
    """A step on the storage tree that was decided and is not known to be done. REMOVE: the file at
    the place of `uids` is to go. REPLACE: that file may be the newcomer, whose `digest` this is,
    while the row is still the old one's."""

    id: int
    kind: str
    uids: InstanceUIDs
    digest: bytes


class CopyKey(NamedTuple):
    """Whose copy: the time of receipt tells an instance from an earlier one of the same UID."""

    sop_instance_uid: str
    received_at: int


class Copy(NamedTuple):
    """The bytes of an instance's whole file, kept until the file itself is on stable storage."""

    stored: StoredInstance
    content: bytes


class Conflict(NamedTuple):
    """An instance that was set aside as `name` in the conflicts folder."""

    name: str
    uids: InstanceUIDs
    source_ae_title: str
    received_at: int


class Share(NamedTuple):
    """A part of the archive; bytes are those of datasets."""

    instances: int
    bytes: int


class Statistics(NamedTuple):
    """The archive in figures."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int
    by_modality: Mapping[str, Share]
    by_source: Mapping[str, Share]
    conflicts: int
    flags: int
    lost: int
    pending: int
