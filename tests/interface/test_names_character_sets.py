"""Japanese, Cyrillic, Greek and Latin patients, stored in whatever character set holds them, are
found by findscu in every other, and the answers can be read by dcmdump."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.conftest import Dcmtk, RunningNode, new_dataset, running_node
from tests.interface.conftest import OPEN, store_all
from tests.interface.peer import STUDY_FIND, keys

LATIN = "Müller^Jürgen"
CYRILLIC = "Иванов^Пётр"
GREEK = "Διονυσίου^Άννα"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
HALF_WIDTH = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"

LATIN_1, CYRILLIC_SET, GREEK_SET, UNICODE = "ISO_IR 100", "ISO_IR 144", "ISO_IR 126", "ISO_IR 192"
KANJI = "\\ISO 2022 IR 87"
KATAKANA_AND_KANJI = "ISO 2022 IR 13\\ISO 2022 IR 87"

# The default repertoire, left out before the first backslash, is spelt out in answers.
LABELS = {KANJI: f"ISO 2022 IR 6{KANJI}"}

# In which character sets each patient is stored: one study for each.
STORED = {
    LATIN: (LATIN_1, "ISO_IR 101", "ISO_IR 148", UNICODE, "GB18030", "\\ISO 2022 IR 100"),
    CYRILLIC: (CYRILLIC_SET, UNICODE, "GB18030", "\\ISO 2022 IR 144", KANJI),
    GREEK: (GREEK_SET, UNICODE, "\\ISO 2022 IR 126"),
    JAPANESE: (KANJI, UNICODE, "GB18030", "\\ISO 2022 IR 87\\ISO 2022 IR 159"),
    HALF_WIDTH: (KATAKANA_AND_KANJI, UNICODE),
}


class Asked(NamedTuple):
    """A name as a workstation types it, the sets that can say it, and who is found by it."""

    name: str
    character_sets: Sequence[str]
    found: Sequence[str]


EVERY = (LATIN_1, CYRILLIC_SET, UNICODE, KANJI)
ASKED = (
    Asked("Müller^Jürgen", (LATIN_1, UNICODE), [LATIN]),
    Asked("MULLER^J*", EVERY, [LATIN]),
    Asked("Иванов^Пётр", (CYRILLIC_SET, UNICODE, KANJI), [CYRILLIC]),
    Asked("ИВАНОВ^петр", (CYRILLIC_SET, UNICODE, KANJI), [CYRILLIC]),
    Asked("ИВ?НОВ*", (CYRILLIC_SET, UNICODE, KANJI), [CYRILLIC]),
    Asked("ΔΙΟΝΥΣΙΟΥ*", (UNICODE, KANJI), [GREEK]),
    Asked("YAMADA^TAROU", EVERY, [JAPANESE]),
    Asked("山田^太郎", (UNICODE, KANJI), [JAPANESE, HALF_WIDTH]),
    Asked("=山田*", (UNICODE, KANJI), [JAPANESE, HALF_WIDTH]),
    Asked("やまだ^た*", (UNICODE, KANJI), [JAPANESE, HALF_WIDTH]),
    Asked("Yamada*=山?*", (UNICODE, KANJI), [JAPANESE]),
    Asked("ﾔﾏﾀﾞ^*", (UNICODE, KATAKANA_AND_KANJI), [HALF_WIDTH]),
    Asked("ヤマダ^タロウ", (UNICODE, KANJI), [HALF_WIDTH]),
)
CASES = [(asked, character_set) for asked in ASKED for character_set in asked.character_sets]
TITLES = [f"{asked.name} in {character_set}" for asked, character_set in CASES]


def patient_id(name: str, character_set: str) -> str:
    return f"{list(STORED).index(name)} {character_set.replace(chr(92), '+')}"[:64]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("names"), OPEN) as running:
        store_all(
            running,
            [
                new_dataset(
                    SpecificCharacterSet=character_set.split("\\"),
                    PatientName=name,
                    PatientID=patient_id(name, character_set),
                    StudyInstanceUID=generate_uid(),
                    SeriesInstanceUID=generate_uid(),
                )
                for name, character_sets in STORED.items()
                for character_set in character_sets
            ],
        )
        yield running


@pytest.mark.parametrize(("asked", "character_set"), CASES, ids=TITLES)
def test_findscu_finds_them_and_dcmdump_reads_them(
    asked: Asked, character_set: str, node: RunningNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    query, out = tmp_path / "query.dcm", tmp_path / "out"
    out.mkdir()
    identifier = keys("STUDY", PatientName=asked.name, PatientID="", StudyInstanceUID="")
    identifier.SpecificCharacterSet = character_set.split("\\")
    identifier.file_meta = FileMetaDataset()
    identifier.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    identifier.file_meta.MediaStorageSOPClassUID = STUDY_FIND
    identifier.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    identifier.save_as(query, enforce_file_format=True)
    dcmtk("findscu", "-S", "-X", "-od", out, node.host, node.port, query)

    expected = {patient_id(name, stored): name for name in asked.found for stored in STORED[name]}
    answers = sorted(out.iterdir())
    assert {pydicom.dcmread(path).PatientID for path in answers} == set(expected)
    for path in answers:
        answer = pydicom.dcmread(path)
        name = expected[answer.PatientID]
        assert answer.PatientName == name
        # In the query's set where it can hold the answer, else in UTF-8.
        label = (
            LABELS.get(character_set, character_set) if character_set in STORED[name] else UNICODE
        )
        assert f"[{label}]" in dcmtk("dcmdump", "+P", "SpecificCharacterSet", path).stdout
        assert in_utf_8(dcmtk, path, label) == name


def in_utf_8(dcmtk: Dcmtk, path: Path, label: str) -> str:
    """The name as dcmdump shows it. Debian's DCMTK converts with the C library's iconv, which knows
    JIS X 0208 only as a part of ISO-2022-JP: there iconv itself is asked; and JIS X 0201 not at all
    among it: there pydicom has said what it is."""
    if "87" not in label:
        shown = dcmtk("dcmdump", "+U8", "+P", "PatientName", path).stdout
        return shown.partition("[")[2].partition("]")[0]
    answer = pydicom.dcmread(path)
    if label != LABELS[KANJI]:
        return str(answer.PatientName)
    raw = answer.get_item("PatientName").value
    iconv = ["iconv", "-f", "ISO-2022-JP", "-t", "UTF-8"]
    return subprocess.run(iconv, input=raw, capture_output=True, check=True).stdout.decode().strip()
