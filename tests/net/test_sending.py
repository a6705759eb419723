"""Datasets on their way out: what the peer gets is the file, in PDUs that it takes."""

import io
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pacsnode import net
from pacsnode.config.model import Timeouts
from pacsnode.dicom.message import (
    Answer,
    Channel,
    DatasetSource,
    GetRequest,
    Peer,
    ProposedContext,
    Suboperation,
)
from pacsnode.errors import InstanceDamaged
from pacsnode.net.listener import Listener
from pacsnode.net.sending import COMMAND, LAST, ONE_WRITE, Outbox, fragments, largest_fragment
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, STUDY_GET, RawPeer

Play = Callable[..., tuple[str, int]]

LENGTHS = (0, 2, 4090, 4092, 300_002, ONE_WRITE, 2 * ONE_WRITE + 40_002)
LIMITS = (4096, 16384, 131072, 0)


def random_source(tmp_path: Path, length: int) -> tuple[bytes, BinaryIO]:
    """A dataset in a file, after 300 bytes of something else."""
    data = os.urandom(length)
    (tmp_path / "file").write_bytes(bytes(300) + data)
    file = (tmp_path / "file").open("rb")
    file.read(300)
    return data, file


def parse(stream: bytes) -> list[tuple[int, int, int, bytes]]:
    """PDU length, context, control and content of each fragment."""
    found = []
    position = 0
    while position < len(stream):
        kind, length = struct.unpack_from(">BxL", stream, position)
        assert kind == raw.P_DATA
        size, context_id, control = struct.unpack_from(">LBB", stream, position + 6)
        assert size + 4 == length, "one fragment in each PDU"
        found.append((length, context_id, control, stream[position + 12 : position + 6 + length]))
        position += 6 + length
    assert position == len(stream)
    return found


@pytest.mark.parametrize("limit", [*LIMITS, 8, 13])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_is_cut_into_the_peers_pdus(tmp_path: Path, limit: int, length: int) -> None:
    length = min(length, 40_002) if 0 < limit < 4096 else length
    data, file = random_source(tmp_path, length)
    outbox = Outbox(largest_fragment(limit))
    with file:
        outbox.load(5, DatasetSource(file, length))
        stream = b"".join(bytes(block) for block in outbox.unload(b""))
    found = parse(stream)
    assert b"".join(content for _, _, _, content in found) == data
    assert {context_id for _, context_id, _, _ in found} == {5}
    assert [control for _, _, control, _ in found] == [0] * (len(found) - 1) + [LAST]
    assert all(size <= (limit or 131_078) for size, _, _, _ in found)
    assert all(len(content) % 2 == 0 for _, _, _, content in found)


def test_one_buffer_serves_datasets_of_all_sizes_and_contexts() -> None:
    outbox = Outbox(largest_fragment(16384))
    for number, length in enumerate((10, 3_000_000, 526_000, 2, 1_048_576)):
        data = os.urandom(length)
        context_id = 2 * number + 1
        outbox.load(context_id, DatasetSource(io.BytesIO(data), length))
        found = parse(b"".join(bytes(block) for block in outbox.unload(b"")))
        assert b"".join(content for _, _, _, content in found) == data
        assert {found_in for _, found_in, _, _ in found} == {context_id}


@pytest.mark.parametrize("length", [200, 5000])
def test_the_command_set_goes_first_however_long_it_is(length: int) -> None:
    command = os.urandom(length)
    outbox = Outbox(largest_fragment(16384))
    outbox.load(1, DatasetSource(io.BytesIO(b"abcd"), 4))
    stream = b"".join(bytes(block) for block in outbox.unload(command))
    assert stream[:length] == command
    assert parse(stream[length:])[0][3] == b"abcd"


def test_a_command_set_and_its_dataset_go_to_one_write() -> None:
    outbox = Outbox(largest_fragment(16384))
    outbox.load(1, DatasetSource(io.BytesIO(bytes(526_000)), 526_000))
    assert len(list(outbox.unload(bytes(300)))) == 1


def test_data_in_memory_is_cut_too() -> None:
    data = os.urandom(10_001)
    found = parse(b"".join(fragments(3, COMMAND, data, 4090)))
    assert b"".join(content for _, _, _, content in found) == data
    assert [control for _, _, control, _ in found] == [COMMAND, COMMAND, COMMAND | LAST]
    assert parse(b"".join(fragments(3, 0, b"", 4090))) == [(6, 3, LAST, b"")]


