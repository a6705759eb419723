import pytest

from pacsnode.config.model import Modality
from pacsnode.errors import UsageError
from pacsnode.scu.peer import find_modality, peer_of, resolve

MODALITIES = {
    "ARCHIVE": Modality(ae_title="ARCH_AE", host="10.0.0.5", port=11112),
    "CT1": Modality(
        ae_title="CT1",
        host="ct1.example",
        calling_ae_title="FORCT",
        character_set="ISO_IR 100",
        transfer_syntaxes=["ExplicitVRLittleEndian"],
    ),
}


def test_a_name_and_an_ae_title_mean_the_modality() -> None:
    by_name = resolve("ARCHIVE", MODALITIES, "PACSNODE")
    assert resolve("ARCH_AE", MODALITIES, "PACSNODE") == by_name
    assert (by_name.ae_title, by_name.host, by_name.port) == ("ARCH_AE", "10.0.0.5", 11112)
    assert by_name.calling_ae_title == "PACSNODE"


def test_a_modality_says_how_the_node_names_itself_to_it_and_what_it_is_sent() -> None:
    peer = peer_of("CT1", MODALITIES["CT1"], "PACSNODE")
    assert peer.calling_ae_title == "FORCT"
    assert peer.character_set == "ISO_IR 100"
    assert peer.transfer_syntaxes == ("1.2.840.10008.1.2.1",)


def test_aet_goes_before_every_other_calling_title() -> None:
    assert resolve("CT1", MODALITIES, "PACSNODE", aet="ME").calling_ae_title == "ME"
    with pytest.raises(UsageError, match="AE title"):
        resolve("CT1", MODALITIES, "PACSNODE", aet="A" * 17)


@pytest.mark.parametrize(
    ("text", "title", "host", "port"),
    [
        ("STORESCP@localhost:11113", "STORESCP", "localhost", 11113),
        ("ANY AE@[::1]:104", "ANY AE", "::1", 104),
        ("lower@192.0.2.1:65535", "lower", "192.0.2.1", 65535),
    ],
)
def test_a_peer_can_be_written_out(text: str, title: str, host: str, port: int) -> None:
    peer = resolve(text, MODALITIES, "PACSNODE")
    assert (peer.ae_title, peer.host, peer.port) == (title, host, port)
    assert str(peer) == text


@pytest.mark.parametrize(
    "text",
    [
        "@host:104", "AE@:104", "AE@host", "AE@host:", "AE@host:0", "AE@host:65536", "AE@host:x",
        "AE@::1:104", "A23456789012345678@host:104", "AE@host:104 ", "AE@[::1]", "A\\E@host:104",
    ],
)  # fmt: skip
def test_what_is_half_written_out_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        resolve(text, MODALITIES, "PACSNODE")


def test_an_unknown_peer_is_answered_with_the_nearest_known() -> None:
    with pytest.raises(UsageError, match="nearest: ARCHIVE"):
        resolve("ARHCIVE", MODALITIES, "PACSNODE")
    with pytest.raises(UsageError, match="known: ARCHIVE, CT1"):
        resolve("zzz", MODALITIES, "PACSNODE")
    with pytest.raises(UsageError, match="empty"):
        resolve("zzz", {}, "PACSNODE")


def test_titles_are_compared_trimmed_and_with_case() -> None:
    found = find_modality("CT1 \0", MODALITIES)
    assert found is not None
    assert found[0] == "CT1"
    assert find_modality("ct1", MODALITIES) is None
    assert find_modality("ARCHIVE", MODALITIES) is None
