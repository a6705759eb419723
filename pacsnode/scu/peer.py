"""NAME, AE title or AE_TITLE@HOST:PORT to a Peer."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from pacsnode.config.model import Modality
from pacsnode.dicom.message import Peer
from pacsnode.errors import UsageError

_ADDRESS = re.compile(r"(?P<title>[^@]*)@(?:\[(?P<six>[^\]]*)\]|(?P<host>[^\[\]:]*)):(?P<port>.*)")
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # printable ASCII without the backslash (PS3.5 6.2)


def peer_of(name: str, modality: Modality, calling_ae_title: str) -> Peer:
    """A row of `modalities`; its own calling_ae_title goes before the one given."""
    return Peer(
        name=name,
        ae_title=modality.ae_title,
        host=modality.host,
        port=modality.port,
        calling_ae_title=modality.calling_ae_title or calling_ae_title,
        character_set=modality.character_set,
        transfer_syntaxes=modality.transfer_syntaxes,
        associations=modality.associations,
        tls=modality.tls,
        may_lose=modality.lossy_compression == "allowed",
    )


def resolve(
    text: str,
    modalities: Mapping[str, Modality],
    calling_ae_title: str,
    *,
    aet: str | None = None,
) -> Peer:
    """Whom the PEER of a command line means: a name of `modalities`, one of their AE titles, or
    `AE_TITLE@HOST:PORT` with an IPv6 address in brackets. `aet` goes before every other calling AE
    title. Raises UsageError, with the nearest known names."""
    peer = _known(text, modalities, calling_ae_title) or _written_out(text, calling_ae_title)
    if peer is None:
        raise UsageError(f"{text!r} is no peer of `modalities`{_nearest(text, modalities)}")
    if aet is None:
        return peer
    return _calling(peer, aet)


def _calling(peer: Peer, aet: str) -> Peer:
    if not _TITLE.fullmatch(aet) or not aet.strip():
        raise UsageError(f"{aet!r} is no AE title: 1 to 16 printable ASCII characters")
    return replace(peer, calling_ae_title=aet)


def find_modality(ae_title: str, modalities: Mapping[str, Modality]) -> tuple[str, Modality] | None:
    """The row with this AE title: trimmed of spaces and NULs, with case."""
    wanted = ae_title.strip(" \0")
    for name, modality in modalities.items():
        if (modality.ae_title).strip(" \0") == wanted:
            return name, modality
    return None


def _known(text: str, modalities: Mapping[str, Modality], calling_ae_title: str) -> Peer | None:
    modality = modalities.get(text)
    if modality is not None:
        return peer_of(text, modality, calling_ae_title)
    found = find_modality(text, modalities)
    return peer_of(*found, calling_ae_title) if found else None


def _written_out(text: str, calling_ae_title: str) -> Peer | None:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        if "@" in text:
            raise UsageError(f"{text!r} is not AE_TITLE@HOST:PORT (an IPv6 address in brackets)")
        return None
    title, port = match["title"], match["port"]
    host = match["six"] if match["six"] is not None else match["host"]
    if not _TITLE.fullmatch(title) or not title.strip():
        raise UsageError(f"{text!r}: {title!r} is no AE title (1 to 16 printable ASCII characters)")
    if not host:
        raise UsageError(f"{text!r} names no host")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r}: {port!r} is no port (1 to 65535)")
    return Peer(text, title, host, int(port), calling_ae_title)


def _nearest(text: str, modalities: Mapping[str, Modality]) -> str:
    names = list(modalities)
    titles = [modality.ae_title for modality in modalities.values()]
    upper = {known.upper(): known for known in [*titles, *names]}
    nearest = [upper[found] for found in difflib.get_close_matches(text.upper(), upper, 3, 0.5)]
    if nearest:
        return f" (nearest: {', '.join(nearest)}) and not AE_TITLE@HOST:PORT"
    known = f" (known: {', '.join(sorted(names)[:8])})" if names else " (which is empty)"
    return f"{known} and not AE_TITLE@HOST:PORT"
