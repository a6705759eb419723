"""Everything that comes with pydicom and that DCMTK can send: sent, found, and brought back
byte-identical with getscu and with movescu."""

import re
import shutil
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from tests.conftest import Dcmtk, RunningNode, running_node
from tests.interface.conftest import free_port_number, stored_files
from tests.interface.peer import BIG_ENDIAN, EXPLICIT, IMPLICIT, File, decoded, read_file

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"

# What getscu is to prefer for a transfer syntax. Of itself it never prefers Implicit VR: its +xi
# proposes Explicit VR Little Endian alone.
PREFERRED = {
    IMPLICIT: "+xe",
    EXPLICIT: "+xe",
    BIG_ENDIAN: "+xb",
    "1.2.840.10008.1.2.1.99": "+xd",
    "1.2.840.10008.1.2.4.50": "+xy",
    "1.2.840.10008.1.2.4.51": "+xx",
    "1.2.840.10008.1.2.4.70": "+xs",
    "1.2.840.10008.1.2.4.80": "+xt",
    "1.2.840.10008.1.2.4.81": "+xu",
    "1.2.840.10008.1.2.4.90": "+xv",
    "1.2.840.10008.1.2.4.91": "+xw",
    "1.2.840.10008.1.2.5": "+xr",
}


def _parsed(file: File) -> pydicom.Dataset:
    return decoded(file.dataset, file.transfer_syntax)


def _explicit(implicit: pydicom.Dataset) -> pydicom.Dataset:
    """What implicit VR calls OW is OB where it is bytes (PS3.5 8.1.1 leaves the choice)."""
    if implicit.get("BitsAllocated", 16) <= 8 and "PixelData" in implicit:
        implicit["PixelData"].VR = "OB"
    return implicit


# Bundled files without Study and Series Instance UID: what cannot be filed is refused.
WITHOUT_STUDY = {
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
}


@dataclass
class Round:
    """Files no two of which are the same instance, and what became of them, by instance UID."""

    folder: Path
    sent: dict[str, File] = field(default_factory=dict)
    in_the_tree: dict[str, File] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    got: dict[str, File] = field(default_factory=dict)
    moved: dict[str, File] = field(default_factory=dict)
    reference_output: str = ""
    output: str = ""

    @property
    def stored(self) -> dict[str, File]:
        """Those of `sent` that a node has to take."""
        return {uid: file for uid, file in self.sent.items() if "StudyInstanceUID" in _parsed(file)}


def read_folder(folder: Path) -> dict[str, File]:
    files = [read_file(path.read_bytes()) for path in stored_files(folder)]
    assert len({file.sop_instance_uid for file in files}) == len(files)
    return {file.sop_instance_uid: file for file in files}


def _rounds(home: Path) -> list[Round]:
    """The bundled files, as few folders as keep the same instance in two forms apart."""
    seen: Counter[str] = Counter()
    folders: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        uid = _instance_uid(path)
        folders[seen[uid]].append(path)
        seen[uid] += bool(uid)
    rounds = []
    for number, paths in sorted(folders.items()):
        folder = home / f"round{number}"
        for path in paths:
            target = folder / path.relative_to(FOLDER)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        rounds.append(Round(folder))
    return rounds


def _instance_uid(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return str(ds.get("SOPInstanceUID", ""))
        except (InvalidDicomError, ValueError, KeyError, NotImplementedError, OSError):
            return ""


def _profile(path: Path) -> str:
    """An association profile for storescu with each SOP class in each transfer syntax that the
    files need, in contexts of their own: `storescu -R` proposes one compression at a time."""
    kinds = set()
    for file in sorted(FOLDER.rglob("*")):
        if file.is_file() and file.read_bytes()[128:132] == b"DICM":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = pydicom.dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True)
            sop_class = ds.get("SOPClassUID")
            if sop_class:
                syntax = ds.file_meta.get("TransferSyntaxUID", IMPLICIT)
                kinds |= {(sop_class, uid) for uid in (syntax, IMPLICIT, EXPLICIT, BIG_ENDIAN)}
    assert len(kinds) <= 128, "more than one association can have"
    syntaxes = sorted({syntax for _, syntax in kinds})
    lines = ["[[TransferSyntaxes]]"]
    lines += [f"[Syntax{n}]\nTransferSyntax1 = {uid}" for n, uid in enumerate(syntaxes)]
    lines += ["[[PresentationContexts]]", "[All]"]
    for number, (sop_class, syntax) in enumerate(sorted(kinds), 1):
        lines.append(f"PresentationContext{number} = {sop_class}\\Syntax{syntaxes.index(syntax)}")
    lines += ["[[Profiles]]", "[Default]", "PresentationContexts = All"]
    path.write_text("\n".join(lines), "ascii")
    return str(path)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Round]]:
    """The whole journey of each round; a node that replaces forgets the round before."""
    home = tmp_path_factory.mktemp("round_trip")
    with ExitStack() as stack:
        dcmtk = Dcmtk(stack)
        reference, destination = _Storescp(dcmtk, home / "sent"), _Storescp(dcmtk, home / "moved")
        config = (
            "access: {unknown_callers: all}\n"
            "storage: {on_duplicate: replace, min_free: 1, fsync: false}\n"
            f"modalities: {{STORESCP: {{host: 127.0.0.1, port: {destination.port}}}}}\n"
        )
        (home / "node").mkdir()
        node = stack.enter_context(running_node(home / "node", config))
        profile = _profile(home / "profile.cfg")
        journeys = _rounds(home)
        for journey in journeys:
            _send(dcmtk, node, reference, profile, journey)
            if journey.sent:
                _bring_back(dcmtk, node, destination, home / "got", journey)
        yield journeys


