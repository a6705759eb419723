"""The four levels of the query/retrieve information models, and which attribute is of which
(PS3.4 C.6). Attributes that no level claims are image level."""

from enum import IntEnum
from functools import cache


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

# Those that the standard wants every SCP to match (PS3.4 C.6.1.1 and C.6.2.1): beside the unique
# keys they are what workstations show.
REQUIRED_KEYS = {
    Level.PATIENT: ("PatientName",),
    Level.STUDY: ("StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    Level.SERIES: ("Modality", "SeriesNumber"),
    Level.IMAGE: ("InstanceNumber",),
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

# By these of its items RequestAttributesSequence (0040,0275) is looked up, as if they were columns.
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

# What else patient, study and series have in common (PS3.3 C.7.1 to C.7.5, C.8 where a module is of
# the series): kept beside the columns, returned, and matched once the columns have narrowed.
OTHERS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "IssuerOfPatientIDQualifiersSequence",
        "TypeOfPatientID",
        "PatientBirthTime",
        "PatientBirthDateInAlternativeCalendar",
        "PatientDeathDateInAlternativeCalendar",
        "PatientAlternativeCalendar",
        "PatientInsurancePlanCodeSequence",
        "PatientPrimaryLanguageCodeSequence",
        "ReferencedPatientSequence",
        "ReferencedPatientPhotoSequence",
        "SourcePatientGroupIdentificationSequence",
        "GroupOfPatientsIdentificationSequence",
        "QualityControlSubject",
        "OtherPatientIDs",
        "OtherPatientNames",
        "OtherPatientIDsSequence",
        "PatientBirthName",
        "PatientMotherBirthName",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "CountryOfResidence",
        "RegionOfResidence",
        "MilitaryRank",
        "BranchOfService",
        "MedicalRecordLocator",
        "PatientReligiousPreference",
        "EthnicGroup",
        "EthnicGroupCodeSequence",
        "PatientComments",
        "PatientSpeciesDescription",
        "PatientSpeciesCodeSequence",
        "PatientBreedDescription",
        "PatientBreedCodeSequence",
        "BreedRegistrationSequence",
        "StrainDescription",
        "StrainNomenclature",
        "StrainCodeSequence",
        "StrainStockSequence",
        "StrainAdditionalInformation",
        "GeneticModificationsSequence",
        "ResponsiblePerson",
        "ResponsiblePersonRole",
        "ResponsibleOrganization",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "ClinicalTrialSponsorName",
        "ClinicalTrialProtocolID",
        "ClinicalTrialProtocolName",
        "ClinicalTrialSiteID",
        "ClinicalTrialSiteName",
        "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID",
        "IssuerOfClinicalTrialProtocolID",
        "ClinicalTrialProtocolEthicsCommitteeName",
        "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    ),
    Level.STUDY: (
        "IssuerOfAccessionNumberSequence",
        "InstitutionAddress",
        "InstitutionCodeSequence",
        "ReferringPhysicianAddress",
        "ReferringPhysicianTelephoneNumbers",
        "ReferringPhysicianIdentificationSequence",
        "ConsultingPhysicianName",
        "ConsultingPhysicianIdentificationSequence",
        "PhysiciansOfRecord",
        "PhysiciansOfRecordIdentificationSequence",
        "NameOfPhysiciansReadingStudy",
        "PhysiciansReadingStudyIdentificationSequence",
        "ProcedureCodeSequence",
        "ReferencedStudySequence",
        "ReasonForPerformedProcedureCodeSequence",
        "RequestingService",
        "RequestingServiceCodeSequence",
        "RequestingPhysician",
        "AdmittingDiagnosesDescription",
        "AdmittingDiagnosesCodeSequence",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "PatientBodyMassIndex",
        "PatientSizeCodeSequence",
        "MeasuredAPDimension",
        "MeasuredLateralDimension",
        "MedicalAlerts",
        "Allergies",
        "Occupation",
        "SmokingStatus",
        "AdditionalPatientHistory",
        "PregnancyStatus",
        "LastMenstrualDate",
        "PatientSexNeutered",
        "PatientState",
        "SpecialNeeds",
        "AdmissionID",
        "IssuerOfAdmissionIDSequence",
        "ReasonForVisit",
        "ReasonForVisitCodeSequence",
        "ServiceEpisodeID",
        "ServiceEpisodeDescription",
        "IssuerOfServiceEpisodeIDSequence",
        "CurrentPatientLocation",
        "PatientInstitutionResidence",
        "VisitComments",
        "ClinicalTrialTimePointID",
        "ClinicalTrialTimePointDescription",
        "ClinicalTrialTimePointTypeCodeSequence",
        "LongitudinalTemporalEventType",
        "LongitudinalTemporalOffsetFromEvent",
        "ConsentForClinicalTrialUseSequence",
        # Of no module any more, but written by modalities and asked for by workstations.
        "StudyIDIssuer",
        "StudyStatusID",
        "StudyPriorityID",
        "StudyComments",
        "ReasonForStudy",
        "RequestedProcedureDescription",
        "RequestedProcedureCodeSequence",
    ),
    Level.SERIES: (
        "RequestAttributesSequence",
        "Laterality",
        "SeriesDescriptionCodeSequence",
        "PerformingPhysicianName",
        "PerformingPhysicianIdentificationSequence",
        "OperatorsName",
        "OperatorIdentificationSequence",
        "ReferencedPerformedProcedureStepSequence",
        "RelatedSeriesSequence",
        "ReferencedDefinedProtocolSequence",
        "ReferencedPerformedProtocolSequence",
        "TreatmentSessionUID",
        "AnatomicalOrientationType",
        "PatientPosition",
        "PerformedProcedureStepID",
        "PerformedProcedureStepEndDate",
        "PerformedProcedureStepEndTime",
        "PerformedProcedureStepDescription",
        "PerformedProtocolCodeSequence",
        "CommentsOnThePerformedProcedureStep",
        "ClinicalTrialCoordinatingCenterName",
        "ClinicalTrialSeriesID",
        "ClinicalTrialSeriesDescription",
        "InstitutionalDepartmentName",
        "InstitutionalDepartmentTypeCodeSequence",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "DeviceUID",
        "SoftwareVersions",
        "GantryID",
        "UDISequence",
        "SpatialResolution",
        "DateOfLastCalibration",
        "TimeOfLastCalibration",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "SynchronizationFrameOfReferenceUID",
    ),
    Level.IMAGE: (),
}


@cache
def levels_by_keyword() -> dict[str, Level]:
    """Which level each attribute of the tables above is of."""
    tables = (COLUMNS, COMPUTED, OTHERS)
    return {keyword: level for table in tables for level in Level for keyword in table[level]}


def level_of(keyword: str) -> Level:
    """The level of an attribute; what no table names, or has no keyword, is image level."""
    return levels_by_keyword().get(keyword, Level.IMAGE)
