"""The benchmark's own arithmetic and bytes; it measures nothing here."""

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from tests.benchmarks import data, report, wire
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.trials import Outcome
from tests.benchmarks.workloads import WORKLOADS, Metric, Workload

SPEED = Metric("instances/s", "/s", {"Orthanc": 2.0, "dcmqrscp": 2.0}, more_is_better=True)
DELAY = Metric("p50", "ms", {"Orthanc": 1.0}, limit=1.5)


def outcomes(metric: Metric, **figures: list[float]) -> list[Outcome]:
    workload = replace(WORKLOADS[0], title="Work, {count:,}", metrics=(metric,), note="")
    return [
        Outcome(workload, peer.replace("_", ", "), Measurement({metric.name: figure}))
        for peer, its_own in figures.items()
        for figure in its_own
    ]


def row(metric: Metric, peer: str, **figures: list[float]) -> str:
    lines = report.table(outcomes(metric, **figures), quick=False)
    (found,) = [line for line in lines if line.startswith(f"  {peer}  ")]
    return " ".join(found.split())


def test_a_row_has_median_spread_ratio_and_goal() -> None:
    shown = row(SPEED, "Orthanc", pacsnode=[300, 100, 500], Orthanc=[150, 200, 100])
    assert shown == "Orthanc 150 /s 100–200 0.00 2 × 2 × reached"


def test_a_goal_that_is_missed_is_said() -> None:
    assert row(SPEED, "Orthanc", pacsnode=[299], Orthanc=[150]).endswith("1.99 × 2 × missed")


def test_less_is_better_of_times() -> None:
    assert row(DELAY, "Orthanc", pacsnode=[2], Orthanc=[6]).endswith("3 × 1 × reached")


@pytest.mark.parametrize(("figure", "verdict"), [(1.4, "reached"), (1.5, "missed")])
def test_a_limit_is_for_pacsnode_alone(figure: float, verdict: str) -> None:
    assert row(DELAY, "pacsnode", pacsnode=[figure]).endswith(f"under 1.5 {verdict}")


def test_dcmqrscp_is_compared_with_the_pacsnode_that_does_not_sync_either() -> None:
    figures = {"pacsnode": [1.0], "pacsnode_no fsync": [400.0], "dcmqrscp": [100.0]}
    assert row(SPEED, "dcmqrscp", **figures).endswith("4 × 2 × reached")
    del figures["pacsnode_no fsync"]
    assert row(SPEED, "dcmqrscp", **figures).endswith("0.01 × 2 × missed")


def test_a_fault_stands_in_the_table_and_its_trial_does_not_count() -> None:
    good = outcomes(SPEED, Orthanc=[100])
    lost = replace(good[0], measurement=None, fault="1 of 9 acknowledged instances are lost")
    lines = list(report.table([*good, lost], quick=False))
    assert "  FAULT, Orthanc: 1 of 9 acknowledged instances are lost" in lines
    assert any(line.split()[:3] == ["Orthanc", "100", "/s"] for line in lines)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: f"{each.name}-{each.setting}")
def test_sizes_fill_a_workload_s_title(workload: Workload) -> None:
    assert set(workload.quick) <= set(workload.sizes)
    assert "{" not in workload.title.format(**workload.sizes)


def test_workloads_are_told_apart_by_name_and_setting() -> None:
    assert len({(each.name, each.setting) for each in WORKLOADS}) == len(WORKLOADS)


def test_instances_are_dicom_and_as_long_as_their_titles_say(tmp_path: Path) -> None:
    for instance, least, most in ((data.small(1)[0], 3000, 3500), (data.ct(1)[0], 525e3, 527e3)):
        instance.write(tmp_path / "file")
        ds = pydicom.dcmread(tmp_path / "file")
        assert least < (tmp_path / "file").stat().st_size < most
        assert str(ds.SOPInstanceUID) == instance.sop_instance_uid
        assert len(ds.PixelData) == ds.Rows * ds.Columns * 2


def test_instances_of_a_study_differ_and_fill_series_of_100() -> None:
    made = data.small(250)
    assert len({each.sop_instance_uid for each in made}) == 250
    assert len({each.series_instance_uid for each in made}) == 3
    assert len({each.study_instance_uid for each in made}) == 1


def test_a_status_is_found_whatever_the_bytes_before_it() -> None:
    # Message ID 0x0209, between zeros, looks like the tag and length of the status.
    response = wire.command(CommandField=0x8001, MessageID=0x0209, CommandDataSetType=0x0101)
    response += wire.ELEMENT_HEAD.pack(0, 0x0900, 2) + b"\x00\xa7"
    assert wire.status_of(response) == 0xA700


def test_a_response_without_a_status_is_no_success() -> None:
    assert wire.status_of(wire.command(CommandField=0x8001)) != wire.SUCCESS


def test_fragments_are_put_together_again_and_keep_to_the_length() -> None:
    whole = bytes(range(256)) * 100
    pdus = [
        head + bytes(body)
        for head, body in wire.fragments(3, whole, is_command=False, max_pdu=4096)
    ]
    parts = [part for pdu in pdus for part in wire.values(pdu[wire.PDU_HEAD.size :])]
    assert all(len(pdu) <= 4096 + wire.PDU_HEAD.size for pdu in pdus)
    assert b"".join(fragment for _, _, fragment in parts) == whole
    assert [is_last for _, is_last, _ in parts] == [False] * (len(parts) - 1) + [True]
