"""C-FIND among the million: through a node, over one association."""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from pacsnode.dicom.message import Channel, accepted
from tests.benchmarks.million import population
from tests.benchmarks.processes import pss_of_tree
from tests.conftest import RunningNode
from tests.interface.associations import (
    PATIENT_ROOT_FIND,
    STUDY_ROOT_FIND,
    association,
    identifier,
)

Keys = Mapping[str, str]
Study = population.Study

_STUDY_ASKED: Keys = dict.fromkeys(
    (
        *("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "StudyDescription", "ModalitiesInStudy"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "InstanceAvailability"),
    ),
    "",
)
_PATIENT_ASKED: Keys = dict.fromkeys(
    ("PatientName", "PatientID", "PatientBirthDate", "NumberOfPatientRelatedInstances"), ""
)
_SERIES_ASKED: Keys = dict.fromkeys(
    ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"), ""
)
_IMAGE_ASKED: Keys = dict.fromkeys(("SOPInstanceUID", "InstanceNumber"), "")
_ASKED = {
    "PATIENT": _PATIENT_ASKED,
    "STUDY": _STUDY_ASKED,
    "SERIES": _SERIES_ASKED,
    "IMAGE": _IMAGE_ASKED,
}


class Question(NamedTuple):
    """`keys` for one of the studies; of the answers so many are waited for before it is cancelled,
    and it is asked so often."""

    title: str
    level: str
    keys: Callable[[Study], Keys]
    answers: int = 1_000
    times: int = 100


def _day(study: Study) -> str:
    return f"{study.day:%Y%m%d}"


def _month(study: Study) -> str:
    return f"{study.day:%Y%m}01-{study.day:%Y%m}31"


def _name(study: Study) -> str:
    return population.patient(study.patient).name


QUESTIONS = (
    Question("PatientID", "STUDY", lambda s: {"PatientID": f"{s.patient:08}"}),
    Question("PatientID, patients", "PATIENT", lambda s: {"PatientID": f"{s.patient:08}"}),
    Question("AccessionNumber", "STUDY", lambda s: {"AccessionNumber": s.accession_number}),
    Question("DOE*", "STUDY", lambda s: {"PatientName": "DOE*"}),
    Question("DOE*, patients", "PATIENT", lambda s: {"PatientName": "DOE*"}),
    Question("a patient's name*", "STUDY", lambda s: {"PatientName": f"{_name(s)[:-2]}*"}),
    Question("PatientBirthDate", "STUDY",
             lambda s: {"PatientBirthDate": population.patient(s.patient).birth_date}),
    Question("StudyDate, a day", "STUDY", lambda s: {"StudyDate": _day(s)}),
    Question("a day + CT", "STUDY", lambda s: {"StudyDate": _day(s), "ModalitiesInStudy": "CT"}),
    Question("a month + CT", "STUDY",
             lambda s: {"StudyDate": _month(s), "ModalitiesInStudy": "CT"}),
    Question("all years + PT", "STUDY",
             lambda s: {"StudyDate": "20160101-20261231", "ModalitiesInStudy": "PT"}),
    Question("a month + DOE*", "STUDY",
             lambda s: {"StudyDate": _month(s), "PatientName": "DOE*"}),
    Question("a day's MR series", "SERIES",
             lambda s: {"StudyDate": _day(s), "Modality": "MR", "StudyInstanceUID": ""}),
    Question("StudyInstanceUID", "STUDY", lambda s: {"StudyInstanceUID": s.uid}),
    Question("a study's series", "SERIES", lambda s: {"StudyInstanceUID": s.uid}),
    Question("a series' images", "IMAGE", lambda s: {
        "StudyInstanceUID": s.uid, "SeriesInstanceUID": population.series_uid(s, 1)}),
    Question("nothing, 1,000 answers", "STUDY", lambda s: {}, times=20),
    Question("*SMITH*", "STUDY", lambda s: {"PatientName": "*SMITH*"}, times=10),
    Question("*NOBODY*", "STUDY", lambda s: {"PatientName": "*NOBODY*"}, times=5),
    Question("description *BRAIN*", "STUDY", lambda s: {"StudyDescription": "*BRAIN*"}, times=20),
)  # fmt: skip


def report(node: RunningNode, studies: int, cold: Callable[[], None]) -> None:
    """Milliseconds to the first answer, the first of all after `cold` has dropped what the system
    has in memory of the index, and to the last."""
    chance = random.Random(2)
    print(
        f"{'ms':26}{'cold':>8}{'first p50':>11}{'p95':>8}{'last p50':>10}{'p95':>8}{'answers':>9}"
    )
    with association(node) as channel:
        for question in QUESTIONS:
            cold()
            firsts, lasts, count = [], [], 0
            for _ in range(question.times + 1):
                study = population.study(chance.randrange(studies), studies)
                first, last, found = ask(channel, question, study)
                firsts.append(first)
                lasts.append(last)
                count += found
            shown = f"{firsts[0]:8.1f}{_shares(firsts[1:], 11)}{_shares(lasts[1:], 10)}"
            print(f"{question.title:26}{shown}{count / len(firsts):9.1f}", flush=True)


def ask(channel: Channel, question: Question, study: Study) -> tuple[float, float, int]:
    """Milliseconds to the first and the last response, and how many answers there were."""
    model = PATIENT_ROOT_FIND if question.level == "PATIENT" else STUDY_ROOT_FIND
    context = accepted(channel.contexts, model)
    assert context is not None
    data = identifier(question.level, **{**_ASKED[question.level], **question.keys(study)})
    begun = time.perf_counter()
    responses = channel.find(context, data)
    first = next(responses)
    at_first = time.perf_counter()
    count = 0 if first.identifier is None else 1
    for response in islice(responses, question.answers - 1):
        count += response.identifier is not None
    responses.close()  # cancels what is under way
    return (at_first - begun) * 1000, (time.perf_counter() - begun) * 1000, count


def everything(node: RunningNode, studies: int) -> None:
    """All studies in one query, and the memory that the node takes meanwhile."""
    pid = node.process.pid
    shown = [f"{pss_of_tree(pid) / 1e6:.0f} MB before"]
    begun = time.perf_counter()
    count = 0
    with association(node) as channel:
        context = accepted(channel.contexts, STUDY_ROOT_FIND)
        assert context is not None
        for count, _ in enumerate(channel.find(context, identifier("STUDY", **_STUDY_ASKED))):
            if count and count % (studies // 5) == 0:
                shown.append(f"{pss_of_tree(pid) / 1e6:.0f} MB at {count:,}")
    seconds = time.perf_counter() - begun
    print(f"all {count:,} studies: {seconds:.1f} s, {count / seconds:,.0f} a second;")
    print(f"  memory (PSS of the tree): {', '.join(shown)}")


def _shares(values: list[float], width: int) -> str:
    ranked = sorted(values)
    p95 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]
    return f"{statistics.median(values):{width}.1f}{p95:8.1f}"


@contextmanager
def timed(title: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"{title:34}{time.perf_counter() - begun:8.2f} s", flush=True)
