"""What a peer is understood to have, by its own answers, however odd these are."""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from pydicom import Dataset

from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.level import Level
from pacsnode.dicom.message import Context, Response
from pacsnode.dicom.query import Model
from pacsnode.scu.missing import Series, missing_of, retrieves, series_of
from tests.scu.scripted import CT, EXPLICIT, ScriptedChannel, ScriptedPeer

CONTEXT = Context(1, "1.2.840.10008.5.1.4.1.2.1.1", EXPLICIT, True, False)

Answers = Mapping[str, Sequence[Mapping[str, str]]]


def channel_of(answers: Answers, asked: list[Dataset]) -> ScriptedChannel:
    """To a peer that has the same answers for every query of a level."""

    def find(context: Context, identifier: bytes) -> Iterator[Response]:
        query = decode_dataset(identifier, EXPLICIT)
        asked.append(query)
        for values in answers[query.QueryRetrieveLevel]:
            ds = Dataset()
            for keyword, value in values.items():
                setattr(ds, keyword, value)
            yield Response(status.PENDING, identifier=encode_dataset(ds, EXPLICIT))
        yield Response(status.SUCCESS)

    return ScriptedChannel(ScriptedPeer(), [CONTEXT], answers=find)


def found(level: Level, answers: Answers, asked: list[Dataset], **keys: str) -> list[Series]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level.word
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    channel = channel_of(answers, asked)
    return list(series_of(channel, Model.PATIENT_ROOT, level, identifier))


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize("value", ["", "*", "1.2.*", "1.2?", "1.2\\1.3"])
@pytest.mark.parametrize("level", list(Level))
def test_an_answer_that_names_nothing_is_not_asked_for_as_everything(
    level: Level, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Dataset] = []
    assert found(level, {level.word: [{level.unique_key: value}]}, asked) == []
    assert len(asked) == 1
    assert f"1 answers of the peer have no usable {level.unique_key}" in caplog.text


def test_an_instance_that_is_answered_twice_is_missing_once() -> None:
    instance = {"SOPInstanceUID": "1.1", "SOPClassUID": CT}
    answers = {"SERIES": [{"SeriesInstanceUID": "1"}], "IMAGE": [instance, instance]}
    (series,) = found(Level.SERIES, answers, [], StudyInstanceUID="1.0")
    assert missing_of(series, lambda uids: []) == ["1.1"]
    (retrieve,) = retrieves(series, ["1.1"])
    assert (retrieve.count, retrieve.sop_instance_uids) == (1, ())
