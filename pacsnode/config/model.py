"""The configuration as frozen models, one a section, with the defaults.

A field's description says what is allowed: load.py quotes it where a value is not.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

SERVICES = frozenset({"echo", "store", "find", "move", "get", "commit"})

# poll() counts milliseconds in 32 bits.
LONGEST = 1_000_000

LATER = "comes in a later version"

MOST_WORKERS = 64

_MULTIPLES = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}


def _ae_title(value: str) -> str:
    """Rules of VR AE (PS3.5 6.2): default repertoire less backslash and control characters."""
    title = value.strip(" ")
    if not title:
        raise ValueError(f"{value!r} is empty or nothing but spaces")
    if len(title) > 16:
        raise ValueError(f"{value!r} has {len(title)} characters")
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise ValueError(f"{value!r} has a character that AE titles may not have")
    return title


def _host(value: str) -> str:
    host = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
    if not host or any(character.isspace() or not character.isprintable() for character in host):
        raise ValueError(f"{value!r} is no host")
    return host


def _seconds(value: float) -> float:
    if not 0 < value <= LONGEST:
        raise ValueError(f"{value} is no time to wait")
    return value


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _MULTIPLES:
        raise ValueError(f"{value!r} is no number of bytes")
    return int(float(match[1]) * _MULTIPLES[match[2].upper()])


def _services(value: object) -> object:
    if value == "all":
        return SERVICES
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"{value!r} is no list")  # noqa: TRY004 pydantic reports ValueErrors only
    for service in value:
        if not isinstance(service, str) or service not in SERVICES:
            raise ValueError(f"{service!r} is no service")
    return frozenset(value)


def _character_set(value: str) -> str:
    from pydicom.charset import python_encoding

    for term in value.split("\\"):
        if term.strip() not in python_encoding or not value.strip():
            raise ValueError(f"{term!r} is no defined term of Specific Character Set")
    return value


def _transfer_syntaxes(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no list of transfer syntaxes")
    return tuple(dict.fromkeys(_transfer_syntax(entry) for entry in value))


def _transfer_syntax(value: object) -> str:
    from pydicom.uid import AllTransferSyntaxes

    for uid in AllTransferSyntaxes:
        if value in (str(uid), uid.keyword):
            if uid.is_compressed and not uid.is_deflated:
                raise ValueError(f"{value!r} would need compressing, which {LATER}")
            return str(uid)
    raise ValueError(f"{value!r} is no transfer syntax")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _same_association(value: object) -> object:
    return "same" if value == "same association" else value


def _workers(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value != "auto" and not (is_number and value in range(1, MOST_WORKERS + 1)):
        raise ValueError(f"{value!r} is no number of processes")
    return value


def _without_tls(value: object) -> object:
    if value not in (None, False):
        raise ValueError(f"TLS {LATER}")
    return value


def _plain_port(value: object) -> object:
    if value is None:
        raise ValueError(f"null, TLS only, {LATER}")
    return value


def _max_pdu(value: int) -> int:
    if value and not 4096 <= value <= 16 * 1024**2:
        raise ValueError(f"{value} bytes is out of bounds")
    return value


def _only_null(what: str) -> Any:
    def check(value: object) -> object:
        # The value is not quoted: it may hold a password.
        if isinstance(value, str) and value.startswith(what):
            raise ValueError(f"{what} {LATER}")
        if value is not None:
            raise ValueError("a URL that is not known here")
        return value

    return check


def _section(value: object) -> object:
    """A section with every line of it commented out is one of defaults."""
    return {} if value is None else value


def _folder(value: object, info: ValidationInfo) -> object:
    """Relative to the configuration file's folder, which load.py hands over as context."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"{value!r} is no folder")
    base = (info.context or {}).get("folder") or Path.cwd()
    try:
        return Path(base, Path(value).expanduser()).absolute()
    except RuntimeError as error:
        raise ValueError(f"{value!r} is no folder: {error}") from error


AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_host)]
Seconds = Annotated[float, AfterValidator(_seconds)]
Services = Annotated[frozenset[str], BeforeValidator(_services)]

