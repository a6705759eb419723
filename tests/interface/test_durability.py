"""kill -9 spares the page cache, a power cut does not: the node's system calls during a C-STORE
show that file, folders and index are synced, in this order, before the answer leaves. Of a small
instance the index has a copy: there the index is synced, after the file has its name."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from pacsnode.storage.writeback import FileSystem
from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.associations import association, instance_of, store

KEEP = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"
REPLACE = "access: {unknown_callers: all}\nstorage: {min_free: 0, on_duplicate: replace}\n"

WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate"})
SYNCS = frozenset({"fsync", "fdatasync", "syncfs"})
LINKS = frozenset({"link", "linkat"})
RENAMES = frozenset({"rename", "renameat", "renameat2"})
FOLDERS = frozenset({"mkdir", "mkdirat"})
SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
LOG_HEADER = ", 32, 0) = 32"  # its length and place
# A name with a question mark may be unknown to the machine.
TRACED = ",".join(f"?{name}" for name in sorted(WRITES | SYNCS | LINKS | RENAMES | FOLDERS | SENDS))
STRACE = ("strace", "-D", "-f", "-yy", "-s", "1024", "-e", f"trace={TRACED}", "-o")

_LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)")
_UNFINISHED = " <unfinished ...>"
_DESCRIPTOR = re.compile(r"\d+<(?P<path>.*?)>(?:,|\)|$)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass
class Call:
    """A system call that succeeded; `begun` and `ended` are numbers of lines."""

    name: str
    arguments: str
    begun: int
    ended: int
    thread: str = ""

    @property
    def target(self) -> str:
        """What the descriptor in front is of."""
        found = _DESCRIPTOR.match(self.arguments)
        return found["path"] if found else ""

    @property
    def names(self) -> list[str]:
        return _TEXT.findall(self.arguments)


def calls(trace: str) -> Iterator[Call]:
    """The calls of a trace, as they ended."""
    under_way: dict[str, Call] = {}
    for number, line in enumerate(trace.splitlines()):
        parts = _LINE.fullmatch(line)
        assert parts is not None, line
        thread, text = parts["thread"], parts["text"]
        if resumed := _RESUMED.fullmatch(text):
            call = under_way.pop(thread)
            call.arguments += resumed["arguments"]
            call.ended = number
        elif begun := _CALL.fullmatch(text.removesuffix(_UNFINISHED)):
            call = Call(begun["name"], begun["arguments"], number, number, thread)
            if text.endswith(_UNFINISHED):
                under_way[thread] = call
                continue
        else:
            continue  # a signal, or the end of a thread
        if " = -1 " not in call.arguments and not call.arguments.endswith(" = ?"):
            yield call


def is_answer(call: Call) -> bool:
    """Whether a P-DATA-TF leaves on an association."""
    return (
        call.name in SENDS
        and call.target.startswith("TCP")
        and any(text.startswith("\\4") for text in call.names[:1])
    )


def operations(trace: str) -> list[list[Call]]:
    """The calls up to each answer, its sending being the last of them: those of the thread that
    answers, and the syncs of others, which may be for it."""
    found: list[list[Call]] = [[]]
    for call in sorted(calls(trace), key=lambda call: call.ended):
        if call.name in SENDS and call.target.startswith("TCP"):
            if is_answer(call):
                found[-1] = [
                    each
                    for each in [*found[-1], call]
                    if each.thread == call.thread or each.name in SYNCS
                ]
                found.append([])
            else:
                found[-1].clear()  # the association begins
            continue
        found[-1].append(call)
    return found[:-1]


@pytest.fixture
def traceable(tmp_path: Path) -> None:
    """Skips where calls cannot be traced; where everything is to be checked that is a failure."""
    outcome = pytest.fail if os.environ.get("CI") else pytest.skip
    if shutil.which("strace") is None:
        outcome("strace is not installed")
    probe = subprocess.run(
        [*STRACE, str(tmp_path / "probe"), "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        outcome(f"strace may not trace here: {probe.stderr.strip()}")


@dataclass
class Traced:
    """A node whose system calls are written down; `store` what it is to be sent."""

    node: RunningNode
    path: Path

    @property
    def instances(self) -> str:
        return str(self.node.data_dir / "instances")

    def after_storing(self, *datasets: Dataset) -> list[list[Call]]:
        """What the node did for each of these C-STOREs, all successful."""
        with association(self.node) as channel:
            for ds in datasets:
                response = store(channel, *instance_of(ds))
                assert response.status == 0, response
        assert self.node.stop() == 0
        done = operations(self._complete())
        assert len(done) == len(datasets)
        return done

    def _complete(self) -> str:
        """The trace, once its writer has seen the node's last thread end."""
        deadline = time.monotonic() + PATIENCE
        # strace pads process ids to a width of its own.
        ended = re.compile(rf"^{self.node.process.pid} +\+\+\+ exited", re.MULTILINE)
        while not ended.search(trace := self.path.read_text()):
            assert time.monotonic() < deadline, trace[-1000:]
            time.sleep(0.02)
        return trace


