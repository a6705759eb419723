"""The plug is pulled, or the disk fails, at every single step of every operation; then the archive
is opened again. Index and tree agree, and nothing that was acknowledged is lost."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pacsnode.archive import Archive, Fault, OnDuplicate, Policy, behind, open_archive
from pacsnode.errors import IndexFailure, InstanceMissing, StorageError
from pacsnode.index import Index
from pacsnode.storage import place
from tests.archive.instances import EVERYTHING, Sample, everything, faults, files, read, store

# What the storage room does to the disk, and the index's transactions.
STEPS = (
    "open",
    "writev",
    "pwrite",
    "fsync",
    "fdatasync",
    "link",
    "rename",
    "replace",
    "unlink",
    "rmdir",
    "mkdir",
)
TRANSACTIONS = (
    "add",
    "replace",
    "remove",
    "settle",
    "begin_replace",
    "add_conflict",
    "forget_conflict",
    "set_lost",
)

OLD = Sample("1.2.3.1")
LARGE = replace(OLD, pixels=100_000)  # more than is kept in memory
OTHER = OLD.but(extra="other")
MOVED = OLD.but(extra="other", series="1.2.3.0.2")
SECOND = Sample("1.2.3.2")


@dataclass(frozen=True)
class Scene:
    """What was acknowledged before, what is under way, and what may be left in either case."""

    on_duplicate: str
    before: tuple[Sample, ...]
    act: Callable[[Archive, Path], object]
    # What SOP Instance UID 1.2.3.1 may be afterwards; None: nothing.
    unfinished: tuple[Sample | None, ...]
    finished: Sample | None
    prepare: Callable[[Archive, Path], object] = lambda archive, data_dir: None
    may_remain: Fault | None = None  # what was wrong before, where the operation did not end
    kept: tuple[Sample, ...] = ()  # what must be in some file, be it served or not


def delete(archive: Archive, data_dir: Path) -> None:
    assert archive.delete(EVERYTHING) == 2


def lose(archive: Archive, data_dir: Path) -> None:
    (data_dir / "instances" / OLD.place).unlink()


def make_orphan(archive: Archive, data_dir: Path) -> None:
    """A file that is in no row, as a deletion that was cut short leaves it."""
    archive._index.remove([OLD.sop])


def forget_row(archive: Archive, data_dir: Path) -> None:
    """A file that is in no row, without any note of it."""
    for note in archive._index.remove([OLD.sop]):
        archive._index.settle(note)


def set_aside(newcomer: Sample) -> Callable[[Archive, Path], object]:
    return lambda archive, data_dir: store(archive, newcomer)


def settle(how: str) -> Callable[[Archive, Path], object]:
    """All conflicts."""

    def act(archive: Archive, data_dir: Path) -> None:
        for conflict in list(archive.conflicts()):
            with suppress(InstanceMissing):  # one that was settled, but for its record
                getattr(archive, how)(conflict)

    return act


SCENES = {
    "new": Scene("keep", (), lambda a, d: store(a, OLD), (None, OLD), OLD),
    "new in pieces": Scene(
        "keep", (), lambda a, d: store(a, LARGE, fragment=40_000), (None, LARGE), LARGE
    ),
    "conflict": Scene("keep", (OLD,), lambda a, d: store(a, OTHER), (OLD,), OLD),
    "conflict elsewhere": Scene("keep", (OLD,), lambda a, d: store(a, MOVED), (OLD,), OLD),
    "replace in place": Scene("replace", (OLD,), lambda a, d: store(a, OTHER), (OLD, OTHER), OTHER),
    "replace elsewhere": Scene(
        "replace", (OLD,), lambda a, d: store(a, MOVED), (OLD, MOVED), MOVED
    ),
    "replace what was lost": Scene(
        "replace", (OLD,), lambda a, d: store(a, OTHER), (OLD, OTHER), OTHER, lose, Fault.MISSING
    ),
    "restore": Scene("keep", (OLD,), lambda a, d: store(a, OLD), (OLD,), OLD, lose, Fault.MISSING),
    "delete": Scene("keep", (OLD, SECOND), delete, (OLD, None), None),
    "after a deletion cut short": Scene(
        "keep", (OLD,), lambda a, d: store(a, OTHER), (None, OTHER), OTHER, make_orphan
    ),
    "over an orphan": Scene(
        "keep",
        (OLD,),
        lambda a, d: store(a, OTHER),
        (None, OTHER),
        OTHER,
        forget_row,
        Fault.ORPHANED,
    ),
    "keep the first": Scene(
        "keep", (OLD,), settle("keep"), (OLD,), OLD, set_aside(OTHER), kept=(OLD, OTHER)
    ),
    "adopt the newcomer": Scene(
        "keep", (OLD,), settle("adopt"), (OLD, OTHER), OTHER, set_aside(OTHER), kept=(OLD, OTHER)
    ),
    "adopt the newcomer elsewhere": Scene(
        "keep", (OLD,), settle("adopt"), (OLD, MOVED), MOVED, set_aside(MOVED), kept=(OLD, MOVED)
    ),
    "drop the newcomer": Scene(
        "keep", (OLD,), settle("drop"), (OLD,), OLD, set_aside(OTHER), kept=(OLD,)
    ),
}


@contextmanager
def interrupted(
    at: int, what: Callable[[str], None], *, after: bool = False
) -> Iterator[list[int]]:
    """Calls `what` at the step of this number, before or after it is done. Counts the steps."""
    counted = [0]

    def wrap(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **keywords: object) -> object:
            counted[0] += 1
            mine = counted[0] == at
            if mine and not after:
                what(name)
            try:
                return original(*arguments, **keywords)
            finally:
                if mine and after:
                    what(name)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, wrap(f"os.{name}", getattr(os, name)))
        for name in TRANSACTIONS:
            patch.setattr(Index, name, wrap(name, getattr(Index, name)))
        yield counted


def open_it(data_dir: Path, on_duplicate: str) -> Archive:
    return open_archive(data_dir, Policy("NODE", OnDuplicate(on_duplicate)))


def set_up(data_dir: Path, scene: Scene) -> None:
    with open_it(data_dir, scene.on_duplicate) as archive:
        for sample in scene.before:
            store(archive, sample)
        scene.prepare(archive, data_dir)


def in_a_child(work: Callable[[], None]) -> int:
    """How a process that did this ended: its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def steps_of(data_dir: Path, scene: Scene) -> int:
    """How many steps the operation takes when nothing happens."""
    set_up(data_dir, scene)
    with (
        open_it(data_dir, scene.on_duplicate) as archive,
        interrupted(0, lambda name: None) as counted,
    ):
        scene.act(archive, data_dir)
    return counted[0]


