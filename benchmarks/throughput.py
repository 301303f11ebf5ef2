"""Measures the whole flow with many videos at once: videos per second, and CPU ms per video.

Rollcall's function and the reference run in the same stack: store, notification, trigger and number
of workers are the same. After a warm-up of all workers, the clock runs from the first upload to the
last result.

Run alone: `make bench ONLY=throughput`. Add `STORE=ceph` for the other store.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import markdown, processes
from benchmarks.bench import Bench
from benchmarks.stacks import OURS, REFERENCE, BenchStack
from rollcall.cli.mapping import read_mapping
from rollcall.core.expectations import agrees
from rollcall.core.keys import result_key
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

TITLE = "Throughput of the whole flow"
MAX_RESULT_BYTES = 1 << 20


def run(bench: Bench) -> dict[str, Any]:
    """Return the costs of each function, by store."""
    flows = {"reference": REFERENCE, "rollcall": OURS}
    return {bench.store: {name: _flow(bench, app) for name, app in flows.items()}}


def _flow(bench: Bench, app: str) -> dict[str, Any]:
    videos = _videos(bench)
    with BenchStack(bench, app) as stack:
        stack.get_ready()
        before, all_before_s = _cpu_by_part(stack), processes.machine_cpu_s()
        started = time.perf_counter()
        stack.upload(videos)
        stack.wait_settled(len(videos))
        wall_s, all_s = time.perf_counter() - started, processes.machine_cpu_s() - all_before_s
        after = _cpu_by_part(stack)
        right = _count_right(bench, stack, videos)
    spent = {part: round(after[part] - before[part], 2) for part in after}
    return {
        "videos": len(videos),
        "right": right,
        "wall_s": round(wall_s, 2),
        "cpu_s": spent,
        "others_s": round(max(0.0, all_s - sum(spent.values())), 2),
        "cores": os.cpu_count(),
    }


def _videos(bench: Bench) -> dict[str, Path]:
    """Return the videos to upload, by key. The clips are used again and again."""
    clips, count = bench.videos, bench.sizes.throughput_videos
    return {f"{n:04}/{clips[n % len(clips)].name}": clips[n % len(clips)] for n in range(count)}


def _cpu_by_part(stack: BenchStack) -> dict[str, float]:
    """Return the CPU seconds so far of each part of the flow."""
    # This process uploads and waits. Its children that are neither the function nor the trigger
    # belong to the store.
    function = processes.tree(stack.function.pid)
    trigger = processes.tree(stack.trigger.pid)
    store = set(processes.tree(os.getpid())[1:]) - {*function, *trigger}
    parts = {"function": function, "store": store, "trigger": trigger}
    return {
        **{n: processes.cpu_s(pids) for n, pids in parts.items()},
        "upload": time.process_time(),
    }


def _count_right(bench: Bench, stack: BenchStack, videos: Mapping[str, Path]) -> int:
    """Return how many results name the person that the mapping expects."""
    mapping = read_mapping(bench.data / "mapping")
    store = S3Store(s3_client(stack.settings))
    keys = {info.key for info in store.list_objects(stack.settings.output_bucket)}

    def rows(key: str) -> list[dict[str, str]]:
        body = store.read(stack.settings.output_bucket, result_key(key), MAX_RESULT_BYTES)
        return list(csv.DictReader(io.StringIO(body.decode())))

    done = {key: path for key, path in videos.items() if result_key(key) in keys}
    return sum(agrees(mapping[path.name], rows(key)) for key, path in done.items())


def per_s(flow: Mapping[str, Any]) -> float:
    """Return the number of videos per second."""
    return float(flow["videos"] / flow["wall_s"])


def cpu_ms(flow: Mapping[str, Any]) -> float:
    """Return the CPU ms per video of all parts together."""
    return float(sum(flow["cpu_s"].values()) / flow["videos"] * 1000)


def busy(flow: Mapping[str, Any], seconds: float) -> float:
    """Return these CPU seconds as a fraction of the time of all cores during the run."""
    return float(seconds / flow["wall_s"] / flow["cores"])


def table(result: dict[str, Any]) -> str:
    head = (
        *("store", "function", "right", "videos/s", "times the reference", "CPU ms per video"),
        *("reference's CPU / this CPU", "CPU: function", "CPU: store", "CPU: trigger"),
        *("CPU: upload", "cores busy", "cores busy, other programs"),
    )
    rows = [
        (store, *_cells(name, flow, flows["reference"]))
        for store, flows in result.items()
        for name, flow in flows.items()
    ]
    return markdown.table(head, rows)


def _cells(name: str, flow: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[str, ...]:
    parts = ("function", "store", "trigger", "upload")
    shares = (flow["cpu_s"][part] / sum(flow["cpu_s"].values()) for part in parts)
    return (
        *(name, f"{flow['right']}/{flow['videos']}"),
        *(f"{per_s(flow):.1f}", f"{per_s(flow) / per_s(reference):.1f}"),
        *(f"{cpu_ms(flow):.0f}", f"{cpu_ms(reference) / cpu_ms(flow):.1f}"),
        *(f"{share:.0%}" for share in shares),
        *(f"{busy(flow, sum(flow['cpu_s'].values())):.0%}", f"{busy(flow, flow['others_s']):.0%}"),
    )
