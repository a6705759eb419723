"""Dataset bytes from one transfer syntax to another."""

from typing import IO

from pacsnode.dicom.message import DatasetSource, Tick, no_tick
from pacsnode.errors import TranscodingError


def can_transcode(source_uid: str, target_uid: str) -> bool:
    return source_uid == target_uid


def transcode(
    source: DatasetSource, source_uid: str, target_uid: str, spool: IO[bytes], tick: Tick = no_tick
) -> DatasetSource:
    raise TranscodingError(f"{source_uid} to {target_uid}")
