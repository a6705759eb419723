"""Who makes room where too many wait."""

import random

from pacsnode.net.waiting import WaitingRoom


def test_whoever_fills_the_room_makes_room_in_the_order_of_coming() -> None:
    room = WaitingRoom[int](5)
    for visitor in (1, 2, 3):
        assert room.enter("mad", visitor) is None
    for visitor in (4, 5):
        assert room.enter("well", visitor) is None
    assert room.enter("new", 6) == ("mad", 1)
    assert room.enter("mad", 7) == ("mad", 2)
    assert len(room) == 5


def test_who_has_left_is_not_asked_to() -> None:
    room = WaitingRoom[int](2)
    room.enter("a", 1)
    room.enter("a", 2)
    room.leave("a", 1)
    room.leave("a", 1)
    room.leave("nobody", 1)
    assert len(room) == 1
    assert room.enter("b", 3) is None
    assert room.enter("c", 4) == ("a", 2)
    room.leave("a", 2)
    assert len(room) == 2


def test_a_crowd_of_strangers_goes_in_the_order_of_coming() -> None:
    room = WaitingRoom[int](3)
    gone = [room.enter(f"host{visitor}", visitor) for visitor in range(6)]
    assert gone == [None] * 3 + [("host0", 0), ("host1", 1), ("host2", 2)]


def test_the_count_stays_right_whatever_happens() -> None:
    dice, room, inside = random.Random(1), WaitingRoom[int](10), dict[int, str]()
    for visitor in range(2000):
        host = f"host{dice.randrange(4)}"
        displaced = room.enter(host, visitor)
        inside[visitor] = host
        if displaced is not None:
            assert inside.pop(displaced[1]) == displaced[0]
        for leaving in dice.sample(sorted(inside), k=min(len(inside), dice.randrange(3))):
            room.leave(inside.pop(leaving), leaving)
        assert len(room) == len(inside) <= 10
    for visitor, host in inside.items():
        room.leave(host, visitor)
    assert room._hosts == {}