AE_TITLE = "1 to 16 ASCII characters, no backslash, no control character, not only spaces"
HOST = "an IP address or a host name"
SECONDS = f"a number of seconds above 0, {LONGEST} at most"
SERVICE_LIST = "a list of echo, store, find, move, get, commit; or all"
FLAG = "true or false"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class Listen(Section):
    """Where the node listens, and how much it takes on."""

    host: Host = Field("127.0.0.1", description=HOST)
    port: Annotated[int, BeforeValidator(_plain_port)] = Field(
        11112, ge=0, le=65535, description="a port from 1 to 65535, or 0 for a free one"
    )
    max_associations: int = Field(100, ge=1, description="a number from 1 on")
    max_pdu: Annotated[int, AfterValidator(_max_pdu)] = Field(
        131072, description="bytes: 4096 to 16777216 (16 MiB), or 0 for no limit announced"
    )
    workers: Annotated[Literal["auto"] | int, BeforeValidator(_workers)] = Field(
        "auto", description=f"auto, or processes from 1 to {MOST_WORKERS}"
    )
    tls: Annotated[None, BeforeValidator(_without_tls)] = Field(None, description="null")

    @property
    def processes(self) -> int:
        """How many serve associations."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers


class Timeouts(Section):
    """Seconds."""

    connect: Seconds = Field(10.0, description=SECONDS)
    acse: Seconds = Field(30.0, description=SECONDS)
    network: Seconds = Field(60.0, description=SECONDS)
    dimse: Seconds = Field(60.0, description=SECONDS)
    idle: Seconds = Field(600.0, description=SECONDS)


class IndexSettings(Section):
    """Which database holds the index; None is SQLite in data_dir."""

    url: Annotated[None, BeforeValidator(_only_null("postgresql"))] = Field(
        None, description="null, SQLite in data_dir"
    )


class StorageSettings(Section):
    """How instances are kept. `min_free` is in bytes; a `url` of None is files in data_dir."""

    url: Annotated[None, BeforeValidator(_only_null("s3"))] = Field(
        None, description="null, files in data_dir/instances"
    )
    fsync: bool = Field(True, description=FLAG)
    min_free: Annotated[int, BeforeValidator(_bytes)] = Field(
        1024**3, ge=0, description="bytes, also with a unit: 500MB, 1GiB, 1.5TiB"
    )
    on_duplicate: Literal["keep", "replace", "reject"] = Field(
        "keep", description="keep, replace or reject"
    )


class Access(Section):
    """Who may do what, beyond what each modality is allowed."""

    unknown_callers: Services = Field(frozenset({"echo"}), description=SERVICE_LIST)
    check_called_ae_title: bool = Field(False, description=FLAG)
    check_host: bool = Field(False, description=FLAG)


class Modality(Section):
    """A known application entity. Its name is its key in `Configuration.modalities`."""

    ae_title: AETitle = Field(description=f"{AE_TITLE}; default: the modality's name")
    host: Host = Field(description=HOST)
    port: int = Field(104, ge=1, le=65535, description="a port from 1 to 65535")
    allow: Services = Field(SERVICES, description=SERVICE_LIST)
    tls: Annotated[Literal[False], BeforeValidator(_without_tls)] = Field(
        False, description="false"
    )
    calling_ae_title: AETitle | None = Field(None, description=f"{AE_TITLE}; or null")
    character_set: Annotated[str, AfterValidator(_character_set)] | None = Field(
        None, description="a defined term of PS3.3 C.12.1.1.2, such as ISO_IR 100; or null"
    )
    transfer_syntaxes: Annotated[tuple[str, ...] | None, BeforeValidator(_transfer_syntaxes)] = (
        Field(
            None,
            description="null, or a list of UIDs or keywords of transfer syntaxes that are not "
            "compressed, such as ExplicitVRLittleEndian",
        )
    )
    associations: int = Field(1, ge=1, le=32, description="a number from 1 to 32")
    max_associations: int | None = Field(
        None, ge=1, description="a number from 1 on; or null for no limit of its own"
    )
    commit_report: Annotated[Literal["new", "same"], BeforeValidator(_same_association)] = Field(
        "new", description="new or same association"
    )


class Log(Section):
    """What goes to standard error, and in which form."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    format: Literal["text", "json"] = Field("text", description="text or json")


def _section_of(model: type[Section]) -> Any:
    return Field(default_factory=model, description="a section of key: value lines")


class Configuration(Section):
    """The whole file."""

    ae_title: AETitle = Field("PACSNODE", description=AE_TITLE)
    listen: Annotated[Listen, BeforeValidator(_section)] = _section_of(Listen)
    timeouts: Annotated[Timeouts, BeforeValidator(_section)] = _section_of(Timeouts)
    data_dir: Annotated[Path, BeforeValidator(_folder)] = Field(
        Path("pacsnode-data"), description="a folder, relative to this file's or absolute"
    )
    index: Annotated[IndexSettings, BeforeValidator(_section)] = _section_of(IndexSettings)
    storage: Annotated[StorageSettings, BeforeValidator(_section)] = _section_of(StorageSettings)
    access: Annotated[Access, BeforeValidator(_section)] = _section_of(Access)
    modalities: Annotated[Mapping[str, Modality], BeforeValidator(_section)] = Field(
        default_factory=dict, description="names, each with a section of key: value lines"
    )
    log: Annotated[Log, BeforeValidator(_section)] = _section_of(Log)

    @model_validator(mode="before")
    @classmethod
    def _name_is_title(cls, values: object) -> object:
        """A modality's AE title is its name where none is given."""
        if not isinstance(values, Mapping) or not isinstance(values.get("modalities"), Mapping):
            return values
        named = {
            name: {"ae_title": name, **modality} if isinstance(modality, Mapping) else modality
            for name, modality in values["modalities"].items()
        }
        return {**values, "modalities": named}
