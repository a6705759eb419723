"""What is found on the way to a peer, before the first byte of DICOM: values that `net` finds out
and `scu` judges."""

from datetime import datetime
from typing import NamedTuple, Protocol


class Reached(NamedTuple):
    """A TCP connection: to which of the peer's addresses, from which of ours, after how many
    seconds."""

    address: str
    port: int
    own_address: str
    seconds: float


class Shown(NamedTuple):
    """A certificate that the peer showed: subject and issuer as RFC 4514 writes them. `hosts` are
    those it is good for, as far as they are known."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...] = ()


class Secured(NamedTuple):
    """TLS: its version and cipher suite, and whose certificate the peer showed."""

    protocol: str
    cipher: str
    certificate: Shown | None


class Route(Protocol):
    """The way to one peer, gone step by step. The first three raise PeerUnreachable, with what the
    operating system or OpenSSL said as its cause; the others look around where a step has failed,
    and never raise."""

    def look_up(self) -> tuple[str, ...]:
        """The peer's addresses."""

    def reach(self) -> Reached:
        """TCP to the first of them that answers."""

    def secure(self) -> Secured:
        """TLS on that connection, by the settings for this peer."""

    def close(self) -> None:
        """End the connection, if there is one."""

    def own_addresses(self) -> tuple[str, ...]:
        """Which of ours the peer sees, the likeliest first; none where there is no way to it."""

    def certificate(self) -> Shown | None:
        """What the peer shows to whoever trusts everybody; None where it shows nothing."""

    def speaks_tls(self) -> bool:
        """Whether it answers in TLS, whatever the settings for this peer say."""

    def first_words(self) -> bytes | None:
        """How it answers a request for an association: a few bytes; none where it closes, None
        where it says nothing."""
