import pytest

from pacsnode.errors import InstanceDamaged, InvalidQuery, PeerTimeout, StorageError
from pacsnode.scp.failure import failure, status_of

TABLE = {StorageError: 0xA701, InvalidQuery: 0xA900}


def test_the_nearest_class_decides() -> None:
    assert status_of(InstanceDamaged("x"), TABLE) == 0xA701
    assert status_of(InstanceDamaged, {**TABLE, InstanceDamaged: 1}) == 1
    assert status_of(PeerTimeout("x"), TABLE) is None


def test_the_peer_learns_what_is_wrong_with_its_request_and_nothing_of_our_inside() -> None:
    assert failure(InvalidQuery("no level"), TABLE).comment == "no level"
    assert "/srv/data" not in failure(StorageError("/srv/data: EIO"), TABLE).comment


def test_what_the_table_does_not_know_is_raised_again() -> None:
    error = PeerTimeout("x")
    with pytest.raises(PeerTimeout) as caught:
        failure(error, TABLE)
    assert caught.value is error
