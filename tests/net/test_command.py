"""Command sets, against pydicom's and pynetdicom's own encoding, and hypothesis."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from pacsnode.net import command as commands
from pacsnode.net.command import MalformedCommand


def test_what_is_encoded_pydicom_reads() -> None:
    data = commands.encode(
        {
            commands.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1",
            commands.COMMAND_FIELD: commands.C_MOVE_RQ,
            commands.MESSAGE_ID: 65535,
            commands.MOVE_DESTINATION: "ODD",
            commands.MOVE_ORIGINATOR_AE_TITLE: None,
            commands.COMMAND_DATA_SET_TYPE: 1,
            commands.ERROR_COMMENT: "odd",
        }
    )
    ds = read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)
    assert ds.CommandGroupLength == len(data) - 12
    assert ds.AffectedSOPClassUID == "1.2.840.10008.1.1"
    assert ds.CommandField == 0x21
    assert ds.MessageID == 65535
    assert ds.MoveDestination == "ODD"
    assert ds.ErrorComment == "odd"
    assert "MoveOriginatorApplicationEntityTitle" not in ds


def test_what_pydicom_encodes_is_decoded() -> None:
    ds = Dataset()
    ds.AffectedSOPClassUID = "1.2.3"
    ds.CommandField = 1
    ds.MessageID = 7
    ds.CommandDataSetType = 1
    ds.AffectedSOPInstanceUID = "1.2.3.4"
    file = DicomBytesIO()
    file.is_implicit_VR = file.is_little_endian = True
    write_dataset(file, ds)
    command = commands.decode(file.getvalue())
    assert command.field == 1
    assert command.has_dataset
    assert command.number(commands.MESSAGE_ID) == 7
    assert command.number(commands.STATUS) is None
    assert command.text(commands.AFFECTED_SOP_INSTANCE_UID) == "1.2.3.4"
    assert command.text(commands.ERROR_COMMENT) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\0\0\0\1\2\0\0\0",
        b"\x08\0\x05\0\0\0\0\0",
        b"\0\0\0\1\xff\xff\xff\xff",
    ],
)
def test_a_set_that_lies_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedCommand):
        commands.decode(data)


def test_a_number_of_the_wrong_length_is_malformed() -> None:
    command = commands.decode(b"\0\0\x10\x01\4\0\0\0\1\0\0\0")
    with pytest.raises(MalformedCommand, match="0110"):
        command.required(commands.MESSAGE_ID)
    with pytest.raises(MalformedCommand, match=r"0100.*missing"):
        _ = command.field


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    try:
        command = commands.decode(data)
        _ = command.field, command.text(commands.MOVE_DESTINATION)
    except MalformedCommand:
        return
    assert commands.COMMAND_FIELD in command.elements


@given(st.text())
def test_a_comment_is_at_most_64_plain_characters(text: str) -> None:
    comment = commands.comment(text)
    if comment is not None:
        assert 0 < len(comment) <= 64
        assert comment.isascii()
        assert comment.isprintable()
