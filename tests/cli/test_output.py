import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from pacsnode.cli import output

ESCAPE = "EVIL\x1b]0;owned\x07\x9b31m"


def tags(*keywords: str) -> list[int]:
    return [tag for tag in map(tag_for_keyword, keywords) if tag is not None]


def dataset(**elements: object) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def test_a_table_is_aligned_under_real_titles(capsys: pytest.CaptureFixture[str]) -> None:
    datasets = [
        dataset(PatientName="DOE^JOHN", NumberOfStudyRelatedSeries=3),
        dataset(PatientName="山田^太郎", NumberOfStudyRelatedSeries=12),
    ]
    columns = tags("PatientName", "NumberOfStudyRelatedSeries")
    assert output.show_datasets(datasets, columns, "table") == 2
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Patient's Name  Series", "DOE^JOHN        3", "山田^太郎       12"]


def test_a_table_that_no_terminal_limits_folds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_datasets([dataset(TextValue="x" * 2000)], tags("TextValue"), "table")
    assert "x" * 2000 in capsys.readouterr().out


def test_an_empty_table_is_nothing_an_empty_array_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert output.show_datasets([], tags("PatientID"), "table") == 0
    assert capsys.readouterr().out == ""
    output.show_datasets([], tags("PatientID"), "json")
    assert json.loads(capsys.readouterr().out) == []
    output.show_datasets([], tags("PatientID"), "csv")
    assert capsys.readouterr().out == "PatientID\n"


def test_json_is_one_array_of_the_dicom_json_model(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_datasets([dataset(PatientName="Ä^B"), dataset(PatientID="1")], [], "json")
    assert json.loads(capsys.readouterr().out) == [
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Ä^B"}]}},
        {"00100020": {"vr": "LO", "Value": ["1"]}},
    ]


def test_json_is_an_array_also_where_the_datasets_end_in_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing() -> Iterator[Dataset]:
        yield dataset(PatientID="1")
        raise LookupError

    with pytest.raises(LookupError):
        output.show_datasets(failing(), [], "json")
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_csv_has_keywords_and_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [*tags("PatientID", "StudyDescription", "ModalitiesInStudy"), 0x00091001]
    ds = dataset(PatientID="1", StudyDescription='a, "b"', ModalitiesInStudy=["CT", "SR"])
    output.show_datasets([ds], columns, "csv")
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        ["PatientID", "StudyDescription", "ModalitiesInStudy", "0009,1001"],
        ["1", 'a, "b"', "CT\\SR", ""],
    ]


@pytest.mark.parametrize("form", output.FORMATS)
def test_text_of_datasets_cannot_write_terminal_escapes(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    item = dataset(RequestedProcedureComments=ESCAPE)
    ds = dataset(StudyDescription=ESCAPE, RequestAttributesSequence=[item])
    output.show_datasets([ds], tags("StudyDescription", "RequestAttributesSequence"), form)
    output.complain(ESCAPE)
    output.say(ESCAPE)
    out, err = capsys.readouterr()
    assert "EVIL" in out
    assert "EVIL" in err
    assert not {"\x1b", "\x07", "\x9b"} & set(out + err)


def test_a_name_with_a_line_break_makes_no_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.complain("evil\nall is well.dcm: no DICOM", "second")
    output.say("evil\rall is well")
    out, err = capsys.readouterr()
    assert err == "evil\\nall is well.dcm: no DICOM\nsecond\n"
    assert out == "evil\\rall is well\n"


def test_on_a_terminal_escapes_are_the_programs_own(tmp_path: Path) -> None:
    script = (
        "from pydicom import Dataset; from pacsnode.cli import output; ds = Dataset();"
        f"ds.PatientID = {ESCAPE!r}; output.show_datasets([ds], [0x00100020], 'table')"
    )
    parent, child = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"},
        stdout=child,
        check=True,
    )
    os.close(child)
    shown = os.read(parent, 10_000).decode()
    os.close(parent)
    assert "EVIL\\x1b]0;owned\\x07\\x9b31m" in shown
    assert "\x1b[1m" in shown  # the title is bold