def check(data_dir: Path, scene: Scene, *, finished: bool) -> None:
    """After the restart."""
    with open_it(data_dir, scene.on_duplicate) as archive:
        found = everything(archive).get(OLD.sop)
        possible = (scene.finished,) if finished else scene.unfinished
        wrong = {finding.fault for finding in faults(archive)}
        assert not wrong or (not finished and wrong == {scene.may_remain})
        if Fault.MISSING not in wrong:
            assert found is not None or None in possible
            if found is not None:
                datasets = [sample.dataset for sample in possible if sample is not None]
                assert read(archive, OLD) in datasets
        recorded = sorted(conflict.name for conflict in archive.conflicts())
        aside = list(files(data_dir / "conflicts"))
        assert recorded == [name for name in aside if not name.startswith("settled/")]
        contents = [path.read_bytes() for path in tree_of(data_dir)]
        for sample in scene.kept:
            assert any(content.endswith(sample.dataset) for content in contents)
        if finished:
            assert not recorded or not scene.kept
        assert archive.statistics().known.pending == 0
        instances = list(files(data_dir / "instances"))
        expected = {stored.uids for stored in everything(archive).values()}
        if not wrong:
            assert instances == sorted(place(uids) for uids in expected)
        for sample in scene.before:
            if sample is SECOND and SECOND.sop in everything(archive):
                assert read(archive, SECOND) == SECOND.dataset


@pytest.fixture(autouse=True)
def nothing_is_synced_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """While steps are counted; closing an archive syncs all the same."""
    monkeypatch.setattr(behind, "GATHERING", 600.0)


@contextmanager
def syncs_remembered(data_dir: Path) -> Iterator[None]:
    """Keeps what a power cut would leave: of the index's log what it held when a sync began, of
    files those that are old or were synced."""
    log, kept = log_of(data_dir), log_of(data_dir).with_suffix(".synced")
    real_fdatasync, real_fsync = os.fdatasync, os.fsync
    durable = {path.stat().st_ino for path in tree_of(data_dir)}
    _list_of(data_dir).write_text("\n".join(map(str, durable)))

    def fdatasync(descriptor: int) -> None:
        content = log.read_bytes()
        real_fdatasync(descriptor)
        if os.fstat(descriptor).st_ino == log.stat().st_ino:
            kept.write_bytes(content)

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        with _list_of(data_dir).open("a") as file:
            file.write(f"\n{os.fstat(descriptor).st_ino}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", fdatasync)
        patch.setattr(os, "fsync", fsync)
        yield


def tree_of(data_dir: Path) -> list[Path]:
    folders = (data_dir / "instances", data_dir / "conflicts")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _list_of(data_dir: Path) -> Path:
    return data_dir.parent / f"{data_dir.name}.durable"


def log_of(data_dir: Path) -> Path:
    return data_dir / "index.sqlite-wal"


def cut_power(data_dir: Path) -> None:
    """The log is as it was synced last, files that were not are empty, and what is kept in memory
    only is gone."""
    durable = _list_of(data_dir).read_text().split("\n")
    for path in tree_of(data_dir):
        if str(path.stat().st_ino) not in durable and path.name != ".changes":
            os.truncate(path, 0)
    log = log_of(data_dir)
    log.with_suffix(".synced").replace(log)
    (data_dir / "index.sqlite-shm").unlink()


