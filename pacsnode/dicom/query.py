"""An identifier (PS3.4 C.4) as a Query: which keys narrow, return, are ignored."""

from dataclasses import dataclass, field
from enum import Enum

from pacsnode.dicom.level import Level


class Model(Enum):
    """The information models (PS3.4 C.6) with the levels that each has, top first."""

    PATIENT_ROOT = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
    STUDY_ROOT = (Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_STUDY_ONLY = (Level.PATIENT, Level.STUDY)

    @property
    def levels(self) -> tuple[Level, ...]:
        levels: tuple[Level, ...] = self.value
        return levels


@dataclass(frozen=True, slots=True)
class Key:
    """One element of an identifier. `values` are Unicode (NFC), trimmed, one entry a value; none
    means universal matching. `items` are the keys inside the single item of a sequence."""

    tag: int
    keyword: str  # "" for an attribute that the data dictionary does not know
    vr: str
    level: Level
    values: tuple[str, ...] = ()
    items: tuple["Key", ...] = ()

    @property
    def is_universal(self) -> bool:
        """No value, or nothing but `*` (PS3.4 C.2.2.2.3); a sequence of universal keys."""
        if self.items:
            return all(item.is_universal for item in self.items)
        return not self.values or all(set(value) == {"*"} for value in self.values)


@dataclass(frozen=True, slots=True)
class Query:
    """A query at one level. `matching` narrows, in the order of the identifier; `returned` holds
    every key asked for; `ignored` those that could not be matched (the answers are then FF01)."""

    level: Level
    model: Model
    matching: tuple[Key, ...]
    returned: tuple[Key, ...] = ()
    ignored: tuple[Key, ...] = ()
    character_set: tuple[str, ...] = field(default=())

    def key(self, keyword: str) -> Key | None:
        """The matching key of this keyword."""
        return next((key for key in self.matching if key.keyword == keyword), None)
