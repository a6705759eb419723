"""How long queries take to their first and last answer, and the index to open, with 100,000
instances in 2,000 studies: python -m tests.benchmarks.find_100k [FILE]

FILE is kept and used again. Prints figures; what they should be stands in no assertion.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, islice
from pathlib import Path

from pacsnode import index as index_room
from pacsnode.archive.find import Files, find
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Query
from pacsnode.index import Index
from tests.index.instances import CT, EXPLICIT, MR, key, make, query

STUDIES = 2_000
SERIES = 5
INSTANCES = 10  # of a series

NAMES = ("DOE", "ROE", "MILLER", "SMITH", "MÜLLER", "GARCIA", "NGUYEN", "YAMADA", "IVANOV", "SILVA")
SPREAD = ("JOHN", "JANE", "ANN", "PAUL", "LEE", "KIM", "EVA", "TOM", "IDA", "MAX")


def fill(index: Index) -> None:
    for number in range(STUDIES):
        study = f"1.2.826.0.1.3680043.10.{number}"
        for series in range(SERIES):
            for instance in range(INSTANCES):
                uid = f"{study}.{series}.{instance}"
                made = make(
                    study,
                    f"{study}.{series}",
                    uid,
                    sop_class=(CT, MR)[number % 2],
                    received_at=1_700_000_000_000_000 + number * 1000 + series * 100 + instance,
                    length=526_000,
                    PatientID=f"P{number // 2:06}",
                    PatientName=f"{NAMES[number // 2 % 10]}^{SPREAD[number // 20 % 10]}",
                    PatientBirthDate=f"19{number // 2 % 100:02}0101",
                    PatientSex="MF"[number // 2 % 2],
                    StudyDate=f"20{20 + number % 4}{1 + number % 12:02}{1 + number % 28:02}",
                    StudyTime=f"{number % 24:02}0000",
                    AccessionNumber=f"A{number:07}",
                    StudyID=str(number),
                    StudyDescription="CT ABDOMEN" if number % 2 == 0 else "MR HEAD",
                    Modality=("CT", "MR")[number % 2],
                    SeriesNumber=str(series + 1),
                    SeriesDescription=f"SERIES {series}",
                    InstanceNumber=str(instance + 1),
                    Rows="512",
                    Columns="512",
                )
                index.add(*made)


ASKED = (
    "PatientName",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
)
COUNTS = ("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
STUDY = "1.2.826.0.1.3680043.10.1234"

QUERIES: dict[str, Query] = {
    "patients by PatientID": query(Level.PATIENT, key("PatientID", "P000500")),
    "patients by DOE*": query(Level.PATIENT, key("PatientName", "DOE*")),
    "studies by PatientID": query(Level.STUDY, key("PatientID", "P000500"), returned=ASKED),
    "studies by AccessionNumber": query(
        Level.STUDY, key("AccessionNumber", "A0001234"), returned=ASKED
    ),
    "studies by DOE*": query(Level.STUDY, key("PatientName", "DOE*"), returned=ASKED),
    "studies by DOE*, counted": query(
        Level.STUDY, key("PatientName", "DOE*"), returned=(*ASKED, *COUNTS)
    ),
    "studies of one day": query(Level.STUDY, key("StudyDate", "20220315"), returned=ASKED),
    "studies of a year, counted": query(
        Level.STUDY, key("StudyDate", "20220101-20221231"), returned=(*ASKED, *COUNTS)
    ),
    "studies by description": query(Level.STUDY, key("StudyDescription", "*HEAD*")),
    "all studies, counted": query(Level.STUDY, returned=(*ASKED, *COUNTS)),
    "series of a study": query(Level.SERIES, key("StudyInstanceUID", STUDY)),
    "series of DOE*": query(Level.SERIES, key("PatientName", "DOE*")),
    "series of modality MR": query(Level.SERIES, key("Modality", "MR")),
    "instances of a series": query(
        Level.IMAGE, key("StudyInstanceUID", STUDY), key("SeriesInstanceUID", f"{STUDY}.1")
    ),
    "instances of a patient": query(Level.IMAGE, key("PatientID", "P000500")),
    "5,000 instances by UID": query(
        Level.IMAGE,
        key(
            "SOPInstanceUID",
            *(
                f"1.2.826.0.1.3680043.10.{n}.{s}.{i}"
                for n in range(100)
                for s in range(5)
                for i in range(10)
            ),
        ),
    ),
    "all instances": query(Level.IMAGE),
}


def timed(work: Callable[[], Iterable[object]]) -> tuple[float, float, int]:
    """Milliseconds to the first and to the last, and how many."""
    begun = time.perf_counter()
    found = iter(work())
    count = len(list(islice(found, 1)))
    first = time.perf_counter()
    count += sum(1 for _ in found)
    return (first - begun) * 1000, (time.perf_counter() - begun) * 1000, count


def report(path: Path) -> None:
    if not path.exists():
        index = index_room.open(path, fsync=False)
        begun = time.perf_counter()
        fill(index)
        each = (time.perf_counter() - begun) / (STUDIES * SERIES * INSTANCES)
        print(f"filled: {each * 1000:.3f} ms an instance")
        index.close()
        print(f"size: {path.stat().st_size / 1e6:.0f} MB")
    begun = time.perf_counter()
    index = index_room.open(path)
    print(f"opened in {(time.perf_counter() - begun) * 1000:.1f} ms")
    files = Files(None, {})  # none is asked for
    print(f"{'':30} {'first':>8} {'last':>10} {'answers':>8}")
    for title, each in QUERIES.items():
        pages = partial(find, files, index, each, EXPLICIT, ae_title="PACSNODE")
        first, last, count = timed(lambda pages=pages: chain.from_iterable(pages()))
        print(f"{title:30} {first:6.1f}ms {last:8.1f}ms {count:8}")
    first, last, count = timed(lambda: index.select(QUERIES["all studies, counted"]))
    print(f"{'all instances to retrieve':30} {first:6.1f}ms {last:8.1f}ms {count:8}")
    index.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        report(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(folder) / "index.sqlite")
