"""The header of an instance: what the index keeps of it. Reading stops before pixel data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pacsnode.dicom.level import Level


class InstanceUIDs(NamedTuple):
    """The UIDs that say which instance is meant and where it belongs. Untrusted text."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


class RequestAttributes(NamedTuple):
    """One item of RequestAttributesSequence (0040,0275), as far as it is matched."""

    scheduled_procedure_step_id: str
    requested_procedure_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance's header. `values` has the columns of all four levels by keyword (sequences
    aside), each a tuple of its values as Unicode (NFC), trimmed; absent and empty elements have
    none. `others` has, for patient, study and series, the level's further attributes as a DICOM
    JSON object (text)."""

    uids: InstanceUIDs
    sop_class_uid: str
    values: Mapping[str, tuple[str, ...]]
    request_attributes: tuple[RequestAttributes, ...]
    others: Mapping[Level, str]

    def first(self, keyword: str) -> str:
        """The first value of a column, or an empty text."""
        values = self.values.get(keyword)
        return values[0] if values else ""


class StoredInstance(NamedTuple):
    """What is known of an instance once it is stored: enough to find its file, plan its
    presentation context and check its bytes. `length` and `digest` (BLAKE3, 32 bytes) are those of
    the dataset as received; `received_at` is in microseconds since 1970 UTC."""

    uids: InstanceUIDs
    sop_class_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    length: int
    digest: bytes
    received_at: int
    is_lost: bool = False
