import re
import threading
from dataclasses import replace
from typing import Any, cast

import pytest
import yaml

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.dicom.message import Caller
from pacsnode.scp.access import Access, Refusal, Settings
from pacsnode.scp.suggestion import REMEMBERED, Suggestions

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
    assert "store" in access.rights(who).services
    assert "find" not in access.rights(who).services


def test_an_unknown_caller_may_do_what_unknown_callers_says() -> None:
    access = Access(settings(CT1={}))
    who = caller("STRANGER")
    assert access.admit(who) is None
    assert "echo" in access.rights(who).services
    assert "store" not in access.rights(who).services


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
    assert "store" not in access.rights(who).services
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
    assert "store" in access.rights(before).services
    assert access.admit(caller()) is not None
    access.ended(before)
    assert access.count() == 0


def test_a_service_without_association_is_never_allowed() -> None:
    assert "echo" not in Access(settings(CT1={})).rights(caller()).services


def test_unknown_callers_have_a_limit_together() -> None:
    access = Access(settings({"max_unknown_associations": 2}, CT1={}))
    first = caller("STRANGER")
    assert access.admit(first) is None
    assert access.admit(caller("OTHER", "192.0.2.8")) is None
    rejection = access.admit(caller("CT2", "192.0.2.9"))
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 2)
    for part in ("'CT2'", "192.0.2.9", "access.max_unknown_associations is 2", "'CT1'"):
        assert part in rejection.text
    assert access.admit(caller("CT1")) is None, "who is known does not wait for them"
    access.ended(first)
    assert access.admit(caller("STRANGER")) is None


@pytest.mark.parametrize(
    ("limit", "configured", "modalities", "allowed"),
    [
        (100, None, {"CT1": {}}, 90),
        (100, None, {}, 100),
        (9, None, {"CT1": {}}, 9),
        (10, None, {"CT1": {}}, 9),
        (11, None, {"CT1": {}}, 10),
        (1, None, {"CT1": {}}, 1),
        (100, 3, {}, 3),
    ],
)
def test_a_tenth_of_the_places_is_kept_for_who_is_known(
    limit: int, configured: int | None, modalities: dict[str, Any], allowed: int
) -> None:
    made = settings({"max_unknown_associations": configured}, limit, **modalities)
    assert made.max_unknown_associations == allowed


SUBJECT = (("C", "DE"), ("O", "Hospital"), ("CN", "ct1"))


def with_certificate(subject: tuple[tuple[str, str], ...] | None) -> Caller:
    return replace(caller(), is_tls=subject is not None, certificate_subject=subject)


def test_a_title_is_bound_to_a_certificate() -> None:
    access = Access(settings(CT1={"certificate_subject": "CN=ct1,O=Hospital"}))
    who = with_certificate(SUBJECT)
    assert access.admit(who) is None
    assert access.rights(who).name == "CT1"


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (None, "without a certificate"),
        ((("CN", "ct2"), ("O", "Hospital")), "CN=ct2,O=Hospital"),
        ((("CN", "ct1"),), "of CN=ct1,"),
        ((), "an empty subject"),
    ],
)
def test_a_title_without_its_certificate_counts_as_unknown_and_the_log_says_why(
    subject: tuple[tuple[str, str], ...] | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(settings(CT1={"certificate_subject": "CN=ct1,O=Hospital"}))
    who = with_certificate(subject)
    assert access.admit(who) is None
    assert access.rights(who).name is None
    (line,) = [record.getMessage() for record in caplog.records]
    for part in ("'CT1'", "192.0.2.1", "modalities.CT1.certificate_subject (CN=ct1,O=Hosp", said):
        assert part in line
    assert said in access.rights(who).hint("CT1"), "so does the line of a refused service"
    strict = Access(settings(NOBODY, CT1={"certificate_subject": "CN=ct1,O=Hospital"}))
    rejection = strict.admit(with_certificate(subject))
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)
    assert said in rejection.text
    assert "access.unknown_callers" in rejection.text


def test_who_pretends_to_be_known_takes_no_place_of_those_who_are() -> None:
    access = Access(
        settings({"max_unknown_associations": 1}, CT1={"certificate_subject": "CN=ct1"})
    )
    assert access.admit(with_certificate(None)) is None
    rejection = access.admit(with_certificate(None))
    assert rejection is not None
    assert "access.max_unknown_associations" in rejection.text
    assert access.admit(with_certificate(SUBJECT)) is None


def test_connections_are_taken_from_the_networks_alone() -> None:
    access = Access(settings({"networks": ["10.0.0.0/8", "fd00::/8"]}))
    assert access.welcomes("::ffff:10.0.0.1")
    assert access.welcomes("fd00::1%eth0")
    assert not access.welcomes("192.0.2.1")
    access.configure(settings())
    assert access.welcomes("192.0.2.1"), "no list is no limit, and a reload counts"