@pytest.mark.parametrize("is_file", [True, False])
def test_what_ends_early_is_damaged(tmp_path: Path, is_file: bool) -> None:
    data, file = random_source(tmp_path, ONE_WRITE + 200_000)
    source = DatasetSource(file if is_file else io.BytesIO(data), ONE_WRITE + 200_002)
    outbox = Outbox(largest_fragment(16384))
    with file:
        outbox.load(1, source)
        with pytest.raises(InstanceDamaged):
            list(outbox.unload(b""))
    with pytest.raises(InstanceDamaged):
        outbox.load(1, DatasetSource(io.BytesIO(bytes(1000)), 1002))


def test_what_failed_to_load_is_not_taken_for_loaded() -> None:
    outbox = Outbox(largest_fragment(16384))
    good = DatasetSource(io.BytesIO(bytes(10)), 10)
    bad = DatasetSource(io.BytesIO(bytes(10)), 12)
    outbox.load(1, good)
    assert outbox.holds(1, good)
    assert not outbox.holds(3, good)
    with pytest.raises(InstanceDamaged):
        outbox.load(1, bad)
    assert not outbox.holds(1, good)
    assert not outbox.holds(1, bad)


class Collecting:
    """A storage SCP that announces `max_pdu` and keeps the PDUs of one C-STORE."""

    def __init__(self, max_pdu: int) -> None:
        self._max_pdu = max_pdu
        self.go_on = threading.Event()
        self.go_on.set()
        self.longest = 0
        self.data = b""

    def __call__(self, connection: socket.socket) -> None:
        raw.accept(connection, max_pdu=self._max_pdu)
        peer = RawPeer.over(connection)
        is_last = False
        contents = []
        while not is_last:
            assert self.go_on.wait(20)
            pdu = peer.receive()
            assert pdu is not None
            self.longest = max(self.longest, len(pdu[1]))
            if not pdu[1][5] & COMMAND:
                contents.append(pdu[1][6:])
                is_last = bool(pdu[1][5] & LAST)
        self.data = b"".join(contents)
        answer = raw.command(x0100=0x8001, x0120=1, x0800=0x0101, x0900=0)
        connection.sendall(raw.pdu(raw.P_DATA, raw.pdv(1, 3, answer)))
        raw.until_closed(connection)


def open_channel(address: tuple[str, int]) -> Channel:
    peer = Peer("TEST", "PACSNODE", *address, "US")
    return net.connect(peer, [ProposedContext(CT, (IMPLICIT,))], timeouts=Timeouts())


@pytest.mark.parametrize("limit", LIMITS)
def test_the_peer_gets_the_file_in_pdus_that_it_takes(
    tmp_path: Path, play: Play, limit: int
) -> None:
    data, file = random_source(tmp_path, 2_600_000)
    peer = Collecting(limit)
    channel = open_channel(play(peer))
    with file:
        operation = Suboperation(channel.contexts[0], CT, "1.2", DatasetSource(file, len(data)))
        assert channel.store(operation).status == 0
    channel.abort()
    assert peer.data == data
    assert peer.longest == (limit or 131_078)


def test_writes_that_are_taken_in_part_go_on_where_they_stopped(play: Play) -> None:
    data = os.urandom(5_000_000)
    peer = Collecting(4096)
    peer.go_on.clear()
    channel = open_channel(play(peer))
    client = channel._association.dul.connection._client  # type: ignore[attr-defined]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    source = DatasetSource(io.BytesIO(data), len(data))
    ticks = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:  # the kernel's buffers are full by now
            peer.go_on.set()

    assert channel.store(Suboperation(channel.contexts[0], CT, "1.2", source), tick).status == 0
    channel.abort()
    assert peer.data == data


def test_ticks_come_while_a_peer_takes_a_long_dataset_without_a_pause(play: Play) -> None:
    peer = Collecting(0)
    channel = open_channel(play(peer))
    length = 8 * ONE_WRITE
    source = DatasetSource(io.BytesIO(bytes(length)), length)
    ticks = []
    channel.store(Suboperation(channel.contexts[0], CT, "1.2", source), lambda: ticks.append(1))
    channel.abort()
    assert len(ticks) >= 8


def store_of(channel: Channel, length: int) -> Suboperation:
    source = DatasetSource(io.BytesIO(bytes(length)), length)
    return Suboperation(channel.contexts[0], CT, "1.2", source)


