"""C-ECHO (PS3.4 annex A)."""

from collections.abc import Iterator

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, EchoRequest


def echo(_request: EchoRequest) -> Iterator[Answer]:
    yield Answer(status.SUCCESS)
