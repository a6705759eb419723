"""storage.on_duplicate: what becomes of an instance that is here already."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import RunningNode, StartNode, new_dataset
from tests.interface.conftest import Dial, stored_files
from tests.interface.peer import (
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    Association,
    encoded,
    keys,
    read_file,
)

Start = Callable[[str], RunningNode]


@pytest.fixture
def start(start_node: StartNode) -> Start:
    return lambda policy: start_node(
        f"access: {{unknown_callers: all}}\nstorage: {{on_duplicate: {policy}, min_free: 1}}\n"
    )


def store(node: RunningNode, dial: Dial, ds: Dataset) -> int:
    return dial(node, (CT, [EXPLICIT])).store_dataset(ds).status


def altered(ds: Dataset, **elements: object) -> Dataset:
    other = copy.deepcopy(ds)
    for keyword, value in elements.items():
        setattr(other, keyword, value)
    return other


def in_place(node: RunningNode) -> list[bytes]:
    files = stored_files(node.data_dir / "instances")
    return [read_file(path.read_bytes()).dataset for path in files]


def aside(node: RunningNode) -> list[bytes]:
    files = stored_files(node.data_dir / "conflicts")
    return [read_file(path.read_bytes()).dataset for path in files]


def served(node: RunningNode, dial: Dial, uid: str) -> bytes:
    association = dial(node, (STUDY_GET, [EXPLICIT]), (CT, [EXPLICIT]), as_scp=[CT])
    association.get(STUDY_GET, keys("IMAGE", SOPInstanceUID=uid))
    ((_, _, dataset),) = association.stored
    return dataset


def studies(node: RunningNode, dial: Dial) -> list[tuple[str, str]]:
    """Study Instance UID and patient's name of every study."""
    responses = dial(node, (STUDY_FIND, [EXPLICIT])).find(
        STUDY_FIND, keys("STUDY", StudyInstanceUID="", PatientName="")
    )
    answers = [response.identifier for response in responses[:-1]]
    return [(str(answer.StudyInstanceUID), str(answer.PatientName)) for answer in answers]


@pytest.mark.parametrize("policy", ["keep", "replace"])
def test_the_same_bytes_change_nothing(start: Start, dial: Dial, policy: str) -> None:
    node, ds = start(policy), new_dataset()
    assert store(node, dial, ds) == 0
    (path,) = stored_files(node.data_dir)
    before = path.stat()
    assert store(node, dial, ds) == 0
    assert stored_files(node.data_dir) == [path]
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("policy", ["keep", "replace"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "altered"])
def test_the_same_bytes_restore_a_file_that_was_harmed(
    start: Start, dial: Dial, policy: str, harm: str
) -> None:
    node, ds = start(policy), new_dataset()
    assert store(node, dial, ds) == 0
    (path,) = stored_files(node.data_dir)
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.chmod(0o640)
        path.write_bytes(data[:-5] + (b"" if harm == "truncated" else b"other"))
    assert store(node, dial, ds) == 0
    assert served(node, dial, ds.SOPInstanceUID) == encoded(ds)
    assert node.command("verify").returncode == 0


def test_keep_leaves_the_first_and_puts_other_bytes_aside(start: Start, dial: Dial) -> None:
    node, ds = start("keep"), new_dataset()
    other = altered(ds, PatientName="OTHER")
    assert store(node, dial, ds) == 0
    assert store(node, dial, other) == 0
    assert in_place(node) == [encoded(ds)]
    assert aside(node) == [encoded(other)]
    assert served(node, dial, ds.SOPInstanceUID) == encoded(ds)
    assert studies(node, dial) == [(ds.StudyInstanceUID, "DOE^JOHN")]
    listed = node.command("ls", "--conflicts")
    assert ds.SOPInstanceUID in listed.stdout


def test_keep_with_another_study_uid_leaves_the_first(start: Start, dial: Dial) -> None:
    node, ds = start("keep"), new_dataset()
    other = altered(ds, StudyInstanceUID=generate_uid())
    assert store(node, dial, ds) == 0
    assert store(node, dial, other) == 0
    assert (in_place(node), aside(node)) == ([encoded(ds)], [encoded(other)])
    assert studies(node, dial) == [(ds.StudyInstanceUID, "DOE^JOHN")]


