"""The audit trail as lines of JSON."""

import json
from typing import Any

import pytest

from pacsnode.audit.event import Party, Study
from pacsnode.audit.line import to_line
from tests.audit.samples import HOSTILE, everything

EVERY = sorted(everything())


def line(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_line(everything()[name], "PACSNODE"))
    return found


def test_a_line_says_what_the_message_says() -> None:
    found = line("sent")
    assert found["event"] == "DICOM Instances Transferred"
    assert (found["code"], found["action"], found["outcome"]) == ("110104", "read", 0)
    assert found["source"] == "PACSNODE"
    own, destination, caller = found["participants"]
    assert (own["ae_titles"], own["role"]) == (["PACSNODE"], "Source Role ID")
    assert (destination["user"], destination["host"]) == ("WORKSTATION", "2001:db8::5")
    assert caller == {
        "user": "ct",
        "name": "CN=ct1,O=Hospital",
        "ae_titles": ["CT1"],
        "requestor": True,
        "host": "192.0.2.1",
    }
    study, patient = found["objects"]
    assert study["id"] == "1.2.3"
    assert study["sop_classes"]["1.2.840.10008.5.1.4.1.1.2"] == 12
    assert study["accession_number"] == "A1"
    assert patient == {"type": "Patient Number", "id": "ID1", "name": "DOE^JOHN"}


def test_a_query_is_in_it_as_base64() -> None:
    (asked,) = line("query")["objects"]
    assert asked["query"] == "CABSAENTBgBTVFVEWSA="
    assert asked["details"] == {"TransferSyntax": "1.2.840.10008.1.2.1"}


@pytest.mark.parametrize("name", EVERY)
def test_hostile_texts_stay_in_their_line(name: str) -> None:
    party = Party(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    data = to_line(everything(party, party, Study(*[HOSTILE] * 4), HOSTILE)[name], HOSTILE)
    assert data.count(b"\n") == 1
    assert data.endswith(b"}\n")
    assert b"\x1b" not in data
    found = json.loads(data)
    json.dumps(found, ensure_ascii=False).encode("utf-8")  # no half of a surrogate pair is left
