"""What the connection doctor found, for people as it goes, or as one JSON document at the end."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacsnode.cli.output import complain, say, show_json

if TYPE_CHECKING:
    from pacsnode.dicom.message import Peer
    from pacsnode.scu.doctor.case import Advice, Ours
    from pacsnode.scu.doctor.steps import Step

FAILED, UNREACHABLE = 1, 3
WIDTH = 76  # characters of a line in the list of what is taken
WAY_THERE = ("name", "TCP", "TLS", "association")


class Report:
    """Of one peer. `add` each step, then `end`."""

    def __init__(self, peer: "Peer", form: str) -> None:
        self._peer = peer
        self._is_json = form == "json"
        self.steps: list[Step] = []
        if not self._is_json:
            say(f"{peer.name}: {peer}" if peer.name != str(peer) else str(peer))

    def add(self, step: "Step") -> None:
        self.steps.append(step)
        if self._is_json:
            return
        say(f"{step.verdict.value:8} {step.name:12} {step.text}")
        for line in _accepted(step.details.get("accepted", ())):
            say(f"{'':22}{line}")

    @property
    def is_cut_off(self) -> bool:
        """Whether there is no association to be had."""
        return any(step.has_failed and step.name in WAY_THERE for step in self.steps)

    def end(self, ours: "Ours") -> int:
        """Say what to do; the exit code."""
        from pacsnode.scu.doctor.advice import advise

        advice = {id(step): advise(step, self._peer, ours) for step in self.steps}
        code = self._exit_code()
        if self._is_json:
            show_json(self._document(advice, ours, code))
        else:
            _say_all_advice(self.steps, advice)
        for step in self.steps:
            if step.has_failed:
                complain(f"{self._peer}: failed at {step.name}: {step.text}")
        return code

    def _exit_code(self) -> int:
        if self.is_cut_off:
            return UNREACHABLE
        return FAILED if any(step.has_failed for step in self.steps) else 0

    def _document(
        self, advice: "Mapping[int, Advice | None]", ours: "Ours", code: int
    ) -> Mapping[str, Any]:
        return {
            "peer": self._peer.name,
            "ae_title": self._peer.ae_title,
            "host": self._peer.host,
            "port": self._peer.port,
            "calling_ae_title": self._peer.calling_ae_title,
            "ours": ours._asdict(),
            "exit_code": code,
            "steps": [_as_json(step, advice[id(step)]) for step in self.steps],
        }


def _as_json(step: "Step", advice: "Advice | None") -> Mapping[str, Any]:
    told: dict[str, Any] = {"step": step.name, "result": step.verdict.value, "text": step.text}
    if step.details:
        told["details"] = dict(step.details)
    if step.cause is not None and advice is not None:
        told["cause"] = step.cause.name.lower()
        told["configuration"] = "\n".join(advice.lines)
        told["sentence"] = advice.sentence
    return told


def _accepted(groups: Sequence[Mapping[str, Sequence[str]]]) -> Sequence[str]:
    """What is taken: first how, then what."""
    lines = []
    for one in groups:
        syntaxes = ", ".join(one["transfer_syntaxes"]) or "not taken"
        lines += textwrap.wrap(f"{syntaxes}:", WIDTH)
        lines += [f"  {line}" for line in textwrap.wrap(", ".join(one["sop_classes"]), WIDTH)]
    return lines


def _say_all_advice(steps: "Sequence[Step]", advice: "Mapping[int, Advice | None]") -> None:
    """Lines that an earlier step had are not said again: pasted twice they would be refused."""
    said: list[Sequence[str]] = []
    for step in steps:
        found = advice[id(step)]
        if found is not None:
            _say_advice(step, found, is_known=found.lines in said)
            said.append(found.lines)


def _say_advice(step: "Step", advice: "Advice", *, is_known: bool) -> None:
    say()
    if advice.lines and is_known:
        say(f"{step.name} failed. To change in our configuration: what has been said above.")
    elif advice.lines:
        say(f"{step.name} failed. To change in our configuration:")
        say()
        for line in advice.lines:
            say(f"  {line}")
    else:
        say(f"{step.name} failed. In our configuration there is nothing to change.")
    say()
    say("To the administrator of the other side:")
    say()
    say(f"  {advice.sentence}")