@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("name", SCENES)
def test_killed_at_any_step(tmp_path: Path, name: str, power_cut: bool) -> None:
    scene = SCENES[name]
    steps = steps_of(tmp_path / "counted", scene)
    assert steps > 5
    for after in (False, True):
        for at in range(1, steps + 1):
            data_dir = tmp_path / f"{at}-{after}"
            set_up(data_dir, scene)

            def work(data_dir: Path = data_dir, at: int = at, after: bool = after) -> None:
                def kill(name: str) -> None:
                    os.kill(os.getpid(), signal.SIGKILL)

                with syncs_remembered(data_dir):
                    archive = open_it(data_dir, scene.on_duplicate)
                    with interrupted(at, kill, after=after):
                        scene.act(archive, data_dir)

            ended = in_a_child(work)
            assert os.WIFSIGNALED(ended), f"step {at} of {steps}: the child ended by itself"
            if power_cut:
                cut_power(data_dir)
            check(data_dir, scene, finished=False)


@pytest.mark.parametrize("name", SCENES)
def test_what_was_answered_survives_a_power_cut(tmp_path: Path, name: str) -> None:
    scene = SCENES[name]
    set_up(tmp_path, scene)

    def work() -> None:
        with syncs_remembered(tmp_path):
            scene.act(open_it(tmp_path, scene.on_duplicate), tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_a_child(work))
    cut_power(tmp_path)
    check(tmp_path, scene, finished=True)


@pytest.mark.parametrize("name", SCENES)
def test_what_was_refused_because_the_log_could_not_be_synced_goes_with_the_power(
    tmp_path: Path, name: str
) -> None:
    """Until then the index shows it, for it was committed."""
    scene = SCENES[name]
    set_up(tmp_path, scene)

    def work() -> None:
        with syncs_remembered(tmp_path), pytest.MonkeyPatch.context() as patch:
            archive = open_it(tmp_path, scene.on_duplicate)
            patch.setattr(os, "fdatasync", lambda descriptor: fail("os.fdatasync", errno.EIO))
            with pytest.raises(IndexFailure):
                scene.act(archive, tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_a_child(work))
    cut_power(tmp_path)
    check(tmp_path, scene, finished=False)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_the_disk_fails_at_any_step(tmp_path: Path, name: str, code: int) -> None:
    """Here the process goes on: what it answers is true at once, and after a restart."""
    scene = SCENES[name]
    steps = steps_of(tmp_path / "counted", scene)
    for after in (False, True):
        for at in range(1, steps + 1):
            data_dir = tmp_path / f"{at}-{after}"
            set_up(data_dir, scene)
            with open_it(data_dir, scene.on_duplicate) as archive:
                finished = act_on_failing_disk(archive, data_dir, scene, at, code, after=after)
            check(data_dir, scene, finished=finished)


@pytest.mark.parametrize("name", sorted(SCENES.keys() - {"delete"}))
def test_sent_again_after_the_disk_failed_it_is_stored_without_a_restart(
    tmp_path: Path, name: str
) -> None:
    scene = SCENES[name]
    steps = steps_of(tmp_path / "counted", scene)
    for after in (False, True):
        for at in range(1, steps + 1):
            data_dir = tmp_path / f"{at}-{after}"
            set_up(data_dir, scene)
            with open_it(data_dir, scene.on_duplicate) as archive:
                act_on_failing_disk(archive, data_dir, scene, at, errno.EIO, after=after)
                scene.act(archive, data_dir)
                assert scene.finished is not None
                if not (scene.on_duplicate == "keep" and name.startswith("conflict")):
                    assert read(archive, OLD) == scene.finished.dataset
            check(data_dir, scene, finished=True)


def act_on_failing_disk(
    archive: Archive, data_dir: Path, scene: Scene, at: int, code: int, *, after: bool
) -> bool:
    """Whether it was finished all the same."""
    failure = None
    with interrupted(at, lambda name: fail(name, code), after=after):
        try:
            scene.act(archive, data_dir)
        except (StorageError, IndexFailure) as error:
            failure = str(error)
    assert failure is None or os.strerror(code) in failure
    return failure is None


def fail(step: str, code: int) -> None:
    """As the operating system fails, or as the index reports what failed beneath it."""
    if step in TRANSACTIONS:
        raise IndexFailure(os.strerror(code))
    raise OSError(code, os.strerror(code))


def test_two_processes_with_one_instance_make_one_file_and_one_row(data_dir: Path) -> None:
    open_it(data_dir, "keep").close()
    samples = [Sample(f"1.2.3.{number}") for number in range(20)]

    def work() -> None:
        with open_it(data_dir, "keep") as archive:
            for sample in samples:
                store(archive, sample)

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                work()
                os._exit(0)
            os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with open_it(data_dir, "keep") as archive:
        assert not faults(archive)
        assert len(everything(archive)) == len(list(files(data_dir / "instances"))) == 20
        for sample in samples:
            assert read(archive, sample) == sample.dataset
        assert not list(files(data_dir / "conflicts"))
