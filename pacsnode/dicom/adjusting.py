"""The dates and times of a dataset as they are said at another offset from UTC (Timezone query
adjustment, PS3.4 C.2.2.2.1.3)."""

from pydicom import DataElement, Dataset

from pacsnode.dicom.date_time import moved, offset_of, with_offset
from pacsnode.dicom.dictionary import keyword_of, tag_of
from pacsnode.dicom.encode import element_of
from pacsnode.dicom.moments import TIMEZONE_OFFSET, date_keyword
from pacsnode.dicom.values import plain_values


def adjust(dataset: Dataset, timezone: int) -> None:
    """Times move, with their dates where these are there too, and DTs say the offset that they are
    meant at; in items as well. What the dataset was said at, it says itself."""
    said = texts_of(dataset, TIMEZONE_OFFSET)
    _adjust(dataset, timezone, offset_of(said[0]) if said else None)


def texts_of(dataset: Dataset, tag: int) -> list[str]:
    element = dataset.get(tag)
    return [str(value) for value in plain_values(element)] if element is not None else []


def _adjust(dataset: Dataset, timezone: int, stored: int | None) -> None:
    elements: list[DataElement] = list(dataset)
    for element in elements:
        if element.VR == "SQ":
            for item in element.value or ():
                _adjust(item, timezone, stored)
        elif element.VR == "DT":
            texts = [with_offset(text, stored) for text in texts_of(dataset, element.tag)]
            dataset[element.tag] = element_of(element.tag, "DT", texts)
        elif element.VR == "TM" and element.value:
            _move(dataset, element.tag, timezone, stored)


def _move(dataset: Dataset, tag: int, timezone: int, stored: int | None) -> None:
    day_tag = tag_of(date_keyword(keyword_of(tag)))
    times, days = texts_of(dataset, tag), texts_of(dataset, day_tag)
    if len(days) == len(times):
        pairs = [moved(*pair, stored, timezone) for pair in zip(days, times, strict=True)]
        dataset[day_tag] = element_of(day_tag, "DA", [day for day, _ in pairs])
    else:
        pairs = [moved(days[0] if days else "", time, stored, timezone) for time in times]
    dataset[tag] = element_of(tag, "TM", [time for _, time in pairs])
