"""TLS as hospitals have it: DCMTK on the other side, certificates from files, nodes that go on."""

import io
import os
import select
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode import net
from pacsnode.config.model import ClientTLS
from pacsnode.dicom.message import Answer, Channel, Peer, StoreRequest
from pacsnode.errors import NetworkError
from tests.authority import Authority
from tests.conftest import (
    PATIENCE,
    Dcmtk,
    RunningNode,
    StartNode,
    new_dataset,
    run_pacsnode,
)
from tests.interface.associations import (
    STUDY_ROOT_GET,
    TIMEOUTS,
    Kept,
    OnStore,
    accepted,
    identifier,
    instance_of,
    proposals,
    store,
    store_file,
)
from tests.net.raw import RawPeer

ALL = "access: {unknown_callers: all}\n"
FreePort = Callable[[], int]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    for name in ("node", "client"):
        made.issue(name)
    return made


def file_of(authority: Authority, name: str) -> Path:
    return authority.folder / f"hospital-{name}.pem"


def listen(
    authority: Authority,
    workers: int = 2,
    certificate: str = "node",
    more: str = "",
    port: str = "0",
    host: str = "127.0.0.1",
) -> str:
    tls = (
        f"{{port: 0, certificate: {file_of(authority, certificate)}, client_ca: {authority.file}"
        f"{more}}}"
    )
    return f"listen: {{host: '{host}', port: {port}, workers: {workers}, tls: {tls}}}\n"


@contextmanager
def secure_association(
    node: RunningNode, settings: ClientTLS, on_store: OnStore | None = None, port: int = 0
) -> Iterator[Channel]:
    peer = Peer("node", node.ae_title, "127.0.0.1", port or node.tls_port, "TEST", tls=settings)
    channel = net.connect(peer, proposals(get=on_store is not None), on_store, timeouts=TIMEOUTS)
    try:
        yield channel
    finally:
        channel.release()


def own(authority: Authority) -> list[object]:
    """DCMTK's options for a client of the authority."""
    file = file_of(authority, "client")
    return ["+tls", file, file, "+cf", authority.file]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_sends_and_queries_over_tls(
    start_node: StartNode,
    dcmtk: Dcmtk,
    authority: Authority,
    write_file: Callable[..., Path],
    workers: int,
    profile: str,
) -> None:
    node = start_node(listen(authority, workers) + ALL)
    address = ["-aec", "PACSNODE", "127.0.0.1", node.tls_port]
    options = [*own(authority), profile]
    dcmtk("echoscu", *options, *address)
    path = write_file("a.dcm", PatientID="OVERTLS", PatientName="TLS^OVER")
    dcmtk("storescu", *options, *address, path)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID", "-k", "PatientName=TLS^OVER"]
    found = dcmtk("findscu", "-S", "-v", *options, *address, *keys)
    assert "OVERTLS" in found.stdout
    assert "ECHOSCU from 127.0.0.1 over TLS, called PACSNODE: released" in node.log


def uid_in(path: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "it asks for an association in the clear"),
        (["+tla", "+cf", "CA"], "listen.tls.require_client_certificate demands"),
        (["+tls", "EXPIRED", "EXPIRED", "+cf", "CA"], "has expired"),
        (["+tls", "FOREIGN", "FOREIGN", "+cf", "CA"], "of no authority in listen.tls.client_ca"),
        (["+tls", "CLIENT", "CLIENT", "+cf", "OTHERCA"], "it refuses the node's certificate"),
    ],
    ids=["plain", "none", "expired", "foreign", "mistrusting"],
)
def test_dcmtk_is_refused_and_the_log_says_why(
    start_node: StartNode,
    dcmtk: Dcmtk,
    authority: Authority,
    tmp_path: Path,
    options: list[str],
    reason: str,
) -> None:
    other = Authority(tmp_path / "clinic", "clinic")
    files = {
        "CA": authority.file,
        "OTHERCA": other.file,
        "CLIENT": file_of(authority, "client"),
        "EXPIRED": authority.expired(),
        "FOREIGN": other.issue("client"),
    }
    node = start_node(listen(authority) + ALL)
    words = [files.get(option, option) for option in options]
    done = dcmtk("echoscu", *words, "-aec", "PACSNODE", "127.0.0.1", node.tls_port, check=False)
    assert done.returncode != 0
    line = next(line for line in node.wait_for_log(reason).splitlines() if reason in line)
    assert " WARNING " in line
    assert "connection from 127.0.0.1: no association, TLS: " in line
    dcmtk("echoscu", *own(authority), "-aec", "PACSNODE", "127.0.0.1", node.tls_port)
    dcmtk("echoscu", "-aec", "PACSNODE", "127.0.0.1", node.port)


