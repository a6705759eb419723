"""What an association agrees on beyond its contexts, with real tools as the other side."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
)

from tests.conftest import Dcmtk, RunningNode, StartNode, new_dataset, write_dataset
from tests.interface.conftest import OPEN, free_port_number, store_all
from tests.interface.peer import EXPLICIT, STUDY_FIND

EVERYTHING = b"\x01\x01\x01\x01\x01"


@pytest.fixture
def finding(open_node: RunningNode) -> Iterator[Association]:
    """pynetdicom as the SCU of queries, asking for all that there is."""
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = STUDY_FIND
    extended.service_class_application_information = EVERYTHING
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 0
    window.maximum_number_operations_performed = 0
    ae = AE("FINDING")
    ae.add_requested_context(STUDY_FIND, EXPLICIT)
    association = ae.associate(open_node.host, open_node.port, ext_neg=[extended, window])
    assert association.is_established
    yield association
    association.release()


def found(association: Association, **keys: str) -> list[Dataset]:
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    answers = list(association.send_c_find(ds, STUDY_FIND))
    assert answers[-1][0].Status == 0
    return [identifier for _, identifier in answers if identifier is not None]


def test_all_that_is_offered_is_answered(finding: Association) -> None:
    """Enhanced multi-frame images are not converted; one operation goes on at a time."""
    assert finding.acceptor.sop_class_extended == {STUDY_FIND: b"\x01\x01\x01\x01\x00"}
    assert finding.acceptor.asynchronous_operations == (1, 1)


def test_what_was_agreed_on_is_done(open_node: RunningNode, finding: Association) -> None:
    moments = [("20200101", "1100"), ("20200101", "2330"), ("20200103", "1500")]
    names = ["JANSSEN^PIET", "MEYER^HANS", "SMITH^MARY"]
    datasets = [
        new_dataset(
            StudyDate=day,
            StudyTime=time,
            PatientID="NEGOTIATED",
            PatientName=name,
            TimezoneOffsetFromUTC="+0000",
        )
        for (day, time), name in zip(moments, names, strict=True)
    ]
    store_all(open_node, datasets)
    in_range = {"StudyDate": "20200101-20200103", "StudyTime": "1200-1400"}
    (answer,) = found(finding, PatientID="NEGOTIATED", StudyInstanceUID="", **in_range)
    assert answer.StudyInstanceUID == datasets[1].StudyInstanceUID, "one range of moments"
    (answer,) = found(
        finding,
        PatientID="NEGOTIATED",
        StudyDate="20200102",
        StudyTime="0030",
        TimezoneOffsetFromUTC="+0100",
    )
    assert (answer.StudyDate, answer.StudyTime) == ("20200102", "0030")
    assert answer.TimezoneOffsetFromUTC == "+0100"
    (answer,) = found(finding, PatientID="NEGOTIATED", PatientName="Hans Maier")
    assert answer.PatientName == "MEYER^HANS", "fuzzy: by sound, in any order"


def test_dcmtk_is_told_that_its_user_was_taken_down(
    start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    """storescu goes on only where its identity is confirmed."""
    node = start_node(OPEN)
    file = write_dataset(tmp_path / "instance.dcm", new_dataset())
    who = ("--user", "nurse", "--password", "opensesame", "--pos-response")
    completed = dcmtk("storescu", "-v", *who, node.host, node.port, file)
    assert "Received Store Response" in completed.stdout
    log = node.wait_for_log("(user nurse) from 127.0.0.1")
    assert "1 C-STORE" in log
    assert "opensesame" not in log


def entry_for(node: RunningNode, ae_title: str) -> str:
    """What the log says is to be pasted below `modalities`."""
    begin = f"to make {ae_title!r} known"
    log = node.wait_for_log(begin)
    line = next(line for line in log.splitlines() if begin in line)
    return line.partition("below modalities")[2].partition(": ")[2].partition(" (the port")[0]


def paste(node: RunningNode, entry: str) -> None:
    text = node.config.read_text()
    node.config.write_text(text.replace("modalities:\n", f"modalities:\n  {entry}\n"))
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("config.yaml reloaded")


def test_what_the_log_says_is_to_be_pasted_lets_a_stranger_in(
    start_node: StartNode, dcmtk: Dcmtk
) -> None:
    node = start_node(
        "access: {unknown_callers: [echo]}\nmodalities:\n  other: {host: 192.0.2.9}\n"
    )
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
    finding = ("findscu", "-v", "-S", "-aet", "NEWCOMER", node.host, node.port, *keys)
    assert "0x124" in dcmtk(*finding, check=False).stdout
    entry = entry_for(node, "NEWCOMER")
    assert entry == (
        '"newcomer": {ae_title: "NEWCOMER", host: "127.0.0.1", port: 104, allow: [echo, find]}'
    )
    paste(node, entry)
    assert "0x124" not in dcmtk(*finding).stdout


def test_what_the_log_says_is_to_be_pasted_makes_a_destination_known(
    start_node: StartNode, dcmtk: Dcmtk
) -> None:
    node = start_node(f"{OPEN}modalities:\n  other: {{host: 192.0.2.9}}\n")
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
    moving = ("movescu", "-v", "-S", "-aem", "NOWHERE", node.host, node.port, *keys)
    assert "Unknown destination NOWHERE" in dcmtk(*moving, "-d", check=False).stdout
    paste(node, entry_for(node, "NOWHERE"))
    assert "Unknown destination" not in dcmtk(*moving, "-d").stdout, "nothing to move, and no error"


def test_the_log_names_what_a_destination_does_not_take(
    start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    """storescp takes Implicit VR alone: what is stored in Explicit VR goes recoded."""
    port = free_port_number()
    (tmp_path / "received").mkdir()
    dcmtk.serve("storescp", "+xi", "-od", tmp_path / "received", port, port=port)
    node = start_node(f"{OPEN}modalities:\n  ws: {{ae_title: WS, host: 127.0.0.1, port: {port}}}\n")
    ds = new_dataset()
    store_all(node, [ds])
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ds.StudyInstanceUID}")
    dcmtk("movescu", "-S", "-aem", "WS", node.host, node.port, *keys)
    ct = f"CT Image Storage ({ds.SOPClassUID})"
    explicit = f"Explicit VR Little Endian ({EXPLICIT})"
    log = node.wait_for_log(f"WS@127.0.0.1:{port} did not accept: {ct} in {explicit}")
    assert "offered as modalities.ws.transfer_syntaxes says" in log
    assert f"1 of {explicit} to Implicit VR Little Endian" in log
