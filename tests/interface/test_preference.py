"""A peer's own list of transfer syntaxes, and the urgency of a move, against DCMTK's storescp."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from tests.conftest import Completed, Dcmtk, StartNode
from tests.interface.conftest import free_port_number, stored_files
from tests.interface.peer import File, decoded, read_file

EXPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))

Moved = Callable[[Sequence[str]], tuple[Completed, list[File], str]]


@pytest.fixture
def moved(start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path) -> Moved:
    """Has a CT image moved to a storescp that takes JPEG-LS, with these `transfer_syntaxes`."""

    def move(names: Sequence[str]) -> tuple[Completed, list[File], str]:
        port, came = free_port_number(), tmp_path / "came"
        came.mkdir()
        dcmtk.serve("storescp", "+xt", "-od", came, port, port=port)
        where = f"host: 127.0.0.1, port: {port}, transfer_syntaxes: [{', '.join(names)}]"
        node = start_node(f"access: {{unknown_callers: all}}\nmodalities: {{S: {{{where}}}}}\n")
        assert node.command("import", CT).returncode == 0
        ended = node.command(
            "move", node.peer, "--to", "S", "--priority", "high", "-k", "PatientID=1CT1"
        )
        return ended, [read_file(path.read_bytes()) for path in stored_files(came)], node.log

    return move


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["JPEGLSLossless", "ExplicitVRLittleEndian"], JPEG_LS),
        (["ExplicitVRLittleEndian", "JPEGLSLossless"], EXPLICIT),
        (["JPEG2000Lossless", "JPEGLSLossless"], JPEG_LS),
    ],
)
def test_the_first_of_the_list_that_is_accepted_is_sent(
    moved: Moved, names: Sequence[str], expected: str
) -> None:
    ended, (file,), _ = moved(names)
    assert ended.returncode == 0, ended.stderr
    assert file.transfer_syntax == expected
    before = read_file(CT.read_bytes())
    assert np.array_equal(
        decoded(file.dataset, file.transfer_syntax).pixel_array,
        decoded(before.dataset, before.transfer_syntax).pixel_array,
    )


def test_what_cannot_be_had_in_any_of_them_fails_by_the_name_of_the_setting(moved: Moved) -> None:
    ended, files, log = moved(["JPEGBaseline8Bit"])
    assert (ended.returncode, files) == (1, [])
    assert "modalities.S.transfer_syntaxes: JPEGBaseline8Bit" in log
