"""How rows come from what instances say, in order of receipt."""

import json

from pacsnode.dicom.level import Level
from pacsnode.index import Index, fold
from tests.index.instances import key, make, matches, query


def study_of(index: Index) -> dict[str, str]:
    (match,) = matches(index, query(Level.STUDY))
    return dict(match.values)


def test_an_empty_attribute_is_filled_and_a_value_is_never_replaced(index: Index) -> None:
    index.add(*make(uid="1", received_at=1, StudyDate="20200101"))
    index.add(*make(uid="2", received_at=2, StudyDate="20200102", StudyDescription="HEAD"))
    index.add(*make(uid="3", received_at=3, StudyDescription="NECK"))
    study = study_of(index)
    assert (study["StudyDate"], study["StudyDescription"]) == ("20200101", "HEAD")


def test_the_order_of_receipt_counts_not_that_of_addition(index: Index) -> None:
    """A reindex meets instances in any order."""
    index.add(*make(uid="2", received_at=2, StudyDescription="NECK"))
    index.add(*make(uid="1", received_at=1, StudyDescription="HEAD"))
    assert study_of(index)["StudyDescription"] == "HEAD"
    index.remove(["1"])
    assert study_of(index)["StudyDescription"] == "NECK"


def test_nobodys_identifier_comes_to_stand_beside_anothers_name(index: Index) -> None:
    index.add(*make(uid="1", received_at=1, PatientName="DOE"))
    index.add(*make(uid="2", received_at=2, PatientName="ROE", PatientID="4711", PatientSex="F"))
    study = study_of(index)
    assert (study["PatientName"], study["PatientID"], study["PatientSex"]) == ("DOE", "", "")
    assert list(matches(index, query(Level.STUDY, key("PatientID", "4711"))))


def test_a_patient_that_is_completed_moves_to_whom_it_belongs(index: Index) -> None:
    index.add(*make(study="1", series="1.1", uid="1.1.1", PatientID="A", PatientName="DOE"))
    index.add(*make(study="2", series="2.1", uid="2.1.1", received_at=1, PatientName="DOE"))
    assert len(list(matches(index, query(Level.PATIENT)))) == 2
    index.add(*make(study="2", series="2.1", uid="2.1.2", PatientID="A", PatientName="doe"))
    (patient,) = matches(index, query(Level.PATIENT, returned=("NumberOfPatientRelatedStudies",)))
    assert patient.computed["NumberOfPatientRelatedStudies"] == ("2",)


def test_studies_without_an_identifier_never_merge(index: Index) -> None:
    for study in ("1", "2"):
        index.add(*make(study=study, series=f"{study}.1", uid=f"{study}.1.1", PatientName="DOE"))
    assert len(list(matches(index, query(Level.PATIENT)))) == 2


def test_patients_are_told_apart_by_issuer_name_and_birth_date(index: Index) -> None:
    persons = (
        {"PatientName": "DOE^JANE"},
        {"PatientName": "Doe^Jané^"},  # the first again
        {"PatientName": "ROE"},
        {"PatientName": "DOE^JANE", "PatientBirthDate": "19700101"},
        {"PatientName": "DOE^JANE", "IssuerOfPatientID": "HOSPITAL"},
    )
    for number, person in enumerate(persons):
        made = make(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID="A", **person)
        index.add(*made)
    found = matches(index, query(Level.PATIENT, returned=("NumberOfPatientRelatedStudies",)))
    assert [match.computed["NumberOfPatientRelatedStudies"] for match in found] == [
        ("2",),
        ("1",),
        ("1",),
        ("1",),
    ]


def test_other_attributes_are_filled_one_by_one(index: Index) -> None:
    def others(**attributes: str) -> dict[Level, str]:
        elements = {
            tag[1:]: {"vr": "LO", **({"Value": [value]} if value else {})}
            for tag, value in attributes.items()
        }
        return {Level.STUDY: json.dumps(elements)}

    index.add(*make(uid="1", received_at=1, others=others(t00101010="", t00102180="NURSE")))
    index.add(*make(uid="2", received_at=2, others=others(t00101010="034Y", t00102180="COOK")))
    index.add(*make(uid="3", received_at=3, others=others(t00081040="X-RAY")))
    (match,) = matches(index, query(Level.STUDY))
    values = {tag: each["Value"] for tag, each in json.loads(match.others[Level.STUDY]).items()}
    assert values == {"00081040": ["X-RAY"], "00101010": ["034Y"], "00102180": ["NURSE"]}


def test_a_header_is_what_an_instance_says_whatever_its_number() -> None:
    first, second = make(uid="1", InstanceNumber="1"), make(uid="2", InstanceNumber="2")
    assert fold.study_header(first.instance) == fold.study_header(second.instance)
    assert fold.series_header(first.instance) == fold.series_header(second.instance)
    other = make(uid="2", StudyDescription="HEAD")
    assert fold.study_header(first.instance).digest != fold.study_header(other.instance).digest


def test_a_header_is_known_by_what_older_programs_knew_it_by() -> None:
    """Else each study would get its headers a second time."""
    instance = make(
        PatientID="P",
        PatientName="DOE^JÖRG\\X",
        StudyDate="20200101",
        Modality="CT",
        SeriesNumber="1",
        requests=(("S1", "R1"),),
    ).instance
    for _ in range(2):  # worked out, and remembered
        study, series = fold.study_header(instance), fold.series_header(instance)
        assert study.digest.hex() == "97bc1e7a9803ea1d641aacc57f12f4ba"
        assert series.digest.hex() == "5be2d5daefb59bdadd6e6376bb14fb70"
        assert json.loads(study.content) == study.state


def test_what_is_long_is_not_remembered() -> None:
    fold._remembered_header.cache_clear()
    fold.study_header(make(StudyDescription="X" * 10_000).instance)
    assert fold._remembered_header.cache_info().currsize == 0
    for number in range(1000):
        fold.study_header(make(StudyDescription=str(number)).instance)
    assert fold._remembered_header.cache_info().currsize == 256
