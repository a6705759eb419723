"""Certificates for tests, made on the spot: an authority, its servers and clients, and bad ones."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from pacsnode.config.model import ClientTLS, ServerTLS

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass
class Authority:
    """A certificate authority whose files are in `folder`."""

    folder: Path
    name: str = "hospital"
    own: trustme.CA = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own = trustme.CA(organization_name=self.name)
        self.own.cert_pem.write_to_path(self.file)

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        return self.folder / f"{self.name}-ca.pem"

    def issue(self, name: str = "node", *hosts: str, **options: Any) -> Path:
        """A file with key and certificate for `hosts`, this machine's addresses by default."""
        leaf = self.leaf(name, *hosts, **options)
        path = self.folder / f"{self.name}-{name}.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def leaf(self, name: str, *hosts: str, **options: Any) -> trustme.LeafCert:
        options = {"common_name": name, "organization_name": "Hospital", **options}
        return self.own.issue_cert(*(hosts or ("127.0.0.1", "::1", "localhost")), **options)

    def expired(self, name: str = "expired") -> Path:
        """As issue, of last century."""
        return self.issue(name, not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=30))

    def encrypted(self, name: str, password: str) -> tuple[Path, Path]:
        """A certificate's file, and its key's, encrypted."""
        leaf = self.leaf(name)
        certificate, key = self.folder / f"{name}-certificate.pem", self.folder / f"{name}-key.pem"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        plain = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        key.write_bytes(
            plain.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()),
            )
        )
        return certificate, key

    def server(self, certificate: Path | None = None, **options: Any) -> ServerTLS:
        """Settings of a node that takes this authority's clients alone."""
        values = {"port": 0, "certificate": certificate or self.issue(), "client_ca": self.file}
        return ServerTLS.model_validate({**values, **_secret(options)})

    def client(self, certificate: Path | None = None, **options: Any) -> ClientTLS:
        """Settings for a peer of this authority."""
        values = {"ca": self.file, "certificate": certificate}
        return ClientTLS.model_validate({**values, **_secret(options)})


def _secret(options: dict[str, Any]) -> dict[str, Any]:
    password = options.pop("key_password", None)
    return {**options, "key_password": SecretStr(password)} if password is not None else options