class _Storescp:
    """A storescp that takes everything and writes it as it comes."""

    def __init__(self, dcmtk: Dcmtk, folder: Path) -> None:
        self.folder, self.port = folder, free_port_number()
        folder.mkdir()
        dcmtk.serve("storescp", "+xa", "+B", "-od", folder, self.port, port=self.port)

    def take(self) -> dict[str, File]:
        """What has come since the last time."""
        came = read_folder(self.folder)
        for path in stored_files(self.folder):
            path.unlink()
        return came


def _send(
    dcmtk: Dcmtk, node: RunningNode, reference: _Storescp, profile: str, journey: Round
) -> None:
    options = ("-v", "-nh", "-xf", profile, "Default", "+sd", "+r", "127.0.0.1")
    sent = dcmtk("storescu", *options, reference.port, journey.folder, check=False)
    journey.reference_output = sent.stdout
    journey.sent = reference.take()
    journey.output = dcmtk("storescu", *options, node.port, journey.folder, check=False).stdout
    everything = read_folder(node.data_dir / "instances")
    journey.in_the_tree = {uid: file for uid, file in everything.items() if uid in journey.sent}


def _bring_back(
    dcmtk: Dcmtk, node: RunningNode, destination: _Storescp, folder: Path, journey: Round
) -> None:
    address = (node.host, node.port)
    all_uids = "\\".join(journey.sent)
    level = ("-k", "QueryRetrieveLevel=IMAGE")
    found = dcmtk("findscu", "-S", *level, "-k", f"SOPInstanceUID={all_uids}", *address)
    journey.found = re.findall(r"\(0008,0018\) UI \[([\d.]+)", found.stdout)
    by_syntax = defaultdict(list)
    for uid, file in journey.sent.items():
        by_syntax[file.transfer_syntax].append(uid)
    for syntax, uids in by_syntax.items():
        folder.mkdir()
        wanted = ("-k", "SOPInstanceUID=" + "\\".join(uids))
        dcmtk("getscu", "-S", "+B", PREFERRED[syntax], "-od", folder, *level, *wanted, *address)
        journey.got |= read_folder(folder)
        shutil.rmtree(folder)
    wanted = ("-k", f"SOPInstanceUID={all_uids}")
    dcmtk("movescu", "-S", "-aem", "STORESCP", *level, *wanted, *address)
    journey.moved = destination.take()


def _answers(output: str) -> list[tuple[str, str]]:
    """File, without its folder, and what storescu says became of it."""
    answers, name = [], ""
    for line in output.splitlines():
        if "Sending file: " in line:
            name = line.rpartition("/")[2]
        elif "Received Store Response" in line:
            answers.append((name, line.removeprefix("I: ")))
        elif "Store Failed" in line:
            answers.append((line.rpartition("/")[2].rstrip(":"), "not sent"))
    return answers


def test_the_bundled_files_have_every_kind_of_transfer_syntax(rounds: Sequence[Round]) -> None:
    syntaxes = {file.transfer_syntax for journey in rounds for file in journey.sent.values()}
    assert syntaxes == set(PREFERRED)
    assert sum(len(journey.sent) for journey in rounds) > 140


def test_every_file_that_dcmtk_can_send_is_answered_0000(rounds: Sequence[Round]) -> None:
    refused = set()
    for journey in rounds:
        answers, reference = _answers(journey.output), _answers(journey.reference_output)
        assert [name for name, _ in answers] == [name for name, _ in reference]
        for (name, answer), (_, reference_answer) in zip(answers, reference, strict=True):
            if answer == "Received Store Response (Error: CannotUnderstand)":
                refused.add(name)
            else:
                assert answer == reference_answer
        received = [answer for _, answer in reference if answer.startswith("Received")]
        assert received == ["Received Store Response (Success)"] * len(journey.sent)
    assert refused == WITHOUT_STUDY


def test_the_tree_holds_the_datasets_as_they_were_sent(rounds: Sequence[Round]) -> None:
    for journey in rounds:
        assert journey.in_the_tree == journey.stored


def test_every_instance_is_found_at_the_image_level(rounds: Sequence[Round]) -> None:
    for journey in rounds:
        assert sorted(journey.found) == sorted(journey.stored)


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_getscu_brings_every_dataset_back_byte_for_byte(rounds: Sequence[Round]) -> None:
    for journey in rounds:
        assert sorted(journey.got) == sorted(journey.stored)
        for uid, file in journey.stored.items():
            got = journey.got[uid]
            if file.transfer_syntax != IMPLICIT:
                assert got == file
                continue
            assert got.transfer_syntax == EXPLICIT
            assert _parsed(got) == _explicit(_parsed(file))


def test_movescu_brings_every_dataset_back_byte_for_byte(rounds: Sequence[Round]) -> None:
    for journey in rounds:
        assert journey.moved == journey.stored
