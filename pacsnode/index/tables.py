"""The index as tables: the four levels, what they are folded from, what finds them, and notes.

patient, study, series and instance are the levels, each row pointing at its `parent`. A column of
a level is its keyword in snake case (`column`); it holds the values as received, joined by
backslashes. study_header and series_header keep, word for word, the distinct things that instances
say of their study and series: from them the two rows are folded (fold.py), anew when an instance
goes. tally counts what stands below each row (tally.py). study_term and
series_term are an inverted list of what is searched by (terms.py). flag,
pending, conflict, lost and the commitments hold what the storage tree cannot tell (salvaging.py).
"""

import re

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)
from playhouse.sqlite_ext import AutoIncrementField


def column(keyword: str) -> str:
    """The column of a keyword: SOPInstanceUID is sop_instance_uid."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower()


def _text() -> TextField:
    return TextField(constraints=[SQL("DEFAULT ''")])


def _number() -> BigIntegerField:
    return BigIntegerField(constraints=[SQL("DEFAULT 0")])


class Archive(Model):
    """One row: which archive this is the index of, and which schema its tables have."""

    id = IntegerField(primary_key=True)
    archive_id = TextField()
    schema_version = IntegerField()


class Patient(Model):
    """One (PatientID, IssuerOfPatientID, folded name, birth date): `identity`. Its values are those
    of its studies, first received."""

    id = AutoIncrementField()
    identity = TextField(unique=True)
    patient_name = _text()
    patient_id = _text()
    issuer_of_patient_id = _text()
    patient_birth_date = _text()
    patient_sex = _text()
    others = _text()


class Study(Model):
    """`aliases` is JSON: the PatientIDs and names that differ from the study's own. What its series
    say of it comes last (modalities.py)."""

    id = AutoIncrementField()
    parent = ForeignKeyField(Patient, column_name="parent", index=False)
    patient_name = _text()
    patient_id = _text()
    issuer_of_patient_id = _text()
    patient_birth_date = _text()
    patient_sex = _text()
    study_instance_uid = TextField(unique=True)
    study_date = _text()
    study_time = _text()
    accession_number = _text()
    study_id = _text()
    study_description = _text()
    referring_physician_name = _text()
    institution_name = _text()
    patient_others = _text()
    others = _text()
    aliases = _text()
    received_at = _number()
    modalities_in_study = _text()
    sop_classes_in_study = _text()

    class Meta:
        indexes = ((("parent", "received_at"), False),)


class Series(Model):
    """`position` is SeriesNumber to sort by."""

    id = AutoIncrementField()
    parent = ForeignKeyField(Study, column_name="parent", index=False)
    series_instance_uid = TextField(index=True)
    modality = _text()
    series_number = _text()
    series_description = _text()
    series_date = _text()
    series_time = _text()
    body_part_examined = _text()
    protocol_name = _text()
    manufacturer = _text()
    station_name = _text()
    performed_procedure_step_start_date = _text()
    performed_procedure_step_start_time = _text()
    others = _text()
    position = _number()

    class Meta:
        # A modality may use one Series Instance UID in two studies: both are kept apart.
        indexes = ((("parent", "series_instance_uid"), True), (("parent", "position"), False))


class StudyHeader(Model):
    """What some instances of a study say of patient and study; received_at is their earliest."""

    id = AutoIncrementField()
    study = ForeignKeyField(Study, column_name="study", index=False, on_delete="CASCADE")
    digest = BlobField()
    content = TextField()
    received_at = BigIntegerField()

    class Meta:
        table_name = "study_header"
        indexes = ((("study", "digest"), True), (("study", "received_at"), False))


class SeriesHeader(Model):
    """What some instances of a series, all of one study header and SOP class, say of it."""

    id = AutoIncrementField()
    series = ForeignKeyField(Series, column_name="series", index=False, on_delete="CASCADE")
    study_header = ForeignKeyField(StudyHeader, column_name="study_header", index=False)
    digest = BlobField()
    sop_class_uid = TextField()
    content = TextField()
    received_at = BigIntegerField()

    class Meta:
        table_name = "series_header"
        indexes = (
            (("series", "study_header", "digest"), True),
            (("series", "received_at"), False),
            (("study_header", "received_at"), False),
        )


class Instance(Model):
    """One SOP instance and what is known of its file. `position` is InstanceNumber to sort by."""

    id = AutoIncrementField()
    parent = ForeignKeyField(Series, column_name="parent", index=False)
    header = ForeignKeyField(SeriesHeader, column_name="header", index=False)
    sop_instance_uid = TextField(unique=True)
    sop_class_uid = TextField()
    instance_number = _text()
    content_date = _text()
    content_time = _text()
    number_of_frames = _text()
    rows = _text()
    columns = _text()
    acquisition_number = _text()
    position = _number()
    transfer_syntax_uid = TextField()
    source_ae_title = TextField()
    length = BigIntegerField()
    digest = BlobField()
    received_at = BigIntegerField()

    class Meta:
        indexes = ((("parent", "position"), False), (("header", "received_at"), False))


class Tally(Model):
    """What stands below a row, of which `patient`, `study` and `series` are the id and those of the
    rows above; 0 below it (tally.py)."""

    patient = IntegerField()
    study = IntegerField()
    series = IntegerField()
    number_of_studies = _number()
    number_of_series = _number()
    number_of_instances = _number()
    number_of_lost = _number()
    number_of_bytes = _number()

    class Meta:
        primary_key = CompositeKey("patient", "study", "series")
        without_rowid = True


class StudyTerm(Model):
    """A value that studies are searched by, in the form it is compared in."""

    kind = TextField()
    value = TextField()
    owner = ForeignKeyField(Study, column_name="owner", on_delete="CASCADE")

    class Meta:
        table_name = "study_term"
        primary_key = CompositeKey("kind", "value", "owner")
        without_rowid = True


class SeriesTerm(Model):
    """A value that series are searched by, in the form it is compared in."""

    kind = TextField()
    value = TextField()
    owner = ForeignKeyField(Series, column_name="owner", on_delete="CASCADE")

    class Meta:
        table_name = "series_term"
        primary_key = CompositeKey("kind", "value", "owner")
        without_rowid = True


class Flag(Model):
    """Something odd about a study or an instance that a person should know."""

    id = AutoIncrementField()
    kind = TextField()
    study_instance_uid = TextField()
    series_instance_uid = TextField()
    sop_instance_uid = TextField()
    text = TextField()
    noted_at = BigIntegerField()

    class Meta:
        indexes = ((("study_instance_uid", "kind", "sop_instance_uid", "text"), True),)


class Pending(Model):
    """A step on the storage tree that was decided and is not known to be done."""

    id = AutoIncrementField()
    kind = TextField()
    study_instance_uid = TextField()
    series_instance_uid = TextField()
    sop_instance_uid = TextField()
    digest = BlobField()
    noted_at = BigIntegerField()

    class Meta:
        indexes = (
            (
                ("sop_instance_uid", "kind", "study_instance_uid", "series_instance_uid", "digest"),
                True,
            ),
        )


class Conflict(Model):
    """An instance that came with other bytes than the stored one and was set aside as `name`."""

    id = AutoIncrementField()
    name = TextField(unique=True)
    study_instance_uid = TextField()
    series_instance_uid = TextField()
    sop_instance_uid = TextField()
    source_ae_title = TextField()
    received_at = BigIntegerField()


class Lost(Model):
    """An instance whose file was found missing or damaged."""

    sop_instance_uid = TextField(primary_key=True)
    noted_at = BigIntegerField()

    class Meta:
        without_rowid = True


class Copy(Model):
    """The bytes of an instance's whole file, which is not on stable storage yet."""

    sop_instance_uid = TextField()
    received_at = BigIntegerField()
    content = BlobField()

    class Meta:
        primary_key = CompositeKey("sop_instance_uid", "received_at")
        without_rowid = True


