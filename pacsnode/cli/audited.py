"""What commands tell the audit trail: who took instances in, and who deleted which."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pacsnode.archive import Archive, Outcome
    from pacsnode.audit import Study, Tally, Trail
    from pacsnode.config.model import Configuration
    from pacsnode.dicom.instance import StoredInstance
    from pacsnode.index import Conflict


@contextmanager
def opened(configuration: "Configuration") -> Iterator["Trail"]:
    """The audit trail while a command works. Raises ConfigurationError where it cannot be written:
    then nothing is done that it should tell of."""
    from pacsnode.node.build import build_trail

    trail = build_trail(configuration)
    try:
        yield trail
    finally:
        trail.close()


class Deletion:
    """Instances that go. `expect` each before, as nobody knows afterwards whose it was."""

    def __init__(self, trail: "Trail", archive: "Archive") -> None:
        from pacsnode.audit import Tally

        self._trail = trail
        self._archive = archive
        self._studies: dict[str, Study] = {}
        self._tally: Tally[None] = Tally(self._tell)

    def expect(self, stored: "StoredInstance") -> None:
        """It is about to go."""
        uid = stored.uids.study_instance_uid
        if self._trail.is_on and uid not in self._studies:
            self._studies[uid] = self._describe(uid)

    def gone(self, stored: "StoredInstance") -> None:
        """It is not in the index any more."""
        uid = stored.uids.study_instance_uid
        if self._trail.is_on:
            self._tally.add(uid, stored.sop_class_uid, partial(self._known, uid), None)

    def end(self) -> None:
        """Tell what has gone."""
        self._tally.flush()

    def _known(self, uid: str) -> "Study":
        return self._studies.get(uid) or self._describe(uid)

    def _describe(self, uid: str) -> "Study":
        from pacsnode.scp.witness import describe

        return describe(self._archive, uid)

    def _tell(self, _: None, study: "Study", classes: Sequence[tuple[str, int]]) -> None:
        from pacsnode.audit import events, user

        is_whole = not self._archive.study(study.study_instance_uid)
        event = events.deleted(self._trail.node, user(), study, classes, is_whole=is_whole)
        self._trail.record(event)


class Import:
    """Instances that come out of files."""

    def __init__(self, trail: "Trail") -> None:
        self._trail = trail
        self._tally: Tally[str] = trail.tally(self._tell)

    def taken(self, path: Path, outcome: "Outcome") -> None:
        """What became of a file."""
        from pacsnode.archive import Kind
        from pacsnode.audit import media_of
        from pacsnode.scp.witness import study_of

        if self._trail.is_on and outcome.kind is not Kind.ALREADY_HERE:
            stored = outcome.stored
            describe: Callable[[], Study] = partial(study_of, outcome)
            uid = stored.uids.study_instance_uid
            self._tally.add(uid, stored.sop_class_uid, describe, media_of(path.parent))

    def end(self) -> None:
        """Tell what has been taken."""
        self._tally.flush()

    def _tell(self, media: str, study: "Study", classes: Sequence[tuple[str, int]]) -> None:
        from pacsnode.audit import events, user

        self._trail.record(events.imported(self._trail.node, user(), media, study, classes))


def tell_settled(
    trail: "Trail", archive: "Archive", conflict: "Conflict", action: str | None
) -> None:
    """A conflict was settled by this `action` of the audit's; None is worth no word."""
    from pacsnode.audit import events, user
    from pacsnode.scp.witness import describe

    if trail.is_on and action is not None:
        study = describe(archive, conflict.uids.study_instance_uid)
        trail.record(events.settled(trail.node, user(), study, action))
