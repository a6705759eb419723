"""What the index finds, as answers to a query (PS3.4 C.4.1.1.3.2): the keys asked for, with values
as received. Attributes that are in no column are read from the instance's file."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from pydicom import DataElement, Dataset

from pacsnode.archive.settle import CharacterSets
from pacsnode.archive.timezone import Attributes, Elements, Source, in_timezone
from pacsnode.dicom import dictionary
from pacsnode.dicom.adjusting import adjust, texts_of
from pacsnode.dicom.encode import element_of, read_dataset
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.json import dataset_from_json, text_of
from pacsnode.dicom.level import COLUMNS, COMPUTED, OF_THE_ANSWER, Level
from pacsnode.dicom.match import matches
from pacsnode.dicom.match_moments import moment_matcher
from pacsnode.dicom.moments import TIMEZONE_OFFSET, Moment
from pacsnode.dicom.query import Key, Query
from pacsnode.dicom.template import Given, Slot, Template
from pacsnode.dicom.values import BINARY_VRS, plain_values
from pacsnode.errors import InstanceDamaged, InstanceMissing, StorageError
from pacsnode.index import Index, Match
from pacsnode.storage import Storage

log = logging.getLogger(__name__)

AT_ONCE = 50  # answers: a millisecond's work

_LEVEL = "QueryRetrieveLevel"
_RETRIEVE_AE_TITLE = "RetrieveAETitle"
_PIXEL_DATA = 0x7FE00000
_COMPUTED = frozenset({*OF_THE_ANSWER, *(key for level in Level for key in COMPUTED[level])})
_IN_INDEX = _COMPUTED | {keyword for level in Level for keyword in COLUMNS[level]}

_NO_TEXTS = BINARY_VRS | {"SQ"}
_NOTHING = Dataset()


class Files:
    """What instances' files say of attributes that are in no column. `character_sets`: assumed
    where a dataset declares none, by the AE title that it came from."""

    def __init__(self, storage: Storage, character_sets: CharacterSets) -> None:
        self._storage = storage
        self._character_sets = character_sets

    def read(
        self, stored: StoredInstance, keys: Sequence[Key], timezone: int | None = None
    ) -> Dataset:
        """The elements that `keys` name, as they are said at the offset `timezone` from UTC (None:
        as stored); none where the file cannot be read. Raises StorageError where the storage
        fails."""
        wanted = {key.tag for key in keys}
        if timezone is not None:
            wanted.add(TIMEZONE_OFFSET)
        header = self._read(stored, wanted)
        if timezone is not None:
            adjust(header, timezone)
        return header

    def _read(self, stored: StoredInstance, wanted: set[int]) -> Dataset:
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

    def matching(self, query: Query) -> Callable[[StoredInstance, Sequence[Key]], bool]:
        """Whether an instance has what all of some keys of the query ask for, and those of its
        moments that are in no column."""
        moments = [moment for moment in query.moments if moment.is_in_files]
        tests = [(moment, moment_matcher(moment, None)) for moment in moments]
        pairs = [key for moment in moments for key in (moment.date, moment.time) if key is not None]

        def meet(stored: StoredInstance, keys: Sequence[Key]) -> bool:
            header = self.read(stored, [*keys, *pairs], query.timezone)
            return all(_meets(header, key) for key in keys) and all(
                meets(_day(header, moment), texts_of(header, moment.time.tag), None)
                for moment, meets in tests
            )

        return meet


def find(
    files: Files, index: Index, query: Query, transfer_syntax_uid: str, *, ae_title: str
) -> Iterator[list[bytes]]:
    """The answers, encoded; a few at a time, of what is at hand together, and none where nothing
    matches for long (Index.find). `ae_title` is what RetrieveAETitle says. Raises IndexFailure or
    StorageError."""
    answers = _Answers(files, query, transfer_syntax_uid, ae_title)
    size = 1 if answers.need_files else AT_ONCE
    for page in index.find(query, files.matching(query)):
        for start in range(0, max(1, len(page)), size):
            yield [answers.encoded(match) for match in page[start : start + size]]


def select(files: Files, index: Index, query: Query) -> Iterator[StoredInstance]:
    """All instances below what matches. Raises IndexFailure or StorageError."""
    return index.select(query, files.matching(query))


class _Answers:
    """Makes the answers to one query."""

    def __init__(self, files: Files, query: Query, transfer_syntax_uid: str, ae_title: str) -> None:
        self._files = files
        self._in_file = [
            key
            for key in query.returned
            if query.level == key.level == Level.IMAGE and key.keyword not in _IN_INDEX
        ]
        self._timezone = query.timezone
        # Rows of one study come one after the other, with the same text.
        self._parsed: dict[Level, tuple[str, Attributes]] = {}
        slots, self._sources = self._elements(query, ae_title)
        self._template = Template(slots, transfer_syntax_uid, query.character_set)

    @property
    def need_files(self) -> bool:
        """Whether each answer takes a look into a file."""
        return bool(self._in_file)

    def encoded(self, match: Match) -> bytes:
        header = self._header(match) if self._in_file else _NOTHING
        return self._template.encode([source(match, header) for source in self._sources])

    def _elements(self, query: Query, ae_title: str) -> tuple[list[Slot], list[Source]]:
        """What answers consist of, in the order of tags: the keys asked for, the unique keys down
        to the query's level, and what says where the answer is from."""
        elements: Elements = {}
        for key in query.returned:
            elements[key.tag] = self._element(key)
        in_timezone(elements, query, self._in_file, self._attributes)
        for level in query.model.levels:
            if level <= query.level:
                slot = _slot(level.unique_key)
                elements[slot.tag] = slot, _column(level.unique_key)
        # Asked for or not: where there is no media file-set, it must be there (PS3.4 C.4.1.1.3.2).
        for slot in (_slot(_RETRIEVE_AE_TITLE, ae_title), _slot(_LEVEL, query.level.word)):
            elements[slot.tag] = slot, None
        ordered = [elements[tag] for tag in sorted(elements)]
        return [slot for slot, _ in ordered], [source for _, source in ordered if source]

    def _element(self, key: Key) -> tuple[Slot, Source]:
        """The key's attribute, as a match has it."""
        if key.keyword in _COMPUTED:
            return _slot(key.keyword), _computed(key.keyword)
        if key.keyword in COLUMNS[key.level]:
            return _slot(key.keyword), _column(key.keyword)
        source = _in_header(key) if key in self._in_file else self._in_others(key)
        return Slot(key.tag, key.vr), source

    def _header(self, match: Match) -> Dataset:
        """What is asked for and in no column. A file that cannot be read has none of it: the match
        is one all the same."""
        if match.stored is None:
            return _NOTHING
        return self._files.read(match.stored, self._in_file, self._timezone)

    def _in_others(self, key: Key) -> Source:
        """An attribute that is kept as DICOM JSON."""
        name = f"{key.tag:08X}"

        def source(match: Match, _header: Dataset) -> Given:
            attribute = self._attributes(match, key.level).get(name)
            if attribute is None:
                return ""
            if attribute.get("vr") == key.vr and key.vr not in _NO_TEXTS:
                return "\\".join(map(text_of, attribute.get("Value", ())))
            return _narrowed(dataset_from_json({name: attribute})[key.tag], key)

        return source

    def _attributes(self, match: Match, level: Level) -> Attributes:
        text = match.others.get(level, "")
        known, attributes = self._parsed.get(level, ("", {}))
        if text != known:
            attributes = json.loads(text or "{}")
            self._parsed[level] = (text, attributes)
        return attributes