def test_replace_puts_the_newcomer_in_place(start: Start, dial: Dial) -> None:
    node, ds = start("replace"), new_dataset()
    other = altered(ds, PatientName="OTHER")
    assert store(node, dial, ds) == 0
    assert store(node, dial, other) == 0
    assert (in_place(node), aside(node)) == ([encoded(other)], [])
    assert served(node, dial, ds.SOPInstanceUID) == encoded(other)
    assert studies(node, dial) == [(ds.StudyInstanceUID, "OTHER")]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_replace_with_another_study_or_series_moves_the_instance(
    start: Start, dial: Dial, keyword: str
) -> None:
    node, ds = start("replace"), new_dataset()
    other = altered(ds, **{keyword: generate_uid()})
    assert store(node, dial, ds) == 0
    assert store(node, dial, other) == 0
    assert in_place(node) == [encoded(other)]
    assert served(node, dial, ds.SOPInstanceUID) == encoded(other)
    assert studies(node, dial) == [(other.StudyInstanceUID, "DOE^JOHN")]
    assert node.command("verify").returncode == 0


@pytest.mark.parametrize("change", [{}, {"PatientName": "OTHER"}])
def test_reject_answers_0111_and_changes_nothing(
    start: Start, dial: Dial, change: dict[str, str]
) -> None:
    node, ds = start("reject"), new_dataset()
    assert store(node, dial, ds) == 0
    assert store(node, dial, altered(ds, **change)) == 0x0111
    assert (in_place(node), aside(node)) == ([encoded(ds)], [])


@pytest.mark.parametrize("policy", ["keep", "replace", "reject"])
def test_two_associations_store_one_instance_at_the_same_moment(start: Start, policy: str) -> None:
    """Same bytes in the even rounds, other bytes, or another study, in the others."""
    node = start(policy)
    address = (node.host, node.port)
    with (
        Association(address, (CT, [EXPLICIT])) as first,
        Association(address, (CT, [EXPLICIT])) as second,
    ):
        for number in range(15):
            ds = new_dataset()
            changes = [{}, {"PatientName": "OTHER"}, {"StudyInstanceUID": generate_uid()}]
            rivals = [ds, altered(ds, **changes[number % 3])]
            answers = _at_once([first, second], rivals)
            _check(node, policy, rivals, answers)
    assert node.command("verify").returncode == 0


def _at_once(associations: list[Association], rivals: list[Dataset]) -> list[int]:
    answers, barrier = [-1, -1], threading.Barrier(2)

    def run(number: int) -> None:
        barrier.wait(10)
        answers[number] = associations[number].store_dataset(rivals[number]).status

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def _check(node: RunningNode, policy: str, rivals: list[Dataset], answers: list[int]) -> None:
    """One file and one row; who was answered 0000 is kept somewhere, unless replaced."""
    uid = rivals[0].SOPInstanceUID
    expected = [encoded(ds) for ds in rivals]
    placed, apart = (_datasets(node.data_dir / name, uid) for name in ("instances", "conflicts"))
    assert len(placed) == 1
    assert placed[0] in expected
    if policy == "reject":
        assert sorted(answers) == [0, 0x0111]
        assert placed == [expected[answers.index(0)]]
        assert apart == []
        return
    assert answers == [0, 0]
    kept = {*placed, *apart}
    assert kept == set(expected) if policy == "keep" else apart == []
    with Association((node.host, node.port), (STUDY_FIND, [EXPLICIT])) as peer:
        assert len(peer.find(STUDY_FIND, keys("IMAGE", SOPInstanceUID=uid))) == 2


def _datasets(folder: Path, uid: str) -> list[bytes]:
    files = [read_file(path.read_bytes()) for path in stored_files(folder)]
    return [file.dataset for file in files if file.sop_instance_uid == uid]
