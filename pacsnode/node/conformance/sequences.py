"""Drawings of who says what to whom, in which order."""

from collections.abc import Sequence
from typing import NamedTuple

from pacsnode.node.conformance.document import Figure

WIDTH = 34  # characters between two lines of life


class Step(NamedTuple):
    """A message from one party to another, by their places; or, from a party to itself, what it
    does."""

    sender: int
    receiver: int
    text: str


def sequence(title: str, parties: Sequence[str], steps: Sequence[Step]) -> Figure:
    """One line a step, from top to bottom."""
    head = "".join(f"{party:<{WIDTH}}" for party in parties).rstrip()
    return Figure(title, "\n".join([head, *(_line(step, len(parties)) for step in steps)]))


def _line(step: Step, parties: int) -> str:
    """The lines of life, with the step between or beside them."""
    if step.sender == step.receiver:
        own = f"{_life(step.sender)}| {step.text}"
        rest = _life(parties)[len(own) :]
        return f"{own} {rest[1:]}".rstrip()
    left, right = sorted((step.sender, step.receiver))
    room = WIDTH * (right - left) - 1
    text = f" {step.text} ".center(room - 2, "-")
    arrow = f"-{text}>" if step.sender == left else f"<{text}-"
    return f"{_life(left)}|{arrow}{_life(parties - right)}".rstrip()


def _life(count: int) -> str:
    return ("|" + " " * (WIDTH - 1)) * count


def storing(title: str) -> Figure:
    """Storage, then commitment to what was stored."""
    return sequence(
        "Storage and Storage Commitment",
        ("remote AE", title),
        (
            Step(0, 1, "C-STORE"),
            Step(1, 1, "stores, indexes"),
            Step(1, 0, "0000"),
            Step(0, 1, "N-ACTION"),
            Step(1, 1, "notes the request"),
            Step(1, 0, "0000"),
            Step(1, 1, "reads and compares every byte"),
            Step(1, 0, "N-EVENT-REPORT"),
            Step(0, 1, "0000"),
        ),
    )


def moving(title: str) -> Figure:
    """A C-MOVE with its sub-operations."""
    return sequence(
        "Retrieve by C-MOVE",
        ("remote AE", title, "move destination"),
        (
            Step(0, 1, "C-MOVE"),
            Step(1, 1, "selects instances"),
            Step(1, 2, "A-ASSOCIATE"),
            Step(1, 2, "C-STORE"),
            Step(2, 1, "0000"),
            Step(1, 0, "FF00, with counters"),
            Step(1, 2, "C-STORE"),
            Step(2, 1, "0000"),
            Step(1, 2, "A-RELEASE"),
            Step(1, 0, "0000, B000 or A702"),
        ),
    )
