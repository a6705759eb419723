"""What the index finds, as answers to a query (PS3.4 C.4.1.1.3.2): the keys asked for, with values
as received. Attributes that are in no column are read from the instance's file."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from pydicom import DataElement, Dataset

from pacsnode.archive.settle import CharacterSets
from pacsnode.dicom.character_set import best_character_set
from pacsnode.dicom.encode import element_of, read_dataset, text_element, texts_in
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.json import dataset_from_json
from pacsnode.dicom.level import COLUMNS, COMPUTED, OF_THE_ANSWER, Level
from pacsnode.dicom.match import matches
from pacsnode.dicom.query import Key, Query
from pacsnode.dicom.values import plain_values
from pacsnode.errors import InstanceDamaged, InstanceMissing, StorageError
from pacsnode.index import Index, Match
from pacsnode.storage import Storage

log = logging.getLogger(__name__)

_LEVEL = "QueryRetrieveLevel"
_CHARACTER_SET = "SpecificCharacterSet"
_RETRIEVE_AE_TITLE = "RetrieveAETitle"
_PIXEL_DATA = 0x7FE00000
_COMPUTED = frozenset({*OF_THE_ANSWER, *(key for level in Level for key in COMPUTED[level])})
_IN_INDEX = _COMPUTED | {keyword for level in Level for keyword in COLUMNS[level]}

Attributes = Mapping[str, Any]


class Files:
    """What instances' files say of attributes that are in no column. `character_sets`: assumed
    where a dataset declares none, by the AE title that it came from."""

    def __init__(self, storage: Storage, character_sets: CharacterSets) -> None:
        self._storage = storage
        self._character_sets = character_sets

    def read(self, stored: StoredInstance, keys: Sequence[Key]) -> Dataset:
        """The elements that `keys` name; none where the file cannot be read. Raises StorageError
        where the storage fails."""
        wanted = {key.tag for key in keys}
        try:
            opened = self._storage.open(stored.uids)
            with closing(opened.file) as file:
                return read_dataset(
                    file,
                    opened.stored.transfer_syntax_uid,  # the row's may be another's by now
                    wanted,
                    self._character_sets.get(opened.stored.source_ae_title),
                    # What follows is passed by: functional groups can be long.
                    stop=min(max(wanted) + 1, _PIXEL_DATA),
                )
        except (InstanceMissing, InstanceDamaged) as error:
            uid = stored.uids.sop_instance_uid
            log.warning("%s cannot be asked for attributes: %s", uid, error)
            return Dataset()
        except OSError as error:
            raise StorageError(f"reading {stored.uids.sop_instance_uid}: {error}") from error

    def meet(self, stored: StoredInstance, keys: Sequence[Key]) -> bool:
        """Whether an instance has what all of `keys` ask for."""
        header = self.read(stored, keys)
        return all(_meets(header, key) for key in keys)


def find(files: Files, index: Index, query: Query, *, ae_title: str) -> Iterator[Dataset]:
    """One Dataset for each match. `ae_title` is what RetrieveAETitle answers. Raises IndexFailure
    or StorageError."""
    answers = _Answers(files, query, ae_title)
    for page in index.find(query, files.meet):
        yield from map(answers.dataset, page)


def select(files: Files, index: Index, query: Query) -> Iterator[StoredInstance]:
    """All instances below what matches. Raises IndexFailure or StorageError."""
    return index.select(query, files.meet)


class _Answers:
    """Makes the answers to one query."""

    def __init__(self, files: Files, query: Query, ae_title: str) -> None:
        self._files = files
        self._query = query
        self._ae_title = ae_title
        asked = {key.keyword for key in query.returned}
        self._unique = [
            level.unique_key
            for level in query.model.levels
            if level <= query.level and level.unique_key not in asked
        ]
        self._in_file = [
            key
            for key in query.returned
            if query.level == key.level == Level.IMAGE and key.keyword not in _IN_INDEX
        ]
        # Rows of one study come one after the other, with the same text.
        self._parsed: dict[Level, tuple[str, Attributes]] = {}

    def dataset(self, match: Match) -> Dataset:
        answer = Dataset()
        header = self._header(match)
        for key in self._query.returned:
            answer.add(self._element(match, key, header))
        for keyword in self._unique:
            answer.add(text_element(keyword, _split(match.values[keyword])))
        # Asked for or not: where there is no media file-set, it must be there (PS3.4 C.4.1.1.3.2).
        answer.add(text_element(_RETRIEVE_AE_TITLE, (self._ae_title,)))
        answer.add(text_element(_LEVEL, (self._query.level.word,)))
        terms = best_character_set(texts_in(answer), self._query.character_set)
        if terms:
            answer.add(text_element(_CHARACTER_SET, terms))
        return answer

    def _header(self, match: Match) -> Dataset:
        """What is asked for and in no column. A file that cannot be read has none of it: the match
        is one all the same."""
        if not self._in_file or match.stored is None:
            return Dataset()
        return self._files.read(match.stored, self._in_file)

    def _element(self, match: Match, key: Key, header: Dataset) -> DataElement:
        """The key's attribute as this match has it."""
        if key.keyword in _COMPUTED:
            return text_element(key.keyword, match.computed.get(key.keyword, ()))
        if key.keyword in match.values:
            return text_element(key.keyword, _split(match.values[key.keyword]))
        if key.tag in header:
            return _narrowed(header[key.tag], key)
        name = f"{key.tag:08X}"
        attribute = self._attributes(match, key.level).get(name)
        if attribute is None:
            return _empty(key)
        return _narrowed(dataset_from_json({name: attribute})[key.tag], key)

    def _attributes(self, match: Match, level: Level) -> Attributes:
        text = match.others.get(level, "")
        known, attributes = self._parsed.get(level, ("", {}))
        if text != known:
            attributes = json.loads(text or "{}")
            self._parsed[level] = (text, attributes)
        return attributes


def _split(text: str) -> list[str]:
    return text.split("\\") if text else []


def _empty(key: Key) -> DataElement:
    return element_of(key.tag, key.vr, ())


def _narrowed(element: DataElement, key: Key) -> DataElement:
    """Of a sequence, what was asked for of its items (PS3.4 C.2.2.2.6)."""
    if element.VR != "SQ" or not key.items:
        return element
    items = []
    for item in element.value or ():
        narrowed = Dataset()
        for inner in key.items:
            narrowed.add(_narrowed(item[inner.tag], inner) if inner.tag in item else _empty(inner))
        items.append(narrowed)
    return element_of(key.tag, "SQ", items)


def _meets(dataset: Dataset, key: Key) -> bool:
    element = dataset.get(key.tag)
    if element is None:
        return matches(key, ())
    if element.VR != "SQ":
        return matches(key, [str(value) for value in plain_values(element)])
    wanted = [inner for inner in key.items if not inner.is_universal]
    return any(all(_meets(item, inner) for inner in wanted) for item in element.value or ())
