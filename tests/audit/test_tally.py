"""Instances are told of by the study, and never kept for long."""

from collections.abc import Hashable, Sequence

from pacsnode.audit import tally as module
from pacsnode.audit.event import Study
from pacsnode.audit.tally import Tally

Told = tuple[Hashable, str, list[tuple[str, int]]]


class Listener:
    """What is told, and a clock that passes when told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.now = 0.0
        self.described = 0

    def tell(self, kind: Hashable, study: Study, classes: Sequence[tuple[str, int]]) -> None:
        self.told.append((kind, study.study_instance_uid, list(classes)))

    def add(
        self, tally: Tally[Hashable], study: str, sop_class: str = "CT", kind: Hashable = None
    ) -> None:
        def describe() -> Study:
            self.described += 1
            return Study(study)

        tally.add(study, sop_class, describe, kind)


def made() -> tuple[Listener, Tally[Hashable]]:
    listener = Listener()
    return listener, Tally(listener.tell, lambda: listener.now)


def test_instances_of_a_study_are_told_of_once_at_the_end() -> None:
    listener, tally = made()
    for _ in range(5):
        listener.add(tally, "1.2")
    listener.add(tally, "1.2", "SR")
    listener.add(tally, "1.3")
    assert not listener.told
    tally.flush()
    assert listener.told == [(None, "1.2", [("CT", 5), ("SR", 1)]), (None, "1.3", [("CT", 1)])]
    assert listener.described == 2
    tally.flush()
    assert len(listener.told) == 2


def test_what_differs_in_kind_is_told_of_apart() -> None:
    listener, tally = made()
    for kind in ("C", "U", "C"):
        listener.add(tally, "1.2", kind=kind)
    tally.flush()
    assert listener.told == [("C", "1.2", [("CT", 2)]), ("U", "1.2", [("CT", 1)])]


def test_nothing_is_kept_for_long() -> None:
    listener, tally = made()
    listener.add(tally, "1.2")
    listener.now = module.OLDEST - 1
    tally.flush_if_due()
    listener.add(tally, "1.2")
    assert not listener.told
    listener.now = module.OLDEST
    listener.add(tally, "1.2")
    assert listener.told == [(None, "1.2", [("CT", 3)])]
    listener.add(tally, "1.2")
    listener.now += module.OLDEST
    tally.flush_if_due()
    assert len(listener.told) == 2


def test_memory_holds_some_studies_and_classes_at_most() -> None:
    listener, tally = made()
    for number in range(module.MOST_STUDIES + 1):
        listener.add(tally, f"1.2.{number}")
    assert len(listener.told) == module.MOST_STUDIES + 1
    for number in range(module.MOST_SOP_CLASSES + 1):
        listener.add(tally, "1.3", f"1.9.{number}")
    assert len(listener.told) == module.MOST_STUDIES + 2
