"""pacsnode check."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from pacsnode.config.model import ClientTLS, Configuration, Modality, ServerTLS
    from pacsnode.config.subject import Subject


@click.command("check")
@click.argument("peer", required=False)
@click.option(
    "--move",
    "moving",
    is_flag=True,
    help="Prove the way back: send PEER a test object, move it here.",
)
@click.option("--yes", is_flag=True, help="With --move: do not ask before the test object is sent.")
@click.option("--all", "every_class", is_flag=True, help="Ask for every standard storage class.")
@options.aet
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the steps of check PEER are printed.",
)
@click.pass_obj
def command(
    run: Run,
    peer: str | None,
    moving: bool,
    yes: bool,
    every_class: bool,
    aet: str | None,
    form: str,
) -> int:
    """Validate the configuration and say what it means; with PEER, find out what works with it.

    Name, TCP, TLS, association, C-ECHO, C-FIND, what PEER stores: each failure comes with the lines
    to change in our configuration, and the sentence for the other side's administrator. With --move
    the way back as well: a test object is sent to PEER, where it stays, moved to this node, and
    removed here.
    """
    if peer is not None:
        from pacsnode.cli.doctor import examine_peer, may_send

        if moving and not may_send(peer, yes=yes):
            say("nothing sent")
            return 1
        return examine_peer(run, peer, aet, every_class=every_class, moving=moving, form=form)
    if moving or yes or every_class or aet is not None or form != "text":
        raise UsageError("which PEER? Without one, check looks at our own configuration alone")
    _explain(run)
    return 0


def _explain(run: Run) -> None:
    """Say what the configuration means. Raises ConfigurationError."""
    configuration = run.configuration
    _check_certificates(configuration)
    say(f"configuration: {run.path or 'built-in defaults'}")
    _say_listen(configuration)
    _say_storage(configuration)
    _say_access(configuration)
    for name, modality in configuration.modalities.items():
        _say_modality(name, modality, configuration)
    _say_audit(configuration)
    _check_folder(configuration.data_dir, configuration.storage.min_free)


def _say_listen(configuration: "Configuration") -> None:
    from pacsnode.node import limits
    from pacsnode.node.address import address_text

    listen = configuration.listen
    say(f"AE title: {configuration.ae_title}")
    if listen.port is None:
        say("address: none without TLS")
    else:
        say(f"address: {address_text(listen.host, listen.port)}{_freely(listen.port)}")
    if listen.tls is None:
        say("TLS: none")
    else:
        say(f"TLS: {address_text(listen.host, listen.tls.port)}{_freely(listen.tls.port)}")
        _say_server(listen.tls)
    say(f"associations: {listen.max_associations} at most")
    say(f"processes that serve them: {listen.processes}")
    if short := limits.shortage(listen.max_associations, limits.most_open_files()):
        complain(short)


def _freely(port: int) -> str:
    return " any free port" if port == 0 else ""


def _say_server(tls: "ServerTLS") -> None:
    _say_certificate("shows", tls.certificate)
    if tls.client_ca is None:
        say("  asks clients for no certificate")
    else:
        must = "must" if tls.require_client_certificate else "may"
        say(f"  clients {must} show a certificate of an authority in {tls.client_ca}")


def _say_certificate(does: str, file: Path) -> None:
    from pacsnode.config.subject import subject_text
    from pacsnode.tls import certificates_in

    for first in certificates_in(file.read_bytes())[:1]:
        until = f"{first.not_after:%Y-%m-%d}"
        say(f"  {does} {subject_text(first.subject)}, good until {until} ({file})")


def _say_storage(configuration: "Configuration") -> None:
    storage = configuration.storage
    say(f"storage: files in {configuration.data_dir / 'instances'}")
    durable = "when it is on stable storage" if storage.fsync else "before it is on stable storage"
    say(f"  a C-STORE is answered {durable}")
    say(f"  refused below {storage.min_free:,} bytes of free space")
    say(f"  an instance that is here already with other bytes: {storage.on_duplicate}")
    say(f"index: SQLite in {configuration.data_dir}")


def _say_access(configuration: "Configuration") -> None:
    from pacsnode.node.build import build_settings

    access = configuration.access
    if access.networks is not None:
        say(f"connections: from {', '.join(map(str, access.networks))} alone")
    say(f"unknown callers: {_services(access.unknown_callers)}")
    most = build_settings(configuration).max_unknown_associations
    say(f"  all of them together: {most} associations at most")
    if access.check_called_ae_title:
        say(f"  must call the node {configuration.ae_title}")
    if access.check_host:
        say("  so is a modality that calls from another host")


def _say_modality(name: str, modality: "Modality", configuration: "Configuration") -> None:
    from pacsnode.node.address import address_text

    say(f"modality {name}: {modality.ae_title} at {address_text(modality.host, modality.port)}")
    say(f"  may: {_services(modality.allow)}")
    if modality.move_destinations is not None:
        say(f"  may move to: {', '.join(modality.move_destinations) or 'nobody'}")
    if modality.certificate_subject is not None:
        _say_subject(name, modality.certificate_subject, configuration.listen.tls)
    say(f"  is called by {modality.calling_ae_title or configuration.ae_title}")
    if modality.character_set:
        say(f"  undeclared text is taken for {modality.character_set}")
    if modality.tls is None:
        say("  is sent to without TLS")
    else:
        _say_client(modality.tls, configuration.listen.tls)
    if modality.transfer_syntaxes:
        say(f"  is sent only {', '.join(modality.transfer_syntaxes)}")
    if modality.max_associations:
        say(f"  may open {modality.max_associations} associations at once")


def _say_subject(name: str, subject: "Subject", tls: "ServerTLS | None") -> None:
    from pacsnode.config.subject import subject_text

    say(f"  must call with a certificate of {subject_text(subject)}, else it is unknown")
    missing = "listen.tls" if tls is None else "listen.tls.client_ca"
    if tls is None or tls.client_ca is None:
        complain(
            f"modalities.{name}.certificate_subject: nobody shows a certificate, as {missing} is "
            f"null: {name} is always unknown"
        )


def _say_audit(configuration: "Configuration") -> None:
    from pacsnode.audit import check_trail

    audit = configuration.audit
    check_trail(audit, configuration.listen.tls)
    if audit.file is None and audit.syslog is None:
        say("audit trail: none")
    if audit.file is not None:
        say(f"audit trail: {audit.file}")
    if audit.syslog is not None:
        server = audit.syslog
        port = f"port {server.port}" if server.port else "the usual port"
        say(f"audit trail: syslog server {server.host}, {port}, {server.transport.upper()}")


def _say_client(tls: "ClientTLS", own: "ServerTLS | None") -> None:
    say(f"  is sent to over TLS; its certificate is of {tls.ca or 'an authority of the system'}")
    if not tls.verify_host:
        say("  whose certificate that is, nobody looks at: verify_host is false")
    shown = tls.certificate or (own.certificate if own is not None else None)
    if shown is None:
        say("  is shown no certificate")
    else:
        _say_certificate("is shown", shown)


def _check_certificates(configuration: "Configuration") -> None:
    """Raises ConfigurationError, as the node would; complains of those that have ended."""
    from pacsnode.node.security import build_security, certificate_remarks

    build_security(configuration)
    for remark in certificate_remarks(configuration):
        complain(remark)


def _services(services: frozenset[str]) -> str:
    from pacsnode.config.values import SERVICES

    if services == SERVICES:
        return "everything"
    order = ("echo", "store", "find", "move", "get", "commit")
    return ", ".join(service for service in order if service in services) or "nothing"


def _check_folder(folder: Path, min_free: int) -> None:
    """Raises ConfigurationError where the node could not work in `folder`."""
    from pacsnode.archive.folder import CONFLICTS, INDEX, INSTANCES, QUARANTINE

    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    # Parts of an archive that another user made, root perhaps, are what a service fails at.
    parts = [folder / name for name in (INSTANCES, CONFLICTS, QUARANTINE, INDEX)]
    for path in (nearest, *filter(os.path.exists, parts)):
        is_folder = os.path.isdir(path)
        rights = os.R_OK | os.W_OK | (os.X_OK if is_folder else 0)
        if not os.access(path, rights) or is_folder == (path.name == INDEX):
            what = "file" if path.name == INDEX else "folder"
            raise ConfigurationError(
                f"data_dir: {folder}: {path} is not a {what} that this user may write to"
            )
    made = "" if nearest == folder else " (will be made)"
    free = shutil.disk_usage(nearest).free
    say(f"data folder: {folder}{made}, {free:,} bytes free")
    if free < min_free:
        complain(f"storage.min_free: less than {min_free:,} bytes are free: no C-STORE is taken")
