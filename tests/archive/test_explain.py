"""Why a study of an archive matches, or does not: what a search finds, told from its files."""

from itertools import product

import pytest
from pydicom import Dataset

from pacsnode.archive import Archive
from pacsnode.archive.explain import ExplainedKey, Explanation, Outcome
from pacsnode.dicom.level import Level
from pacsnode.dicom.message import Extensions
from pacsnode.dicom.query import Model, Query, query_from_keys
from tests.archive.test_find import dataset, store

FUZZY = Extensions(fuzzy_names=True)


@pytest.fixture
def filled(archive: Archive) -> Archive:
    """Two studies, of two instances each, in other character sets."""
    for number, image_type in ((1, "ORIGINAL"), (2, "DERIVED")):
        common = {"SeriesNumber": number, "ImageType": [image_type, "PRIMARY"], "number": number}
        store(archive, of_study("1.2.3", "Müller^Hans", "ISO_IR 100", **common))
        store(archive, of_study("1.2.4", "Yamada=山田", ["", "ISO 2022 IR 87"], **common))
    return archive


def of_study(
    study: str, name: str, character_set: object, number: int, **values: object
) -> Dataset:
    ds = dataset(number, study, SpecificCharacterSet=character_set, **values)
    ds.PatientName = name
    ds.SeriesInstanceUID = f"{study}.{number}"
    return ds


def asked(level: str, *keys: str, extensions: Extensions = FUZZY) -> Query:
    return query_from_keys(Level[level], Model.PATIENT_ROOT, keys, extensions=extensions)


def explained(archive: Archive, study: str, *keys: str, level: str = "STUDY") -> Explanation:
    found = archive.explain(study, asked(level, *keys))
    assert found is not None
    return found


def of_key(explanation: Explanation, keyword: str) -> ExplainedKey:
    return next(key for key in explanation.keys if key.key.keyword == keyword)


VALUES = {
    "PatientName": ("Mueller", "HANS^MULLER", "Yamada", "=山田", "X*"),
    "Modality": ("CT", "MR"),
    "SeriesNumber": ("1", "2", "3"),
    "ImageType": ("ORIGINAL", "D*", "OTHER"),
}


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_what_is_explained_to_match_is_what_is_found(filled: Archive, level: str) -> None:
    keywords = [keyword for keyword in VALUES if level == "IMAGE" or keyword != "ImageType"]
    for study, values in product(
        ("1.2.3", "1.2.4"), product(*(VALUES[keyword] for keyword in keywords))
    ):
        keys = [f"StudyInstanceUID={study}"]
        keys += [f"{keyword}={value}" for keyword, value in zip(keywords, values, strict=True)]
        explanation = explained(filled, study, *keys, level=level)
        found = any(filled.select(asked(level, *keys)))
        assert explanation.is_match == found, keys
        for key in explanation.keys:
            if key.compared:
                is_met = any(each.is_match for each in key.compared)
                assert is_met == (key.outcome is Outcome.MATCHES), key


def test_it_says_in_which_character_set_the_value_came(filled: Archive) -> None:
    name = of_key(explained(filled, "1.2.3", "PatientName=MUELLER"), "PatientName")
    assert (name.stored, name.character_set) == (("Müller^Hans",), "ISO_IR 100")
    name = of_key(explained(filled, "1.2.4", "PatientName==山田"), "PatientName")
    assert (name.stored, name.character_set) == (("Yamada=山田",), "ISO 2022 IR 6\\ISO 2022 IR 87")


def test_it_says_how_both_sides_were_folded_and_by_which_rule(filled: Archive) -> None:
    (name,) = of_key(explained(filled, "1.2.3", "PatientName=MULER^X"), "PatientName").compared
    assert (name.stored_as, name.wanted_as) == ("muller^hans", "muler^x")
    assert name.rule == "fuzzy name: muler sounds like one (MLR), x is not there"
    assert not name.is_match


def test_keys_that_were_not_compared_say_why(filled: Archive) -> None:
    keys = ("PatientID", "NumberOfStudyRelatedSeries=9", "Modality=CT", "PatientBirthDate=*")
    explanation = explained(filled, "1.2.3", *keys)
    assert explanation.is_match
    outcomes = {key.key.keyword: key.outcome for key in explanation.keys}
    assert outcomes == {
        "PatientID": Outcome.UNIVERSAL,
        "PatientBirthDate": Outcome.UNIVERSAL,
        "NumberOfStudyRelatedSeries": Outcome.IGNORED,
        "Modality": Outcome.IGNORED,
    }
    assert "SERIES level" in of_key(explanation, "Modality").why
    in_files = explained(filled, "1.2.3", "ImageType=ORIGINAL", level="IMAGE")
    assert "only the files" in of_key(in_files, "ImageType").why


def test_what_only_a_file_has_is_read_from_it(filled: Archive) -> None:
    keys = ("StudyInstanceUID=1.2.3", "ImageType=DERIVED")
    explanation = explained(filled, "1.2.3", *keys, level="IMAGE")
    assert explanation.is_match
    assert of_key(explanation, "ImageType").stored == ("DERIVED", "PRIMARY")
    assert explanation.values["SOPInstanceUID"] == "1.2.3.1.2"


def test_nothing_stored_is_said_to_be_nothing(filled: Archive) -> None:
    key = of_key(explained(filled, "1.2.3", "AccessionNumber=A1"), "AccessionNumber")
    assert (key.outcome, key.why, key.stored) == (Outcome.DIFFERS, "nothing is stored", ())


def test_a_study_that_is_not_here_has_no_explanation(filled: Archive) -> None:
    assert filled.explain("9.9", asked("STUDY", "PatientID=4711")) is None


@pytest.mark.parametrize(
    ("level", "keyword"),
    [
        ("STUDY", "ReferringPhysicianName"),  # a column
        ("STUDY", "NameOfPhysiciansReadingStudy"),  # kept as JSON
        ("SERIES", "OperatorsName"),
        ("IMAGE", "ContentCreatorName"),  # in the file alone
    ],
)
def test_every_name_is_matched_fuzzily(archive: Archive, level: str, keyword: str) -> None:
    store(archive, dataset(1, "1.2.5", **{keyword: "Meyer^Ruth"}))
    keys = ("StudyInstanceUID=1.2.5", f"{keyword}=RUT^MAIER")
    assert len(list(archive.select(asked(level, *keys)))) == 1
    assert not list(archive.select(asked(level, *keys, extensions=Extensions())))
    assert of_key(explained(archive, "1.2.5", *keys, level=level), keyword).outcome is (
        Outcome.MATCHES
    )
