"""The DICOM JSON Model."""

import json
import math

import pytest

from pacsnode.dicom.encode import element_of, read_dataset
from pacsnode.dicom.json import dataset_from_json, dataset_to_json, dumps, value_to_json
from pacsnode.errors import UnreadableDataset
from tests.dicom.raw import opened


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("LO", (), {"vr": "LO"}),
        ("LO", ("a", "", "b"), {"vr": "LO", "Value": ["a", None, "b"]}),
        ("IS", ("07", "x"), {"vr": "IS", "Value": [7, "x"]}),
        ("DS", ("1.50", "1e999"), {"vr": "DS", "Value": [1.5, "1e999"]}),
        ("DS", ("9" * 400, "1_000", "٣"), {"vr": "DS", "Value": ["9" * 400, "1_000", "٣"]}),
        ("DS", (".5", "-1.", "+2E+1"), {"vr": "DS", "Value": [0.5, -1.0, 20.0]}),
        ("US", (512,), {"vr": "US", "Value": [512]}),
        ("FD", (math.nan, -math.inf, 0.5), {"vr": "FD", "Value": ["NaN", "-inf", 0.5]}),
        ("AT", ("00181063",), {"vr": "AT", "Value": ["00181063"]}),
        ("OB", (b"abc",), {"vr": "OB", "InlineBinary": "YWJj"}),
        ("OB", (), {"vr": "OB"}),
        (
            "PN",
            ("Yamada=山田=やまだ", "=山田", ""),
            {
                "vr": "PN",
                "Value": [
                    {"Alphabetic": "Yamada", "Ideographic": "山田", "Phonetic": "やまだ"},
                    {"Ideographic": "山田"},
                    None,
                ],
            },
        ),
    ],
)
def test_values_by_representation(vr: str, values: tuple[str, ...], expected: object) -> None:
    assert value_to_json(vr, values) == expected


def test_numbers_in_text_may_stay_text() -> None:
    kept = value_to_json("DS", ("1.50",), numbers_as_text=True)
    assert kept == {"vr": "DS", "Value": ["1.50"]}


def test_every_bundled_header_is_the_same_after_json() -> None:
    compared = 0
    for path, file, meta in opened():
        expected = dataset_to_json(read_dataset(file, meta.transfer_syntax_uid))
        text = dumps(expected)
        assert json.loads(text) == expected, path
        assert dataset_to_json(dataset_from_json(text)) == expected, path
        compared += 1
    assert compared > 140


def test_json_is_unicode_and_names_no_character_set() -> None:
    dataset = dataset_from_json('{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Müller"}]}}')
    dataset.add(element_of(0x00080005, "CS", ["ISO_IR 100"]))
    assert dumps(dataset_to_json(dataset)) == (
        '{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Müller"}]}}'
    )


def test_bytes_of_unknown_meaning_stay_bytes() -> None:
    text = '{"00100010":{"vr":"UN","InlineBinary":"YWJj"}}'
    assert dumps(dataset_to_json(dataset_from_json(text))) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "3",
        '{"x":{}}',
        '{"00100010":3}',
        "[" * 100_000,
        '{"00400275":{"vr":"SQ","Value":[' * 200 + "]}}" * 200,
        '{"00400275":{"vr":"SQ","Value":[' * 200 + "{}" + "]}}" * 200,
        '{"00400275":{"vr":"SQ","Value":3}}',
        '{"00280010":{"vr":"US","Value":3}}',
        '{"00280010":{"vr":"US","Value":[[]]}}',
        '{"00280010":{"vr":"XX","Value":[]}}',
        '{"00280010":{"vr":[],"Value":[]}}',
        '{"7FE00010":{"vr":"OB","InlineBinary":"A"}}',
        '{"7FE00010":{"vr":"OB","InlineBinary":"\u00e4"}}',
        '{"7FE00010":{"vr":"OB","InlineBinary":3}}',
    ],
)
def test_what_is_no_dicom_json_is_refused(text: str) -> None:
    with pytest.raises(UnreadableDataset):
        dataset_from_json(text)
