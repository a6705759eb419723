"""Archives in a temporary folder, and tiny instances to put into them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pacsnode.archive import Archive, OnDuplicate, Policy, open_archive
from tests.archive.instances import Sample


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


OpenArchive = Callable[..., Archive]


@pytest.fixture
def open_again(data_dir: Path) -> Iterator[OpenArchive]:
    """Opens the same data folder, with keywords of Policy; the archive before it is closed."""
    opened: list[Archive] = []

    def open_it(on_duplicate: str = "keep", *, fsync: bool = True, **policy: Any) -> Archive:
        while opened:
            opened.pop().close()
        chosen = Policy(ae_title="NODE", on_duplicate=OnDuplicate(on_duplicate), **policy)
        opened.append(open_archive(data_dir, chosen, fsync=fsync))
        return opened[-1]

    yield open_it
    while opened:
        opened.pop().close()


@pytest.fixture
def archive(open_again: OpenArchive) -> Archive:
    return open_again()


@pytest.fixture
def sample() -> Sample:
    return Sample("1.2.3.1")
