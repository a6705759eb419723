"""Who is at an address: host names resolved, addresses in one spelling, networks."""

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pacsnode.config.values import Network

log = logging.getLogger(__name__)

RESOLVE_AGAIN = 60.0  # seconds that the addresses of a host name are believed


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


def is_in(networks: Iterable[Network], address: str) -> bool:
    """Whether one of `networks` has this IP address; never for what is none."""
    plain = normalised(address)
    if plain is None:
        return False
    parsed = ipaddress.ip_address(plain)
    return any(parsed in network for network in networks)


def with_network(networks: Iterable[Network] | None, address: str) -> list[str]:
    """`networks`, and that of this address alone, as a configuration has them."""
    plain = normalised(address) or address
    return [*map(str, networks or ()), f"{plain}/{128 if ':' in plain else 32}"]


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
