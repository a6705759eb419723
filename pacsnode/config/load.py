"""The configuration file: where it is, and from YAML to the model.

Every fault becomes one line: file, line, key path, what is wrong, what is allowed.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pacsnode.config.elsewhere import Loader
from pacsnode.config.model import Configuration
from pacsnode.config.values import Unavailable
from pacsnode.errors import ConfigurationError

VARIABLE = "PACSNODE_CONFIG"
PLACES = (Path("config.yaml"), Path("/etc/pacsnode/config.yaml"))

Location = tuple[int | str, ...]


class Fault(NamedTuple):
    """What is wrong and allowed; `line` where it is not the one that `location` tells."""

    location: Location
    text: str
    line: int = 0


def find_file(named: Path | None) -> Path | None:
    """The file named on the command line, in the environment, or at one of the usual places."""
    if named is not None:
        return named
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return next((place for place in PLACES if os.path.lexists(place)), None)


def load(path: Path | None) -> Configuration:
    """The configuration in `path`. Without a file the defaults, but open to unknown callers, for
    trying the node out on loopback. Raises ConfigurationError with every fault there is."""
    if path is None:
        return Configuration.model_validate({"access": {"unknown_callers": "all"}})
    root = _compose(path)
    values = _construct(path, root)
    faults = list(_twice(root))
    try:
        configuration = Configuration.model_validate(
            values, context={"folder": path.absolute().parent}
        )
    except ValidationError as error:
        faults += map(_explain, error.errors())
    faults += _equal_titles(values)
    if faults:
        raise ConfigurationError(*_report(path, root, faults))
    return configuration


def _report(path: Path, root: yaml.Node | None, faults: Sequence[Fault]) -> Iterator[str]:
    lines: dict[Location, int] = {(): 1}
    lines.update((key.location, key.line) for key in _keys(root))
    for line, fault in sorted(
        ((fault.line or _line(lines, fault.location), fault) for fault in faults),
        key=lambda placed: placed[0],
    ):
        key_path = ".".join(map(str, fault.location)) + ": " if fault.location else ""
        yield f"{path}:{line}: {key_path}{fault.text}"


def _line(lines: Mapping[Location, int], location: Location) -> int:
    """Where the key stands; where it is missing, its section."""
    place = tuple(map(str, location))
    while place not in lines:
        place = place[:-1]
    return lines[place]


def _compose(path: Path) -> yaml.Node | None:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; --config or {VARIABLE} must name a file that can be read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error}") from error
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _syntax_error(path, error) from error
    return node


def _construct(path: Path, root: yaml.Node | None) -> Mapping[str, Any]:
    if root is None:
        return {}
    loader = Loader(path.absolute().parent)
    try:
        values = loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _syntax_error(path, error) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}:1: not a section; allowed: key: value lines")
    return values


def _syntax_error(path: Path, error: Exception) -> ConfigurationError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        what = " ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark
        return ConfigurationError(f"{path}:{mark.line + 1}: column {mark.column + 1}: {what}")
    return ConfigurationError(f"{path}: {' '.join(str(error).split())}")


class Key(NamedTuple):
    location: Location
    line: int
    first: int | None  # the line in which it was given before


def _keys(node: yaml.Node | None) -> Iterator[Key]:
    """Every key of the file. An anchor is entered once: it may hold itself."""
    seen: set[int] = set()
    waiting: list[tuple[Location, yaml.Node | None]] = [((), node)]
    while waiting:
        location, current = waiting.pop()
        if not isinstance(current, yaml.MappingNode) or id(current) in seen:
            continue
        seen.add(id(current))
        given: dict[str, int] = {}
        for key, value in current.value:
            name, line = str(key.value), key.start_mark.line + 1
            yield Key((*location, name), line, given.get(name))
            given.setdefault(name, line)
            waiting.append(((*location, name), value))


def _twice(root: yaml.Node | None) -> Iterator[Fault]:
    for location, line, first in _keys(root):
        if first is not None and location[-1] != "<<":
            yield Fault(location, f"given twice, first in line {first}; allowed: once", line)


def _explain(error: ErrorDetails) -> Fault:
    """Where, and what is wrong and allowed there."""
    location = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        return Fault(location, _unknown_key(location))
    if error["type"] == "invalid_key" or error["loc"][-1:] == ("[key]",):
        return Fault(location, "a key that is no text; allowed: text, in quotes if need be")
    allowed = _allowed(location)
    if error["type"] == "missing":
        return Fault(location, f"missing; allowed: {allowed}")
    if isinstance(error["input"], Unavailable):
        return Fault(location, error["input"].text)
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        is_of_a_section = isinstance(error["input"], Mapping)  # its keys do not fit together
        return Fault(location, text if is_of_a_section else f"{text}; allowed: {allowed}")
    if _is_secret(location):
        return Fault(location, f"a value that is no text; allowed: {allowed}")
    hint = ", quotes make it text" if error["type"] == "string_type" else ""
    wrong = f"{_shown(error['input'])} is {_not(error['input'])}{hint}"
    return Fault(location, f"{wrong}; allowed: {allowed}")


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list):  # perhaps what was meant as a section with a password
        return "a list"
    return repr(value)


def _not(value: object) -> str:
    return "not possible here" if isinstance(value, str | int | float) else "of the wrong type"


def _field_at(location: Location) -> FieldInfo | None:
    """The field that `location` names; None for a modality as a whole, and for what is unknown."""
    model: type[BaseModel] | None = Configuration
    field = None
    parts = [str(part) for part in location]
    if parts[:1] == ["modalities"] and len(parts) > 1:
        model, parts = _section_in(Configuration.model_fields["modalities"].annotation), parts[2:]
    for part in parts:
        field = model.model_fields.get(part) if model is not None else None
        model = _section_in(field.annotation) if field is not None else None
    return field


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, perhaps among others: Section | None, Mapping[str, Section]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _keys_at(location: Location) -> Iterable[str]:
    """Those of the section that `location` names."""
    if not location:
        return Configuration.model_fields
    field = _field_at(location)
    if field is None and location[0] == "modalities":
        field = Configuration.model_fields["modalities"]
    section = _section_in(field.annotation) if field is not None else None
    return section.model_fields if section is not None else ()


def _allowed(location: Location) -> str:
    if not location:
        return "key: value lines"
    field = _field_at(location)
    return (field.description if field else None) or "a section of key: value lines"


def _is_secret(location: Location) -> bool:
    field = _field_at(location)
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


def _unknown_key(location: Location) -> str:
    known = sorted(_keys_at(location[:-1]))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    allowed = f"perhaps {near[0]}" if near else f"allowed: {', '.join(known)}"
    return f"unknown key; {allowed}"


def _equal_titles(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Looked for in what the file says, so that other faults do not hide it."""
    first: dict[str, str] = {}
    for name, title in _titles(values.get("modalities")):
        if title in first:
            text = (
                f"{title!r} is the AE title of {first[title]} too; allowed: one that no other has"
            )
            yield Fault(("modalities", name, "ae_title"), text)
        first.setdefault(title, name)


def _titles(modalities: object) -> Sequence[tuple[str, str]]:
    if not isinstance(modalities, Mapping):
        return []
    return [
        (name, str(modality.get("ae_title", name)).strip(" "))
        for name, modality in modalities.items()
        if isinstance(modality, Mapping) and isinstance(name, str)
    ]