StartTraced = Callable[[str], Traced]


@pytest.fixture
def traced(traceable: None, start_node: StartNode, tmp_path: Path) -> StartTraced:
    def start(config: str) -> Traced:
        path = tmp_path / "trace"
        return Traced(start_node(config, *STRACE, str(path)), path)

    return start


def altered(ds: Dataset, **elements: object) -> Dataset:
    """The same instance with other values."""
    return new_dataset(**{**{element.keyword: element.value for element in ds}, **elements})


def one(found: Sequence[Call]) -> Call:
    assert len(found) == 1, found
    return found[0]


def synced(done: Sequence[Call], path: str, after: Call) -> Call:
    """The first sync of a path that begins when `after` is over."""
    for call in done:
        if call.name in SYNCS and call.target == path and call.begun > after.ended:
            return call
    raise AssertionError(f"{path} is not synced after {after}")


def index_commits(done: Sequence[Call]) -> list[tuple[Call, Call]]:
    """First write of each transaction to the write-ahead log, and the sync that ends it."""
    commits = []
    first = last = None
    for call in done:
        if not call.target.endswith("/index.sqlite-wal"):
            continue
        if call.name in WRITES:
            if call.arguments.endswith(LOG_HEADER):
                continue  # the log begins anew, and SQLite syncs that by itself
            first, last = first or call, call
        elif call.name in SYNCS and first is not None and last is not None:
            assert call.begun > last.ended
            commits.append((first, call))
            first = None
    assert first is None, "the index's last write is not synced"
    return commits


def require_order(*steps: Call) -> None:
    for earlier, later in pairwise(steps):
        assert earlier.ended < later.begun, (earlier, later)


def sealed(done: Sequence[Call], before: Call) -> Call:
    """The sync of the file that gets its name by `before`; it is not written to any more."""
    path = before.names[0]
    assert "/instances/.incoming/" in path
    written = [call for call in done if call.name in WRITES and call.target == path]
    sync = synced(done, path, written[-1])
    require_order(written[-1], sync, before)
    return sync


def require_small(done: Sequence[Call], instances: str, new_folders: int) -> None:
    """File, link, index, answer; as all others where a file system cannot be synced as a whole."""
    if not FileSystem(instances).can_sync:
        require_new(done, instances, new_folders)
        return
    link = one([call for call in done if call.name in LINKS])
    path, place = link.names
    assert "/instances/.incoming/" in path
    assert place.startswith(f"{instances}/")
    written = one([call for call in done if call.name in WRITES and call.target == path])
    (commit,) = index_commits(done)
    require_order(written, link, *commit, done[-1])
    assert len([call for call in done if call.name in FOLDERS]) == new_folders


