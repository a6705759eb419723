"""The configuration as frozen models, one a section, with the defaults.

A field's description says what is allowed: load.py quotes it where a value is not.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pacsnode.config.values import (
    LONGEST,
    MOST_ASSOCIATIONS,
    MOST_BYTES,
    MOST_WORKERS,
    SERVICES,
    AETitle,
    Bytes,
    CertificateSubject,
    CharacterSet,
    File,
    Folder,
    Host,
    MaxPDU,
    Names,
    Networks,
    OptionalFile,
    Seconds,
    Secret,
    Services,
    TransferSyntaxes,
    Workers,
    only_null,
    same_association,
    section,
    upper,
)

AE_TITLE = "1 to 16 ASCII characters, no backslash, no control character, not only spaces"
HOST = "an IP address or a host name"
PORT = "a port from 1 to 65535"
SECONDS = f"a number of seconds above 0, {LONGEST} at most"
SERVICE_LIST = "a list of echo, store, find, move, get, commit; or all"
FLAG = "true or false"
PEM = "a PEM file, relative to this one's folder or absolute"
SECRET = "text, best as !env NAME or !file PATH; or null"  # noqa: S105
COUNT = "a number from 1 on; or null for no limit of its own"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class ServerTLS(Section):
    """TLS of connections that come in; PEM files."""

    port: int = Field(2762, ge=0, le=65535, description=f"{PORT}, or 0 for a free one")
    certificate: File = Field(description=f"{PEM}: the node's certificate and those above it")
    key: OptionalFile = Field(None, description=f"{PEM}; null: it is in certificate's file")
    key_password: Secret = Field(None, description=SECRET)
    client_ca: OptionalFile = Field(
        None, description=f"{PEM}: the authorities whose clients are taken; or null"
    )
    require_client_certificate: bool = Field(True, description=FLAG)

    @model_validator(mode="after")
    def _whose_clients(self) -> Self:
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError(
                "client_ca is missing, which says whose certificates are taken where "
                "require_client_certificate is true (its default)"
            )
        return self


class ClientTLS(Section):
    """TLS of connections that the node opens; PEM files. Without `ca` the system's authorities."""

    ca: OptionalFile = Field(None, description=f"{PEM}: the authorities; or null: the system's")
    certificate: OptionalFile = Field(
        None, description=f"{PEM}; or null: the node's own, listen.tls.certificate"
    )
    key: OptionalFile = Field(None, description=f"{PEM}; null: it is in certificate's file")
    key_password: Secret = Field(None, description=SECRET)
    verify_host: bool = Field(True, description=FLAG)


def _client_tls(value: object) -> object:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


CLIENT_TLS = "false, true, or a section of ca, certificate, key, key_password, verify_host"
OptionalClientTLS = Annotated[ClientTLS | None, BeforeValidator(_client_tls)]