class Commitment(Model):
    """What somebody asked the node to commit to and has not been told yet (commitments.py). `size`
    is the request's; `lease` and `claimed_until` say who is at it, `report` what was found."""

    id = AutoIncrementField()
    transaction_uid = TextField()
    ae_title = TextField()
    host = TextField()
    asked_at = BigIntegerField()
    attempts = _number()
    is_duplicate = _number()
    due_at = BigIntegerField(index=True)
    lease = _text()
    claimed_until = _number()
    size = BigIntegerField()
    request = BlobField()
    report = BlobField(null=True)

    class Meta:
        # Unique, so that none is salvaged twice; with the size, so that it alone tells the backlog.
        indexes = ((("ae_title", "transaction_uid", "asked_at", "size"), True),)


class CommitmentReport(Model):
    """What a peer reported on what the node asked it to commit to; empty as long as it has not."""

    id = AutoIncrementField()
    transaction_uid = TextField()
    ae_title = TextField()
    report = BlobField()
    noted_at = BigIntegerField()

    class Meta:
        table_name = "commitment_report"
        indexes = ((("transaction_uid", "ae_title"), True),)


# In the order in which foreign keys allow their creation.
TABLES: tuple[type[Model], ...] = (
    Archive,
    Patient,
    Study,
    Series,
    StudyHeader,
    SeriesHeader,
    Instance,
    Tally,
    StudyTerm,
    SeriesTerm,
    Flag,
    Pending,
    Conflict,
    Lost,
    Copy,
    Commitment,
    CommitmentReport,
)

# What the storage tree cannot rebuild.
NOTES: tuple[type[Model], ...] = (Flag, Pending, Conflict, Lost, Commitment, CommitmentReport)
