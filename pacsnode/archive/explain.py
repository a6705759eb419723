"""Why a study of the archive matches a query, or does not: for each key what is stored, in which
character set it came, how both were compared, and by which rule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from pacsnode.archive.find import Files
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.level import Level
from pacsnode.dicom.match import comparisons, matches
from pacsnode.dicom.query import NOT_MATCHED, Key, Query
from pacsnode.dicom.values import SPECIFIC_CHARACTER_SET, plain_values
from pacsnode.index import Index, KeyVerdict

_CHARACTER_SET = Key(SPECIFIC_CHARACTER_SET, "SpecificCharacterSet", "CS", Level.IMAGE)


class Outcome(Enum):
    MATCHES = "matches"
    DIFFERS = "does not match"
    UNIVERSAL = "matches all"
    IGNORED = "not matched"


@dataclass(frozen=True, slots=True)
class Compared:
    """One stored value beside one of a key's: as they are, and as they were compared."""

    stored: str
    wanted: str
    stored_as: str
    wanted_as: str
    rule: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class ExplainedKey:
    """What became of a key, and `why`. `character_set` is what the instance declares that the
    stored values are looked up in."""

    key: Key
    outcome: Outcome
    why: str
    stored: tuple[str, ...] = ()
    character_set: str = ""
    compared: tuple[Compared, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`values`: columns of the study, and of the series and instance that come nearest."""

    is_match: bool
    level: Level
    values: Mapping[str, str]
    keys: tuple[ExplainedKey, ...]


def explain(
    files: Files, index: Index, study_instance_uid: str, query: Query
) -> Explanation | None:
    """None where the study is not here. Raises IndexFailure or StorageError."""
    verdict = index.verdict(study_instance_uid, query, files.matching(query))
    if verdict is None:
        return None
    explained = {
        each.key.tag: _explained(files, each, verdict.first.get(each.level))
        for each in verdict.keys
    }
    for key in (*query.returned, *query.ignored):
        if key.tag not in explained:
            explained[key.tag] = _not_compared(key, query)
    return Explanation(verdict.is_match, query.level, verdict.values, tuple(explained.values()))


def _not_compared(key: Key, query: Query) -> ExplainedKey:
    if key.is_universal:
        return ExplainedKey(key, Outcome.UNIVERSAL, "no value is asked for")
    if key.keyword in NOT_MATCHED:
        return ExplainedKey(key, Outcome.IGNORED, "the node works it out for each answer")
    if key.level > query.level:
        why = f"it is of the {key.level.word} level, and {query.level.word} was asked"
    else:
        why = "only the files have it: say which study, series or instance by its UID"
    return ExplainedKey(key, Outcome.IGNORED, why)


def _explained(files: Files, verdict: KeyVerdict, first: StoredInstance | None) -> ExplainedKey:
    key, stored = verdict.key, verdict.stored
    if verdict.is_in_file and first is not None:
        stored = tuple(_in_file(files, first, key))
    compared = tuple(_compared(key, (*stored, *verdict.aliases)))
    return ExplainedKey(
        key,
        Outcome.MATCHES if verdict.is_met else Outcome.DIFFERS,
        _why(verdict, stored, compared),
        (*stored, *verdict.aliases),
        _character_set(files, first),
        compared,
    )


def _compared(key: Key, stored: tuple[str, ...]) -> Iterator[Compared]:
    """Every value with every other; of a sequence nothing, whose items match as a whole."""
    if key.items:
        return
    for comparison, wanted in zip(comparisons(key), key.values, strict=True):
        for value in filter(None, stored):
            how = comparison.how(value)
            yield Compared(
                value,
                wanted,
                comparison.normal(value),
                comparison.wanted,
                f"{comparison.rule}: {how}" if how else comparison.rule,
                comparison.met_by(value),
            )


def _why(verdict: KeyVerdict, stored: tuple[str, ...], compared: tuple[Compared, ...]) -> str:
    if verdict.key.items:
        return "an item has all that is asked for" if verdict.is_met else "no item has it all"
    if not any((*stored, *verdict.aliases)):
        return "nothing is stored"
    met = next((each for each in compared if each.is_match), None)
    if met is None:
        rules = "; ".join(dict.fromkeys(each.rule for each in compared))
        return f"{rules}; fuzzy matching would find it" if _is_like(verdict) else rules
    others = "" if met.stored in stored else ", which another instance of the study has"
    return f"{met.rule}{others}"


def _is_like(verdict: KeyVerdict) -> bool:
    """Whether a name that does not match would, if it were matched fuzzily."""
    key, names = verdict.key, (*verdict.stored, *verdict.aliases)
    return key.vr == "PN" and matches(replace(key, is_fuzzy=True), names)


def _in_file(files: Files, stored: StoredInstance, key: Key) -> Iterator[str]:
    element = files.read(stored, [key]).get(key.tag)
    if element is None:
        return
    if element.VR == "SQ":
        yield f"{len(element.value or ())} items"
        return
    yield from (str(value) for value in plain_values(element))


def _character_set(files: Files, stored: StoredInstance | None) -> str:
    """As the file's header declares it."""
    if stored is None:
        return ""
    element = files.read(stored, [_CHARACTER_SET]).get(SPECIFIC_CHARACTER_SET)
    if element is None or element.value is None:
        return ""
    values = plain_values(element)
    return "\\".join(str(value) for value in values)
