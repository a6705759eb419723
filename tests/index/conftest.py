"""An index in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.index import Index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    opened = index_room.open(path, fsync=False)
    yield opened
    opened.close()
