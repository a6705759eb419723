"""One event of each kind."""

from pacsnode.audit import events
from pacsnode.audit.event import Event, Party, Study

NODE = Party("PACSNODE", "archive.example")
CALLER = Party("CT1", "192.0.2.1", name="ct", certificate="CN=ct1,O=Hospital")
DESTINATION = Party("WORKSTATION", "2001:db8::5")
STUDY = Study("1.2.3", "ID1", "DOE^JOHN", "A1")
CLASSES = [("1.2.840.10008.5.1.4.1.1.2", 12), ("1.2.840.10008.5.1.4.1.1.7", 1)]
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT = "1.2.840.10008.1.2.1"
USER = "anna@archive.example"

# Nobody's honest values.
HOSTILE = "\0\x01\x08\n<&>\"'\x1b[31m\u2028\u202e\ud800\udfff\ufffe\x85]]>é\U0001f600"


def everything(
    node: Party = NODE, caller: Party = CALLER, study: Study = STUDY, text: str = "why"
) -> dict[str, Event]:
    """By a name of its own. `text` stands wherever a text of a stranger may."""
    classes = [*CLASSES, (text, 3)]
    return {
        "started": events.started(node, USER),
        "stopped": events.stopped(node, text),
        "opened": events.opened(node, caller),
        "closed": events.closed(node, caller),
        "association refused": events.association_refused(node, caller, text),
        "service refused": events.service_refused(node, caller, text),
        "lost": events.lost(node, 7, text),
        "query": events.query(node, caller, FIND, EXPLICIT, b"\x08\0\x52\0CS\x06\0STUDY "),
        "failed query": events.query(node, caller, text, text, b"", failure=text),
        "received": events.received(node, caller, study, classes),
        "replaced": events.received(node, caller, study, classes, events.UPDATE),
        "not received": events.received(node, caller, Study(""), classes, failure=text),
        "begins": events.begins_sending(node, DESTINATION, caller, study, classes),
        "sent": events.sent(node, DESTINATION, caller, study, classes),
        "not sent": events.sent(node, DESTINATION, caller, study, classes, failure=text),
        "fetched": events.sent(node, caller, caller, study, classes),
        "imported": events.imported(node, USER, f"file:///{text}", study, classes),
        "deleted": events.deleted(node, USER, study, classes, is_whole=True),
        "settled": events.settled(node, USER, study, events.UPDATE),
        "thinned": events.deleted(node, USER, study, classes, is_whole=False),
    }
