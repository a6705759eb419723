"""An index from before version 5 is searched by words of names, and folded as a new one."""

import json
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.level import Level
from pacsnode.index import Index
from tests.index.counting import counted, tallies
from tests.index.instances import key, make, matches, query

NAMES = ("O’Brien^Pat", "O'Brien^Pat", "Müller^Hans=山田", "DOE^JOHN", "")


def fill(path: Path) -> None:
    index = index_room.open(path)
    for number, name in enumerate(NAMES):
        study = f"1.2.{number}"
        person = {"PatientID": "P", "PatientName": name, "ReferringPhysicianName": "Dr.^Ruth"}
        index.add(*make(study, f"{study}.1", f"{study}.1.1", received_at=number, **person))
    other = {"PatientID": "P", "PatientName": "Somebody^Else"}
    index.add(*make("1.2.3", "1.2.3.1", "1.2.3.1.2", received_at=100, **other))
    index.close()


def make_old(path: Path) -> None:
    """As version 4 kept it: no words, and the one apostrophe was not the other."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE archive SET schema_version = 4")
        connection.execute("DELETE FROM study_term WHERE kind LIKE '% words'")
        (study,) = connection.execute(
            "SELECT id FROM study WHERE patient_name = ?", (NAMES[0],)
        ).fetchone()
        connection.execute(
            "UPDATE study_term SET value = 'o’brien^pat' WHERE kind = 'PatientName' AND owner = ?",
            (study,),
        )
        identity = json.dumps(["P", "", "o’brien^pat", ""], ensure_ascii=False)
        cursor = connection.execute("INSERT INTO patient (identity) VALUES (?)", (identity,))
        connection.execute("UPDATE study SET parent = ? WHERE id = ?", (cursor.lastrowid, study))


def content(path: Path) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return (
            connection.execute(
                "SELECT kind, value, owner FROM study_term ORDER BY 1, 2, 3"
            ).fetchall(),
            connection.execute(
                "SELECT identity, patient.patient_name, study_instance_uid FROM patient"
                " JOIN study ON study.parent = patient.id ORDER BY study.id"
            ).fetchall(),
        )


def found(index: Index, name: str, *, is_fuzzy: bool) -> set[str]:
    asked = replace(key("PatientName", name), is_fuzzy=is_fuzzy)
    return {match.values["PatientName"] for match in matches(index, query(Level.STUDY, asked))}


def test_it_ends_as_if_it_had_been_new(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path)
    new = content(path)
    make_old(path)
    assert content(path) != new
    with caplog.at_level(logging.INFO, "pacsnode"):
        index = index_room.open(path)
    assert "names of 5 studies" in caplog.text
    assert content(path) == new
    assert tallies(index) == counted(index)
    assert found(index, "PAT^OBRIEN", is_fuzzy=True) == {NAMES[0], NAMES[1]}
    assert found(index, "O'BRIEN*", is_fuzzy=False) == {NAMES[0], NAMES[1]}
    assert found(index, "ELSE SOMEBODY", is_fuzzy=True) == {"DOE^JOHN"}
    index.close()
