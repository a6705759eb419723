"""A hospital's ten years: patients, studies, series and instances, made up from a study's number
alone. What is asked for later can be worked out again."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

from pacsnode.dicom.instance import Instance, InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level

EXPLICIT = "1.2.840.10008.1.2.1"
_STORAGE = "1.2.840.10008.5.1.4.1.1"
ROOT = "1.2.826.0.1.3680043.10.1493"

FIRST_DAY = date(2016, 1, 1)
DAYS = 3650
_BEGINNING = 1_451_606_400_000_000  # of the first day, in microseconds since 1970
_MICROSECONDS_OF_DAY = 86_400_000_000


class Series(NamedTuple):
    modality: str
    sop_class_uid: str
    description: str
    instances: int
    length: int  # bytes of each


class Kind(NamedTuple):
    """One kind of examination, and how many of a hundred are of it."""

    share: int
    description: str
    body_part: str
    series: Sequence[Series]


_CT, _MR, _US, _DX = f"{_STORAGE}.2", f"{_STORAGE}.4", f"{_STORAGE}.6.1", f"{_STORAGE}.1.1"
_SR = f"{_STORAGE}.88.67"
KINDS = (
    Kind(38, "THORAX PA/LAT", "CHEST", (
        Series("DX", _DX, "THORAX PA", 2, 15_000_000),
        Series("DX", _DX, "THORAX LAT", 2, 15_000_000),
    )),
    Kind(22, "CT ABDOMEN", "ABDOMEN", (
        Series("CT", _CT, "TOPOGRAM", 1, 526_000), Series("CT", _CT, "AXIAL 5.0", 14, 526_000),
        Series("SR", _SR, "DOSE REPORT", 1, 20_000),
    )),
    Kind(16, "MR BRAIN", "HEAD", (
        Series("MR", _MR, "T1 TSE", 7, 300_000), Series("MR", _MR, "T2 FLAIR", 7, 300_000),
        Series("MR", _MR, "DWI", 4, 140_000),
    )),
    Kind(15, "US ABDOMEN", "ABDOMEN", (
        Series("US", _US, "", 7, 900_000), Series("US", _US, "", 5, 900_000),
    )),
    Kind(5, "MAMMOGRAPHY", "BREAST", (
        Series("MG", f"{_STORAGE}.1.2", "R", 2, 27_000_000),
        Series("MG", f"{_STORAGE}.1.2", "L", 2, 27_000_000),
    )),
    Kind(3, "CORONARY ANGIOGRAPHY", "HEART", (
        Series("XA", f"{_STORAGE}.12.1", "LCA", 6, 40_000_000),
        Series("XA", f"{_STORAGE}.12.1", "RCA", 4, 40_000_000),
    )),
    Kind(1, "PET/CT", "WHOLEBODY", (
        Series("CT", _CT, "CT LOW DOSE", 12, 526_000),
        Series("PT", f"{_STORAGE}.128", "PET AC", 12, 33_000),
        Series("SR", _SR, "DOSE REPORT", 1, 20_000),
    )),
)  # fmt: skip

# A few names are many people's, many are a few people's: the n-th as often as 1/n.
_FAMILIES = (
    "SMITH", "DOE", "MILLER", "MÜLLER", "GARCÍA", "NGUYEN", "SILVA", "IVANOV", "ROE", "JONES",
    "KOWALSKI", "HANSEN", "ROSSI", "DUBOIS", "YAMADA", "O'NEILL", "VAN DER BERG", "KIM",
)  # fmt: skip
_SYLLABLES = (
    "BA", "DEL", "FOR", "GAN", "HOLT", "KER", "LIN", "MAR", "NOR", "PEL", "QUI", "RAS", "SEN",
    "TOR", "VIK", "WES",
)  # fmt: skip
_GIVEN = (
    "JOHN", "JANE", "ANN", "PAUL", "LEE", "EVA", "TOM", "IDA", "MAX", "SOFIA", "LUCAS", "EMMA",
    "NOAH", "MIA", "LÉA", "HUGO", "OLGA", "IVAN", "YUKI", "HANA", "JOSÉ", "MARIA", "PETER", "KLARA",
)  # fmt: skip
_STUDIES_OF_PATIENT = 3  # on average


@cache
def _families() -> tuple[Sequence[str], Sequence[float]]:
    made = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES]
    random.Random(1).shuffle(made)
    names = [*_FAMILIES, *made]
    shares, total = [], 0.0
    for rank in range(len(names)):
        total += 1 / (rank + 8)
        shares.append(total)
    return names, shares


class Patient(NamedTuple):
    patient_id: str
    name: str
    birth_date: str
    sex: str


@cache
def _kinds() -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS for _ in range(kind.share))


def patient(number: int) -> Patient:
    chance = random.Random(number)
    names, shares = _families()
    family = chance.choices(names, cum_weights=shares)[0]
    given = chance.choice(_GIVEN)
    birth = date(1925, 1, 1) + timedelta(days=chance.randrange(34_000))
    return Patient(
        f"{number:08}", f"{family}^{given}^{chance.choice('ABCDEFGH')}", f"{birth:%Y%m%d}",
        chance.choice("MF"),
    )  # fmt: skip


class Study(NamedTuple):
    """Where it is in the hospital's ten years."""

    uid: str
    patient: int
    kind: Kind
    device: int
    day: date
    time: str
    accession_number: str
    received_at: int


