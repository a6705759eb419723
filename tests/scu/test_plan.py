import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.message import Context
from pacsnode.errors import NoPresentationContext
from pacsnode.scu import plan
from pacsnode.scu.plan import Kind
from tests.scu.scripted import BIG, CT, EXPLICIT, IMPLICIT, JPEG, MPEG, MR

JPEG_LS = "1.2.840.10008.1.2.4.80"

kinds = st.builds(
    Kind,
    st.integers(1, 200).map(lambda number: f"1.2.840.10008.5.1.4.1.1.{number}"),
    st.sampled_from([EXPLICIT, IMPLICIT, JPEG, MPEG, BIG]),
)


def test_an_instance_goes_as_stored_or_uncompressed() -> None:
    assert plan.sendable_as(JPEG) == (JPEG, EXPLICIT, IMPLICIT)
    assert plan.sendable_as(IMPLICIT) == (IMPLICIT, EXPLICIT)


def test_what_no_codec_can_read_goes_as_stored_only() -> None:
    assert plan.sendable_as(MPEG) == (MPEG,)
    assert plan.sendable_as("1.3.6.1.4.1.private") == ("1.3.6.1.4.1.private",)


def test_a_peers_own_list_decides_and_its_order_too() -> None:
    assert plan.sendable_as(JPEG, [IMPLICIT, EXPLICIT]) == (IMPLICIT, EXPLICIT)
    assert plan.sendable_as(JPEG, [JPEG, IMPLICIT]) == (JPEG, IMPLICIT)
    assert plan.sendable_as(MPEG, [IMPLICIT]) == ()


def test_each_transfer_syntax_has_a_context_of_its_own() -> None:
    contexts = plan.contexts_of(Kind(CT, JPEG))
    assert all(len(context.transfer_syntaxes) == 1 for context in contexts)
    assert {context.transfer_syntaxes[0] for context in contexts} == {JPEG, EXPLICIT, IMPLICIT}


def test_a_uid_that_is_none_is_never_proposed() -> None:
    for text in ("", "1.2/../3", "1." * 40, "1.2\\3"):
        assert plan.contexts_of(Kind(text, EXPLICIT)) == frozenset()
    assert len(plan.contexts_of(Kind(CT, "no uid"))) == 0


@given(st.lists(kinds, max_size=400))
def test_every_kind_is_in_one_group_with_all_its_contexts(wanted: list[Kind]) -> None:
    groups = plan.group(wanted)
    members = [kind for group in groups for kind in group.kinds]
    assert sorted(members) == sorted(set(wanted))
    for group in groups:
        assert len(group.contexts) <= 128
        for kind in group.kinds:
            assert plan.contexts_of(kind) <= group.contexts


def test_few_kinds_need_one_group() -> None:
    assert len(plan.group([Kind(CT, JPEG), Kind(MR, EXPLICIT), Kind(CT, JPEG)])) == 1


@given(st.lists(kinds, max_size=60), st.lists(kinds, max_size=60))
def test_widening_keeps_what_is_needed_and_stays_within_bounds(
    needed: list[Kind], earlier: list[Kind]
) -> None:
    for group in plan.group(needed):
        before = [context for other in plan.group(earlier) for context in other.contexts]
        widened = plan.widen(group.contexts, before)
        assert group.contexts <= set(widened)
        assert len(widened) == len(set(widened)) <= 128


def test_compressed_contexts_come_before_uncompressed_ones() -> None:
    contexts = plan.widen(plan.contexts_of(Kind(CT, JPEG)), ())
    assert contexts[0].transfer_syntaxes == (JPEG,)


def test_a_list_is_kept_in_its_order_with_what_has_to_be_compressed() -> None:
    assert plan.sendable_as(EXPLICIT, [JPEG_LS, EXPLICIT]) == (JPEG_LS, EXPLICIT)
    assert plan.sendable_as(EXPLICIT, [EXPLICIT, JPEG_LS]) == (EXPLICIT, JPEG_LS)


def test_losses_are_for_those_who_may_lose_or_have_lost() -> None:
    assert plan.sendable_as(EXPLICIT, [JPEG, EXPLICIT]) == (EXPLICIT,)
    assert plan.sendable_as(EXPLICIT, [JPEG, EXPLICIT], may_lose=True) == (JPEG, EXPLICIT)
    assert plan.sendable_as(JPEG, [JPEG, EXPLICIT]) == (JPEG, EXPLICIT)


def test_of_what_is_accepted_the_peers_order_decides() -> None:
    accepted = (EXPLICIT, JPEG_LS, IMPLICIT)
    contexts = [Context(1, CT, syntax, as_scu=True) for syntax in accepted]
    wishes = plan.Wishes([JPEG_LS, EXPLICIT])
    chosen = plan.choose(contexts, Kind(CT, IMPLICIT), wishes)
    assert [context.transfer_syntax for context in chosen] == [JPEG_LS, EXPLICIT]


def test_why_nothing_of_a_list_is_possible_names_the_setting() -> None:
    wishes = plan.Wishes([JPEG], name="CT1")
    with pytest.raises(NoPresentationContext) as caught:
        plan.choose([Context(1, CT, JPEG, as_scu=True)], Kind(CT, EXPLICIT), wishes)
    text = str(caught.value)
    assert "modalities.CT1.transfer_syntaxes: JPEGBaseline8Bit" in text
    assert "modalities.CT1.lossy_compression: allowed" in text
