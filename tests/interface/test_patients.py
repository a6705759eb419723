"""Who is who: nobody's studies are shown under another's name, and nothing is lost over a typing
error."""

from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import RunningNode, new_dataset
from tests.interface.conftest import Dial, store_all
from tests.interface.peer import EXPLICIT, PATIENT_FIND, STUDY_FIND, keys


def find(node: RunningNode, dial: Dial, model: str, level: str, **values: Any) -> list[Dataset]:
    responses = dial(node, (model, [EXPLICIT])).find(model, keys(level, **values))
    assert responses[-1].status == 0
    return [response.identifier for response in responses[:-1]]


def patients(node: RunningNode, dial: Dial, patient_id: str) -> list[tuple[str, int]]:
    """Names and numbers of studies."""
    answers = find(
        node, dial, PATIENT_FIND, "PATIENT", PatientID=patient_id, PatientName="",
        NumberOfPatientRelatedStudies=None,
    )  # fmt: skip
    return sorted(
        (str(answer.PatientName), int(answer.NumberOfPatientRelatedStudies)) for answer in answers
    )


def _id() -> str:
    return f"P{generate_uid()[-12:]}"


def test_one_id_with_two_names_is_two_patients(open_node: RunningNode, dial: Dial) -> None:
    patient = _id()
    store_all(
        open_node,
        [
            new_dataset(PatientID=patient, PatientName="DOE^JOHN"),
            new_dataset(PatientID=patient, PatientName="Doe^John^^"),
            new_dataset(PatientID=patient, PatientName="ROE^JANE"),
        ],
    )
    found = patients(open_node, dial, patient)
    assert [(name.upper().rstrip("^"), count) for name, count in found] == [
        ("DOE^JOHN", 2),
        ("ROE^JANE", 1),
    ]


def test_another_birth_date_or_issuer_is_another_patient(
    open_node: RunningNode, dial: Dial
) -> None:
    patient = _id()
    store_all(
        open_node,
        [
            new_dataset(PatientID=patient, PatientBirthDate="19700101"),
            new_dataset(PatientID=patient, PatientBirthDate="19800101"),
            new_dataset(PatientID=patient, IssuerOfPatientID="THERE"),
        ],
    )
    assert patients(open_node, dial, patient) == [("DOE^JOHN", 1)] * 3


def test_studies_without_a_patient_id_never_merge(open_node: RunningNode, dial: Dial) -> None:
    name = f"NONE^{_id()}"
    store_all(open_node, [new_dataset(PatientID="", PatientName=name) for _ in range(2)])
    answers = find(
        open_node, dial, PATIENT_FIND, "PATIENT", PatientName=name, PatientID="",
        NumberOfPatientRelatedStudies=None,
    )  # fmt: skip
    assert [int(answer.NumberOfPatientRelatedStudies) for answer in answers] == [1, 1]


def test_a_study_is_found_by_any_id_and_name_of_its_instances_and_answered_with_the_first(
    open_node: RunningNode, dial: Dial
) -> None:
    study, first, second = generate_uid(), _id(), _id()
    store_all(
        open_node,
        [
            new_dataset(StudyInstanceUID=study, PatientID=first, PatientName="DOE^JOHN"),
            new_dataset(StudyInstanceUID=study, PatientID=second, PatientName="DOH^JON"),
        ],
    )
    for wanted in (
        {"PatientID": first},
        {"PatientID": second},
        {"PatientName": "DOH^JON", "StudyInstanceUID": study},
        {"PatientID": second, "PatientName": "DOE^JOHN"},
    ):
        (answer,) = find(
            open_node, dial, STUDY_FIND, "STUDY",
            **{"StudyInstanceUID": "", "PatientName": "", "PatientID": "", **wanted},
        )  # fmt: skip
        assert (answer.StudyInstanceUID, answer.PatientID) == (study, first)
        assert answer.PatientName == "DOE^JOHN"
    listed = open_node.command("ls", "--flagged")
    assert study in listed.stdout


def test_an_empty_attribute_is_filled_by_a_later_instance_and_never_replaced(
    open_node: RunningNode, dial: Dial
) -> None:
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    store_all(
        open_node,
        [
            new_dataset(**common, StudyDescription="", SeriesDescription="FIRST"),
            new_dataset(**common, StudyDescription="LATER", SeriesDescription="SECOND"),
            new_dataset(**common, StudyDescription="TOO LATE", StationName="CT9"),
        ],
    )
    (answer,) = find(
        open_node, dial, STUDY_FIND, "SERIES", StudyInstanceUID=common["StudyInstanceUID"],
        StudyDescription="", SeriesDescription="", StationName="",
    )  # fmt: skip
    described = (answer.StudyDescription, answer.SeriesDescription, answer.StationName)
    assert described == ("LATER", "FIRST", "CT9")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says what is wrong with it
def test_nothing_is_refused_for_its_content(open_node: RunningNode, dial: Dial) -> None:
    ds = new_dataset(PatientName="X" * 300, StudyDate="", AccessionNumber="A" * 99)
    del ds.PatientID, ds.Modality
    ds.add_new(0x00080030, "LO", "half past nine")
    ds.add_new(0x00200013, "LO", "number seven")
    store_all(open_node, [ds])
    (answer,) = find(
        open_node, dial, STUDY_FIND, "IMAGE", SOPInstanceUID=ds.SOPInstanceUID, PatientName="",
        AccessionNumber="",
    )  # fmt: skip
    assert answer.AccessionNumber == "A" * 99
