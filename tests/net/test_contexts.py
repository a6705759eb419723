"""Which presentation contexts are accepted."""

import pytest
from pydicom.uid import (
    AllTransferSyntaxes,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from pacsnode.net.contexts import Roles, Service, choose_roles, choose_transfer_syntax, service_of

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("uid", "service"),
    [
        ("1.2.840.10008.1.1", Service.ECHO),
        (CT, Service.STORE),
        ("1.2.840.10008.5.1.4.1.1.12.3", Service.STORE),  # XA Bi-plane, retired
        ("1.2.840.10008.5.1.1.27", Service.STORE),  # Stored Print, retired
        ("1.3.12.2.1107.5.9.1", Service.STORE),  # private
        ("1.2.840.10008.5.1.4.1.1.999.9", Service.STORE),  # not known yet
        ("1.2.840.10008.5.1.4.1.2.1.1", Service.FIND),
        ("1.2.840.10008.5.1.4.1.2.2.2", Service.MOVE),
        ("1.2.840.10008.5.1.4.1.2.3.3", Service.GET),
        ("1.2.840.10008.1.20.1", Service.COMMIT),
        ("1.2.840.10008.1.20.2", None),  # the Pull Model, retired
        ("1.2.840.10008.1.3.10", None),  # DICOMDIR
        ("1.2.840.10008.5.1.4.38.1", None),  # Hanging Protocol
        ("1.2.840.10008.5.1.4.31", None),  # Modality Worklist
        ("1.2.840.10008.3.1.2.3.3", None),  # MPPS
        ("1.2.840.10008.999", None),
        ("", None),
    ],
)
def test_the_service_of_a_sop_class(uid: str, service: Service | None) -> None:
    assert service_of(uid) is service


def test_storage_takes_the_requestors_first_known_or_private_transfer_syntax() -> None:
    def choose(*proposed: str) -> str | None:
        return choose_transfer_syntax(Service.STORE, proposed)

    assert choose("1.2.840.10008.1.2.9999", JPEG2000Lossless, ImplicitVRLittleEndian) == (
        JPEG2000Lossless
    )
    assert choose("1.2.840.113619.5.2", ExplicitVRLittleEndian) == "1.2.840.113619.5.2"
    assert choose("1.2.840.10008.1.2.9999", "") is None
    for uid in AllTransferSyntaxes:
        assert choose(uid) == uid


def test_queries_take_uncompressed_transfer_syntaxes_only() -> None:
    assert choose_transfer_syntax(Service.FIND, [JPEG2000Lossless]) is None
    assert (
        choose_transfer_syntax(Service.FIND, [JPEG2000Lossless, ExplicitVRLittleEndian])
        == ExplicitVRLittleEndian
    )


def test_the_requestor_may_be_scp_of_storage_only() -> None:
    both = Roles(scu=True, scp=True)
    answers = choose_roles({CT: both, "1.2.840.10008.5.1.4.1.2.2.1": both, "1.2.840.10008.0": both})
    assert answers == {CT: both, "1.2.840.10008.5.1.4.1.2.2.1": Roles(scu=True, scp=False)}


def test_where_no_role_is_left_there_is_no_answer() -> None:
    only_scp = Roles(scu=False, scp=True)
    assert choose_roles({"1.2.840.10008.1.1": only_scp, CT: only_scp}) == {CT: only_scp}


@pytest.mark.parametrize("roles", [Roles(False, True), Roles(True, True), Roles(True, False)])
def test_storage_commitment_has_its_requestor_as_whatever_it_wants_to_be(roles: Roles) -> None:
    assert choose_roles({"1.2.840.10008.1.20.1": roles}) == {"1.2.840.10008.1.20.1": roles}
