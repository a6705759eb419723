"""A storage tree in a temporary folder."""

from pathlib import Path

import pytest

from pacsnode.storage.files import FileStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "instances"


@pytest.fixture
def conflicts(tmp_path: Path) -> Path:
    return tmp_path / "conflicts"


@pytest.fixture
def storage(root: Path, conflicts: Path) -> FileStorage:
    return FileStorage(str(root), str(conflicts))
