"""Orthanc as the other side; skipped where it is absent, a failure where CI is set."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, wait_for_port


@contextmanager
def orthanc(
    folder: Path, port: int, rest_port: int, node_port: int, **settings: object
) -> Iterator[str]:
    """Orthanc, with PACSNODE as a modality, unless `settings` say otherwise; the address of its
    REST interface on loopback."""
    path = shutil.which("Orthanc", path=f"{os.defpath}:/usr/sbin:{os.environ.get('PATH', '')}")
    if path is None:
        outcome = pytest.fail if os.environ.get("CI") else pytest.skip
        outcome("Orthanc is not installed")
    assert path is not None
    folder.mkdir()
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "Plugins": [],
        "HttpPort": rest_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomModalities": {"node": ["PACSNODE", "127.0.0.1", node_port]},
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration), "utf-8")
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([path, "orthanc.json"], cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_port(rest_port)
        wait_for_port(port)
        yield f"http://127.0.0.1:{rest_port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def instances_of(address: str) -> list[str]:
    with urllib.request.urlopen(f"{address}/instances", timeout=PATIENCE) as answer:
        return [str(name) for name in json.load(answer)]
