"""Brings an index up to how names are searched by since version 5: their words and sounds are
terms, and folding knows more shapes of one sign, so that two patients may turn out to be one."""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pacsnode.index import fold, refresh, terms
from pacsnode.index.tables import column

log = logging.getLogger(__name__)

_PAGE = 50_000  # studies
_KEYWORDS = (
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "ReferringPhysicianName",
    fold.ALIASES,
)
_SELECT = (
    f"SELECT study.id, study.parent, patient.identity,"
    f" {', '.join(f'study.{column(keyword)}' for keyword in _KEYWORDS)} FROM study"
    " CROSS JOIN patient ON patient.id = study.parent WHERE study.id > ? ORDER BY study.id LIMIT ?"
)


class _Study(NamedTuple):
    id: int
    patient: int
    identity: str
    state: Mapping[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether names are folded as before."""
        names = self.state["PatientName"] + self.state["ReferringPhysicianName"]
        text = names + self.state[fold.ALIASES]
        return text.isascii() and "`" not in text


def refold(connection: sqlite3.Connection) -> None:
    """To insert each term where it belongs takes many times as long, in an archive that is larger
    than the memory SQLite has for it, as to bring them into their order first."""
    connection.execute("CREATE TEMP TABLE name_term (kind TEXT, value TEXT, owner INTEGER)")
    done = 0
    for page in _pages(connection):
        for study in page:
            if not study.is_plain:
                _leave_old_folding(connection, study)
        connection.executemany("INSERT INTO name_term VALUES (?, ?, ?)", _new_terms(page))
        done += len(page)
        log.info("the index is being brought up to date: names of %d studies read", done)
    log.info("the index is being brought up to date: the words of %d studies' names", done)
    _insert_terms(connection)
    connection.execute("DROP TABLE name_term")


def _pages(connection: sqlite3.Connection) -> Iterator[list[_Study]]:
    last = 0
    while found := connection.execute(_SELECT, (last, _PAGE)).fetchall():
        yield [
            _Study(id_, patient, identity, dict(zip(_KEYWORDS, values, strict=True)))
            for id_, patient, identity, *values in found
        ]
        last = found[-1][0]


def _new_terms(studies: Iterable[_Study]) -> Iterator[tuple[str, str, int]]:
    for study in studies:
        for kind, value in terms.of_names(study.state):
            if kind not in terms.NAMES or not study.is_plain:
                yield kind, value, study.id


def _leave_old_folding(connection: sqlite3.Connection, study: _Study) -> None:
    connection.executemany(
        "DELETE FROM study_term WHERE owner = ? AND kind = ?",
        [(study.id, kind) for kind in terms.NAMES],
    )
    if fold.identity(study.state) == study.identity:
        return
    owner = refresh.patient(connection, study.state)
    connection.execute("UPDATE study SET parent = ? WHERE id = ?", (owner, study.id))
    refresh.refresh_patient(connection, owner)
    refresh.leave_patient(connection, study.patient)


def _insert_terms(connection: sqlite3.Connection) -> None:
    (index,) = connection.execute(
        "SELECT sql FROM sqlite_master WHERE name = 'studyterm_owner'"
    ).fetchone()
    connection.execute("DROP INDEX studyterm_owner")
    connection.execute(
        "INSERT OR IGNORE INTO study_term SELECT kind, value, owner FROM name_term ORDER BY 1, 2, 3"
    )
    connection.execute(index)
