"""No UID leaves the tree, and no two share a place."""

import os
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.storage import paths

NASTY = [
    "",
    ".",
    "..",
    "...",
    "../..",
    "/",
    "/etc/passwd",
    "1/2",
    "1\\2",
    "1\0",
    "1 ",
    " 1",
    "1\n",
    "CON",
    "uid-" + "0" * 64,
    "UID-" + "0" * 64,
    ".incoming",
    ".archive-id",
    "1" * 64,
    "1" * 65,
    "1" * 200,
    "1.02.3",
    "٣.٣",
    "\ud800",
    "ÀÈ",
    "a" * 300,
]

uids = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=200),
    st.text(alphabet="0123456789.", max_size=70),
    st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Nd"]), max_size=10),
)


@given(uids)
@example("..")
def test_a_component_is_one_safe_name(uid: str) -> None:
    name = paths.component(uid)
    assert set(name) <= set(string.ascii_lowercase + string.digits + ".-")
    assert name.strip(".")
    assert len(os.fsencode(name + paths.SUFFIX)) <= 255
    assert name not in paths.RESERVED
    assert paths.conflict_name(InstanceUIDs("1", "2", uid), bytes(32)).count("/") == 0


@given(uids, uids)
def test_different_uids_have_different_names_even_where_case_does_not_count(
    one: str, other: str
) -> None:
    same = paths.component(one).lower() == paths.component(other).lower()
    assert same == (one == other)


@given(uids, uids, uids)
def test_no_uids_leave_the_tree(study: str, series: str, sop: str) -> None:
    name = paths.place(InstanceUIDs(study, series, sop))
    root = os.path.join(os.sep, "data", "instances")
    path = os.path.normpath(os.path.join(root, name))
    assert os.path.dirname(os.path.dirname(os.path.dirname(path))) == root
    assert paths.is_place(name)


@given(st.lists(st.from_regex(r"[0-9.]{1,64}", fullmatch=True), min_size=3, max_size=3))
def test_plain_uids_stand_as_themselves_and_are_found_again(parts: list[str]) -> None:
    found = InstanceUIDs(*parts)
    if all(part.strip(".") for part in parts):
        assert paths.place(found) == f"{parts[0]}/{parts[1]}/{parts[2]}.dcm"
        assert paths.uids_of(paths.place(found)) == found


def test_hashed_uids_cannot_be_found_again() -> None:
    assert paths.uids_of(paths.place(InstanceUIDs("1", "..", "3"))) is None


@pytest.mark.parametrize(
    "name", ["1/2/3", "1/2.dcm", "1/2/3/4.dcm", "1/../3.dcm", "1/2/x.dcm", "/1/2/3.dcm", "1/2/.dcm"]
)
def test_other_names_are_no_places(name: str) -> None:
    assert not paths.is_place(name)


@given(uids, uids, uids)
def test_a_temporary_name_tells_its_place(study: str, series: str, sop: str) -> None:
    name = paths.temporary(InstanceUIDs(study, series, sop), "4194304-1000000000")
    assert "/" not in name
    assert len(name) <= 255
    assert paths.place_of(name) == paths.place(InstanceUIDs(study, series, sop))


@pytest.mark.parametrize("name", ["4711-1", "", "a_b_c_d", "1.2_1.2_1.2_4711-1", "1.2_1.2.dcm_1-1"])
def test_other_names_tell_none(name: str) -> None:
    assert paths.place_of(name) is None
