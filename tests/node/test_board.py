"""What workers tell their supervisor through shared memory."""

import os

from pacsnode.node.board import Board


def in_child(work: object) -> None:
    process = os.fork()
    if process == 0:
        assert callable(work)
        work()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0


def test_ends_are_counted_for_each_worker() -> None:
    board = Board(3)
    for _ in range(300):
        board.count_end(3)
    in_child(lambda: board.count_end(1))
    assert [board.ended(worker) for worker in (1, 2, 3)] == [1, 0, 300]
    board.clear(3)
    assert board.ended(3) == 0


def test_a_worker_is_silent_until_it_beats() -> None:
    board = Board(1)
    before = board.silence(1)
    in_child(lambda: board.beat(1))
    heard = board.silence(1)
    assert heard < before
    assert board.silence(1) > heard
