"""The configuration as tables: every parameter with its value and what is allowed. Of secrets
nothing is told but that they are set."""

from collections.abc import Iterable, Iterator, Mapping

from pacsnode.config.model import Configuration, Modality, Section
from pacsnode.config.subject import subject_text
from pacsnode.config.values import SERVICES
from pacsnode.node.address import address_text
from pacsnode.node.build import RELOADED, build_settings
from pacsnode.node.conformance import registry
from pacsnode.node.conformance.document import Table, table

HIDDEN = "set, not told here"
SERVICE_ORDER = ("echo", "store", "find", "move", "get", "commit")
UNKNOWN_CALLERS = "all other callers"
_WITHOUT_ROWS = frozenset({"modalities"})  # a table of its own


def parameter_table(configuration: Configuration) -> Table:
    """Every setting of the file but the remote application entities."""
    columns = ("Parameter", "Value", "Allowed", "Takes a restart")
    return table("Configuration Parameters", columns, _parameters(configuration))


def _parameters(section: Section, path: str = "") -> Iterator[tuple[str, ...]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        key_path = f"{path}{name}"
        if isinstance(value, Section):
            yield from _parameters(value, f"{key_path}.")
        elif key_path not in _WITHOUT_ROWS:
            waits = "Yes" if takes_restart(key_path) else "No"
            yield key_path, _text(value), field.description or "", waits


def takes_restart(key_path: str) -> bool:
    """Whether a running node goes on without a change of this setting: see build.reloaded."""
    is_certificate = key_path.startswith("listen.tls.") and key_path != "listen.tls.port"
    return key_path.partition(".")[0] not in RELOADED and not is_certificate


def _text(value: object) -> str:
    """A value as people write it in the file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "get_secret_value"):
        return HIDDEN
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, frozenset):
        return services_text(value)
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def services_text(services: Iterable[str]) -> str:
    """In a stable order, `all` where nothing is left out."""
    chosen = frozenset(services)
    if chosen == SERVICES:
        return "all"
    return ", ".join(name for name in SERVICE_ORDER if name in chosen) or "none"


def local_table(configuration: Configuration) -> Table:
    """The node's own title and where it is reached."""
    listen = configuration.listen
    rows = []
    if listen.port is not None:
        rows.append((configuration.ae_title, listen.host, _port(listen.port), "none"))
    if listen.tls is not None:
        demanded = "with a certificate" if listen.tls.require_client_certificate else "any client"
        transport = f"TLS, {demanded}"
        rows.append((configuration.ae_title, listen.host, _port(listen.tls.port), transport))
    return Table("Local AE Titles", ("AE Title", "Host", "TCP Port", "Security"), tuple(rows))


def _port(port: int) -> str:
    return str(port) if port else "any free port, told when the node starts"


def remote_table(modalities: Mapping[str, Modality], ae_title: str) -> Table:
    """The remote application entities: destinations of C-MOVE, peers of the commands."""
    columns = (
        "Name", "AE Title", "Address", "Security", "Called by", "Associations opened at once",
        "Default Character Set", "Transfer Syntaxes it is sent",
    )  # fmt: skip
    rows = (
        (
            name,
            modality.ae_title,
            address_text(modality.host, modality.port),
            _security_of(modality),
            modality.calling_ae_title or ae_title,
            str(modality.associations),
            modality.character_set or "ASCII",
            _syntaxes_of(modality),
        )
        for name, modality in modalities.items()
    )
    return table("Remote AE Titles", columns, rows)


def _security_of(modality: Modality) -> str:
    if modality.tls is None:
        return "none"
    return "TLS" if modality.tls.verify_host else "TLS, host name not verified"


def _syntaxes_of(modality: Modality) -> str:
    if modality.transfer_syntaxes is None:
        return "as stored, else uncompressed"
    lossy = "; lossy compression allowed" if modality.lossy_compression == "allowed" else ""
    return registry.names_of(modality.transfer_syntaxes) + lossy


def rights_table(configuration: Configuration) -> Table:
    """Who may ask the node for what, as configured."""
    columns = (
        "Caller", "AE Title", "Services", "May move to", "Associations at once",
        "Known by", "Storage Commitment reported",
    )  # fmt: skip
    return table("Rights of Callers", columns, _rights(configuration))


def _rights(configuration: Configuration) -> Iterator[tuple[str, ...]]:
    access, most = configuration.access, configuration.listen.max_associations
    for name, modality in configuration.modalities.items():
        destinations = modality.move_destinations
        yield (
            name,
            modality.ae_title,
            services_text(modality.allow),
            "all remote AEs" if destinations is None else ", ".join(destinations) or "nobody",
            str(modality.max_associations or most),
            _known_by(modality, check_host=access.check_host),
            "on a new association" if modality.commit_report == "new" else "on the same one",
        )
    unknown = str(build_settings(configuration).max_unknown_associations)
    services = services_text(access.unknown_callers)
    yield (
        UNKNOWN_CALLERS,
        "any",
        services,
        "all remote AEs",
        f"{unknown} in all",
        "",
        ("on the same one"),
    )


def _known_by(modality: Modality, *, check_host: bool) -> str:
    known_by = ["AE title"]
    if check_host:
        known_by.append(f"host {modality.host}")
    if modality.certificate_subject is not None:
        known_by.append(f"certificate {subject_text(modality.certificate_subject)}")
    return ", ".join(known_by)
