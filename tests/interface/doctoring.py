"""Peers for the connection doctor that are no DICOM peers at all, and what the doctor says of
them."""

import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pacsnode.config.load import load
from tests.conftest import Completed, run_pacsnode
from tests.serving import Script

QUICK = "timeouts: {connect: 2, acse: 2}\n"


def say_nothing(connection: socket.socket) -> None:
    """Until the other side has had enough."""
    while connection.recv(4096):
        continue


def speak_http(connection: socket.socket) -> None:
    """As a web server does: once there is a line, whatever is in it."""
    heard = b""
    while b"\r\n" not in heard:
        more = connection.recv(4096)
        if not more:
            return
        heard += more
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: some\r\n\r\n\x1b]0;owned\x07")


def over_tls(certificate: Path, script: Script) -> Script:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            script(wrapped)

    return secured


class Findings:
    """What `pacsnode check PEER --format json` has found."""

    def __init__(self, done: Completed) -> None:
        assert "Traceback" not in done.stderr, done.stderr
        self.code = done.returncode
        self.errors = done.stderr
        self.document: Mapping[str, Any] = json.loads(done.stdout)
        self.steps: dict[str, Mapping[str, Any]] = {
            step["step"]: step for step in self.document["steps"]
        }

    @property
    def results(self) -> dict[str, str]:
        return {name: step["result"] for name, step in self.steps.items()}

    @property
    def failure(self) -> Mapping[str, Any]:
        """The only step that failed."""
        (name,) = [name for name, result in self.results.items() if result == "failed"]
        return self.steps[name]

    def configured(self, folder: Path) -> Mapping[str, Any]:
        """What the lines to paste mean: they are a configuration that a node takes."""
        text = self.failure["configuration"]
        path = folder / "pasted.yaml"
        (folder / "FILE").touch()
        path.write_text(text, "utf-8")
        load(path)
        pasted: Mapping[str, Any] = yaml.safe_load(text)
        return pasted


def check(folder: Path, config: str, peer: str, *options: object) -> Findings:
    """The doctor, asked with this configuration."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(config, "utf-8")
    arguments = ("--config", path, "check", peer, "--format", "json", *options)
    return Findings(run_pacsnode(*arguments, folder=folder))
