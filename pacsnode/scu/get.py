"""C-GET from a peer, into files."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from pacsnode.dicom.message import Channel, Connect, Peer, ProposedContext, StoreRequest
from pacsnode.dicom.query import Model
from pacsnode.errors import DicomError, NetworkError, NoPresentationContext
from pacsnode.scu.files import FileSink, name_of
from pacsnode.scu.find import find_on
from pacsnode.scu.models import (
    UNCOMPRESSED,
    Progress,
    Service,
    closing_early,
    context_for,
    encode,
    ending,
    progress,
    proposal,
)
from pacsnode.scu.plan import MOST_CONTEXTS

STUDY_KEYS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber", "StudyID")
ASKED = 20_000  # instances whose SOP class is asked for before the answer is taken for typical

STORAGE = "1.2.840.10008.5.1.4.1.1."

# CT, MR, CR, DX, MG, US, SC, XA, RF, NM, PET; reports, PDF, key objects, presentation states; RT.
MOST_USUAL = """
    2 2.1 4 4.1 1 1.1 1.2 6.1 3.1 7 7.4 12.1 12.2 20 128 130
    88.11 88.22 88.33 88.59 88.67 104.1 104.2 11.1 66.4 66 77.1.4 77.1.1 77.1.6 13.1.3
    481.1 481.2 481.3 481.4 481.5 481.8 9.1.1