def _slot(keyword: str, text: str | None = None) -> Slot:
    tag = dictionary.tag_of(keyword)
    return Slot(tag, dictionary.vr_of(tag), text)


def _column(keyword: str) -> Source:
    return lambda match, _header: match.values[keyword]


def _computed(keyword: str) -> Source:
    return lambda match, _header: "\\".join(match.computed.get(keyword, ()))


def _in_header(key: Key) -> Source:
    return lambda _match, header: _narrowed(header[key.tag], key) if key.tag in header else ""


def _narrowed(element: DataElement, key: Key) -> DataElement:
    """Of a sequence, what was asked for of its items (PS3.4 C.2.2.2.6)."""
    if element.VR != "SQ" or not key.items:
        return element
    items = []
    for item in element.value or ():
        narrowed = Dataset()
        for inner in key.items:
            narrowed.add(
                _narrowed(item[inner.tag], inner)
                if inner.tag in item
                else element_of(inner.tag, inner.vr, ())
            )
        items.append(narrowed)
    return element_of(key.tag, "SQ", items)


def _day(dataset: Dataset, moment: Moment) -> list[str]:
    return texts_of(dataset, moment.date.tag) if moment.date is not None else []


def _meets(dataset: Dataset, key: Key) -> bool:
    element = dataset.get(key.tag)
    if element is None:
        return matches(key, ())
    if element.VR != "SQ":
        return matches(key, [str(value) for value in plain_values(element)])
    wanted = [inner for inner in key.items if not inner.is_universal]
    return any(all(_meets(item, inner) for inner in wanted) for item in element.value or ())