def modality(port: int, authority: Authority, **settings: object) -> str:
    values = {"ca": authority.file, "certificate": file_of(authority, "client"), **settings}
    tls = ", ".join(f"{key}: {value}" for key, value in values.items())
    return f"modalities:\n  DEST: {{host: 127.0.0.1, port: {port}, tls: {{{tls}}}}}\n"


def test_c_move_goes_to_dcmtk_over_tls(
    start_node: StartNode,
    dcmtk: Dcmtk,
    authority: Authority,
    write_file: Callable[..., Path],
    free_port: FreePort,
    tmp_path: Path,
) -> None:
    out, port, file = tmp_path / "out", free_port(), file_of(authority, "node")
    out.mkdir()
    dcmtk.serve("storescp", "+tls", file, file, "+cf", authority.file, "-od", out, port, port=port)
    node = start_node(listen(authority) + ALL + modality(port, authority))
    path = write_file("a.dcm", PatientID="MOVED")
    assert node.command("send", "DEST", path).returncode == 0
    sent = list(out.iterdir())
    assert len(sent) == 1
    sent[0].unlink()
    assert node.command("send", node.peer, path).returncode == 0
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid_in(path)}"]
    # movescu itself speaks no TLS.
    dcmtk("movescu", "-S", *keys, "-aec", "PACSNODE", "-aem", "DEST", "127.0.0.1", node.port)
    assert len(list(out.iterdir())) == 1
    assert node.command("echo", "DEST").returncode == 0


def test_a_destination_that_fails_at_tls_is_a702_and_says_so(
    start_node: StartNode,
    authority: Authority,
    dcmtk: Dcmtk,
    write_file: Callable[..., Path],
    free_port: FreePort,
    tmp_path: Path,
) -> None:
    port = free_port()
    dcmtk.serve("storescp", "-od", tmp_path, port, port=port)  # in the clear
    node = start_node(listen(authority) + ALL + modality(port, authority))
    path = write_file("a.dcm")
    assert node.command("send", node.peer, path).returncode == 0
    done = node.command(
        "move", node.peer, "--to", "DEST", "-L", "study", "-k", f"StudyInstanceUID={uid_in(path)}"
    )
    assert done.returncode == 1
    assert "A702" in done.stderr
    assert "TLS" in done.stderr
    echo = node.command("echo", "DEST")
    assert echo.returncode == 3
    assert "failed at TLS: " in echo.stderr
    assert "modalities.DEST.tls" in echo.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_tls_alone_and_over_ipv6(start_node: StartNode, authority: Authority, workers: int) -> None:
    node = start_node(listen(authority, workers, port="null", host="::1") + ALL)
    assert node.ready_line == f"ready PACSNODE tls [::1]:{node.tls_port}"
    (node.folder / "client.yaml").write_text(
        f"modalities: {{NODE: {{ae_title: PACSNODE, host: '::1', port: {node.tls_port}, "
        f"tls: {{ca: {authority.file}, certificate: {file_of(authority, 'client')}}}}}}}\n"
    )
    done = run_pacsnode("--config", node.folder / "client.yaml", "echo", "NODE")
    assert done.returncode == 0, done.stderr
    status = node.command("status", "--format", "json")
    assert f'"tls [::1]:{node.tls_port}"' in status.stdout


def test_both_addresses_are_on_the_ready_line(start_node: StartNode, authority: Authority) -> None:
    node = start_node(listen(authority) + ALL)
    assert node.ready_line == (
        f"ready PACSNODE 127.0.0.1:{node.port} tls 127.0.0.1:{node.tls_port}"
    )


@pytest.mark.parametrize("how", ["env", "file"])
def test_the_password_of_a_key_stands_elsewhere(
    start_node: StartNode, authority: Authority, tmp_path: Path, how: str
) -> None:
    certificate, key = authority.encrypted("locked", "s3cret")
    (tmp_path / "password").write_text("s3cret\n")
    word = "!env KEY_PASSWORD" if how == "env" else f"!file {tmp_path / 'password'}"
    text = (
        f"listen:\n  port: 0\n  tls:\n    port: 0\n    certificate: {certificate}\n"
        f"    key: {key}\n    key_password: {word}\n    require_client_certificate: false\n"
    )
    node = start_node(text + ALL, KEY_PASSWORD="s3cret")
    with secure_association(node, authority.client()) as channel:
        assert channel.is_open
    assert "s3cret" not in node.log