"""

# In the order in which they are given a context of their own, where there is room.
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
)


def get(
    connect: Connect,
    peer: Peer,
    model: Model,
    identifier: Dataset,
    folder: Path,
    *,
    name: Callable[[StoreRequest], str] = name_of,
    received: Callable[[Path], None] = lambda path: None,
    priority: int = 0,
) -> Generator[Progress, None, None]:
    """Fetch what `identifier` selects into `folder`, one file for each instance, named by `name`,
    which must not trust the request's UIDs. Yields the peer's answers, the last one final, whatever
    its status. Closing early sends a C-CANCEL. Raises NetworkError, and OSError where the folder
    cannot be made."""
    classes = sop_classes(connect, peer, model, identifier)
    with (
        ending(open_for_get(connect, peer, model, classes, folder, name, received)) as channel,
        closing_early(get_on(channel, model, identifier, priority)) as answers,
    ):
        yield from answers


def open_for_get(
    connect: Connect,
    peer: Peer,
    model: Model,
    sop_class_uids: Iterable[str],
    folder: Path,
    name: Callable[[StoreRequest], str] = name_of,
    received: Callable[[Path], None] = lambda path: None,
) -> Channel:
    """An association that takes instances of these SOP classes, of all usual ones where none are
    named, into `folder`. As `get`."""
    folder.mkdir(parents=True, exist_ok=True)

    def on_store(request: StoreRequest) -> FileSink:
        return FileSink(folder, name(request), request, received)

    return connect(peer, propose(model, list(sop_class_uids) or usual_classes()), on_store)


def get_on(
    channel: Channel, model: Model, identifier: Dataset, priority: int = 0
) -> Generator[Progress, None, None]:
    """C-GET on it; otherwise as `get`."""
    context = context_for(channel, Service.GET, model)
    data = encode(identifier, context)
    with closing_early(channel.get(context, data, priority)) as responses:
        for response in responses:
            yield progress(response, context)


def propose(model: Model, sop_class_uids: Iterable[str]) -> list[ProposedContext]:
    """The C-GET context, and for each SOP class as many storage contexts as there is room for, each
    with a transfer syntax of its own: the peer chooses one for each context, so what shares a
    context cannot be sent both ways."""
    classes = list(dict.fromkeys(sop_class_uids))[: MOST_CONTEXTS - 1]
    each = (MOST_CONTEXTS - 1) // max(len(classes), 1)
    contexts = [proposal(Service.GET, model)]
    for uid in classes:
        contexts += (
            ProposedContext(uid, transfer_syntaxes, as_scu=False, as_scp=True)
            for transfer_syntaxes in _shares(each)
        )
    return contexts


def _shares(count: int) -> list[tuple[str, ...]]:
    """The transfer syntaxes dealt out to `count` contexts, the last one getting the rest."""
    if count == 1:
        return [(*UNCOMPRESSED, *COMPRESSED)]
    if count == 2:
        return [UNCOMPRESSED, COMPRESSED]
    ordered = (*UNCOMPRESSED, *COMPRESSED)
    alone, rest = ordered[: count - 1], ordered[count - 1 :]
    shares = [(uid,) for uid in alone]
    return [*shares, rest] if rest else [*shares]


def usual_classes() -> list[str]:
    """The storage SOP classes that are not retired, those first that most archives hold most of."""
    from pydicom._uid_dict import UID_dictionary

    found = [
        uid
        for uid, (name, kind, _, retired, *_) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith(STORAGE)
        and "Storage" in name and not retired
    ]  # fmt: skip
    order = {f"{STORAGE}{arc}": place for place, arc in enumerate(MOST_USUAL.split())}
    return sorted(
        found, key=lambda uid: (order.get(uid, len(order)), [int(arc) for arc in uid.split(".")])
    )


def sop_classes(connect: Connect, peer: Peer, model: Model, identifier: Dataset) -> set[str]:
    """The SOP classes of what `identifier` selects, by the peer's own answers; none where it gives
    none, or does not do C-FIND."""
    try:
        channel = connect(peer, [proposal(Service.FIND, model)])
    except NoPresentationContext:
        return set()
    try:
        return _ask(channel, model, identifier)
    except (NetworkError, DicomError):
        return set()
    finally:
        channel.release()


def _ask(channel: Channel, model: Model, identifier: Dataset) -> set[str]:
    if not any(_text(identifier, keyword) for keyword in STUDY_KEYS):
        # Below a study by its own UID alone: only a relational query can say more.
        return _of_instances(channel, model, identifier, {})
    classes: set[str] = set()
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    for keyword in STUDY_KEYS:
        if keyword in identifier:
            wanted[keyword] = identifier[keyword]
    if "StudyInstanceUID" not in wanted:
        wanted.StudyInstanceUID = ""
    wanted.SOPClassesInStudy = ""
    for study in list(find_on(channel, model, wanted)):
        named = _values(study, "SOPClassesInStudy")
        study_uid = _text(study, "StudyInstanceUID")
        classes |= named or _of_study(channel, model, identifier, study_uid)
    return classes


def _of_study(channel: Channel, model: Model, identifier: Dataset, study_uid: str) -> set[str]:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "SERIES"
    _set_upper(wanted, identifier, model, StudyInstanceUID=study_uid)
    wanted.SeriesInstanceUID = _text(identifier, "SeriesInstanceUID")
    classes: set[str] = set()
    for series in list(find_on(channel, model, wanted)):
        uids = {
            "StudyInstanceUID": study_uid,
            "SeriesInstanceUID": _text(series, "SeriesInstanceUID"),
        }
        classes |= _of_instances(channel, model, identifier, uids)
    return classes


def _of_instances(
    channel: Channel, model: Model, identifier: Dataset, uids: dict[str, str]
) -> set[str]:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "IMAGE"
    _set_upper(wanted, identifier, model, **uids)
    if not uids and "SeriesInstanceUID" in identifier:
        wanted.SeriesInstanceUID = identifier.SeriesInstanceUID
    wanted.SOPInstanceUID = identifier.get("SOPInstanceUID", "")
    wanted.SOPClassUID = ""
    classes: set[str] = set()
    with closing_early(find_on(channel, model, wanted)) as answers:
        for count, answer in enumerate(answers, 1):
            classes |= _values(answer, "SOPClassUID")
            if count >= ASKED:
                break
    return classes


def _set_upper(wanted: Dataset, identifier: Dataset, model: Model, **uids: str) -> None:
    if model is not Model.STUDY_ROOT and "PatientID" in identifier:
        wanted.PatientID = identifier.PatientID
    for keyword, uid in uids.items():
        setattr(wanted, keyword, uid)


def _values(ds: Dataset, keyword: str) -> set[str]:
    element = ds.get(keyword)
    if not element:
        return set()
    values = [element] if isinstance(element, str) else element
    return {str(value) for value in values if value}


def _text(ds: Dataset, keyword: str) -> str:
    return "\\".join(sorted(_values(ds, keyword)))
