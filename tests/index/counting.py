"""What the index keeps of the rows below each row, and the same counted from these rows, written
without a look at the program's."""

from collections import Counter

from pacsnode.index import Index

Place = tuple[int, int, int]  # patient, study, series; 0 below the row meant
Counts = tuple[int, ...]  # studies, series, instances, lost, bytes


def tallies(index: Index) -> dict[Place, Counts]:
    return {row[:3]: row[3:] for row in _all(index, "SELECT * FROM tally")}


def counted(index: Index) -> dict[Place, Counts]:
    studies, series, instances, lost, length = (Counter[Place]() for _ in range(5))
    patients = dict(_all(index, "SELECT id, 1 FROM patient"))
    patient_of = dict(_all(index, "SELECT id, parent FROM study"))
    study_of = dict(_all(index, "SELECT id, parent FROM series"))
    gone = {uid for (uid,) in _all(index, "SELECT sop_instance_uid FROM lost")}
    places = [(patient, 0, 0) for patient in patients]
    for study, patient in patient_of.items():
        places.append((patient, study, 0))
        studies[patient, 0, 0] += 1
    for one, study in study_of.items():
        patient = patient_of[study]
        places.append((patient, study, one))
        series[patient, 0, 0] += 1
        series[patient, study, 0] += 1
    for uid, one, bytes_ in _all(index, "SELECT sop_instance_uid, parent, length FROM instance"):
        study = study_of[one]
        patient = patient_of[study]
        for place in (patient, 0, 0), (patient, study, 0), (patient, study, one):
            instances[place] += 1
            lost[place] += uid in gone
            length[place] += bytes_
    return {
        place: tuple(counter[place] for counter in (studies, series, instances, lost, length))
        for place in places
    }


def lists(index: Index) -> dict[int, tuple[set[str], set[str], set[str]]]:
    """Modalities, SOP classes and terms of modality and date, by study."""
    return {
        study: (_values(modalities), _values(sop_classes), _terms(index, study))
        for study, modalities, sop_classes in _all(
            index, "SELECT id, modalities_in_study, sop_classes_in_study FROM study"
        )
    }


def lists_of_series(index: Index) -> dict[int, tuple[set[str], set[str], set[str]]]:
    """The same, from the rows of series and their headers."""
    found = {}
    for study, date in _all(index, "SELECT id, study_date FROM study"):
        of_series = _all(index, "SELECT modality FROM series WHERE parent = ?", study)
        modalities = {each for (text,) in of_series for each in _values(text)}
        sop_classes = _all(
            index,
            "SELECT sop_class_uid FROM series_header WHERE series IN"
            " (SELECT id FROM series WHERE parent = ?)",
            study,
        )
        terms = {f"{each}\\{day}" for each in modalities for day in date.split("\\")}
        found[study] = modalities, {uid for (uid,) in sop_classes if uid}, terms
    return found


def _terms(index: Index, study: int) -> set[str]:
    terms = _all(
        index, "SELECT value FROM study_term WHERE kind = 'ModalitiesInStudy' AND owner = ?", study
    )
    return {value for (value,) in terms}


def _values(text: str) -> set[str]:
    return set(filter(None, text.split("\\")))


def _all(index: Index, query: str, *parameters: object) -> list[tuple]:
    with index._database.reading() as connection:
        return connection.execute(query, parameters).fetchall()
