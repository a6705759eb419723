"""May this caller open an association, and what may it ask for? The only place that knows."""

import difflib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.dicom.message import Caller, Rejection
from pacsnode.scp.places import Places
from pacsnode.scu.peer import find_modality

log = logging.getLogger(__name__)

RESOLVE_AGAIN = 60.0  # seconds that the addresses of a host name are believed

# Result, source, reason (PS3.8 9.3.4).
CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@dataclass(frozen=True, slots=True)
class Settings:
    """What access is decided by, as configured."""

    ae_title: str
    rules: Rules
    modalities: Mapping[str, Modality]
    max_associations: int


@dataclass(frozen=True, slots=True)
class Rights:
    """What was decided for an association when it was opened; a reload does not change it. `name`
    is the caller's in `modalities`, None for one that is not there."""

    services: frozenset[str]
    name: str | None = None
    settings: Settings | None = field(default=None, repr=False)

    @property
    def modality(self) -> Modality | None:
        if self.settings is None or self.name is None:
            return None
        return self.settings.modalities[self.name]

    @property
    def character_set(self) -> str | None:
        """What the caller's datasets and queries are taken to be in where they do not say."""
        return self.modality.character_set if self.modality is not None else None

    @property
    def deciding_setting(self) -> str:
        """The key path that says which services there are."""
        if self.name is None:
            return "access.unknown_callers"
        return f"modalities.{self.name}.allow"

    def hint(self, ae_title: str) -> str:
        """For the log of what an unknown caller was refused: the title that it may have meant."""
        if self.settings is None or self.name is not None:
            return ""
        titles = [modality.ae_title for modality in self.settings.modalities.values()]
        nearest = nearest_title(ae_title, titles)
        return f"; the nearest known title is {nearest!r}" if nearest else ""


NO_RIGHTS = Rights(frozenset())


class Access:
    """Decides on associations, and counts them over all processes that share `places`: as many as
    `max_associations`, which is this process's own business where none are given. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        resolve: "Callable[[str], frozenset[str]] | None" = None,
        places: Places | None = None,
    ) -> None:
        self._settings = settings
        self._hosts = Hosts(resolve or look_up)
        self._places = places or Places(settings.max_associations)
        self._admitted: dict[int, tuple[Rights, int]] = {}

    @property
    def settings(self) -> Settings:
        """Those for the next association."""
        return self._settings

    def configure(self, settings: Settings) -> None:
        """Decide by these from the next association on."""
        self._settings = settings

    def admit(self, caller: Caller) -> Rejection | None:
        """None admits the caller, who then holds a place until `ended`."""
        settings = self._settings
        rejection = _check_called_title(settings, caller)
        if rejection is not None:
            return rejection
        rights, reason = self._decide(settings, caller)
        if not rights.services:
            return Rejection(*CALLING_AE_TITLE_NOT_RECOGNISED, reason)
        return self._take_place(settings, caller, rights)

    def ended(self, caller: Caller) -> None:
        """Give the caller's place back. Doing so twice does no harm."""
        with self._places.counting():
            admitted = self._admitted.pop(caller.association, None)
            if admitted is not None:
                self._places.give_back(admitted[1])

    def rights(self, caller: Caller) -> Rights:
        """Those of an association that was admitted; none of any other."""
        admitted = self._admitted.get(caller.association)
        return admitted[0] if admitted is not None else NO_RIGHTS

    def allows(self, caller: Caller, service: str) -> bool:
        return service in self.rights(caller).services

    def count(self) -> int:
        """Associations of this process that hold a place."""
        return len(self._admitted)

    def _decide(self, settings: Settings, caller: Caller) -> tuple[Rights, str]:
        """The caller's rights, and why there are none if so."""
        unknown = Rights(settings.rules.unknown_callers, settings=settings)
        found = find_modality(caller.ae_title, settings.modalities)
        if found is None:
            return unknown, (
                f"caller {caller.ae_title!r} from {caller.host}: no AE title of modalities, and "
                f"access.unknown_callers is empty{unknown.hint(caller.ae_title)}"
            )
        name, modality = found
        if settings.rules.check_host and not self._hosts.matches(modality.host, caller.host):
            reason = (
                f"caller {caller.ae_title!r} from {caller.host}: not the host of "
                f"modalities.{name} ({modality.host}), which access.check_host demands"
            )
            if unknown.services:  # otherwise the rejection's line says it
                log.warning("%s: counts as unknown", reason)
            return unknown, f"{reason}, and access.unknown_callers is empty"
        rights = Rights(modality.allow, name, settings)
        return rights, (
            f"caller {caller.ae_title!r} from {caller.host}: modalities.{name}.allow is empty"
        )

    def _take_place(self, settings: Settings, caller: Caller, rights: Rights) -> Rejection | None:
        modality = rights.modality
        own_limit = modality.max_associations if modality is not None else None
        who = f"caller {caller.ae_title!r} from {caller.host}"
        with self._places.counting():
            taken = self._places.taken()
            if taken >= settings.max_associations:
                return Rejection(
                    *LOCAL_LIMIT_EXCEEDED,
                    f"{who}: {taken} associations are open, "
                    f"listen.max_associations is {settings.max_associations}",
                )
            if own_limit is not None and self._places.held_by(str(rights.name)) >= own_limit:
                return Rejection(
                    *LOCAL_LIMIT_EXCEEDED,
                    f"{who}: modalities.{rights.name}.max_associations is {own_limit}",
                )
            self._admitted[caller.association] = rights, self._places.take(rights.name)
        return None