@pytest.mark.parametrize("workers", [1, 2])
def test_certificates_are_changed_while_associations_run(
    start_node: StartNode, authority: Authority, tmp_path: Path, workers: int
) -> None:
    renewed, file = Authority(tmp_path / "renewed", "renewed"), tmp_path / "node.pem"
    file.write_bytes(file_of(authority, "node").read_bytes())
    text = listen(authority, workers).replace(str(file_of(authority, "node")), str(file)) + ALL
    node = start_node(text)
    client = authority.client(file_of(authority, "client"))
    with secure_association(node, client) as before:
        assert store(before, *instance_of(new_dataset())).status == 0
        file.write_text("broken")
        node.process.send_signal(signal.SIGHUP)
        log = node.wait_for_log("not reloaded")
        assert f"listen.tls.certificate: {file}: holds no PEM certificate" in log
        with secure_association(node, client) as meanwhile:
            assert store(meanwhile, *instance_of(new_dataset())).status == 0
        file.write_bytes(renewed.issue("node").read_bytes())
        node.process.send_signal(signal.SIGHUP)
        node.wait_for_log("config.yaml reloaded: ")
        assert "only a restart" not in node.log
        with pytest.raises(NetworkError, match="of no authority"):
            secure_association(node, client).__enter__()
        trusting = renewed.client(file_of(authority, "client"))
        with secure_association(node, trusting) as after:
            assert store(after, *instance_of(new_dataset())).status == 0
        assert store(before, *instance_of(new_dataset())).status == 0


