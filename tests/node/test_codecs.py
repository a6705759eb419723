"""The pool of codecs starts and ends with the node, whatever ends that."""

import os
import select
import signal

import pytest

from tests.benchmarks.processes import codecs_of, is_zombie
from tests.conftest import PATIENCE, RunningNode, StartNode
from tests.node.test_workers import wait_until_gone


def pools_of(node: RunningNode) -> list[int]:
    return codecs_of(node.process.pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_starts_with_the_node_and_ends_with_it_even_killed(
    start_node: StartNode, workers: int
) -> None:
    node = start_node(f"listen: {{port: 0, workers: {workers}}}\n")
    (pool,) = pools_of(node)
    node.process.kill()
    node.process.wait(PATIENCE)
    wait_until_gone(pool)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_with_a_node_that_stops(start_node: StartNode, workers: int) -> None:
    node = start_node(f"listen: {{port: 0, workers: {workers}}}\n")
    (pool,) = pools_of(node)
    assert node.stop() == 0
    assert is_zombie(pool)


def test_the_supervisor_starts_another_where_it_was_killed(start_node: StartNode) -> None:
    node = start_node("listen: {port: 0, workers: 2}\n")
    (killed,) = pools_of(node)
    os.kill(killed, signal.SIGKILL)
    wait_until_gone(killed)
    for _ in range(int(PATIENCE / 0.05)):
        if pools_of(node) not in ([], [killed]):
            return
        select.select([], [], [], 0.05)
    pytest.fail("no other pool is started")
