"""Instances that wait to be sent, in an order that needs few associations."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from pacsnode.dicom.message import Tick, no_tick
from pacsnode.errors import PacsnodeError
from pacsnode.scu import plan
from pacsnode.scu.sendable import Outcome, Sendable, Sending, kind_of

T = TypeVar("T")

LOOK_AHEAD = 500  # instances known at a time; their presentation contexts are planned together


class Stopped(Exception):
    """The tick raised, or something else that speaks for whoever wants the sending. Kept apart from
    what the peer's association raises, which may look the same."""

    def __init__(self, reason: PacsnodeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def guarded(function: Callable[[], T]) -> Callable[[], T]:
    """`function`, raising Stopped."""
    if function is no_tick:
        return function

    def guarded() -> T:
        try:
            return function()
        except PacsnodeError as error:
            raise Stopped(error) from error

    return guarded


class Task(NamedTuple):
    """One instance to be sent, and the group whose association suits it. `earlier` is what became
    of it on an association that could not be opened anew."""

    sendable: Sendable
    group: plan.Group
    earlier: Outcome | None = None

    @property
    def kind(self) -> plan.Kind:
        return kind_of(self.sendable)


def pull(pending: Iterator[Sendable], tick: Tick) -> list[Sendable]:
    """The next instances; `tick` meanwhile, as finding them may mean reading many files."""
    batch = []
    for sendable in islice(pending, LOOK_AHEAD):
        batch.append(sendable)
        tick()
    return batch


def tasks_of(batch: Sequence[Sendable], sending: Sending) -> list[Task]:
    """Those that one association can take come together, in the order of the batch."""
    return [
        Task(sendable, group)
        for group in plan.group(map(kind_of, batch), sending.wishes)
        for sendable in batch
        if kind_of(sendable) in group.kinds
    ]


class Tasks:
    """What is to be sent, for the senders who share it; `sender` is any name of one. Each may know
    and reserve the tasks that it will take next."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._reserved: dict[object, deque[Task]] = {}
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, tasks: Iterable[Task]) -> None:
        with self._changed:
            self._waiting.extend(tasks)
            self._changed.notify_all()

    def peek(self) -> Task | None:
        """The first of those that wait."""
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def reserve(self, sender: object, count: int) -> list[Sendable]:
        """What `sender` will take next, `count` of them where so many are known."""
        with self._changed:
            reserved = self._reserved.setdefault(sender, deque())
            while len(reserved) < count and self._waiting:
                reserved.append(self._waiting.popleft())
            return [task.sendable for task in islice(reserved, count)]

    def take(self, sender: object, *, wait: bool = False) -> Task | None:
        """The next one; None where there is none, or none will come any more."""
        with self._changed:
            if reserved := self._reserved.get(sender):
                return reserved.popleft()
            while wait and not self._waiting and not self._is_closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def put_back(self, sender: object, task: Task) -> None:
        """Another shall do it, and what `sender` has reserved."""
        with self._changed:
            self._waiting.extendleft(reversed(self._reserved.pop(sender, ())))
            self._waiting.appendleft(task)
            self._changed.notify_all()

    def clear(self) -> int:
        """Forget what nobody has begun; returns how many those were."""
        with self._changed:
            count = len(self._waiting) + sum(map(len, self._reserved.values()))
            self._waiting.clear()
            self._reserved.clear()
        return count

    def close(self) -> None:
        """Nothing will come any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
