"""The message.Handler of a command that listens in the node's place: by its rules C-ECHO, and
what the command waits for; everything else may be tried again when the node runs."""

from collections.abc import Iterator

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Answer,
    Caller,
    EchoRequest,
    RefusingSink,
    Rejection,
    Request,
    Sink,
    StoreRequest,
)
from pacsnode.scp.access import Access
from pacsnode.scp.echo import echo


class StandIn:
    """`takes` says, for people, what is taken besides C-ECHO."""

    takes = "nothing"

    def __init__(self, access: Access) -> None:
        self.access = access

    def welcomes(self, host: str) -> bool:
        return self.access.welcomes(host)

    def admit(self, caller: Caller) -> Rejection | None:
        return self.access.admit(caller)

    def ended(self, caller: Caller) -> None:
        self.access.ended(caller)

    def begin_store(self, request: StoreRequest) -> Sink:
        return RefusingSink(self.absent)

    def handle(self, request: Request) -> Iterator[Answer]:
        if isinstance(request, EchoRequest) and self.may(request, "echo"):
            yield from echo(request)
        else:
            yield self.absent

    def may(self, request: Request, service: str) -> bool:
        return service in self.access.rights(request.caller).services

    @property
    def absent(self) -> Answer:
        return Answer(status.OUT_OF_RESOURCES, f"The node does not run; {self.takes} taken")


def unauthorised(service: str) -> Answer:
    return Answer(status.NOT_AUTHORISED, f"Not authorised for this service: {service}")
