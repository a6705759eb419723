"""What its series say of a study, kept in its row: ModalitiesInStudy and SOPClassesInStudy. And the
terms by which studies of a modality are searched: with their dates, for a modality alone leaves as
good as all of an archive, and one day's studies are what is asked for."""

import logging
import sqlite3
from collections.abc import Iterable, Mapping

from pacsnode.dicom.match import normal_date
from pacsnode.dicom.query import Key
from pacsnode.index import terms as inverted
from pacsnode.index.terms import Span, Term

log = logging.getLogger(__name__)

MODALITIES = "ModalitiesInStudy"
SOP_CLASSES = "SOPClassesInStudy"
LISTS = (MODALITIES, SOP_CLASSES)

_SEPARATOR = "\\"  # in no value of an element
_LAST_CHARACTER = "\U0010ffff"
_MAX_SPANS = 100

_PAGE = 50_000  # studies
_STUDIES = "SELECT id, study_date FROM study WHERE id > ? ORDER BY id LIMIT ?"

_SELECT = {
    MODALITIES: "SELECT DISTINCT modality FROM series WHERE parent = ?",
    SOP_CLASSES: "SELECT DISTINCT series_header.sop_class_uid FROM series"
    " CROSS JOIN series_header ON series_header.series = series.id WHERE series.parent = ?",
}


def of_series(connection: sqlite3.Connection, study: int) -> dict[str, str]:
    """LISTS of a study as its series are now: distinct values, sorted, joined by backslashes."""
    return {
        keyword: joined(text for (text,) in connection.execute(_SELECT[keyword], (study,)))
        for keyword in LISTS
    }


def joined(texts: Iterable[str]) -> str:
    values = {value for text in texts for value in text.split(_SEPARATOR)}
    return _SEPARATOR.join(sorted(filter(None, values)))


def terms(state: Mapping[str, str]) -> set[Term]:
    """Each modality with each date; with none where the study has none."""
    return {
        (MODALITIES, f"{modality}{_SEPARATOR}{normal_date(date) or date}")
        for modality in state[MODALITIES].split(_SEPARATOR)
        if modality
        for date in state["StudyDate"].split(_SEPARATOR)
    }


def fill(connection: sqlite3.Connection) -> None:
    """LISTS and terms of all studies, where there are none yet."""
    last = 0
    while studies := connection.execute(_STUDIES, (last, _PAGE)).fetchall():
        for study, date in studies:
            said = of_series(connection, study)
            connection.execute(
                "UPDATE study SET modalities_in_study = ?, sop_classes_in_study = ? WHERE id = ?",
                (said[MODALITIES], said[SOP_CLASSES], study),
            )
            connection.executemany(
                "INSERT INTO study_term (kind, value, owner) VALUES (?, ?, ?)",
                [(*term, study) for term in terms({**said, "StudyDate": date})],
            )
        last = studies[-1][0]
        log.info("the index is being brought up to date: modalities of studies up to %d", last)


def selections(keys: Mapping[str, Key]) -> list[list[Span]]:
    """Terms of which every study has one that `keys`, by keyword, select: by ModalitiesInStudy, or
    by Modality of a series in it; with its date, where that is asked for as well."""
    dates = inverted.selections(keys["StudyDate"]) if "StudyDate" in keys else []
    wanted = (inverted.selections(keys[each]) for each in (MODALITIES, "Modality") if each in keys)
    return [
        _dated(modalities, dates[0] if dates else [])
        for selections in wanted
        for modalities in selections
    ]


def _dated(modalities: list[Span], dates: list[Span]) -> list[Span]:
    if not dates or len(dates) * len(modalities) > _MAX_SPANS:
        dates = [Span("StudyDate", "", _LAST_CHARACTER)]
    found = []
    for modality in modalities:
        if modality.is_single:
            begin = f"{modality.low}{_SEPARATOR}"
            found += [Span(MODALITIES, begin + date.low, begin + date.high) for date in dates]
        else:
            # What begins alike has its dates in several places.
            pattern = modality.pattern and f"{modality.pattern}{_SEPARATOR}*"
            high = modality.high + _LAST_CHARACTER
            found.append(Span(MODALITIES, modality.low, high, pattern))
    return found
