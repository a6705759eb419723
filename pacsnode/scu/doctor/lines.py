"""Lines of configuration, ready to paste."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pacsnode.dicom.message import Peer
from pacsnode.log import printable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|\d+\.\d+\.\d+\.\d+")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


class Key(NamedTuple):
    """A key with its value, as YAML has it, and what is to be said beside it."""

    name: str
    value: str
    remark: str = ""


def quoted(value: str) -> str:
    """A text as YAML has it: quoted where it could be taken for something else."""
    return (
        value if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT else json.dumps(value)
    )


def name_of(peer: Peer) -> str:
    """What the peer goes by in `modalities`; for one that is written out, its AE title."""
    return peer.ae_title if "@" in peer.name else peer.name


def modality(peer: Peer, *changes: Key) -> Sequence[str]:
    """The peer's row, with `changes` in it. What else the row has is left as it is."""
    name = name_of(peer)
    keys = {"ae_title": Key("ae_title", quoted(peer.ae_title))} if name != peer.ae_title else {}
    keys |= {"host": Key("host", quoted(peer.host)), "port": Key("port", str(peer.port))}
    keys |= {key.name: key for key in changes}
    return ["modalities:", f"  {quoted(name)}:", *(f"    {_line(key)}" for key in keys.values())]


def section(name: str, *changes: Key) -> Sequence[str]:
    """A section other than `modalities`."""
    return [f"{name}:", *(f"  {_line(key)}" for key in changes)]


def _line(key: Key) -> str:
    # A remark may quote what a stranger says: it must not begin a line of its own.
    remark = f"  # {printable(key.remark)}" if key.remark else ""
    return f"{key.name}: {key.value}{remark}"
