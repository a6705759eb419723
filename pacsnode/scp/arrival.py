"""One C-STORE that a command waits for in the node's place, and who came and was not let in."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pacsnode.config.model import Modality
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Caller, RefusingSink, Rejection, Sink, StoreRequest
from pacsnode.scp.access import Access, Rights
from pacsnode.scp.hosts import normalised, with_network
from pacsnode.scp.stand_in import StandIn, unauthorised
from pacsnode.scu.doctor.arrivals import Arrival, TurnedAway
from pacsnode.scu.doctor.steps import Cause
from pacsnode.scu.peer import find_modality

# By the setting that is named where somebody is not let in.
_CAUSES = {
    "access.check_called_ae_title": Cause.OWN_TITLE,
    "associations is ": Cause.OWN_LIMITS,
    "access.check_host": Cause.OWN_HOST,
    ".certificate_subject (": Cause.OWN_CERTIFICATE,
}


def not_let_in(
    text: str, ae_title: str, host: str, modalities: Mapping[str, Modality]
) -> TurnedAway:
    """Whoever came by this title from this host, and was not let in as `text` says."""
    cause = next((cause for word, cause in _CAUSES.items() if word in text), Cause.OWN_RIGHTS)
    details: dict[str, Any] = {"ae_title": ae_title, "host": host}
    found = find_modality(ae_title, modalities)
    if found is not None:
        name, row = found
        at = {"ae_title": row.ae_title, "host": row.host, "port": row.port}
        details |= {"modality": {"name": name, **at}, "allow": with_store(row.allow)}
    return TurnedAway(cause, text, details)


def with_store(services: Iterable[str]) -> list[str]:
    """What is allowed, and to store."""
    return sorted({"echo", "store", *services})


class ArrivalOnly(StandIn):
    """Takes the instance with this UID, and keeps nothing of it. `hosts` are the addresses of the
    peer that is to bring it: strangers who come meanwhile are let in as little, and not told of."""

    takes = "one test object alone is"

    def __init__(
        self, access: Access, sop_instance_uid: str, ae_title: str, hosts: Collection[str]
    ) -> None:
        super().__init__(access)
        self._uid = sop_instance_uid
        self._ae_title = ae_title
        self._hosts = {normalised(host) or host for host in hosts}
        self.arrival: Arrival | None = None
        self.turned_away: list[TurnedAway] = []

    def welcomes(self, host: str) -> bool:
        is_welcome = super().welcomes(host)
        if not is_welcome and host in self._hosts:
            wider = with_network(self.access.settings.rules.networks, host)
            text = f"access.networks does not have {host}"
            self._turn_away(TurnedAway(Cause.OWN_NETWORKS, text, {"networks": wider}))
        return is_welcome

    def admit(self, caller: Caller) -> Rejection | None:
        rejection = super().admit(caller)
        if rejection is not None and self._is_awaited(caller):
            self._turn_away(self._not_let_in(rejection.text, caller))
        return rejection

    def begin_store(self, request: StoreRequest) -> Sink:
        if request.sop_instance_uid != self._uid:
            return super().begin_store(request)
        rights = self.access.rights(request.caller)
        if "store" in rights.services:
            return _Taken(self, _arrival(request.caller, rights))
        text = (
            f"{rights.deciding_setting} does not let {request.caller.ae_title!r} store"
            f"{rights.hint(request.caller.ae_title)}"
        )
        self._turn_away(self._not_let_in(text, request.caller))
        return RefusingSink(unauthorised("store"))

    def _not_let_in(self, text: str, caller: Caller) -> TurnedAway:
        modalities = self.access.settings.modalities
        return not_let_in(text, caller.ae_title, caller.host, modalities)

    def _is_awaited(self, caller: Caller) -> bool:
        return caller.host in self._hosts or caller.ae_title == self._ae_title

    def _turn_away(self, one: TurnedAway) -> None:
        if one not in self.turned_away:
            self.turned_away.append(one)


def _arrival(caller: Caller, rights: Rights) -> Arrival:
    remark = f"it counts as unknown: it is {rights.because}" if rights.because else ""
    return Arrival(caller.ae_title, caller.host, "this command, as no node runs,", remark)


class _Taken(RefusingSink):
    """It has arrived when it is here whole."""

    def __init__(self, desk: ArrivalOnly, arrival: Arrival) -> None:
        super().__init__(Answer(status.SUCCESS))
        self._desk = desk
        self._arrival = arrival

    def finish(self) -> Answer:
        self._desk.arrival = self._arrival
        return super().finish()