def moving(access: Access, ae_title: str = "CT1") -> Caller:
    who = caller(ae_title)
    assert access.admit(who) is None
    return who


def test_a_destination_is_found_by_its_title() -> None:
    access = Access(settings(CT1={}, STORE={"ae_title": "THERE"}))
    name, modality = cast(tuple[str, Modality], access.destination(moving(access), "THERE \0"))
    assert (name, modality.ae_title) == ("STORE", "THERE")


def test_an_unknown_destination_is_a801_and_the_nearest_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    access = Access(settings(CT1={}, STORE={}))
    refusal = access.destination(moving(access), "STOER")
    assert isinstance(refusal, Refusal)
    assert refusal.answer.status == 0xA801
    assert "STOER" in refusal.answer.comment
    for part in ("'CT1'", "192.0.2.1", "'STOER'", "'STORE'"):
        assert part in caplog.text


def entries_of(log: str) -> dict[str, dict[str, Any]]:
    """What is to be pasted, as YAML reads it below `modalities`."""
    found = re.findall(r"known\b.*below modalities[^:]*: (\".*\}) \(the port is 104 or 11112", log)
    return {name: entry for text in found for name, entry in yaml.safe_load(text).items()}


def test_an_unknown_destination_has_a_line_to_paste(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(settings(CT1={}))
    for _ in range(3):
        access.destination(moving(access), "WS 1 \0")
    (entry,) = entries_of(caplog.text).items()
    assert entry == (
        "ws_1",
        {"ae_title": "WS 1", "host": "192.0.2.1", "port": 104, "allow": ["echo"]},
    )
    assert "CT1 has this host already" in caplog.text
    assert caplog.text.count("to make") == 1, "once is enough"
    assert Modality(**entry[1]).ae_title == "WS 1"


def test_a_caller_that_is_rejected_for_being_unknown_has_a_line_to_paste() -> None:
    access = Access(settings(NOBODY, ct2={}))
    texts = []
    for title in ("CT2", "null", "CT2"):
        rejection = access.admit(caller(title, "2001:db8::7"))
        assert rejection is not None
        texts.append(rejection.text)
    assert entries_of("\n".join(texts)) == {
        "ct2_2": {"ae_title": "CT2", "host": "2001:db8::7", "port": 104},
        "null": {"ae_title": "null", "host": "2001:db8::7", "port": 104},
    }


@pytest.mark.parametrize("title", ["", "M\xfcNCHEN", "a\\b", "\x01", "SEVENTEEN LETTERS"])
def test_a_title_that_no_configuration_can_have_has_none(title: str) -> None:
    rejection = Access(settings(NOBODY)).admit(caller(title))
    assert rejection is not None
    assert "to make" not in rejection.text


def test_who_is_known_but_may_not_has_none() -> None:
    rejection = Access(settings(NOBODY, CT1={"allow": frozenset()})).admit(caller("CT1"))
    assert rejection is not None
    assert "to make" not in rejection.text


def test_strangers_are_not_remembered_without_end() -> None:
    suggestions = Suggestions()
    for number in range(REMEMBERED + 1):
        assert suggestions.for_stranger(f"S{number}", "192.0.2.1", {})
    assert suggestions.for_stranger("S0", "192.0.2.1", {}), "forgotten, and said again"
    assert not suggestions.for_stranger(f"S{REMEMBERED}", "192.0.2.1", {})


def test_a_caller_may_move_to_those_that_its_own_list_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lists = {"CT1": {"move_destinations": ["STORE"]}, "STORE": {}, "OTHER": {}}
    access = Access(settings({"unknown_callers": frozenset({"move"})}, **lists))
    known = moving(access)
    assert not isinstance(access.destination(known, "STORE"), Refusal)
    refusal = access.destination(known, "OTHER")
    assert isinstance(refusal, Refusal)
    assert refusal.answer.status == 0x0124
    assert "OTHER" in refusal.answer.comment
    assert refusal.reason in caplog.text
    for part in ("'CT1'", "192.0.2.1", "'OTHER'", "modalities.CT1.move_destinations"):
        assert part in caplog.text
    for free in (moving(access, "STORE"), moving(access, "STRANGER")):
        assert not isinstance(access.destination(free, "OTHER"), Refusal)


def test_an_empty_list_lets_nothing_be_moved() -> None:
    access = Access(settings(CT1={"move_destinations": []}))
    refusal = access.destination(moving(access), "CT1")
    assert isinstance(refusal, Refusal)
    assert refusal.answer.status == 0x0124
