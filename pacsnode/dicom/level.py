"""The four levels of the query/retrieve information models, and which attribute is of which
(PS3.4 C.6). Attributes that no level claims are image level."""

from enum import IntEnum


class Level(IntEnum):
    """Ordered from the top; `level < other` means that it lies above."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3

    @property
    def word(self) -> str:
        """As it stands in QueryRetrieveLevel (0008,0052)."""
        return self.name

    @property
    def unique_key(self) -> str:
        return UNIQUE_KEYS[self]


UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

# Searchable: a column in the index, a matching key and a return key.
COLUMNS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
    ),
    Level.STUDY: (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "StudyDescription",
        "ReferringPhysicianName",
        "InstitutionName",
    ),
    Level.SERIES: (
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
        "ProtocolName",
        "Manufacturer",
        "StationName",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    Level.IMAGE: (
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        "ContentDate",
        "ContentTime",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "AcquisitionNumber",
    ),
}

# What RequestAttributesSequence (0040,0275) is matched by.
REQUEST_ATTRIBUTES = ("ScheduledProcedureStepID", "RequestedProcedureID")

# Answered from the rows below, never stored in a dataset. Of these only ModalitiesInStudy matches.
COMPUTED: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: (
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.IMAGE: (),
}

# Said of an answer at any level, not attributes of its object.
OF_THE_ANSWER = ("RetrieveAETitle", "InstanceAvailability")
