"""echo, find, move, get and send against a node of our own, over real associations."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.level import Level
from pacsnode.dicom.message import Peer
from pacsnode.dicom.query import Model
from pacsnode.errors import PeerUnreachable, RequestFailed, UsageError
from pacsnode.scu.echo import echo
from pacsnode.scu.files import find_files, read_file
from pacsnode.scu.find import find
from pacsnode.scu.get import get, propose, sop_classes, usual_classes
from pacsnode.scu.models import Service, context_for, encode, model_of, proposal
from pacsnode.scu.move import move
from pacsnode.scu.store import send
from tests.scu.conftest import Node
from tests.scu.scripted import CT, EXPLICIT, Sample

Start = Callable[..., Node]


def never(path: Path, reason: str) -> None:
    raise AssertionError(f"{path} skipped: {reason}")


def fill(node: Node, files: list[Path]) -> None:
    outcomes = list(send(node.connect, node.peer, find_files(files, never)))
    assert [outcome.text for outcome in outcomes] == [""] * len(files)


def identifier(level: str, **keys: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def datasets(folder: Path) -> dict[str, bytes]:
    """Dataset bytes by SOP Instance UID."""
    found = {}
    for instance in find_files([folder], never):
        with instance.open() as source:
            found[instance.sop_instance_uid] = source.file.read()
    return found


def study_uids(node: Node) -> str:
    found = find(
        node.connect, node.peer, Model.STUDY_ROOT, identifier("STUDY", StudyInstanceUID="")
    )
    return "\\".join(ds.StudyInstanceUID for ds in found)


def test_an_echo_comes_back(start_node: Start) -> None:
    node = start_node()
    echo(node.connect, node.peer)


def test_an_echo_to_nobody_says_how_far_it_came(start_node: Start) -> None:
    node = start_node()
    with pytest.raises(PeerUnreachable) as caught:
        echo(node.connect, Peer("x", "X", "127.0.0.1", 1, "TESTER"))
    assert caught.value.step == "tcp"
    with pytest.raises(PeerUnreachable) as caught:
        echo(node.connect, Peer("x", "X", "no.such.host.invalid", 104, "TESTER"))
    assert caught.value.step == "name"


def test_what_was_sent_is_found(start_node: Start, bundled: list[Path]) -> None:
    node = start_node()
    fill(node, bundled)
    wanted = identifier("IMAGE", SOPInstanceUID="")
    found = {ds.SOPInstanceUID for ds in find(node.connect, node.peer, Model.STUDY_ROOT, wanted)}
    assert found == {read_file(path).sop_instance_uid for path in bundled}


def test_a_refused_query_raises_with_its_status(start_node: Start) -> None:
    node = start_node()
    with pytest.raises(RequestFailed, match="A900") as caught:
        list(find(node.connect, node.peer, Model.STUDY_ROOT, identifier("NONSENSE")))
    assert caught.value.status == 0xA900


def test_what_was_sent_is_got_back_byte_for_byte(
    start_node: Start, bundled: list[Path], tmp_path: Path
) -> None:
    node = start_node()
    fill(node, bundled)
    wanted = identifier("STUDY", StudyInstanceUID=study_uids(node))
    received: list[Path] = []
    answers = list(
        get(
            node.connect, node.peer, Model.STUDY_ROOT, wanted, tmp_path / "out",
            received=received.append,
        )
    )  # fmt: skip
    assert answers[-1].is_success
    assert answers[-1].counters is not None
    assert answers[-1].counters.completed == len(bundled)
    assert sorted(os.listdir(tmp_path / "out")) == sorted(path.name for path in received)
    original = {}
    for path in bundled:
        with read_file(path).open() as source:
            original[read_file(path).sop_instance_uid] = source.file.read()
    assert datasets(tmp_path / "out") == original


@pytest.mark.parametrize("associations", [1, 3])
def test_a_move_reaches_another_node_byte_for_byte(
    start_node: Start, bundled: list[Path], tmp_path: Path, associations: int
) -> None:
    other = start_node()
    node = start_node(OTHER=replace(other.peer, associations=associations))
    fill(node, bundled)
    wanted = identifier("STUDY", StudyInstanceUID=study_uids(node))
    answers = list(move(node.connect, node.peer, Model.STUDY_ROOT, wanted, "OTHER"))
    assert answers[-1].is_success
    assert answers[-1].counters is not None
    assert answers[-1].counters.completed == len(bundled)
    list(get(other.connect, other.peer, Model.STUDY_ROOT, wanted, tmp_path / "there"))
    list(get(node.connect, node.peer, Model.STUDY_ROOT, wanted, tmp_path / "here"))
    assert datasets(tmp_path / "there") == datasets(tmp_path / "here") != {}


def test_a_move_that_fails_names_status_comment_and_instances(
    start_node: Start, bundled: list[Path]
) -> None:
    node = start_node(NOBODY=Peer("x", "X", "127.0.0.1", 1, "TESTER"))
    fill(node, bundled[:1])
    wanted = identifier("STUDY", StudyInstanceUID=study_uids(node))
    (unknown,) = move(node.connect, node.peer, Model.STUDY_ROOT, wanted, "NOWHERE")
    assert (unknown.status, unknown.is_last) == (0xA801, True)
    assert "NOWHERE" in unknown.comment
    (unreachable,) = move(node.connect, node.peer, Model.STUDY_ROOT, wanted, "NOBODY")
    assert unreachable.status == 0xA702
    assert "TCP" in unreachable.comment
    assert unreachable.failed == (read_file(bundled[0]).sop_instance_uid,)


def test_the_peers_answers_say_which_classes_to_propose(
    start_node: Start, bundled: list[Path]
) -> None:
    node = start_node()
    fill(node, bundled)
    everything = {read_file(path).sop_class_uid for path in bundled}
    by_study = identifier("STUDY", StudyInstanceUID=study_uids(node))
    assert sop_classes(node.connect, node.peer, Model.STUDY_ROOT, by_study) == everything
    one = read_file(bundled[0])
    by_instance = identifier("IMAGE", SOPInstanceUID=one.sop_instance_uid)
    found = sop_classes(node.connect, node.peer, Model.STUDY_ROOT, by_instance)
    assert found == {one.sop_class_uid}


@pytest.mark.parametrize("count", [0, 1, 2, 5, 42, 43, 63, 64, 100, 127, 128, 200])
def test_contexts_for_any_number_of_classes_fit_and_name_every_class(count: int) -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(count)]
    contexts = propose(Model.STUDY_ROOT, classes)
    assert len(contexts) <= 128
    assert len(set(contexts)) == len(contexts)
    assert contexts[0].as_scu
    assert all(context.as_scp and not context.as_scu for context in contexts[1:])
    named = {context.abstract_syntax for context in contexts[1:]}
    assert named == set(classes[:127])
    for uid in classes[:127]:
        own = [c.transfer_syntaxes for c in contexts if c.abstract_syntax == uid]
        every = [syntax for syntaxes in own for syntax in syntaxes]
        assert len(set(every)) == len(every)
        assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"} <= set(every)


def test_the_usual_classes_are_more_than_one_association_takes() -> None:
    """The reason to ask first. If this fails, asking has become superfluous."""
    assert len(usual_classes()) > 127
    assert "1.2.840.10008.5.1.4.1.1.2" in usual_classes()[:127]


def test_the_root_follows_the_level_unless_given() -> None:
    assert model_of(Level.PATIENT) is Model.PATIENT_ROOT
    assert model_of(Level.IMAGE) is Model.STUDY_ROOT
    assert model_of(Level.SERIES, "patient") is Model.PATIENT_ROOT
    with pytest.raises(UsageError):
        model_of(Level.PATIENT, "study")


def tiny(count: int) -> list[Sample]:
    """Instances of one study that are nothing but their UIDs."""
    made = []
    for number in range(count):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CT, f"1.2.3.4.{number}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2", "1.2.3"
        made.append(Sample(ds.SOPInstanceUID, CT, EXPLICIT, encode_dataset(ds, EXPLICIT)))
    return made


def count_of(node: Node) -> int:
    wanted = identifier("IMAGE", SOPInstanceUID="")
    return sum(1 for _ in find(node.connect, node.peer, Model.STUDY_ROOT, wanted))


@pytest.mark.parametrize("associations", [1, 3])
def test_closing_a_move_early_cancels_it_over_there(start_node: Start, associations: int) -> None:
    other = start_node()
    node = start_node(OTHER=replace(other.peer, associations=associations))
    assert all(outcome.is_success for outcome in send(node.connect, node.peer, tiny(400)))
    wanted = identifier("STUDY", StudyInstanceUID="1.2")
    answers = move(node.connect, node.peer, Model.STUDY_ROOT, wanted, "OTHER")
    first = next(answers)
    assert not first.is_last
    assert first.counters is not None
    assert first.counters.remaining is not None
    assert first.counters.remaining + first.counters.completed == 400
    answers.close()
    assert 0 < count_of(other) < 400


def test_closing_a_get_early_leaves_whole_files_only(start_node: Start, tmp_path: Path) -> None:
    node = start_node()
    assert all(outcome.is_success for outcome in send(node.connect, node.peer, tiny(400)))
    wanted = identifier("STUDY", StudyInstanceUID="1.2")
    answers = get(node.connect, node.peer, Model.STUDY_ROOT, wanted, tmp_path / "out")
    assert not next(answers).is_last
    answers.close()
    names = os.listdir(tmp_path / "out")
    assert 0 < len(names) < 400
    assert all(name.endswith(".dcm") for name in names)


@pytest.mark.parametrize("associations", [1, 3])
def test_a_requester_that_is_killed_ends_its_move(start_node: Start, associations: int) -> None:
    other = start_node()
    node = start_node(OTHER=replace(other.peer, associations=associations))
    assert all(outcome.is_success for outcome in send(node.connect, node.peer, tiny(400)))
    assert node.over.acquire(timeout=10)
    channel = node.connect(node.peer, [proposal(Service.MOVE, Model.STUDY_ROOT)])
    context = context_for(channel, Service.MOVE, Model.STUDY_ROOT)
    data = encode(identifier("STUDY", StudyInstanceUID="1.2"), context)
    next(channel.move(context, data, "OTHER"))
    channel.abort()
    assert node.over.acquire(timeout=10)
    assert other.over.acquire(timeout=10)
    assert count_of(other) < 400
