"""The connection doctor's judgements: what an answer means, what to do about it, and lines that a
node takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom import Dataset, dcmread

from pacsnode.config.load import load
from pacsnode.config.model import ClientTLS
from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.message import Context, Counters, Peer, Response
from pacsnode.dicom.part10 import encode_plain_meta
from pacsnode.dicom.query import Model
from pacsnode.errors import AssociationRejected, PeerTimeout
from pacsnode.scu.doctor.advice import advise
from pacsnode.scu.doctor.arrivals import Arrival, TurnedAway
from pacsnode.scu.doctor.case import Ours
from pacsnode.scu.doctor.classes import COMMON, TRANSFER_SYNTAXES, every_class
from pacsnode.scu.doctor.lines import Key, modality
from pacsnode.scu.doctor.sample import make
from pacsnode.scu.doctor.steps import Cause, Step, Verdict, failed
from pacsnode.scu.doctor.storage import get, group, storage
from pacsnode.scu.doctor.talk import SERVICES, associate, echo, find
from pacsnode.scu.doctor.way_back import ATTEMPTS, ask_back, movable, send_sample
from pacsnode.scu.echo import VERIFICATION
from tests.scu.scripted import CT, EXPLICIT, IMPLICIT, MPEG, MR, RLE, ScriptedChannel, ScriptedPeer

PEER = Peer("ARCHIVE", "ARCHIVE", "10.0.0.5", 104, "PACSNODE")
OURS = Ours("PACSNODE", "10.0.0.1", 11112)
SAMPLE = make(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))


@dataclass
class Desk:
    """Arrivals as told."""

    arrival: Arrival | None = None
    refusals: Sequence[TurnedAway] = ()
    removed: int = 0
    pauses: list[float] = field(default_factory=list)

    def arrived(self) -> Arrival | None:
        return self.arrival

    def turned_away(self) -> Sequence[TurnedAway]:
        return self.refusals

    def remove(self) -> int:
        return self.removed


def moved(*last: Response, desk: Desk | None = None) -> tuple[list[Step], list[float]]:
    """The steps where the peer gives these last answers, one to each C-MOVE; and the pauses."""
    desk = desk or Desk(refusals=[TurnedAway(Cause.OWN_RIGHTS, "nobody")])  # it waits for nothing
    answers, pauses = iter(last), list[float]()

    def connect(*arguments: object, **options: object) -> ScriptedChannel:
        channel = peer(*arguments, **options)  # type: ignore[arg-type]
        assert isinstance(channel, ScriptedChannel)
        channel.move = lambda *_: iter([next(answers)])  # type: ignore[method-assign]
        return channel

    peer = ScriptedPeer()
    steps = ask_back(PEER, connect, SAMPLE, Model.STUDY_ROOT, "PACSNODE", desk, pauses.append)
    return list(steps), pauses


def done(completed: int = 1, failed: int = 0) -> Counters:
    return Counters(None, completed, failed, 0)


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (Response(0xA801), Cause.UNKNOWN_DESTINATION),
        (Response(0xA702, counters=done(0, 1)), Cause.OWN_RIGHTS),
        (Response(0xC000), Cause.OWN_RIGHTS),
        (Response(0x0110), Cause.OWN_RIGHTS),
        (Response(0x0124), Cause.OWN_RIGHTS),
    ],
)
def test_a_peer_that_came_and_was_turned_away_is_told_of_in_place_of_its_answer(
    response: Response, cause: Cause
) -> None:
    if cause is Cause.UNKNOWN_DESTINATION:
        steps, _ = moved(response, desk=Desk())
    else:
        steps, _ = moved(response)
    assert steps[0].cause is cause
    assert steps[0].has_failed


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (Response(0xA801, "Unknown"), Cause.UNKNOWN_DESTINATION),
        (Response(0xA702), Cause.NOT_DELIVERED),
        (Response(0xB000, counters=done(0, 1)), Cause.NOT_DELIVERED),
        (Response(0x0000, counters=done(0, 1)), Cause.NOT_DELIVERED),
        (Response(0xC000), Cause.NOT_MOVED),
        (Response(0xC514), Cause.NOT_MOVED),
        (Response(0x0110), Cause.NOT_MOVED),
        (Response(0x0124), Cause.REQUEST_REFUSED),
        (Response(0xA900), Cause.REQUEST_REFUSED),
    ],
)
def test_what_an_answer_to_the_c_move_means(
    response: Response, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacsnode.scu.doctor.way_back.AFTERTHOUGHT", 0.0)
    steps, pauses = moved(response, desk=Desk())
    assert [step.cause for step in steps] == [cause, None]
    assert [step.verdict for step in steps] == [Verdict.FAILED, Verdict.SKIPPED]
    assert pauses == []


def test_a_peer_that_files_slowly_is_asked_again() -> None:
    nothing, all_of_it = Response(0, counters=done(0)), Response(0, counters=done(1))
    desk = Desk(Arrival("ARCHIVE", "10.0.0.5", "the running node"), removed=1)
    steps, pauses = moved(nothing, Response(0), all_of_it, desk=desk)
    assert [(step.name, step.verdict) for step in steps] == [
        ("C-MOVE", Verdict.OK), ("arrival", Verdict.OK), ("removal", Verdict.OK),
    ]  # fmt: skip
    assert len(pauses) == 2


def test_a_peer_that_never_finds_it_is_not_asked_for_ever() -> None:
    nothing = Response(0, counters=done(0))
    steps, pauses = moved(*[nothing] * ATTEMPTS, desk=Desk(refusals=()))
    assert steps[0].cause is Cause.NOT_FOUND
    assert len(pauses) >= ATTEMPTS - 1
    assert SAMPLE.study_instance_uid == steps[0].details["study_instance_uid"]


def test_what_is_turned_away_after_all_went_well_there_is_told_at_the_arrival() -> None:
    refusal = TurnedAway(Cause.OWN_TITLE, "called 'X'", {"ae_title": "Y"})
    steps, _ = moved(Response(0, counters=done()), desk=Desk(refusals=[refusal]))
    assert [(step.name, step.cause) for step in steps] == [
        ("C-MOVE", None), ("arrival", Cause.OWN_TITLE),
    ]  # fmt: skip


def test_what_arrives_though_the_peer_says_it_failed_is_removed_all_the_same() -> None:
    desk = Desk(Arrival("ARCHIVE", "10.0.0.5", "the running node"), removed=1)
    steps, _ = moved(Response(0xA702), desk=desk)
    assert [step.name for step in steps] == ["C-MOVE", "arrival", "removal"]
    assert steps[0].cause is Cause.NOT_DELIVERED


def test_the_test_object_is_sent_uncompressed_whatever_the_peer_is_sent_else() -> None:
    peer = ScriptedPeer(accepts=lambda sop_class, syntax: syntax == IMPLICIT)
    step = send_sample(PEER, peer, SAMPLE)
    assert step.verdict is Verdict.OK
    assert peer.received == [SAMPLE.sop_instance_uid]
    refusing = ScriptedPeer(verdicts={SAMPLE.sop_instance_uid: [0xC000]})
    assert send_sample(PEER, refusing, SAMPLE).cause is Cause.NOT_STORED


def test_the_test_object_is_a_whole_image_of_nobody() -> None:
    meta = encode_plain_meta(SAMPLE.sop_class_uid, SAMPLE.sop_instance_uid, EXPLICIT)
    ds = dcmread(BytesIO(meta + SAMPLE.data))
    assert (ds.PatientName, ds.PatientID) == ("PACSNODE^CONNECTION TEST", "PACSNODE-TEST")
    assert ds.StudyInstanceUID == SAMPLE.study_instance_uid
    assert (ds.StudyDate, ds.StudyTime) == ("20260102", "030405")
    assert ds.pixel_array.max() > ds.pixel_array.min()
    other = make(datetime.now(UTC))
    assert not {other.study_instance_uid, other.sop_instance_uid} & {
        SAMPLE.study_instance_uid,
        SAMPLE.sop_instance_uid,
    }


def test_the_model_to_ask_back_by_is_one_that_the_peer_has() -> None:
    def does(*uids: str) -> list[Step]:
        services = [SERVICES[uid] for uid in uids]
        return [Step("association", Verdict.OK, "", None, {"services": services})]

    patient = "1.2.840.10008.5.1.4.1.2.1.2"
    assert movable(does(MOVE, patient)) is Model.STUDY_ROOT
    assert movable(does(patient)) is Model.PATIENT_ROOT
    assert movable(does(FIND, GET)) is None


def test_every_pair_of_class_and_syntax_is_asked_for_once() -> None:
    peer = ScriptedPeer(accepts=lambda sop_class, syntax: sop_class == CT or syntax == IMPLICIT)
    step = storage(PEER, peer, COMMON)
    asked = [context for channel in peer.channels for context in channel.proposed]
    assert len(asked) == len(set(asked)) == len(COMMON) * len(TRANSFER_SYNTAXES)
    assert all(len(context.transfer_syntaxes) == 1 for context in asked)
    first, second = step.details["accepted"]
    assert first["sop_class_uids"] == [CT]
    assert first["transfer_syntax_uids"] == list(TRANSFER_SYNTAXES)
    assert second["transfer_syntaxes"] == ["Implicit VR Little Endian"]
    assert all(channel.end == "released" for channel in peer.channels)


def test_a_peer_that_stores_nothing_is_no_failure() -> None:
    step = storage(PEER, ScriptedPeer(accepts=lambda *_: False), COMMON)
    assert step.verdict is Verdict.OK
    assert step.text == f"it takes 0 of the {len(COMMON)} SOP classes asked for"


def test_classes_with_the_same_syntaxes_stand_together() -> None:
    taken = {(CT, IMPLICIT), (CT, EXPLICIT), (MR, EXPLICIT), (MR, IMPLICIT)}
    groups = group([CT, "1.2.3", MR], [IMPLICIT, EXPLICIT], taken)
    assert [one.sop_classes for one in groups] == [(CT, MR), ("1.2.3",)]
    assert groups[1].transfer_syntaxes == ()


def test_a_peer_that_takes_nothing_of_what_it_is_to_be_sent() -> None:
    peer = replace(PEER, transfer_syntaxes=(MPEG, RLE))
    accepting = ScriptedPeer(accepts=lambda _, syntax: syntax in (IMPLICIT, EXPLICIT))
    step = storage(peer, accepting, [CT, MR])
    assert step.cause is Cause.OWN_SYNTAXES
    advice = advise(step, peer, OURS)
    assert advice is not None
    pasted = yaml.safe_load("\n".join(advice.lines))["modalities"]["ARCHIVE"]
    assert pasted["transfer_syntaxes"] == [IMPLICIT, EXPLICIT]
    some = ScriptedPeer(accepts=lambda sop_class, syntax: (sop_class, syntax) == (MR, MPEG))
    assert storage(peer, some, [CT, MR]).verdict is Verdict.OK


def test_every_class_is_all_of_the_standard() -> None:
    assert set(COMMON) < set(every_class())
    assert "1.2.840.10008.1.20.1" not in every_class()


def channel_of(*uids: str) -> ScriptedChannel:
    contexts = [
        Context(2 * number + 1, uid, EXPLICIT, as_scu=True) for number, uid in enumerate(uids)
    ]
    return ScriptedChannel(ScriptedPeer(), contexts)


class Nowhere:
    """A dicom.route.Route that nobody needs to look around on."""


@pytest.mark.parametrize(
    ("codes", "cause", "asked"),
    [
        ((1, 1, 7), Cause.CALLING_TITLE, 2),
        ((1, 1, 1), Cause.CALLING_TITLE, 2),
        ((2, 3, 2), Cause.BUSY, 1),
        ((2, 3, 1), Cause.BUSY, 1),
    ],
)
def test_another_title_is_tried_where_a_title_may_be_the_reason(
    codes: tuple[int, int, int], cause: Cause, asked: int
) -> None:
    peer = ScriptedPeer(refusals=[AssociationRejected("no: the reason", *codes)])
    opened = associate(replace(PEER, calling_ae_title="X"), Nowhere(), peer, "PACSNODE")  # type: ignore[arg-type]
    assert opened.step.cause is cause
    assert opened.channel is None
    assert peer.attempts == asked
    assert all(channel.end == "released" for channel in peer.channels)
    assert ": the reason)" in opened.step.text


def test_what_a_peer_does_not_do_is_skipped() -> None:
    channel = channel_of()
    assert echo(channel).verdict is Verdict.SKIPPED
    assert find(PEER, channel).verdict is Verdict.SKIPPED
    assert get(PEER, ScriptedPeer(), channel, COMMON).verdict is Verdict.SKIPPED


def test_a_peer_that_ignores_the_key_of_a_query_is_told_of() -> None:
    channel = channel_of(FIND)
    match = Dataset()
    match.StudyInstanceUID = "1.2.3"

    def answers(*_: object) -> Iterator[Response]:
        yield Response(0xFF00, identifier=encode_dataset(match, EXPLICIT))
        yield Response(0x0000)

    channel.find = answers  # type: ignore[method-assign, assignment]
    step = find(PEER, channel)
    assert (step.verdict, step.details["matches"]) == (Verdict.OK, 1)


# --- advice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", Cause)
def test_each_cause_has_advice_that_says_who_we_are(cause: Cause, tmp_path: Path) -> None:
    found = {"networks": ["10.0.0.0/8"], "transfer_syntax_uids": [EXPLICIT]}
    step = failed("C-MOVE", cause, "the reason", **found)
    advice = advise(step, PEER, OURS)
    assert advice is not None
    assert advice.sentence
    if cause not in (Cause.NOT_REMOVED, Cause.OWN_ARCHIVE):  # nothing is wrong at the other side
        assert "AE title PACSNODE, host 10.0.0.1, port 11112" in advice.sentence
    assert "ARCHIVE" in advice.sentence
    if advice.lines:
        path = tmp_path / "config.yaml"
        (tmp_path / "FILE").touch()
        path.write_text("\n".join(advice.lines), "utf-8")
        load(path)


@pytest.mark.parametrize(
    "title", ["ON", "no", "123", "1e5", "A B", "X#Y", "A: B", "NULL", "~", "0x1F", "'", '"', "-"]
)
def test_titles_that_yaml_would_take_for_something_else_are_quoted(title: str) -> None:
    peer = Peer(f"{title}@host:104", title, "host", 104, "PACSNODE")
    pasted = yaml.safe_load("\n".join(modality(peer, Key("port", "104", "a remark"))))
    assert pasted == {"modalities": {title: {"host": "host", "port": 104}}}


def test_a_stranger_by_its_host_is_not_given_rights_that_its_row_has() -> None:
    row = {"name": "STORE", "ae_title": "ARCHIVE", "host": "10.0.0.5", "port": 104}
    found = {"ae_title": "ARCHIVE", "host": "10.0.0.6", "modality": row, "allow": ["echo", "store"]}
    advice = advise(failed("C-MOVE", Cause.OWN_HOST, "away", **found), PEER, OURS)
    assert advice is not None
    assert yaml.safe_load("\n".join(advice.lines)) == {"access": {"check_host": False}}
    assert "10.0.0.6" in advice.sentence
    assert "give STORE a host name that has 10.0.0.6" in advice.lines[-1]
    advice = advise(failed("C-MOVE", Cause.OWN_RIGHTS, "away", **found), PEER, OURS)
    assert advice is not None
    rows = yaml.safe_load("\n".join(advice.lines))["modalities"]
    assert rows["STORE"] == {
        "ae_title": "ARCHIVE",
        "host": "10.0.0.5",
        "port": 104,
        "allow": ["echo", "store"],
    }


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("9 associations are open, listen.max_associations is 9", {"listen": {"max_associations"}}),
        ("access.max_unknown_associations is 0", {"access": {"max_unknown_associations"}}),
        ("modalities.ARCHIVE.max_associations is 1", {"modalities": {"ARCHIVE"}}),
    ],
)
def test_the_limit_that_was_reached_is_the_one_to_change(
    text: str, lines: Mapping[str, set[str]]
) -> None:
    advice = advise(failed("arrival", Cause.OWN_LIMITS, text), PEER, OURS)
    assert advice is not None
    pasted = yaml.safe_load("\n".join(advice.lines))
    assert {section: set(keys) for section, keys in pasted.items()} == lines


def test_the_authority_that_is_set_stays_in_the_lines_for_our_certificate() -> None:
    known = replace(PEER, tls=ClientTLS.model_construct(ca=Path("/etc/ca bundle.pem")))
    for peer, expected in ((known, {"ca": "/etc/ca bundle.pem"}), (PEER, {})):
        advice = advise(failed("TLS", Cause.CERTIFICATE_WANTED, "wanted"), peer, OURS)
        assert advice is not None
        tls = yaml.safe_load("\n".join(advice.lines))["modalities"]["ARCHIVE"]["tls"]
        assert tls == {**expected, "certificate": "FILE", "key": "FILE"}


def test_a_peer_that_does_not_answer_is_told_from_one_that_hangs_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wait(_channel: ScriptedChannel) -> Response:
        raise PeerTimeout("no answer to C-ECHO within 60 s", "message")

    monkeypatch.setattr(ScriptedChannel, "echo", wait)
    step = echo(channel_of(VERIFICATION))
    assert step.cause is Cause.UNANSWERED
    advice = advise(step, PEER, OURS)
    assert advice is not None
    assert "title" not in "".join(advice.lines)


def test_a_row_has_its_own_name_and_only_what_decides() -> None:
    peer = Peer("STORE", "ARCHIVE", "fd00::5", 104, "PACSNODE")
    assert modality(peer, Key("tls", "false", "why")) == [
        "modalities:",
        "  STORE:",
        "    ae_title: ARCHIVE",
        '    host: "fd00::5"',
        "    port: 104",
        "    tls: false  # why",
    ]


def test_what_a_stranger_says_begins_no_line_of_its_own() -> None:
    issuer = "CN=x\naccess: {unknown_callers: all}\r\x85\u2028listen: {}"
    step = failed("TLS", Cause.NO_AUTHORITY, "", certificate={"issuer": issuer})
    advice = advise(step, PEER, OURS)
    assert advice is not None
    assert list(yaml.safe_load("\n".join(advice.lines))) == ["modalities"]
    hosts = ["a\nb: c", "*.example"]
    step = failed("TLS", Cause.OTHER_HOST, "", certificate={"hosts": hosts})
    advice = advise(step, PEER, OURS)
    assert advice is not None
    pasted = yaml.safe_load("\n".join(advice.lines))
    assert pasted["modalities"]["ARCHIVE"]["host"] == "a\nb: c"


def test_the_sentence_says_by_which_title_we_call_where_that_is_another() -> None:
    peer = Peer("ARCHIVE", "ARCHIVE", "10.0.0.5", 104, "CALLER")
    advice = advise(failed("association", Cause.CALLING_TITLE, "rejected"), peer, OURS)
    assert advice is not None
    assert "(we call as CALLER)" in advice.sentence
    tls_only = Ours("PACSNODE", "10.0.0.1", None, 2762)
    assert str(tls_only) == "AE title PACSNODE, host 10.0.0.1, port 2762 with TLS"
