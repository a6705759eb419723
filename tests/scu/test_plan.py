from hypothesis import given
from hypothesis import strategies as st

from pacsnode.scu import plan
from pacsnode.scu.plan import Kind
from tests.scu.scripted import BIG, CT, EXPLICIT, IMPLICIT, JPEG, MPEG, MR

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