def test_a_replaced_worker_goes_on_with_the_certificates_that_were_good(
    start_node: StartNode, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "node.pem"
    file.write_bytes(file_of(authority, "node").read_bytes())
    text = listen(authority).replace(str(file_of(authority, "node")), str(file)) + ALL
    node = start_node(text)
    file.write_text("broken")
    log = node.log
    for line in log.splitlines():
        if " serves as process " in line:
            os.kill(int(line.split(" ")[-1]), signal.SIGKILL)
    node.wait_for_log("ended with SIGKILL")
    client = authority.client(file_of(authority, "client"))
    with secure_association(node, client) as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0


def test_what_cannot_be_used_ends_the_start_with_a_line_for_each_file(
    authority: Authority, tmp_path: Path
) -> None:
    text = listen(authority, certificate="gone") + modality(1, authority, ca=tmp_path / "none.pem")
    (tmp_path / "c.yaml").write_text(text)
    for command in ("serve", "check"):
        done = run_pacsnode("--config", "c.yaml", command, folder=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 2
        assert "listen.tls.certificate: " in lines[0]
        assert "modalities.DEST.tls.ca: " in lines[1]
        assert all("No such file or directory" in line for line in lines)


def test_check_says_what_tls_means(authority: Authority, tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(days=5)
    authority.issue("soon", not_after=soon)
    text = listen(authority, certificate="soon") + modality(2762, authority, verify_host="false")
    (tmp_path / "c.yaml").write_text(text)
    done = run_pacsnode("--config", "c.yaml", "check", folder=tmp_path)
    assert done.returncode == 0
    said = done.stdout
    assert "TLS: 127.0.0.1:0 any free port" in said
    assert "  shows CN=soon,OU=" in said
    assert f"good until {soon:%Y-%m-%d}" in said
    assert f"  clients must show a certificate of an authority in {authority.file}" in said
    assert f"  is sent to over TLS; its certificate is of {authority.file}" in said
    assert "verify_host is false" in said
    assert "  is shown CN=client," in said
    assert f"expires on {soon:%Y-%m-%d}" in done.stderr


def test_an_expired_certificate_of_its_own_is_warned_of_at_start(
    start_node: StartNode, authority: Authority
) -> None:
    authority.expired("old")
    node = start_node(listen(authority, certificate="old") + ALL)
    assert "WARNING listen.tls.certificate: " in node.log
    assert "expired on 2001-01-31" in node.log


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_under_way_over_tls_is_finished_when_told_to_stop(
    start_node: StartNode, authority: Authority, workers: int
) -> None:
    node = start_node(listen(authority, workers) + ALL)
    ds = new_dataset()
    ds.add_new(0x7FE00010, "OW", bytes(8 << 20))
    instance = instance_of(ds)

    class Stopping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            self._stop()
            return super().read(size)

        def readinto(self, buffer: object) -> int:
            self._stop()
            return super().readinto(buffer)  # type: ignore[arg-type]

        def _stop(self) -> None:
            if self.tell() > 4 << 20 and "stopping" not in node.log:
                # The system's buffers may hold all of this: the node must have begun to take it.
                deadline = time.monotonic() + PATIENCE
                while not any((node.data_dir / "instances" / ".incoming").iterdir()):
                    assert time.monotonic() < deadline
                    select.select([], [], [], 0.01)
                node.process.send_signal(signal.SIGTERM)
                node.wait_for_log("stopping")

    client = authority.client(file_of(authority, "client"))
    with secure_association(node, client) as idle, secure_association(node, client) as channel:
        answer = store_file(channel, instance.uid, Stopping(instance.data), len(instance.data))
        assert answer.status == 0
        assert "stopping" in node.log
        with pytest.raises(NetworkError, match="aborted"):
            store(idle, *instance_of(new_dataset()))
    assert node.stop() == 0
    assert node.command("ls", "-k", "PatientID", "--format", "csv").stdout.count("\n") == 2


def test_large_instances_come_and_go_over_one_association_and_can_be_cancelled(
    start_node: StartNode, authority: Authority
) -> None:
    node = start_node(listen(authority) + ALL)
    client = authority.client(file_of(authority, "client"))
    instances = {}
    study = new_dataset().StudyInstanceUID
    with secure_association(node, client) as channel:
        for number in range(8):
            ds = new_dataset(StudyInstanceUID=study)
            ds.add_new(0x7FE00010, "OW", bytes([number]) * (3 << 20))
            instance = instance_of(ds)
            instances[instance.uid] = instance.data
            assert store(channel, *instance).status == 0
    received: dict[str, bytes] = {}
    keys = identifier("STUDY", StudyInstanceUID=study)

    is_slow = False

    class Slow(Kept):
        def finish(self) -> Answer:
            if is_slow:  # so that FF00 comes, which it does on a clock
                time.sleep(0.6)
            return super().finish()

    def keep(request: StoreRequest) -> Kept:
        return Slow(received, request.sop_instance_uid)

    with secure_association(node, client, keep) as channel:
        context = accepted(channel.contexts, STUDY_ROOT_GET)
        assert context is not None
        *_, final = channel.get(context, keys)
        assert final.status == 0
        assert received == instances
        received.clear()
        is_slow = True
        answers = channel.get(context, keys)
        next(answers)
        answers.close()  # type: ignore[attr-defined]  # C-CANCEL
        assert channel.is_open
        assert 0 < len(received) < 8
        received.clear()
        is_slow = False
        *_, final = channel.get(context, keys)
        assert received == instances


def test_openssl_finds_tls_1_3_and_nothing_below_1_2(
    start_node: StartNode, authority: Authority
) -> None:
    node = start_node(listen(authority, more=", require_client_certificate: false") + ALL)

    def ask(*options: str) -> str:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-CAfile",
             authority.file, "-verify_return_error", *options],
            input="", capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "TLSv1.3" in ask()
    assert "Verify return code: 0 (ok)" in ask()
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in ask("-tls1_2")
    assert "alert handshake failure" in ask("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256")
    for old in ("-tls1", "-tls1_1"):
        assert "alert protocol version" in ask(old, "-cipher", "ALL:@SECLEVEL=0")
    renegotiated = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-tls1_2"],
        input="R\n", capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert "no renegotiation" in renegotiated.stdout + renegotiated.stderr


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_thousand_connections_that_never_speak_keep_nobody_waiting_and_leave_nothing(
    start_node: StartNode, authority: Authority, dcmtk: Dcmtk, secure: bool
) -> None:
    node = start_node(listen(authority, workers=1) + ALL + "timeouts: {acse: 3}\n")
    client = authority.client(file_of(authority, "client"))
    with secure_association(node, client) as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0
    node.wait_for_log("released")
    before = held(node)
    silent = []
    try:
        for _ in range(1000):
            port = node.tls_port if secure else node.port
            silent.append(socket.create_connection((node.host, port), PATIENCE))
        threads, descriptors = held(node)
        assert threads - before[0] <= 300
        assert descriptors - before[1] <= 300
        assert run_pacsnode("echo", node.peer).returncode == 0
        with secure_association(node, client) as channel:
            assert store(channel, *instance_of(new_dataset())).status == 0
        for each in silent:
            each.settimeout(PATIENCE)
            assert each.recv(1) == b""
    finally:
        for each in silent:
            each.close()
    wait_until(lambda: held(node) <= before, lambda: f"{held(node)} and not {before}")
    assert "too many wait" in node.log
    assert node.log.count("WARNING") < 20


def held(node: RunningNode) -> tuple[int, int]:
    """Threads and descriptors of a node of one process."""
    folder = Path(f"/proc/{node.process.pid}")
    return len(os.listdir(folder / "task")), len(os.listdir(folder / "fd"))


def wait_until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)


def test_connections_from_other_networks_are_closed_before_a_byte_is_read(
    start_node: StartNode, authority: Authority
) -> None:
    access = "access: {unknown_callers: all, networks: [10.0.0.0/8, 127.0.0.2/32]}\n"
    node = start_node(listen(authority) + access)
    for port in (node.port, node.tls_port):
        peer = RawPeer((node.host, port))
        assert peer.receive() is None
        peer.close()
    log = node.wait_for_log("access.networks")
    assert log.count("WARNING") == 2
    with socket.socket() as welcome:
        welcome.bind(("127.0.0.2", 0))
        welcome.connect((node.host, node.tls_port))
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(file_of(authority, "client"))
        with context.wrap_socket(welcome, server_hostname="127.0.0.1") as secured:
            assert secured.version() == "TLSv1.3"
