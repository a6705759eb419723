"""Who is at an address."""

import threading

import pytest

from pacsnode.config.model import Access as Rules
from pacsnode.scp.hosts import Hosts, is_in, normalised


def test_addresses_are_told_from_names() -> None:
    assert normalised("::ffff:10.0.0.1") == "10.0.0.1"
    assert normalised("10.0.0.5") == "10.0.0.5"
    assert normalised("scanner") is None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_name_is_resolved_anew_at_most_once_a_minute() -> None:
    clock, asked = Clock(), []

    def resolve(host: str) -> frozenset[str]:
        asked.append(host)
        return frozenset({f"192.0.2.{len(asked)}"})

    hosts = Hosts(resolve, clock)
    for _ in range(5):
        assert hosts.matches("scanner", "192.0.2.1")
        clock.now += 10
    assert len(asked) == 1
    clock.now += 11
    assert hosts.matches("scanner", "192.0.2.2")
    assert len(asked) == 2


def test_a_name_that_cannot_be_resolved_any_more_keeps_its_addresses() -> None:
    clock = Clock()
    answers = iter([frozenset({"192.0.2.1"}), frozenset[str]()])
    hosts = Hosts(lambda _: next(answers), clock)
    assert hosts.matches("scanner", "192.0.2.1")
    clock.now += 100
    assert hosts.matches("scanner", "192.0.2.1")


def test_a_slow_name_service_blocks_neither_other_names_nor_what_is_known() -> None:
    clock = Clock()
    asked, answer = threading.Event(), threading.Event()

    def resolve(host: str) -> frozenset[str]:
        if host == "slow" and clock.now > 1000:
            asked.set()
            assert answer.wait(10)
        return frozenset({"192.0.2.1"})

    hosts = Hosts(resolve, clock)
    assert hosts.matches("slow", "192.0.2.1")
    clock.now += 100
    thread = threading.Thread(target=hosts.matches, args=("slow", "192.0.2.1"))
    thread.start()
    assert asked.wait(10)
    assert hosts.matches("slow", "192.0.2.1")
    assert hosts.matches("other", "192.0.2.1")
    answer.set()
    thread.join()


NETWORKS = ["10.0.0.0/8", "192.0.2.7", "fd00::/8", "::ffff:172.16.0.0/108"]


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "fd12::1", "fd12::1%eth0", "172.16.0.9"],
)
def test_an_address_of_a_network_is_in_it_however_it_is_spelled(address: str) -> None:
    networks = Rules.model_validate({"networks": NETWORKS}).networks
    assert networks is not None
    assert is_in(networks, address)


@pytest.mark.parametrize(
    "address", ["11.1.2.3", "192.0.2.8", "fe80::1%eth0", "::1", "::10.1.2.3", "scanner", ""]
)
def test_another_address_is_not(address: str) -> None:
    networks = Rules.model_validate({"networks": NETWORKS}).networks
    assert networks is not None
    assert not is_in(networks, address)