def require_new(done: Sequence[Call], instances: str, new_folders: int) -> None:
    """File, link, folders, index, answer."""
    link = one([call for call in done if call.name in LINKS])
    sealed(done, link)
    place = link.names[1]
    assert place.startswith(f"{instances}/")
    (commit,) = index_commits(done)
    answer = done[-1]
    made = [call for call in done if call.name in FOLDERS]
    assert len(made) == new_folders
    for entry, name in [(link, place), *((call, call.names[0]) for call in made)]:
        require_order(entry, synced(done, os.path.dirname(name), entry), *commit, answer)


def large_dataset(**elements: object) -> Dataset:
    """More than the index takes a copy of."""
    ds = new_dataset(**elements)
    ds.add_new(0x7FE00010, "OW", bytes(100_000))
    return ds


SIZES = pytest.mark.parametrize(
    ("make", "require"), [(new_dataset, require_small), (large_dataset, require_new)]
)


@SIZES
def test_a_new_instance_is_synced_before_its_answer(
    traced: StartTraced, make: Callable[..., Dataset], require: Callable[..., None]
) -> None:
    node = traced(KEEP)
    (done,) = node.after_storing(make())
    # Study and series; instances/ itself was there.
    require(done, node.instances, 2)


@SIZES
def test_so_are_those_that_follow_into_the_same_series_and_study(
    traced: StartTraced, make: Callable[..., Dataset], require: Callable[..., None]
) -> None:
    node = traced(KEEP)
    first = make()
    same_study = {"StudyInstanceUID": first.StudyInstanceUID}
    same_series = {**same_study, "SeriesInstanceUID": first.SeriesInstanceUID}
    done = node.after_storing(first, make(**same_series), make(**same_study))
    for operation, new_folders in zip(done, (2, 0, 1), strict=True):
        require(operation, node.instances, new_folders)


def test_small_files_are_synced_soon_after_and_their_copies_go(traced: StartTraced) -> None:
    node = traced(KEEP)
    node.after_storing(new_dataset(), new_dataset())
    done = list(calls(node.path.read_text()))
    last_link = [call for call in done if call.name in LINKS][-1]
    if not FileSystem(node.instances).can_sync:
        assert "syncfs" not in {call.name for call in done}
        return
    everything = [call for call in done if call.name == "syncfs"][-1]
    assert everything.target == node.instances
    dropped = [
        call
        for call in done
        if call.name in WRITES and call.target.endswith("-wal") and call.thread == everything.thread
    ]
    require_order(last_link, everything, dropped[-1])


def test_a_replacement_is_noted_then_put_in_place_then_indexed(traced: StartTraced) -> None:
    node = traced(REPLACE)
    ds = new_dataset()
    other = altered(ds, PatientName="ROE^JANE")
    _, done = node.after_storing(ds, other)
    rename = one([call for call in done if call.name in RENAMES])
    sealed(done, rename)
    place = rename.names[1]
    assert place.startswith(f"{node.instances}/")
    note, row = index_commits(done)
    folder = synced(done, os.path.dirname(place), rename)
    require_order(*note, rename, folder, *row, done[-1])


def test_a_replacement_in_another_series_is_in_place_before_the_old_one_goes(
    traced: StartTraced,
) -> None:
    node = traced(REPLACE)
    ds = new_dataset()
    other = altered(ds, SeriesInstanceUID=generate_uid())
    _, done = node.after_storing(ds, other)
    link = one([call for call in done if call.name in LINKS])
    row = index_commits(done)[0]
    sync = synced(done, link.names[0], link)  # a sync of the file, whatever name it has besides
    require_order(sync, synced(done, os.path.dirname(link.names[1]), link), *row, done[-1])


def test_what_is_set_aside_as_a_conflict_is_synced_too(traced: StartTraced) -> None:
    node = traced(KEEP)
    ds = new_dataset()
    other = altered(ds, PatientName="ROE^JANE")
    _, done = node.after_storing(ds, other)
    link = one([call for call in done if call.name in LINKS])
    sealed(done, link)
    conflicts = str(node.node.data_dir / "conflicts")
    assert os.path.dirname(link.names[1]) == conflicts
    (commit,) = index_commits(done)
    require_order(link, synced(done, conflicts, link), *commit, done[-1])
