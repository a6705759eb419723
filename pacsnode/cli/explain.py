"""pacsnode ls --explain: why one study matches a query, or does not."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pacsnode.cli.output import Title, say, show_csv, show_json, show_table
from pacsnode.errors import UsageError

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.archive.explain import ExplainedKey, Explanation
    from pacsnode.dicom.query import Query

# By which a study is named, the surest first.
_NAMING = ("StudyInstanceUID", "AccessionNumber", "PatientID", "SeriesInstanceUID")
_MOST_NAMED = 10  # studies

_TITLES = ("Key", "Asked for", "Stored", "Character set", "Compared", "Result", "Rule")


def show_explanation(archive: "Archive", study: str, query: "Query", form: str) -> None:
    """`study` names one, or the query's keys do. Raises UsageError where none or several do."""
    uid = _named(archive, study) if study else _named_by_keys(archive, query)
    explanation = archive.explain(uid, query)
    if explanation is None:
        raise UsageError(f"study {uid} is not here any more")
    if form == "json":
        show_json([_as_json(uid, explanation)])
        return
    rows = [_row(key) for key in explanation.keys]
    if form == "csv":
        show_csv(_TITLES, rows)
        return
    say(_summary(uid, explanation))
    show_table([Title(title, title not in ("Key", "Result")) for title in _TITLES], rows)


def _named(archive: "Archive", study: str) -> str:
    """Raises UsageError."""
    for keyword in _NAMING:
        if uids := _studies(archive, keyword, study):
            return _only(uids, f"{keyword} {study}")
    raise UsageError(f"no study has {study} as {', '.join(_NAMING[:-1])} or {_NAMING[-1]}")


def _named_by_keys(archive: "Archive", query: "Query") -> str:
    """Raises UsageError."""
    from pacsnode.dicom.query import is_definite

    keys = (*query.matching, *query.ignored)
    by_keyword = {key.keyword: key for key in keys if is_definite(key)}
    asked = [
        (keyword, by_keyword[keyword].values[0]) for keyword in _NAMING if keyword in by_keyword
    ]
    if not asked:
        raise UsageError(f"which study? Name it: --explain STUDY, or a key of {', '.join(_NAMING)}")
    for keyword, value in asked:
        if uids := _studies(archive, keyword, value):
            return _only(uids, f"{keyword} {value}")
    named = " or ".join(f"{keyword} {value}" for keyword, value in asked)
    raise UsageError(f"no study has {named}; name the one that is meant: --explain STUDY")


def _studies(archive: "Archive", keyword: str, value: str) -> list[str]:
    """The first few that have this value."""
    from pacsnode.cli import options
    from pacsnode.dicom.elements import EXPLICIT_VR_LITTLE_ENDIAN
    from pacsnode.dicom.encode import decode_dataset

    level = "series" if keyword == "SeriesInstanceUID" else "study"
    try:
        query = options.local_query(level, [f"{keyword}={value}", "StudyInstanceUID"])
    except UsageError:
        return []  # no value of this attribute
    found: list[str] = []
    for page in archive.find(query, EXPLICIT_VR_LITTLE_ENDIAN):
        for answer in page:
            found.append(str(decode_dataset(answer, EXPLICIT_VR_LITTLE_ENDIAN).StudyInstanceUID))
        if len(found) > _MOST_NAMED:
            break
    return list(dict.fromkeys(found))


def _only(uids: Sequence[str], what: str) -> str:
    if len(uids) == 1:
        return uids[0]
    listed = " ".join(uids[:_MOST_NAMED]) + (" ..." if len(uids) > _MOST_NAMED else "")
    raise UsageError(f"{what} has several studies; say which with --explain: {listed}")


def _summary(uid: str, explanation: "Explanation") -> str:
    from pacsnode.dicom.level import Level

    values = explanation.values
    verdict = "matches" if explanation.is_match else "does not match"
    who = f"{values.get('PatientName', '')} ({values.get('PatientID', '')})"
    text = f"Study {uid} of {who} {verdict}"
    if explanation.level >= Level.SERIES:
        nearest = "found" if explanation.is_match else "nearest"
        text += f"; {nearest} series {values.get('SeriesInstanceUID', '')}"
    if explanation.level is Level.IMAGE:
        text += f", instance {values.get('SOPInstanceUID', '')}"
    return text


def _name(key: "ExplainedKey") -> str:
    return key.key.keyword or f"{key.key.tag >> 16:04X},{key.key.tag & 0xFFFF:04X}"


def _asked(key: "ExplainedKey") -> str:
    items = (f"{item.keyword}={chr(92).join(item.values)}" for item in key.key.items)
    return ", ".join(items) if key.key.items else "\\".join(key.key.values)


def _row(key: "ExplainedKey") -> Sequence[str]:
    is_compared = bool(key.compared)
    return (
        _name(key),
        _asked(key),
        "\\".join(key.stored),
        (key.character_set or "none declared") if key.stored else "",
        "; ".join(_compared(key)) if is_compared else "",
        key.outcome.value,
        key.why,
    )


def _compared(key: "ExplainedKey") -> Iterator[str]:
    for each in key.compared:
        yield f"{each.wanted_as} {'with' if each.is_match else 'is not'} {each.stored_as}"


def _as_json(uid: str, explanation: "Explanation") -> dict[str, object]:
    values = explanation.values
    uids = {"StudyInstanceUID": uid}
    uids |= {
        keyword: values[keyword]
        for keyword in ("SeriesInstanceUID", "SOPInstanceUID")
        if keyword in values
    }
    return {
        "matches": explanation.is_match,
        "level": explanation.level.word,
        "nearest": uids,
        "keys": [
            {
                "key": _name(key),
                "tag": f"{key.key.tag:08X}",
                "level": key.key.level.word,
                "asked": _asked(key),
                "stored": list(key.stored),
                "character_set": key.character_set,
                "result": key.outcome.value,
                "why": key.why,
                "compared": [
                    {
                        "stored": each.stored,
                        "wanted": each.wanted,
                        "stored_as": each.stored_as,
                        "wanted_as": each.wanted_as,
                        "rule": each.rule,
                        "matches": each.is_match,
                    }
                    for each in key.compared
                ],
            }
            for key in explanation.keys
        ],
    }
