"""Records of associations as they go into a file: less what names patients, unless that is asked
for."""

import struct

from pacsnode.dicom.concealment import Pseudonyms, conceal
from pacsnode.dicom.recording import PDU, CommandSet, DatasetPassed, End, Record
from pacsnode.net import command as commands
from pacsnode.net.negotiation import read_negotiation

_ASSOCIATE_AC = 0x02
_GROUP_LENGTH = 0x0000


class Redaction:
    """Replaces names in the records of associations, in the order in which they come."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._transfer_syntaxes: dict[tuple[str, int], str] = {}

    def __call__(self, record: Record) -> Record:
        if isinstance(record, PDU):
            self._learn(record)
        elif isinstance(record, CommandSet):
            return record._replace(data=self._command(record.data))
        elif isinstance(record, DatasetPassed) and record.data is not None:
            return record._replace(data=self._dataset(record, record.data))
        elif isinstance(record, End):
            self._forget(record.association)
            return record._replace(reason=self._pseudonyms.comment(record.reason))
        return record

    def _learn(self, record: PDU) -> None:
        if record.data[:1] != bytes([_ASSOCIATE_AC]):
            return
        try:
            agreed = read_negotiation(record.data).transfer_syntaxes
        except ValueError:
            return
        for context_id, transfer_syntax in agreed.items():
            self._transfer_syntaxes[record.association, context_id] = transfer_syntax

    def _forget(self, association: str) -> None:
        for key in [key for key in self._transfer_syntaxes if key[0] == association]:
            del self._transfer_syntaxes[key]

    def _dataset(self, record: DatasetPassed, data: bytes) -> bytes | None:
        transfer_syntax = self._transfer_syntaxes.get((record.association, record.context_id))
        return None if transfer_syntax is None else conceal(data, transfer_syntax, self._pseudonyms)

    def _command(self, data: bytes) -> bytes:
        """An Error Comment may say whom it is about; what is no command set at all is not kept."""
        try:
            elements = dict(commands.decode(data).elements)
        except commands.MalformedCommand:
            return b""
        if commands.ERROR_COMMENT not in elements:
            return data
        comment = elements[commands.ERROR_COMMENT].decode("latin-1")
        elements[commands.ERROR_COMMENT] = _padded(self._pseudonyms.comment(comment))
        elements.pop(_GROUP_LENGTH, None)
        body = b"".join(_element(number, elements[number]) for number in sorted(elements))
        return _element(_GROUP_LENGTH, len(body).to_bytes(4, "little")) + body


def _padded(text: str) -> bytes:
    data = text.encode("latin-1", "replace")
    return data + b" " * (len(data) % 2)


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value