class Listen(Section):
    """Where the node listens, and how much it takes on. A `port` of None is TLS only."""

    host: Host = Field("127.0.0.1", description=HOST)
    port: int | None = Field(
        11112, ge=0, le=65535, description=f"{PORT}, or 0 for a free one; null is TLS only"
    )
    max_associations: int = Field(
        100, ge=1, le=MOST_ASSOCIATIONS, description=f"a number from 1 to {MOST_ASSOCIATIONS}"
    )
    max_pdu: MaxPDU = Field(
        131072, description="bytes: 4096 to 16777216 (16 MiB), or 0 for no limit announced"
    )
    workers: Workers = Field("auto", description=f"auto, or processes from 1 to {MOST_WORKERS}")
    tls: ServerTLS | None = Field(
        None, description="null, or a section of port, certificate, key, client_ca and more"
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.port is None and self.tls is None:
            raise ValueError("port is null, which is TLS only, and tls is null")
        return self

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

    url: Annotated[None, BeforeValidator(only_null("postgresql"))] = Field(
        None, description="null, SQLite in data_dir"
    )


class StorageSettings(Section):
    """How instances are kept. `min_free` is in bytes; a `url` of None is files in data_dir."""

    url: Annotated[None, BeforeValidator(only_null("s3"))] = Field(
        None, description="null, files in data_dir/instances"
    )
    fsync: bool = Field(True, description=FLAG)
    min_free: Bytes = Field(
        1024**3, ge=0, le=MOST_BYTES, description="bytes, also with a unit: 500MB, 1GiB, 1.5TiB"
    )
    on_duplicate: Literal["keep", "replace", "reject"] = Field(
        "keep", description="keep, replace or reject"
    )


class Access(Section):
    """Who may do what, beyond what each modality is allowed. `networks` of None is all."""

    unknown_callers: Services = Field(frozenset({"echo"}), description=SERVICE_LIST)
    max_unknown_associations: int | None = Field(
        None,
        ge=1,
        description="a number from 1 on; or null: nine tenths of listen.max_associations where "
        "modalities are known",
    )
    networks: Networks = Field(
        None, description="a list of networks, such as 10.0.0.0/8 and fd00::/8; or null for all"
    )
    check_called_ae_title: bool = Field(False, description=FLAG)
    check_host: bool = Field(False, description=FLAG)


class Modality(Section):
    """A known application entity. Its name is its key in `Configuration.modalities`."""

    ae_title: AETitle = Field(description=f"{AE_TITLE}; default: the modality's name")
    host: Host = Field(description=HOST)
    port: int = Field(104, ge=1, le=65535, description=PORT)
    allow: Services = Field(SERVICES, description=SERVICE_LIST)
    move_destinations: Names = Field(
        None, description="a list of names of modalities; or null for all"
    )
    certificate_subject: CertificateSubject = Field(
        None, description="a subject such as CN=ct1,O=Hospital; or null"
    )
    tls: OptionalClientTLS = Field(None, description=CLIENT_TLS)
    calling_ae_title: AETitle | None = Field(None, description=f"{AE_TITLE}; or null")
    character_set: CharacterSet | None = Field(
        None, description="a defined term of PS3.3 C.12.1.1.2, such as ISO_IR 100; or null"
    )
    transfer_syntaxes: TransferSyntaxes = Field(
        None,
        description="null, or a list of UIDs or keywords of transfer syntaxes, such as "
        "ExplicitVRLittleEndian and JPEG2000Lossless",
    )
    lossy_compression: Literal["forbidden", "allowed"] = Field(
        "forbidden", description="forbidden or allowed"
    )
    associations: int = Field(1, ge=1, le=32, description="a number from 1 to 32")
    max_associations: int | None = Field(None, ge=1, description=COUNT)
    commit_report: Annotated[Literal["new", "same"], BeforeValidator(same_association)] = Field(
        "new", description="new or same association"
    )
    trace: OptionalFile = Field(
        None, description="a file that its associations are recorded in, or null"
    )


class Syslog(Section):
    """Where audit messages go: RFC 5424 over UDP (RFC 5426) or TLS (RFC 5425)."""

    host: Host = Field(description=HOST)
    port: int | None = Field(
        None, ge=1, le=65535, description=f"{PORT}; or null: 514 for udp, 6514 for tls"
    )
    transport: Literal["udp", "tls"] = Field("udp", description="udp or tls")
    tls: OptionalClientTLS = Field(ClientTLS.model_validate({}), description=CLIENT_TLS)


class Audit(Section):
    """The audit trail (PS3.15 A.5): to a file as JSON lines, to a syslog server, to both, to
    neither. `queue` is how many messages wait for a syslog server that is away."""

    file: OptionalFile = Field(None, description="a file, or null")
    syslog: Syslog | None = Field(None, description="null, or a section of host, port, transport")
    queue: int = Field(10_000, ge=1, description="a number from 1 on")


class Commit(Section):
    """Storage commitment: how long a report is tried to be delivered."""

    retry_hours: float = Field(72.0, ge=0, description="a number of hours, 0 for one attempt")


class Log(Section):
    """What goes to standard error, and in which form."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    format: Literal["text", "json"] = Field("text", description="text or json")


def _section_of(model: type[Section]) -> Any:
    return Field(default_factory=model, description="a section of key: value lines")


class Configuration(Section):
    """The whole file."""

    ae_title: AETitle = Field("PACSNODE", description=AE_TITLE)
    listen: Annotated[Listen, BeforeValidator(section)] = _section_of(Listen)
    timeouts: Annotated[Timeouts, BeforeValidator(section)] = _section_of(Timeouts)
    data_dir: Folder = Field(
        Path("pacsnode-data"), description="a folder, relative to this file's or absolute"
    )
    index: Annotated[IndexSettings, BeforeValidator(section)] = _section_of(IndexSettings)
    storage: Annotated[StorageSettings, BeforeValidator(section)] = _section_of(StorageSettings)
    access: Annotated[Access, BeforeValidator(section)] = _section_of(Access)
    modalities: Annotated[Mapping[str, Modality], BeforeValidator(section)] = Field(
        default_factory=dict, description="names, each with a section of key: value lines"
    )
    audit: Annotated[Audit, BeforeValidator(section)] = _section_of(Audit)
    commit: Annotated[Commit, BeforeValidator(section)] = _section_of(Commit)
    log: Annotated[Log, BeforeValidator(section)] = _section_of(Log)

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

    @model_validator(mode="after")
    def _destinations_are_known(self) -> Self:
        for name, modality in self.modalities.items():
            for destination in modality.move_destinations or ():
                if destination not in self.modalities:
                    raise ValueError(
                        f"modalities.{name}.move_destinations: {destination!r} is no name of "
                        "modalities"
                    )
        return self