def study(number: int, studies: int) -> Study:
    """The study of this number among so many."""
    at = DAYS * number / studies
    day = FIRST_DAY + timedelta(days=int(at))
    seconds = int(at % 1 * 86_400)
    time = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"
    mixed = number * 2_654_435_761 % 2**32  # far from its neighbours
    kind = _kinds()[mixed % 100]
    device = KINDS.index(kind) * 4 + mixed // 100 % 4
    return Study(
        f"{ROOT}.{device}.{day:%Y%m%d}{time}.{number}",
        mixed % max(1, studies // _STUDIES_OF_PATIENT),
        kind,
        device,
        day,
        time,
        f"A{number:09}",
        _BEGINNING + int(at * _MICROSECONDS_OF_DAY),
    )


def series_uid(study: Study, number: int) -> str:
    return f"{study.uid}.{number}"


def instances(number: int, studies: int) -> Iterator[list[tuple[Instance, StoredInstance]]]:
    """Of the study of this number, series by series, in the order in which they are received."""
    made = study(number, studies)
    of_study = _of_study(made, number)
    received_at = made.received_at
    for index, series in enumerate(made.kind.series, 1):
        uid = series_uid(made, index)
        said = {**of_study, **_of_series(made, series, uid, index)}
        others = {**_OTHERS_OF_STUDY, Level.SERIES: _others_of_series(made, series, index)}
        found = []
        for place in range(1, series.instances + 1):
            received_at += 20_000
            found.append(_instance(made, series, said, others, uid, place, received_at))
        yield found


def _instance(
    study: Study,
    series: Series,
    said: Mapping[str, tuple[str, ...]],
    others: Mapping[Level, str],
    series_uid: str,
    place: int,
    received_at: int,
) -> tuple[Instance, StoredInstance]:
    uids = InstanceUIDs(study.uid, series_uid, f"{series_uid}.{place}")
    values = {**said, "SOPInstanceUID": (uids.sop_instance_uid,), "InstanceNumber": (str(place),)}
    digest = hashlib.blake2b(uids.sop_instance_uid.encode(), digest_size=32).digest()
    stored = StoredInstance(
        uids, series.sop_class_uid, EXPLICIT, f"{series.modality}{study.device}",
        series.length, digest, received_at,
    )  # fmt: skip
    return Instance(uids, series.sop_class_uid, values, others), stored


_OTHERS_OF_STUDY = {
    Level.PATIENT: "{}",
    Level.STUDY: json.dumps(
        {
            "00081060": {"vr": "PN", "Value": [{"Alphabetic": "READER^ANN"}]},
            "00101010": {"vr": "AS", "Value": ["054Y"]},
            "00101030": {"vr": "DS", "Value": [72.0]},
        }
    ),
}


def _of_study(study: Study, number: int) -> Mapping[str, tuple[str, ...]]:
    person = patient(study.patient)
    said = {
        "PatientID": person.patient_id,
        "PatientName": person.name,
        "PatientBirthDate": person.birth_date,
        "PatientSex": person.sex,
        "StudyInstanceUID": study.uid,
        "StudyDate": f"{study.day:%Y%m%d}",
        "StudyTime": study.time,
        "AccessionNumber": study.accession_number,
        "StudyID": str(number),
        "StudyDescription": study.kind.description,
        "ReferringPhysicianName": f"{_FAMILIES[number % 18]}^{_GIVEN[number % 24]}",
        "InstitutionName": "GENERAL HOSPITAL",
    }
    return {keyword: (text,) for keyword, text in said.items()}


def _of_series(
    study: Study, series: Series, uid: str, number: int
) -> Mapping[str, tuple[str, ...]]:
    said = {
        "SeriesInstanceUID": uid,
        "Modality": series.modality,
        "SeriesNumber": str(number),
        "SeriesDescription": series.description,
        "SeriesDate": f"{study.day:%Y%m%d}",
        "SeriesTime": study.time,
        "BodyPartExamined": study.kind.body_part,
        "Manufacturer": "MAKER",
        "StationName": f"{series.modality}{study.device}",
        "PerformedProcedureStepStartDate": f"{study.day:%Y%m%d}",
        "PerformedProcedureStepStartTime": study.time,
        "SOPClassUID": series.sop_class_uid,
        "Rows": "512",
        "Columns": "512",
    }
    return {keyword: (text,) for keyword, text in said.items() if text}


def _others_of_series(study: Study, series: Series, number: int) -> str:
    request = {
        "00400009": {"vr": "SH", "Value": [f"S{study.accession_number}"]},
        "00401001": {"vr": "SH", "Value": [f"R{study.accession_number}"]},
    }
    return json.dumps(
        {
            "00081090": {"vr": "LO", "Value": [f"MODEL {series.modality}"]},
            "00200052": {"vr": "UI", "Value": [f"{study.uid}.{number}.9"]},
            "00400275": {"vr": "SQ", "Value": [request]},
        }
    )
