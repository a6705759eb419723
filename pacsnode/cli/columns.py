"""What a query returns and shows beside the keys that it was asked for."""

from collections.abc import Sequence

from pacsnode.dicom.level import Level

PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")

RETURNED = {
    Level.PATIENT: (*PATIENT, "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedInstances"),
    Level.STUDY: (
        "StudyDate",
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}


def columns(level: Level, asked: Sequence[int]) -> list[int]:
    """Tags to show: those of the level, then those that were asked for besides."""
    from pydicom.datadict import tag_for_keyword

    usual = [tag for tag in map(tag_for_keyword, RETURNED[level]) if tag is not None]
    return list(dict.fromkeys([*usual, *asked]))
