"""Where C-MOVEs go: takes what comes and sees whether it was ever sent to the node."""

from collections.abc import Iterator
from contextlib import contextmanager

from blake3 import blake3

from pacsnode import net
from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Caller, Rejection, Request, Sink, StoreRequest
from tests.load.ledger import Ledger

AE_TITLE = "SOAKSCP"


class _Hashing:
    """A Sink that keeps no bytes."""

    def __init__(self, ledger: Ledger, uid: str) -> None:
        self._ledger = ledger
        self._uid = uid
        self._hash = blake3()

    def write(self, fragment: memoryview) -> None:
        self._hash.update(fragment)

    def finish(self) -> Answer:
        if not self._ledger.was_sent(self._uid, self._hash.digest()):
            self._ledger.fault(f"C-MOVE brought {self._uid}, which was never sent like this")
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        return


class _Taker:
    """A Handler that knows C-STORE alone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def welcomes(self, host: str) -> bool:
        return True

    def admit(self, caller: Caller) -> Rejection | None:
        return None

    def ended(self, caller: Caller) -> None:
        return

    def begin_store(self, request: StoreRequest) -> Sink:
        return _Hashing(self._ledger, request.sop_instance_uid)

    def handle(self, request: Request) -> Iterator[Answer]:
        yield Answer(status.NOT_AUTHORISED)


@contextmanager
def destination(ledger: Ledger) -> Iterator[int]:
    """Its port."""
    listener = net.listen(
        _Taker(ledger), ae_title=AE_TITLE, settings=Listen(port=0), timeouts=Timeouts()
    )
    listener.start()
    try:
        yield listener.address[1]
    finally:
        listener.stop(1)
