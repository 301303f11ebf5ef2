"""The benchmarks measure correctly, and their report shows the results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from support.needs import need

from benchmarks import (
    clips,
    growth,
    index,
    memory,
    processes,
    ranged,
    reconcile,
    stages,
    throughput,
    timeline,
    trigger,
)
from benchmarks.bench import Bench, Sizes
from benchmarks.long_videos import long_video
from benchmarks.markdown import number
from benchmarks.measure import measure
from benchmarks.plot import draw
from benchmarks.report import SECTIONS, merge, report, write_block
from benchmarks.run import PAGE, parse_only

BUSY = "import sys\nfor n in range(3_000_000): pass\nprint('done', flush=True)\nsys.stdin.read()"


def flow(wall_s: float, function_s: float) -> dict[str, Any]:
    cpu_s = {"function": function_s, "store": 1.0, "trigger": 0.5, "upload": 0.5}
    return {
        "videos": 100,
        "right": 100,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "others_s": 1.0,
        "cores": 2,
    }


def fetch(answer_s: float, megabytes: int) -> dict[str, Any]:
    got = {"fetched_bytes": megabytes * 1_000_000, "requests": 1, "status": "recognised"}
    return {"answer_s": answer_s, **got}


RESULTS: dict[str, Any] = {
    "machine": "a machine",
    "clips": [
        {
            "video": f"{name}.mp4",
            "names": {"reference": "ada", "rollcall": found},
            "cpu_ms": {"reference": 900.0, "rollcall": 45.0, "one process": 44.0, "bare": 40.0},
            "wall_ms": {"reference": 900.0, "rollcall": 45.0, "one process": 44.0, "bare": 40.0},
        }
        for name, found in (("one", "ada"), ("two", "bob"))
    ],
    "encodings": {"clips": 1, "faces": 2, "largest_l2": 1.2e-6},
    "detector": {
        "detectors": {
            "Rollcall": {"found": 24, "faces": 24, "false": 0, "cpu_ms": 20.0},
            "dlib's HOG": {"found": 20, "faces": 24, "false": 1, "cpu_ms": 30.0},
        },
        "sizes": {
            "Rollcall's own choice": {"found": {"28": 97, "36": 100}, "cpu_ms": 21.0},
            "fixed: 0.50 of the width": {"found": {"28": 60, "36": 93}, "cpu_ms": 15.0},
        },
    },
    "cold_start": {"rollcall_first_answer": 990.0, "reference_import": 1100.0},
    "stages": {
        "embedded": [
            {"video": "one.mp4", "ms": {"download": 4.0, "faces": 20.0, "match": 2.0}},
            {"video": "two.mp4", "ms": {"download": 6.0, "faces": 30.0}},
        ]
    },
    "throughput": {"embedded": {"reference": flow(100.0, 98.0), "rollcall": flow(5.0, 6.0)}},
    "memory": [
        {"videos": 100, "rss_mb": 300.0, "cpu_ms": 60.0},
        {"videos": 1000, "rss_mb": 306.0, "cpu_ms": 60.0},
    ],
    "timeline": [{"length_s": 60, "wall_s": 4.0, "cpu_s": 5.0, "peak_mb": 240.0}],
    "auto": [{"length_s": 60, "wall_s": 1.2, "cpu_s": 1.5, "peak_mb": 210.0}],
    "growth": [
        {"scan": scan, "length_s": length_s, "cpu_ms": cpu_ms, "wall_ms": cpu_ms}
        for scan, length_s, cpu_ms in (
            ("identify", 10, 40.0),
            ("identify", 60, 41.0),
            ("timeline", 10, 700.0),
            ("timeline", 60, 4200.0),
        )
    ],
    "gallery": [{"encodings": 1000, "load_ms": 2.5, "match_ms": 0.21, "reference_ms": 1.8}],
    "ranged": {
        "ceph": [
            {"size_bytes": 2_000_000_000, "whole": fetch(6.0, 2000), "rollcall": fetch(0.1, 1)}
        ]
    },
    "trigger": {
        "triggers": [
            {
                "database": "PostgreSQL",
                "triggers": 3,
                "finished": 1_000_000,
                "videos": 6000,
                "per_s": 812.4,
                "cpu_ms": {"trigger": 1.234, "database": 0.5, "nginx": 0.03, "wrk": 0.07},
                "busy": 1.49,
                "runs_per_s": [800.0, 812.4, 820.0],
                "quiet_ms": {"median": 5.2, "p99": 21.0},
                "pages_ms": {"/healthz": 1.1, "/metrics": 2.2, "/": 9.3},
            }
        ],
        "bare": [
            {"database": "SQLite", "per_s": 1700.4, "cpu_ms": {"client": 0.3, "database": 0.0}}
        ],
    },
    "reconcile": [
        {
            "way": way,
            "objects": 1000,
            "passes": [
                {"wall_s": 2.5, "cpu_s": 1.25, "peak_mb": 90.2, "requests": 1000, **longest},
                {"wall_s": 0.5, "cpu_s": 0.25, "peak_mb": 91.2, "requests": 0, **longest},
            ],
        }
        for way, longest in (("reference", {}), ("rollcall", {"median_ms": 1.5, "longest_ms": 4.0}))
    ],
    "pages": {
        "SQLite": {
            "pages": {"/videos": 12.5},
            "rss_mb": [90, 91],
            "events": {"alone_per_s": 700.0, "beside_per_s": 690.0},
        }
    },
    "index": [
        {
            "database": "SQLite",
            "videos": 100,
            "people": 10,
            "appearances": 1000,
            "filled_s": 0.1,
            "put": [
                {
                    "batch": 100,
                    "new_per_s": 1500,
                    "new_cpu_ms": 0.412,
                    "replaced_per_s": 900,
                    "replaced_cpu_ms": 0.6,
                }
            ],
            "queries_ms": {"a person by name": 0.26},
        }
    ],
}


@pytest.fixture(scope="session")
def ffmpeg() -> None:
    need(shutil.which("ffmpeg") is not None, "ffmpeg is not installed")


def test_every_section_is_in_the_report() -> None:
    assert set(RESULTS) - {"machine"} == set(SECTIONS)
    text = report(RESULTS)
    assert [text.index(section.TITLE) for section in SECTIONS.values()] == sorted(
        text.index(section.TITLE) for section in SECTIONS.values()
    )


def test_the_report_contains_only_measured_sections() -> None:
    text = report({"machine": "m", "memory": RESULTS["memory"]})
    assert memory.TITLE in text
    assert clips.TITLE not in text


def test_the_table_of_clips_has_ratios_and_marks_different_names() -> None:
    *_, one, two, total = clips.table(RESULTS["clips"]).splitlines()
    assert one == "| one.mp4 | 900 | 45.0 | 20.0 | 1.12 | 1.02 | yes |"
    assert two.endswith("| NO |")
    assert total == "| all | 1800 | 90.0 | 20.0 | 1.12 | 1.02 |  |"


def test_throughput_is_compared_with_the_reference_on_the_same_store() -> None:
    *_, reference, ours = throughput.table(RESULTS["throughput"]).splitlines()
    assert reference == (
        "| embedded | reference | 100/100 | 1.0 | 1.0 | 1000 | 1.0"
        " | 98% | 1% | 0% | 0% | 50% | 0% |"
    )
    assert ours == (
        "| embedded | rollcall | 100/100 | 20.0 | 20.0 | 80 | 12.5"
        " | 75% | 12% | 6% | 6% | 80% | 10% |"
    )


def test_the_trigger_has_a_table_of_its_own_and_one_for_comparison() -> None:
    lines = trigger.table(RESULTS["trigger"]).splitlines()
    assert lines[2] == (
        "| PostgreSQL | 3 | 1,000,000 | 812 | 1.5 | 1.23 | 0.50 | 0.03 | 0.07"
        " | 5.2 | 21.0 | 1.1 | 2.2 | 9.3 |"
    )
    assert lines[-1] == "| SQLite | 1700 | 0.30 | 0.00 |"


def test_the_table_of_the_reconciler_has_both_scans() -> None:
    *_, reference, ours, again = reconcile.table(RESULTS["reconcile"]).splitlines()
    assert reference == "| 1,000 | in Python | second | 0.5 | 0.25 | 91 | 0 |  |  |"
    assert ours == "| 1,000 | in SQLite | first | 2.5 | 1.25 | 90 | 1 | 1.5 | 4 |"
    assert again == "| 1,000 | in SQLite | second | 0.5 | 0.25 | 91 | 0 | 1.5 | 4 |"


def test_the_tables_of_the_index_have_writes_and_queries() -> None:
    lines = index.table(RESULTS["index"]).splitlines()
    assert lines[2] == "| SQLite | 100 | 1500 | 0.412 | 900 | 0.6 |"
    assert lines[-1] == "| a person by name | 0.3 |"


def test_ratios_of_memory_time_and_length() -> None:
    assert memory.growth(RESULTS["memory"]) == pytest.approx(1.02)
    assert ranged.ratio(RESULTS["ranged"]["ceph"][0]) == pytest.approx(60)
    assert timeline.speed(RESULTS["timeline"][0]) == 15.0
    assert growth.cpu_ms(RESULTS["growth"], "timeline") == {10: 700.0, 60: 4200.0}
    assert stages.means(RESULTS["stages"]["embedded"]) == {
        "download": 5.0,
        "faces": 25.0,
        "match": 1.0,
    }
    shares = stages.shares(RESULTS["stages"]["embedded"])
    assert shares["faces"] == pytest.approx(25 / 31)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (4.564, "4.56"), (78.94, "78.9"), (1234.4, "1234"), (0.0, "0")],
)
def test_numbers_below_100_are_rounded_to_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_later_run_keeps_the_results_that_it_did_not_measure_again() -> None:
    later = {"machine": "a machine", "memory": [], "ranged": {"embedded": []}}
    merged = merge(RESULTS, later)
    assert merged["memory"] == []
    assert merged["ranged"] == {"embedded": [], "ceph": RESULTS["ranged"]["ceph"]}
    assert merged["clips"] == RESULTS["clips"]


def test_sections_are_chosen_by_name() -> None:
    context, option = click.Context(click.Command("run")), click.Option(["--only"])
    assert parse_only(context, option, "growth, clips") == ["clips", "growth"]
    assert parse_only(context, option, "") == list(SECTIONS)
    with pytest.raises(click.BadParameter, match="unknown sections: speed"):
        parse_only(context, option, "speed")


def test_only_the_block_between_the_markers_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold \\1\n<!-- /bench -->\nafter\n")
    write_block(page, "new \\1")
    assert page.read_text() == "before\n<!-- bench -->\nnew \\1\n<!-- /bench -->\nafter\n"
    page.write_text("none")
    with pytest.raises(ValueError, match="bench"):
        write_block(page, "new")


def test_the_page_about_performance_has_the_markers_once() -> None:
    assert PAGE.read_text().count("<!-- bench -->") == 1


def test_the_picture_has_a_panel_for_each_section_that_was_measured(tmp_path: Path) -> None:
    widths = {}
    for names in (("clips",), ("clips", "growth", "throughput")):
        path = tmp_path / "picture.png"
        assert draw({name: RESULTS[name] for name in names}, path)
        header = path.read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        widths[len(names)] = int.from_bytes(header[16:20])
    assert widths[3] == 3 * widths[1]
    assert not draw({"machine": "m"}, tmp_path / "none.png")


def test_the_cpu_time_of_a_child_that_still_runs_counts() -> None:
    argv = [sys.executable, "-c", BUSY]
    children: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        pipe = subprocess.PIPE
        children.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe))
        assert children[0].stdout
        children[0].stdout.readline()

    with_child, _ = measure(start)
    (child,) = children
    try:
        spent_s = processes.cpu_s([child.pid])
        assert child.poll() is None
        assert spent_s > 0
        assert with_child.cpu_ms >= 0.9 * spent_s * 1000
        assert processes.rss_bytes([child.pid]) > 1_000_000
        assert child.pid in processes.tree(os.getpid())[1:]
        assert processes.machine_cpu_s() >= spent_s
    finally:
        child.communicate()
    assert processes.cpu_s([child.pid]) == 0
    assert processes.rss_bytes([child.pid]) == 0


def test_cpu_time_that_a_child_used_before_the_call_does_not_count() -> None:
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdin=-1, stdout=-1)
    assert child.stdout
    child.stdout.readline()
    before_s = processes.cpu_s([child.pid])
    cost, _ = measure(child.communicate)
    assert cost.cpu_ms < before_s * 1000, "CPU time from before the call is left out"


def test_a_padded_video_has_the_wanted_size_and_still_plays(
    ffmpeg: None, sample: Path, tmp_path: Path
) -> None:
    bench = Bench(sample, tmp_path, sizes=Sizes(encoded_s=2))
    video = long_video(bench, 2)
    path = ranged.padded(video, tmp_path / "padded.mp4", 3_000_000)
    assert path.stat().st_size == 3_000_000
    argv = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]
    seconds = subprocess.run([*argv, str(path)], check=True, capture_output=True, text=True).stdout
    assert float(seconds) == pytest.approx(2, abs=0.5)
    with pytest.raises(ValueError, match="cannot be padded"):
        ranged.padded(video, tmp_path / "short.mp4", 10)
