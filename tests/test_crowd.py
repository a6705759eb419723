"""Many associations at once, as `python -m tests.crowd` with a thousand, but no times."""

from tests.conftest import PATIENCE, StartNode
from tests.crowd import (
    KEPT,
    at_rest,
    configuration,
    crowd,
    echo_times,
    is_back,
    many_descriptors,
    wait_until_gone,
)

MANY = 300
LIMIT = 200_000_000  # bytes that MANY associations may take: far less than a thousand's share


def test_hundreds_of_associations_are_held_beside_others_and_leave_nothing(
    start_node: StartNode,
) -> None:
    node = start_node(configuration(MANY + 10))
    before = at_rest(node)
    with many_descriptors(), crowd(node, MANY) as associations:
        assert len(echo_times(node, 10)) == 10
        for association in associations:
            association.echo()
        during = wait_until_gone(node, before, 0)
        assert during.descriptors >= before.descriptors + MANY
        # Its connection alone: neither files nor connections to the index are kept for one who
        # asks for nothing.
        assert during.descriptors <= before.descriptors + MANY + KEPT
        assert during.pss - before.pss < LIMIT
    after = wait_until_gone(node, before, PATIENCE)
    assert is_back(after, before), (before, after)