def test_ticks_come_while_a_peer_takes_one_write_slowly_but_steadily(play: Play) -> None:
    channel = open_channel(play(Collecting(0)))
    client = channel._association.dul.connection._client  # type: ignore[attr-defined]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ticks = []
    channel.store(store_of(channel, ONE_WRITE - 1000), lambda: ticks.append(1))
    channel.abort()
    assert len(ticks) > 1, "one is before the write"


def test_what_a_tick_raises_while_the_peer_takes_nothing_ends_it_at_once(play: Play) -> None:
    finished = threading.Event()

    def script(connection: socket.socket) -> None:
        raw.accept(connection)
        finished.wait(20)

    channel = open_channel(play(script))
    began = time.monotonic()
    moments = [began]

    def tick() -> None:
        moments.append(time.monotonic())
        if moments[-1] - moments[-2] > 0.4:
            raise LookupError("the requester has gone")

    with pytest.raises(LookupError):
        channel.store(store_of(channel, 30 << 20), tick)
    assert not channel.is_open
    assert time.monotonic() - began < 10, "and not after the 60 s that a write may take"
    finished.set()


def test_a_node_that_stops_waits_for_no_peer_that_takes_nothing(
    serve: Callable[..., Listener], handler: ScriptedHandler
) -> None:
    """In the middle of a C-GET's dataset."""
    begun = threading.Event()

    def get(request: GetRequest) -> Iterator[Answer]:
        begun.set()
        request.channel.store(store_of(request.channel, 30 << 20))
        yield Answer(0)

    handler.get = get
    listener = serve()
    peer = RawPeer(listener.address)
    contexts = [(1, STUDY_GET, [IMPLICIT]), (3, CT, [IMPLICIT])]
    peer.associate(*contexts, user_items=raw.role(CT, 0, 1))
    peer.send(raw.get_rq(1))
    assert begun.wait(20)
    stopping = threading.Thread(target=listener.stop, args=(60,))
    stopping.start()
    stopping.join(20)
    assert not stopping.is_alive(), "though it has 60 s for what is under way"
    peer.close()


def test_what_comes_next_is_loaded_before_the_answer_is_there(play: Play) -> None:
    """The peer answers only when the next dataset is loaded, and gets that one whole."""
    is_loaded = threading.Event()
    received = []

    def script(connection: socket.socket) -> None:
        raw.accept(connection)
        peer = RawPeer.over(connection)
        for message_id in (1, 2):
            data = b""
            control = 0
            while control != LAST:
                pdu = peer.receive()
                assert pdu is not None
                control = pdu[1][5]
                data += b"" if control & COMMAND else pdu[1][6:]
            received.append(data)
            assert is_loaded.wait(20)
            answer = raw.command(x0100=0x8001, x0120=message_id, x0800=0x0101, x0900=0)
            connection.sendall(raw.pdu(raw.P_DATA, raw.pdv(1, 3, answer)))

    channel = open_channel(play(script))
    datasets = [os.urandom(40_000), os.urandom(2_500_000)]
    first, second = (
        Suboperation(channel.contexts[0], CT, uid, DatasetSource(io.BytesIO(data), len(data)))
        for uid, data in zip(("1.2", "1.3"), datasets, strict=True)
    )

    def meanwhile() -> None:
        channel.load(second)
        is_loaded.set()

    assert channel.store(first, meanwhile=meanwhile).status == 0
    assert second.source.file.tell() > 0, "read ahead"
    assert channel.store(second).status == 0
    channel.abort()
    assert received == datasets


def test_another_instance_than_the_one_loaded_goes_out_whole(play: Play) -> None:
    peer = Collecting(16384)
    channel = open_channel(play(peer))
    loaded, wanted = (DatasetSource(io.BytesIO(data), 4) for data in (b"abcd", b"efgh"))
    channel.load(Suboperation(channel.contexts[0], CT, "1.2", loaded))
    assert channel.store(Suboperation(channel.contexts[0], CT, "1.3", wanted)).status == 0
    channel.abort()
    assert peer.data == b"efgh"


def test_what_goes_wrong_meanwhile_passes_and_ends_the_association(play: Play) -> None:
    def meanwhile() -> None:
        raise LookupError("a fault of ours")

    channel = open_channel(play(Collecting(16384)))
    source = DatasetSource(io.BytesIO(b"ab"), 2)
    with pytest.raises(LookupError):
        channel.store(Suboperation(channel.contexts[0], CT, "1.2", source), meanwhile=meanwhile)
    assert not channel.is_open
