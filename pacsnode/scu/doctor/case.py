"""A step that has failed, and what is to be said of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pacsnode.dicom.message import Peer
from pacsnode.scu.doctor.steps import Step


class Ours(NamedTuple):
    """What the other side has to know of us: AE title, our host as it sees it, and the port for
    connections without TLS or with."""

    ae_title: str
    host: str
    port: int | None
    tls_port: int | None = None

    def __str__(self) -> str:
        ports = [f"port {self.port}"] if self.port else []
        if self.tls_port:
            ports.append(f"port {self.tls_port} with TLS")
        where = " or ".join(ports) or "a port that is free when the node starts"
        return f"AE title {self.ae_title}, host {self.host}, {where}"


class Advice(NamedTuple):
    """`lines` of YAML, none where there is nothing to change here."""

    lines: Sequence[str]
    sentence: str


class Case(NamedTuple):
    peer: Peer
    ours: Ours
    step: Step

    @property
    def details(self) -> Mapping[str, Any]:
        return self.step.details

    def certificate(self, key: str, otherwise: str) -> str:
        """What was found in the peer's certificate."""
        shown: Mapping[str, str] = self.details.get("certificate", {})
        return shown.get(key) or otherwise

    @property
    def us(self) -> str:
        """We, as the other side's tables are to have us."""
        calling = self.peer.calling_ae_title
        by = "" if calling == self.ours.ae_title else f" (we call as {calling})"
        return f"{self.ours}{by}"
