"""Run every section of `make bench` with two videos of the sample and small sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.needs import need

from benchmarks import run
from benchmarks.bench import Sizes
from benchmarks.native import missing_programs
from benchmarks.report import SECTIONS

LITTLE = Sizes(
    repeats=1,
    encodings_step=15,
    workers=1,
    throughput_videos=3,
    memory_videos=(2, 4),
    encoded_s=2,
    lengths_s=(2, 4),
    timeline_lengths_s=(2,),
    galleries=(10,),
    object_bytes=(20_000_000,),
    trigger_videos=120,
    trigger_repeats=1,
    trigger_quiet_videos=24,
    trigger_finished=(0, 1000),
    reconciled_objects=(2_000,),
    pages_videos=500,
    pages_people=20,
    pages_appearances=2_000,
    pages_rounds=1,
    index_rows=(100, 10, 1_000),
    index_puts=20,
)


@pytest.fixture(scope="module")
def results(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    need(shutil.which("ffmpeg") is not None, "ffmpeg is not installed")
    need(not missing_programs(), f"for the trigger: {', '.join(missing_programs())}")
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out") / "bench.json"
    (data / "videos").mkdir()
    for name in ("lecture_1.mp4", "lecture_2.mp4"):
        shutil.copy(sample / "videos" / name, data / "videos")
    for name in ("encoding", "mapping", "student_data.json"):
        shutil.copy(sample / name, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Sizes", lambda: LITTLE)
        done = CliRunner().invoke(run.main, ["--data", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.with_suffix(".png").exists()
    for section in SECTIONS.values():
        assert section.TITLE in done.output
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


def test_every_section_is_measured(results: dict[str, Any]) -> None:
    assert results.keys() == {"format", "machine", *SECTIONS}


def test_both_functions_answer_every_video_correctly(results: dict[str, Any]) -> None:
    for flow in results["throughput"]["embedded"].values():
        assert flow["right"] == flow["videos"] == 3
        assert all(spent_s > 0 for spent_s in flow["cpu_s"].values())


def test_rollcall_and_the_reference_find_the_same_names(results: dict[str, Any]) -> None:
    for clip in results["clips"]:
        assert clip["names"]["rollcall"] == clip["names"]["reference"] == "president_obama"


def test_the_results_are_plausible(results: dict[str, Any]) -> None:
    assert results["encodings"]["faces"] >= 2
    assert results["encodings"]["largest_l2"] < 1e-5
    ours, hog = (results["detector"]["detectors"][name] for name in ("Rollcall", "dlib's HOG"))
    assert ours["found"] == ours["faces"] >= hog["found"]
    assert ours["false"] == 0
    assert [each["videos"] for each in results["memory"]] == [2, 4]
    assert all(each["rss_mb"] > 50 for each in results["memory"])
    assert all(each["peak_mb"] > 50 for scan in ("timeline", "auto") for each in results[scan])
    assert {"download", "faces", "match"} <= results["stages"]["embedded"][0]["ms"].keys()


def test_of_a_large_object_only_ranges_are_fetched(results: dict[str, Any]) -> None:
    (large,) = results["ranged"]["embedded"]
    assert large["whole"]["fetched_bytes"] == 20_000_000
    assert large["rollcall"]["fetched_bytes"] < 10_000_000
    assert large["whole"]["status"] == large["rollcall"]["status"] == "recognised"


def test_triggers_do_every_video_once_with_either_database(results: dict[str, Any]) -> None:
    """`benchmarks.trigger` raises an error if a video is not done, or not after one call."""
    measured = results["trigger"]["triggers"]
    assert [(each["database"], each["triggers"], each["finished"]) for each in measured] == [
        (database, triggers, finished)
        for finished in (0, 1000)
        for database, triggers in (("SQLite", 1), *(("PostgreSQL", n) for n in (1, 2, 3)))
    ]
    for each in measured:
        assert each["videos"] == 120
        assert each["cpu_ms"]["trigger"] > 0
        assert (each["cpu_ms"]["database"] > 0) == (each["database"] == "PostgreSQL")
        assert set(each["pages_ms"]) == {"/healthz", "/metrics", "/"}
    assert [each["database"] for each in results["trigger"]["bare"]] == ["SQLite", "PostgreSQL"]


def test_a_second_scan_of_the_reconciler_sends_no_request_for_an_object(
    results: dict[str, Any],
) -> None:
    reference, ours = results["reconcile"]
    assert (reference["way"], ours["way"]) == ("reference", "rollcall")
    for each in (reference, ours):
        assert [costs["requests"] for costs in each["passes"]] == [2_000, 0]
        assert all(costs["peak_mb"] > 0 for costs in each["passes"])
    assert all(costs["longest_ms"] > 0 for costs in ours["passes"])
