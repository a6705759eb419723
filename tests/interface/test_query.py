"""C-FIND as DCMTK's findscu asks it: models, levels, matching, computed keys, character sets."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import Dcmtk, RunningNode, bundled, new_dataset, running_node
from tests.interface.conftest import OPEN, store_all
from tests.interface.peer import STUDY_FIND, Association, keys, read_file

MR = "1.2.840.10008.5.1.4.1.1.4"
MODEL = {"patient": "-P", "study": "-S", "only": "-O"}

Find = Callable[..., list[Dataset]]


def _study(patient: str, name: str, date: str, time: str, **more: Any) -> list[Dataset]:
    """One study: for each modality a series of two instances."""
    modalities = more.pop("modalities", ("CT",))
    study = generate_uid()
    common = {
        "PatientID": patient,
        "PatientName": name,
        "StudyDate": date,
        "StudyTime": time,
        "StudyInstanceUID": study,
        **more,
    }
    datasets = []
    for number, modality in enumerate(modalities, 1):
        series = generate_uid()
        for instance in (1, 2):
            ds = new_dataset(
                **common, Modality=modality, SeriesInstanceUID=series, SeriesNumber=number,
                InstanceNumber=instance, SOPClassUID=MR if modality == "MR" else
                "1.2.840.10008.5.1.4.1.1.2",
            )  # fmt: skip
            if "SpecificCharacterSet" not in ds:
                ds.SpecificCharacterSet = "ISO_IR 100"
            datasets.append(ds)
    return datasets


def _collection() -> list[Dataset]:
    ordered = Dataset()
    ordered.ScheduledProcedureStepID, ordered.RequestedProcedureID = "SPS7", "RP7"
    datasets = [
        *_study("P1", "DOE^JOHN", "20240131", "101530.5", AccessionNumber="A1",
                modalities=("CT", "MR"), StudyDescription="HEAD & NECK"),
        *_study("P1", "DOE^JOHN", "20240201", "0930", AccessionNumber="A2",
                StudyDescription="A_B"),
        *_study("P2", "Doe^Jane^^^", "20240301", "235959", AccessionNumber="A3",
                StudyDescription="A%B"),
        *_study("P3", "Müller^Jürgen", "20231231", "00", AccessionNumber="A4",
                StudyDescription="AxB"),
        *_study("P4", "NOBODY", "", "", AccessionNumber="A5", StudyDescription="[AB]"),
    ]  # fmt: skip
    for ds in datasets:
        if ds.AccessionNumber == "A3":
            ds.RequestAttributesSequence = [ordered]
    return datasets


@pytest.fixture(scope="module")
def collection() -> list[Dataset]:
    return _collection()


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, collection: list[Dataset]
) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("query"), OPEN) as running:
        store_all(running, collection)
        for path in bundled("charset_files"):
            file, ds = read_file(path.read_bytes()), pydicom.dcmread(path)
            if "SOPInstanceUID" not in ds:
                continue
            contexts = [(ds.SOPClassUID, [file.transfer_syntax])]
            with Association((running.host, running.port), *contexts) as peer:
                assert peer.store(ds.SOPClassUID, ds.SOPInstanceUID, file.dataset).status == 0
        yield running


@pytest.fixture
def find(node: RunningNode, dcmtk: Dcmtk, tmp_path: Path) -> Find:
    """`find("STUDY", PatientID="P1")` by findscu: the answers as they came. `model` and `options`
    go on its command line."""

    def ask(level: str, *options: str, model: str = "study", **values: Any) -> list[Dataset]:
        query, out = tmp_path / "query.dcm", tmp_path / generate_uid()
        out.mkdir()
        identifier = keys(level, **values)
        identifier.file_meta = pydicom.dataset.FileMetaDataset()
        identifier.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        identifier.file_meta.MediaStorageSOPClassUID = STUDY_FIND
        identifier.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        identifier.save_as(query, enforce_file_format=True)
        dcmtk("findscu", MODEL[model], "-X", "-od", out, *options, node.host, node.port, query)
        return [pydicom.dcmread(path) for path in sorted(out.iterdir())]

    return ask


def values(answers: Sequence[Dataset], keyword: str) -> list[str]:
    return sorted(str(answer[keyword].value) for answer in answers)


def accessions(find: Find, **wanted: Any) -> list[str]:
    """Which studies of the collection match."""
    answers = find("STUDY", **{"AccessionNumber": "A?", "StudyInstanceUID": "", **wanted})
    return values(answers, "AccessionNumber")


def test_patient_root_counts_what_a_patient_has(find: Find) -> None:
    (answer,) = find(
        "PATIENT", model="patient", PatientID="P1", PatientName="",
        NumberOfPatientRelatedStudies=None, NumberOfPatientRelatedSeries=None,
        NumberOfPatientRelatedInstances=None, RetrieveAETitle="", InstanceAvailability="",
    )  # fmt: skip
    assert answer.PatientName == "DOE^JOHN"
    counts = (
        answer.NumberOfPatientRelatedStudies,
        answer.NumberOfPatientRelatedSeries,
        answer.NumberOfPatientRelatedInstances,
    )
    assert counts == (2, 3, 6)
    assert answer.RetrieveAETitle == "PACSNODE"
    assert answer.QueryRetrieveLevel == "PATIENT"


def test_a_study_says_what_is_in_it(find: Find) -> None:
    (answer,) = find(
        "STUDY", AccessionNumber="A1", ModalitiesInStudy="", SOPClassesInStudy="",
        NumberOfStudyRelatedSeries=None, NumberOfStudyRelatedInstances=None,
        InstanceAvailability="", PatientName="",
    )  # fmt: skip
    assert sorted(answer.ModalitiesInStudy) == ["CT", "MR"]
    assert sorted(answer.SOPClassesInStudy) == ["1.2.840.10008.5.1.4.1.1.2", MR]
    assert (answer.NumberOfStudyRelatedSeries, answer.NumberOfStudyRelatedInstances) == (2, 4)
    assert answer.InstanceAvailability == "ONLINE"


def test_the_levels_below_a_study(find: Find, collection: list[Dataset]) -> None:
    study = collection[0].StudyInstanceUID
    series = find(
        "SERIES", StudyInstanceUID=study, Modality="", SeriesInstanceUID="",
        NumberOfSeriesRelatedInstances=None,
    )  # fmt: skip
    assert values(series, "Modality") == ["CT", "MR"]
    assert values(series, "NumberOfSeriesRelatedInstances") == ["2", "2"]
    images = find("IMAGE", StudyInstanceUID=study, SOPInstanceUID="", InstanceNumber=None)
    wanted = sorted(ds.SOPInstanceUID for ds in collection if ds.StudyInstanceUID == study)
    assert values(images, "SOPInstanceUID") == wanted
    assert values(images, "InstanceNumber") == ["1", "1", "2", "2"]


def test_a_relational_query_crosses_the_levels(find: Find) -> None:
    assert len(find("IMAGE", model="patient", AccessionNumber="A1", Modality="MR")) == 2
    assert len(find("SERIES", PatientID="P1")) == 3
    assert values(find("STUDY", model="only", PatientID="P2", AccessionNumber=""),
                  "AccessionNumber") == ["A3"]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"StudyDate": "20240131"}, "A1"),
        ({"StudyDate": "20240131-20240201"}, "A1 A2"),
        ({"StudyDate": "-20240131"}, "A1 A4"),
        ({"StudyDate": "20240201-"}, "A2 A3"),
        ({"StudyTime": "10-11"}, "A1"),
        ({"StudyTime": "-0930"}, "A2 A4"),
        ({"StudyDate": "20240101-20240301", "StudyTime": "09-12"}, "A1 A2"),
        ({"PatientName": "doe^*"}, "A1 A2 A3"),
        ({"PatientName": "DOE^JANE"}, "A3"),
        ({"PatientName": "doe"}, ""),
        ({"PatientName": "Muller^JURGEN"}, "A4"),
        ({"PatientName": "M?LLER*"}, "A4"),
        ({"PatientID": "p1"}, ""),
        ({"PatientID": " P1 "}, "A1 A2"),
        ({"AccessionNumber": "A1\\A3\\A9"}, "A1 A3"),
        ({"StudyDescription": "A_B"}, "A2"),
        ({"StudyDescription": "A%B"}, "A3"),
        ({"StudyDescription": "A?B"}, "A2 A3 A4"),
        ({"StudyDescription": "[AB]"}, "A5"),
        ({"StudyDescription": "*&*"}, "A1"),
        ({"ModalitiesInStudy": "MR"}, "A1"),
        ({"ModalitiesInStudy": "MR\\CT"}, "A1 A2 A3 A4 A5"),
        ({"ModalitiesInStudy": "U*"}, ""),
        ({"PatientName": "*"}, "A1 A2 A3 A4 A5"),
        ({"PatientName": "", "StudyDate": ""}, "A1 A2 A3 A4 A5"),
    ],
)
def test_matching(find: Find, wanted: dict[str, str], found: str) -> None:
    if "PatientName" in wanted:
        wanted = {"SpecificCharacterSet": "ISO_IR 100", **wanted}
    assert accessions(find, **wanted) == found.split()


def test_sequence_matching(find: Find) -> None:
    wanted = Dataset()
    wanted.ScheduledProcedureStepID, wanted.RequestedProcedureID = "SPS7", ""
    (answer,) = find("SERIES", SeriesInstanceUID="", RequestAttributesSequence=[wanted])
    assert answer.RequestAttributesSequence[0].RequestedProcedureID == "RP7"
    wanted.ScheduledProcedureStepID = "SPS8"
    assert find("SERIES", SeriesInstanceUID="", RequestAttributesSequence=[wanted]) == []


def test_a_list_of_thousands_of_uids(find: Find, collection: list[Dataset]) -> None:
    mine = sorted(ds.SOPInstanceUID for ds in collection)
    others = [f"1.2.826.0.1.99.{number}" for number in range(3000)]
    answers = find("IMAGE", SOPInstanceUID=[*others[:1500], *mine, *others[1500:]])
    assert values(answers, "SOPInstanceUID") == mine


def test_findscu_cancels_and_the_node_goes_on(node: RunningNode, dcmtk: Dcmtk, find: Find) -> None:
    options = ("-S", "-v", "--cancel", "2", "-k", "QueryRetrieveLevel=IMAGE")
    key = ("-k", "SOPInstanceUID")
    output = dcmtk("findscu", *options, *key, node.host, node.port, check=False).stdout
    assert "Cancel" in output
    assert accessions(find, PatientID="P2") == ["A3"]


NAMES = {
    "SCSARAB": "قباني^لنزار",
    "SCSFREN": "Buc^Jérôme",
    "SCSGERM": "Äneas^Rüdiger",
    "SCSGREEK": "Διονυσιος",
    "H31EXAMPLE": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "SCSHBRW": "שרון^דבורה",
    "I2EXAMPLE": "Hong^Gildong=洪^吉洞=홍^길동",
    "2008-4": "やまだ^たろう",
    "2008-3": "김희중",
    "SCSRUSS": "Люкceмбypг",
    "X1EXAMPLE": "Wang^XiaoDong=王^小東",
    "X2EXAMPLE": "Wang^XiaoDong=王^小东",
}


@pytest.mark.parametrize("character_set", ["ISO_IR 192", "GB18030"])
@pytest.mark.parametrize(("patient", "name"), NAMES.items(), ids=list(NAMES))
def test_a_name_is_found_by_a_key_in_another_character_set(
    find: Find, patient: str, name: str, character_set: str
) -> None:
    answers = find(
        "STUDY", SpecificCharacterSet=character_set, PatientName=name, PatientID="",
        StudyInstanceUID="",
    )  # fmt: skip
    names = {answer.PatientID: str(answer.PatientName) for answer in answers}
    assert names[patient] == name
    assert {answer.SpecificCharacterSet for answer in answers} == {character_set}


@pytest.mark.parametrize(
    ("character_set", "group", "patients"),
    [
        ("ISO_IR 192", "山田^太郎", {"H31EXAMPLE", "H32EXAMPLE"}),
        (["", "ISO 2022 IR 87"], "やまだ^*", {"H31EXAMPLE", "H32EXAMPLE", "2008-4"}),
        (["", "ISO 2022 IR 149"], "洪^吉洞", {"I2EXAMPLE"}),
        ("ISO_IR 192", "wang^xiaodong", {"X1EXAMPLE", "X2EXAMPLE"}),
        ("ISO_IR 144", "Люкc*", {"SCSRUSS"}),
        ("ISO_IR 100", "buc^jerome", {"SCSFREN"}),
        ("ISO_IR 192", "ﾔﾏﾀﾞ^ﾀﾛｳ", {"H32EXAMPLE"}),
    ],
)
def test_one_component_group_of_a_key_is_tried_against_each_of_a_name(
    find: Find, character_set: Any, group: str, patients: set[str]
) -> None:
    answers = find(
        "STUDY", SpecificCharacterSet=character_set, PatientName=group, PatientID="",
        StudyInstanceUID="",
    )  # fmt: skip
    assert {answer.PatientID for answer in answers} == patients


@pytest.mark.parametrize("patient", [*NAMES])
def test_an_answer_that_the_querys_character_set_cannot_hold_is_utf_8(
    find: Find, patient: str
) -> None:
    (answer,) = find("STUDY", PatientID=patient, PatientName="", StudyInstanceUID="")
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert str(answer.PatientName) == NAMES[patient]


def test_plain_ascii_needs_no_label(find: Find) -> None:
    for answer in find("STUDY", PatientID="P1", PatientName=""):
        assert "SpecificCharacterSet" not in answer