def _check_called_title(settings: Settings, caller: Caller) -> Rejection | None:
    called = caller.called_ae_title.strip(" \0")
    if not settings.rules.check_called_ae_title or called == settings.ae_title.strip(" \0"):
        return None
    return Rejection(
        *CALLED_AE_TITLE_NOT_RECOGNISED,
        f"caller {caller.ae_title!r} from {caller.host} called {called!r}, not ae_title "
        f"{settings.ae_title!r}, which access.check_called_ae_title demands",
    )


def nearest_title(ae_title: str, titles: Iterable[str]) -> str | None:
    """The most similar of `titles`, case aside."""
    upper = {title.strip(" \0").upper(): title for title in titles}
    found = difflib.get_close_matches(ae_title.strip(" \0").upper(), upper, 1, 0.5)
    return upper[found[0]] if found else None


def look_up(host: str) -> frozenset[str]:
    """The addresses of a host name; none where it has none or the name service is silent."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        log.warning("host %s of modalities cannot be resolved: %s", host, error)
        return frozenset()
    return frozenset(str(address[0]) for *_, address in found)


def normalised(address: str) -> str | None:
    """An IP address in one spelling, without IPv4-mapped prefix and zone; None for a name."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


@dataclass(slots=True)
class _Host:
    """One host name. The lock is held while it is being resolved for the first time."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    addresses: frozenset[str] | None = None
    resolved_at: float = 0.0


class Hosts:
    """Host names to addresses, each resolved anew at most once in RESOLVE_AGAIN seconds, by the
    one thread that needs it first: the others go on with what was known, and none waits for
    another's name."""

    def __init__(
        self,
        resolve: Callable[[str], frozenset[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Host] = {}

    def matches(self, host: str, address: str) -> bool:
        """Whether `address` is (one) of `host`, a name or an address itself."""
        wanted = normalised(address) or address
        literal = normalised(host)
        if literal is not None:
            return literal == wanted
        return wanted in self._addresses(host)

    def _addresses(self, name: str) -> frozenset[str]:
        with self._lock:
            host = self._known.setdefault(name, _Host())
        if host.addresses is None:
            with host.lock:
                if host.addresses is None:
                    self._renew(name, host)
        elif self._clock() - host.resolved_at >= RESOLVE_AGAIN and host.lock.acquire(False):
            try:
                self._renew(name, host)
            finally:
                host.lock.release()
        return host.addresses or frozenset()

    def _renew(self, name: str, host: _Host) -> None:
        found = frozenset(normalised(text) or text for text in self._resolve(name))
        # A name service that is away for a minute must not lock a known modality out.
        host.addresses = found or host.addresses or frozenset()
        host.resolved_at = self._clock()
