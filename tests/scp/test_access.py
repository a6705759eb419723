import threading
from typing import Any

import pytest

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.dicom.message import Caller
from pacsnode.scp.access import Access, Hosts, Settings, normalised

numbers = iter(range(1, 1_000_000))


def settings(
    rules: dict[str, Any] | None = None, limit: int = 100, **modalities: dict[str, Any]
) -> Settings:
    return Settings(
        "PACSNODE",
        Rules(**(rules or {})),
        {
            name: Modality(**{"ae_title": name, "host": "192.0.2.1", **values})
            for name, values in modalities.items()
        },
        limit,
    )


def caller(ae_title: str = "CT1", host: str = "192.0.2.1", called: str = "PACSNODE") -> Caller:
    return Caller(ae_title, called, host, next(numbers))


NOBODY: dict[str, Any] = {"unknown_callers": frozenset()}


def test_a_known_caller_may_do_what_its_modality_allows() -> None:
    access = Access(settings(CT1={"allow": frozenset({"store", "echo"})}))
    who = caller()
    assert access.admit(who) is None
    assert access.allows(who, "store")
    assert not access.allows(who, "find")


def test_an_unknown_caller_may_do_what_unknown_callers_says() -> None:
    access = Access(settings(CT1={}))
    who = caller("STRANGER")
    assert access.admit(who) is None
    assert access.allows(who, "echo")
    assert not access.allows(who, "store")


def test_a_caller_with_no_right_at_all_is_rejected_and_the_text_says_everything() -> None:
    access = Access(settings(NOBODY, ARCHIVE={}))
    rejection = access.admit(caller("ARHCIVE", "192.0.2.7"))
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)
    for part in ("'ARHCIVE'", "192.0.2.7", "access.unknown_callers", "'ARCHIVE'"):
        assert part in rejection.text


def test_the_hint_to_a_title_is_for_unknown_callers_only() -> None:
    access = Access(settings(ARCHIVE={}))
    typo, known = caller("ARHCIVE"), caller("ARCHIVE")
    assert access.admit(typo) is None
    assert access.admit(known) is None
    assert "'ARCHIVE'" in access.rights(typo).hint(typo.ae_title)
    assert access.rights(known).hint(known.ae_title) == ""


def test_a_known_title_from_another_host_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(settings({"check_host": True}, CT1={}))
    access.admit(caller(host="192.0.2.99"))
    (line,) = [record.getMessage() for record in caplog.records]
    for part in ("'CT1'", "192.0.2.99", "modalities.CT1", "192.0.2.1", "access.check_host"):
        assert part in line
    caplog.clear()
    access.configure(settings({"check_host": True, **NOBODY}, CT1={}))
    assert access.admit(caller(host="192.0.2.99")) is not None
    assert not caplog.records, "the rejection's own line says it"


def test_a_modality_that_may_do_nothing_is_rejected() -> None:
    rejection = Access(settings(CT1={"allow": frozenset()})).admit(caller())
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)
    assert "modalities.CT1.allow" in rejection.text


@pytest.mark.parametrize("title", ["CT1 ", " CT1", "CT1\0", "CT1"])
def test_titles_are_compared_trimmed(title: str) -> None:
    access = Access(settings(NOBODY, CT1={}))
    assert access.admit(caller(title)) is None


def test_titles_are_compared_with_case() -> None:
    assert Access(settings(NOBODY, CT1={})).admit(caller("ct1")) is not None


def test_the_title_decides_not_the_name() -> None:
    access = Access(settings(NOBODY, scanner={"ae_title": "CT1"}))
    assert access.admit(caller("CT1")) is None
    assert access.admit(caller("scanner")) is not None


@pytest.mark.parametrize("title", ["", "\0\0", "caf\xe9", "lower"])
def test_odd_titles_are_unknown_callers_and_no_fault(title: str) -> None:
    access = Access(settings(CT1={}))
    who = caller(title)
    assert access.admit(who) is None
    assert access.rights(who).name is None


def test_the_called_title_is_checked_only_where_asked_for() -> None:
    assert Access(settings()).admit(caller(called="OTHER")) is None
    strict = Access(settings({"check_called_ae_title": True}))
    assert strict.admit(caller(called="PACSNODE ")) is None
    rejection = strict.admit(caller(called="OTHER"))
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 7)
    assert "'OTHER'" in rejection.text
    assert "access.check_called_ae_title" in rejection.text


def test_a_known_title_from_another_host_is_an_unknown_caller() -> None:
    access = Access(settings({"check_host": True}, CT1={}))
    who = caller(host="192.0.2.99")
    assert access.admit(who) is None
    assert access.rights(who).name is None
    assert not access.allows(who, "store")
    strict = Access(settings({"check_host": True, **NOBODY}, CT1={}))
    rejection = strict.admit(caller(host="192.0.2.99"))
    assert rejection is not None
    assert "access.check_host" in rejection.text
    assert "192.0.2.99" in rejection.text


@pytest.mark.parametrize(
    ("configured", "actual"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8:0:0::1"),
        ("fe80::1", "fe80::1%eth0"),
        ("scanner.example", "192.0.2.1"),
    ],
)
def test_one_host_in_two_spellings_is_one_host(configured: str, actual: str) -> None:
    known = {"scanner.example": frozenset({"::ffff:192.0.2.1", "192.0.2.2"})}
    access = Access(settings({"check_host": True, **NOBODY}, CT1={"host": configured}), known.get)
    assert access.admit(caller(host=actual)) is None


def test_a_place_is_given_back_once_and_rejections_take_none() -> None:
    access = Access(settings(limit=2, CT1={}))
    first, second, third = caller(), caller(), caller()
    assert access.admit(first) is None
    assert access.admit(second) is None
    rejection = access.admit(third)
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 2)
    assert "listen.max_associations" in rejection.text
    access.ended(third)
    assert access.admit(caller()) is not None
    access.ended(first)
    access.ended(first)
    assert access.count() == 1
    assert access.admit(caller()) is None
    assert access.admit(caller()) is not None


def test_a_modality_has_a_limit_of_its_own() -> None:
    access = Access(settings(CT1={"max_associations": 1}, MR1={}))
    first = caller()
    assert access.admit(first) is None
    rejection = access.admit(caller())
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 2)
    assert "modalities.CT1.max_associations" in rejection.text
    assert access.admit(caller("MR1")) is None
    access.ended(first)
    assert access.admit(caller()) is None


def test_counting_survives_many_threads() -> None:
    access = Access(settings(limit=7, CT1={}))
    admitted: list[Caller] = []
    barrier = threading.Barrier(16)

    def associate() -> None:
        barrier.wait()
        for _ in range(50):
            who = caller()
            if access.admit(who) is None:
                assert access.count() <= 7
                access.ended(who)
                admitted.append(who)

    threads = [threading.Thread(target=associate) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted
    assert access.count() == 0


def test_new_settings_hold_for_new_associations_only() -> None:
    access = Access(settings(CT1={}))
    before = caller()
    access.admit(before)
    access.configure(settings(NOBODY))
    assert access.allows(before, "store")
    assert access.admit(caller()) is not None
    access.ended(before)
    assert access.count() == 0


def test_a_service_without_association_is_never_allowed() -> None:
    assert not Access(settings(CT1={})).allows(caller(), "echo")


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
