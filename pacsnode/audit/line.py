"""An event as a line of JSON, with the same content as the audit message of PS3.15 A.5."""

import base64
import json
from typing import Any

from pacsnode.audit.event import Code, Event, Object, Participant
from pacsnode.audit.text import LONGEST_DESCRIPTION, fit, utc

_ACTIONS = {"C": "create", "R": "read", "U": "update", "D": "delete", "E": "execute"}


def to_line(event: Event, source: str) -> bytes:
    """ASCII, line end included. What is empty is left out. `source` is who reports it."""
    fields = {
        "time": utc(event.at),
        "event": event.code.meaning,
        "code": event.code.value,
        "type": event.type_code.meaning if event.type_code else "",
        "action": _ACTIONS[event.action],
        "outcome": int(event.outcome),
        "description": fit(event.description, LONGEST_DESCRIPTION),
        "source": fit(source),
        "participants": [_participant(participant) for participant in event.participants],
        "objects": [_object(thing) for thing in event.objects],
    }
    return json.dumps(_filled(fields), separators=(",", ":")).encode("ascii") + b"\n"


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", (), [], {}, None)}


def _participant(participant: Participant) -> dict[str, Any]:
    return _filled(
        {
            "user": fit(participant.user_id),
            "name": fit(participant.user_name),
            "ae_titles": [fit(title) for title in participant.ae_titles],
            "requestor": participant.is_requestor,
            "role": _meaning(participant.role),
            "host": fit(participant.host),
            "media": _meaning(participant.media_type),
        }
    )


def _object(thing: Object) -> dict[str, Any]:
    return _filled(
        {
            "type": thing.id_type.meaning,
            "id": fit(thing.identifier),
            "name": fit(thing.name) if thing.name != thing.identifier else "",
            "accession_number": fit(thing.accession_number),
            "sop_classes": {fit(uid): count for uid, count in thing.sop_classes},
            "query": base64.b64encode(thing.query).decode() if thing.query is not None else "",
            "details": {
                name: fit(value.decode("utf-8", "replace"), LONGEST_DESCRIPTION)
                for name, value in thing.details
            },
        }
    )


def _meaning(code: Code | None) -> str:
    return code.meaning if code is not None else ""
