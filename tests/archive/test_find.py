"""Answers to queries, out of an archive with real files."""

import logging
from collections.abc import Mapping
from io import BytesIO

import pytest
from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence as Items

from pacsnode.archive import Archive, Arrival
from pacsnode.dicom.dictionary import tag_of, vr_of
from pacsnode.dicom.encode import decode_dataset, element_of, encode_dataset, text_element
from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.dicom.json import dataset_to_json
from pacsnode.dicom.level import OTHERS, Level
from pacsnode.dicom.query import Model, Query, parse_query
from pacsnode.errors import StorageError
from pacsnode.storage import StoredFile
from tests.archive.conftest import OpenArchive
from tests.archive.instances import answers_to
from tests.dicom.raw import SYNTAXES

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


def dataset(number: int = 1, study: str = "1.2.3", **values: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = f"{study}.1.{number}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.PatientID = "4711"
    ds.PatientName = "DOE^JANE"
    ds.Modality = "CT"
    ds.InstanceNumber = number
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def store(archive: Archive, ds: Dataset) -> None:
    store_bytes(archive, ds.SOPInstanceUID, encode_dataset(ds, EXPLICIT))


def store_bytes(archive: Archive, uid: str, data: bytes) -> None:
    receipt = archive.begin(Arrival(CT, uid, EXPLICIT, "CT1", "NODE"))
    source = BytesIO(data)
    while block := source.read(4096):
        receipt.write(memoryview(block))
    receipt.finish()


def asked(level: str, model: Model = Model.STUDY_ROOT, **keys: object) -> Query:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        if isinstance(value, str):
            ds.add(text_element(keyword, (value,) if value else ()))  # wildcards are no valid CS
        else:
            setattr(ds, keyword, value)
    return parse_query(encode_dataset(ds, EXPLICIT), EXPLICIT, model)


def keywords(answer: Dataset) -> set[str]:
    return {element.keyword for element in answer}


def found(archive: Archive, level: str, model: Model = Model.STUDY_ROOT, **keys: object) -> Dataset:
    (answer,) = answers_to(archive, asked(level, model, **keys))
    return answer


def test_an_answer_has_the_keys_asked_for_and_the_unique_keys_down_to_its_level(
    archive: Archive,
) -> None:
    store(archive, dataset(StudyDescription="HEAD"))
    answer = found(archive, "STUDY", StudyDescription="")
    assert keywords(answer) == {
        "StudyDescription",
        "StudyInstanceUID",
        "RetrieveAETitle",
        "QueryRetrieveLevel",
    }
    answer = found(archive, "IMAGE", Model.PATIENT_ROOT, PatientID="4711")
    assert keywords(answer) == {
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "RetrieveAETitle",
        "QueryRetrieveLevel",
    }
    assert answer.QueryRetrieveLevel == "IMAGE"
    assert answer.RetrieveAETitle == "NODE"


def test_values_come_back_as_received(archive: Archive) -> None:
    store(archive, dataset(PatientName="Doe^Jané^^", SpecificCharacterSet="ISO_IR 100", Rows=512))
    answer = found(archive, "IMAGE", PatientName="DOE*", StudyInstanceUID="1.2.3", Rows=None)
    assert answer.PatientName == "Doe^Jané^^"
    assert answer.Rows == 512
    assert answer["Rows"].VR == "US"


def test_a_key_without_a_value_in_the_row_is_answered_empty(archive: Archive) -> None:
    store(archive, dataset())
    answer = found(archive, "STUDY", AccessionNumber="", StudyDate="", PatientWeight=None)
    for keyword in ("AccessionNumber", "StudyDate", "PatientWeight"):
        assert not answer[keyword].value


def test_computed_keys_and_where_to_retrieve_from(archive: Archive) -> None:
    store(archive, dataset(1))
    store(archive, dataset(2))
    answer = found(
        archive,
        "STUDY",
        ModalitiesInStudy="CT",
        SOPClassesInStudy="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
        RetrieveAETitle="ELSEWHERE",
        InstanceAvailability="OFFLINE",
    )
    assert answer.ModalitiesInStudy == "CT"
    assert answer.SOPClassesInStudy == CT
    assert answer.NumberOfStudyRelatedSeries == "1"
    assert answer.NumberOfStudyRelatedInstances == "2"
    assert answer.RetrieveAETitle == "NODE"
    assert answer.InstanceAvailability == "ONLINE"


def test_attributes_in_no_column_are_answered_from_the_row_and_matched(archive: Archive) -> None:
    store(archive, dataset(PatientAge="034Y", OperatorsName="SMITH"))
    assert found(archive, "STUDY", PatientAge="034Y").PatientAge == "034Y"
    assert not answers_to(archive, asked("STUDY", PatientAge="035Y"))
    assert found(archive, "SERIES", StudyInstanceUID="1.2.3", OperatorsName="smith")


VALUES: Mapping[str, tuple[object, ...]] = {
    "AS": ("034Y",),
    "CS": ("A", "", "B"),
    "DA": ("20200101", "unknown"),
    "DS": ("1.50", "2"),
    "FD": (0.1, -2.5),
    "IS": ("007",),
    "LO": ("Ä", "b"),
    "LT": ("a\\b ü",),
    "PN": ("Yamada^Tarou=山田^太郎=やまだ", "B"),
    "SH": ("x",),
    "ST": ("y",),
    "TM": ("101112.5",),
    "UC": ("z" * 1000,),
    "UI": ("1.2", "3.4"),
    "US": (1, 65535),
    "UT": ("u",),
}


def filled(keyword: str) -> DataElement:
    tag = tag_of(keyword)
    vr = vr_of(tag)
    if vr == "SQ":
        item = Dataset()
        item.CodeValue, item.CodeMeaning = "C1", "Größe"
        return element_of(tag, vr, [item])
    return element_of(tag, vr, VALUES[vr])


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_whatever_is_kept_of_an_instance_comes_back_in_every_transfer_syntax(
    archive: Archive, level: Level, transfer_syntax: str
) -> None:
    kept = [keyword for upper in Level if upper <= level for keyword in OTHERS[upper]]
    made = dataset(SpecificCharacterSet="ISO_IR 192", StudyDescription="KÖPF", Rows=512)
    expected, wanted = Dataset(), Dataset()
    for keyword in kept:
        made.add(filled(keyword))
        expected.add(filled(keyword))
        wanted.add(element_of(tag_of(keyword), vr_of(tag_of(keyword)), ()))
    store(archive, made)
    wanted.QueryRetrieveLevel = level.word
    query = parse_query(encode_dataset(wanted, transfer_syntax), transfer_syntax, Model.STUDY_ROOT)
    ((answer,),) = archive.find(query, transfer_syntax)
    answered = dataset_to_json(decode_dataset(answer, transfer_syntax))
    stored = dataset_to_json(expected)
    assert {tag: answered.get(tag) for tag in stored} == stored


def test_image_attributes_in_no_column_are_answered_and_matched_from_the_file(
    archive: Archive,
) -> None:
    store(archive, dataset(1, ImageType=["ORIGINAL", "PRIMARY"], KVP="120.0"))
    store(archive, dataset(2, ImageType=["DERIVED", "PRIMARY"], KVP="80"))
    study = {"StudyInstanceUID": "1.2.3"}
    answers = answers_to(archive, asked("IMAGE", ImageType="", **study))
    assert [list(answer.ImageType) for answer in answers] == [
        ["ORIGINAL", "PRIMARY"],
        ["DERIVED", "PRIMARY"],
    ]
    assert found(archive, "IMAGE", ImageType="DERIV*", **study).SOPInstanceUID == "1.2.3.1.2"
    assert found(archive, "IMAGE", KVP="120", **study).SOPInstanceUID == "1.2.3.1.1"
    selected = archive.select(asked("IMAGE", ImageType="DERIVED", **study))
    assert [stored.uids.sop_instance_uid for stored in selected] == ["1.2.3.1.2"]


def test_answers_come_a_few_at_a_time(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacsnode.archive.find.AT_ONCE", 2)
    for number in range(5):
        store(archive, dataset(number))
    pages = list(archive.find(asked("IMAGE", InstanceNumber=""), EXPLICIT))
    assert [len(page) for page in pages] == [2, 2, 1]
    uids = [decode_dataset(answer, EXPLICIT).SOPInstanceUID for page in pages for answer in page]
    assert uids == [f"1.2.3.1.{number}" for number in range(5)]


def test_answers_wait_for_no_file_but_their_own(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        store(archive, dataset(number, ImageType=["ORIGINAL"]))
    opened: list[InstanceUIDs] = []
    open_stored = archive._storage.open

    def record(uids: InstanceUIDs) -> StoredFile:
        opened.append(uids)
        return open_stored(uids)

    monkeypatch.setattr(archive._storage, "open", record)
    study = {"StudyInstanceUID": "1.2.3"}
    pages = archive.find(asked("IMAGE", InstanceNumber="", **study), EXPLICIT)
    assert [len(page) for page in pages] == [3]
    assert not opened
    for keys in ({"ImageType": ""}, {"ImageType": "ORIG*"}):
        pages = archive.find(asked("IMAGE", **keys, **study), EXPLICIT)
        opened.clear()
        assert len(next(pages)) == 1
        assert len({uids.sop_instance_uid for uids in opened}) == 1
        assert [len(page) for page in pages] == [1, 1]


def test_text_in_files_that_declare_no_character_set_is_read_as_its_senders(
    open_again: OpenArchive,
) -> None:
    archive = open_again(character_sets={"CT1": "ISO_IR 144"})
    data = encode_dataset(dataset(ImageComments="xxxx"), EXPLICIT)
    store_bytes(archive, "1.2.3.1.1", data.replace(b"xxxx", "Люкс".encode("iso8859_5")))
    place = {"StudyInstanceUID": "1.2.3"}
    assert found(archive, "IMAGE", ImageComments="", **place).ImageComments == "Люкс"
    assert found(archive, "IMAGE", ImageComments="Лю*", **place)
    assert not answers_to(archive, asked("IMAGE", ImageComments="xx*", **place))


def test_a_file_that_cannot_be_read_for_now_is_a_failure_of_the_storage(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, dataset(ImageComments="x"))

    def fail(*_: object, **__: object) -> Dataset:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pacsnode.archive.find.read_dataset", fail)
    with pytest.raises(StorageError):
        found(archive, "IMAGE", ImageComments="", StudyInstanceUID="1.2.3")


def test_a_lost_file_is_answered_without_what_only_it_knows(
    archive: Archive, data_dir: object, caplog: pytest.LogCaptureFixture
) -> None:
    store(archive, dataset(ImageType=["ORIGINAL"]))
    (stored,) = archive.select(asked("STUDY", StudyInstanceUID="1.2.3"))
    archive._storage.delete(stored.uids)
    with caplog.at_level(logging.WARNING):
        answer = found(archive, "IMAGE", ImageType="", StudyInstanceUID="1.2.3")
    assert not answer.ImageType
    assert stored.uids.sop_instance_uid in caplog.text
    assert not answers_to(archive, asked("IMAGE", ImageType="X", StudyInstanceUID="1.2.3"))


def request(step: str, procedure: str) -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID = step
    item.RequestedProcedureID = procedure
    return item


def test_request_attributes_match_within_one_item_and_are_answered(archive: Archive) -> None:
    items = Items([request("S1", "R1"), request("S2", "R2")])
    store(archive, dataset(RequestAttributesSequence=items))

    def search(step: str, procedure: str) -> list[Dataset]:
        wanted = Items([request(step, procedure)])
        return answers_to(archive, asked("SERIES", RequestAttributesSequence=wanted))

    assert search("S1", "R2") == []
    (answer,) = search("S2", "R*")
    assert [
        (item.ScheduledProcedureStepID, item.RequestedProcedureID)
        for item in answer.RequestAttributesSequence
    ] == [("S1", "R1"), ("S2", "R2")]


def test_all_that_a_request_says_is_answered_and_matched(archive: Archive) -> None:
    item = request("S1", "R1")
    item.AccessionNumber, item.ScheduledProcedureStepDescription = "OTHER", "CHEST"
    store(archive, dataset(AccessionNumber="A1", RequestAttributesSequence=Items([item])))
    wanted = request("S1", "")
    wanted.AccessionNumber, wanted.ScheduledProcedureStepDescription = "OTHER", ""
    query = asked("SERIES", AccessionNumber="A1", RequestAttributesSequence=Items([wanted]))
    (answer,) = answers_to(archive, query)
    (answered,) = answer.RequestAttributesSequence
    assert answered.ScheduledProcedureStepDescription == "CHEST"
    assert answered.RequestedProcedureID == "R1"
    wanted.AccessionNumber = "A1"
    assert not answers_to(archive, asked("SERIES", RequestAttributesSequence=Items([wanted])))


def test_of_a_sequence_the_items_have_what_was_asked_for(archive: Archive) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-A0100", "SRT", "Brain"
    store(archive, dataset(ProcedureCodeSequence=Items([code])))
    wanted = Dataset()
    wanted.CodeValue, wanted.CodeMeaning = "T-A0100", ""
    answer = found(archive, "STUDY", ProcedureCodeSequence=Items([wanted]))
    (item,) = answer.ProcedureCodeSequence
    assert keywords(item) == {"CodeValue", "CodeMeaning"}
    assert item.CodeMeaning == "Brain"
    wanted.CodeValue = "T-XXXX"
    assert not answers_to(archive, asked("STUDY", ProcedureCodeSequence=Items([wanted])))


@pytest.mark.parametrize(
    ("name", "of_query", "expected"),
    [
        ("DOE^JANE", "ISO_IR 100", None),
        ("Müller", "ISO_IR 100", "ISO_IR 100"),
        ("Иванов", "ISO_IR 100", "ISO_IR 192"),
        ("Müller", None, "ISO_IR 192"),
    ],
)
def test_answers_are_labelled_by_what_they_hold(
    archive: Archive, name: str, of_query: str | None, expected: str | None
) -> None:
    store(archive, dataset(PatientName=name, SpecificCharacterSet="ISO_IR 192"))
    keys = {"SpecificCharacterSet": of_query} if of_query else {}
    answer = found(archive, "STUDY", PatientName="", **keys)
    assert answer.get("SpecificCharacterSet") == expected
    assert answer.PatientName == name


def test_keys_of_lower_levels_are_not_answered_with_anything(archive: Archive) -> None:
    store(archive, dataset())
    query = asked("STUDY", SeriesInstanceUID="1.9.9", StudyInstanceUID="1.2.3")
    assert query.ignored
    (answer,) = answers_to(archive, query)
    assert not answer.get("SeriesInstanceUID")


def test_a_patient_is_answered_at_its_own_level(archive: Archive) -> None:
    store(archive, dataset(study="1.2.3"))
    store(archive, dataset(study="1.2.4", PatientName="Doe^Jane"))
    store(archive, dataset(study="1.2.5", PatientName="ROE"))
    query = asked(
        "PATIENT",
        Model.PATIENT_ROOT,
        PatientID="4711",
        NumberOfPatientRelatedStudies="",
        PatientName="",
    )
    assert query.level == Level.PATIENT
    answers = [(a.PatientName, a.NumberOfPatientRelatedStudies) for a in answers_to(archive, query)]
    assert answers == [("DOE^JANE", "2"), ("ROE", "1")]
