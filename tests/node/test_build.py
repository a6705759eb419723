from pathlib import Path

import pytest

from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError, DataFolderLocked
from pacsnode.node.build import Node, build_archive, changed_keys, character_sets


def configuration(folder: Path, **sections: object) -> Configuration:
    return Configuration.model_validate(
        {"listen": {"port": 0}, **sections}, context={"folder": folder}
    )


def test_changed_keys_are_those_that_take_a_restart(tmp_path: Path) -> None:
    before = configuration(tmp_path)
    after = configuration(
        tmp_path,
        ae_title="OTHER",
        listen={"port": 0, "max_pdu": 0},
        access={"check_host": True},
        modalities={"A": {"host": "x"}},
        log={"level": "DEBUG"},
    )
    assert changed_keys(before, after) == ["ae_title", "listen.max_pdu"]
    assert changed_keys(before, before) == []


def test_character_sets_go_by_ae_title(tmp_path: Path) -> None:
    modalities = {
        "A": {"host": "x", "ae_title": "CT1", "character_set": "ISO_IR 100"},
        "B": {"host": "x"},
    }
    sets = character_sets(configuration(tmp_path, modalities=modalities).modalities)
    assert sets == {"CT1": "ISO_IR 100"}


def test_a_node_reconfigures_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    node = Node(configuration(tmp_path))
    node.start()
    try:
        assert node.is_healthy
        changed = configuration(
            tmp_path,
            ae_title="OTHER",
            access={"unknown_callers": []},
            modalities={"CT1": {"host": "x", "character_set": "ISO_IR 144"}},
        )
        assert node.reconfigure(changed) == ["ae_title"]
        assert node.configuration.ae_title == "PACSNODE"
        assert node.configuration.access.unknown_callers == frozenset()
    finally:
        node.stop(0)
    assert not node.is_healthy


def test_the_data_folder_is_let_go_where_the_address_cannot_be_had(tmp_path: Path) -> None:
    node = Node(configuration(tmp_path / "a"))
    port = (node.addresses.plain or pytest.fail("no address"))[1]
    blocked = configuration(tmp_path / "b", listen={"port": port})
    with pytest.raises(ConfigurationError, match="cannot listen"):
        Node(blocked)
    with build_archive(configuration(tmp_path / "b"), serving=True) as archive:
        assert archive.statistics().known.instances == 0
    node.start()
    node.stop(0)


def test_two_nodes_do_not_share_a_data_folder(tmp_path: Path) -> None:
    node = Node(configuration(tmp_path))
    with pytest.raises(DataFolderLocked):
        Node(configuration(tmp_path))
    node.start()
    node.stop(0)
