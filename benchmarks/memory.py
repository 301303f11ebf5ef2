"""Memory and CPU of one worker over many videos: the real function host, called one by one."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown, processes
from benchmarks.bench import Bench
from benchmarks.stacks import BenchStack

TITLE = "A thousand videos through one worker"


def run(bench: Bench) -> list[dict[str, float]]:
    """Resident MB and CPU ms per video up to each number of videos; gunicorn's master included.

    The clips are called again and again: the function knows nothing of earlier calls, and the
    store need not keep a thousand copies.
    """
    found = []
    with BenchStack(bench, workers=1) as stack:
        stack.get_ready()
        keys = [f"warm-0/{video.name}" for video in bench.videos]
        done, before_s = 0, _cpu_s(stack)
        for count in bench.sizes.memory_videos:
            for number in range(done, count):
                stack.call(keys[number % len(keys)])
            spent_s = _cpu_s(stack) - before_s
            cpu_ms = round(spent_s / (count - done) * 1000, 1)
            rss_mb = round(processes.rss_bytes(processes.tree(stack.function.pid)) / 1e6, 1)
            found.append({"videos": count, "rss_mb": rss_mb, "cpu_ms": cpu_ms})
            done, before_s = count, before_s + spent_s
    return found


def _cpu_s(stack: BenchStack) -> float:
    return processes.cpu_s(processes.tree(stack.function.pid))


def growth(found: list[dict[str, Any]]) -> float:
    """The last resident size, as a multiple of the first."""
    return float(found[-1]["rss_mb"] / found[0]["rss_mb"])


def table(found: list[dict[str, Any]]) -> str:
    rows = [(each["videos"], f"{each['rss_mb']:.0f}", f"{each['cpu_ms']:.1f}") for each in found]
    head = ("videos", "resident, MB", "CPU ms per video since the line above")
    return f"{markdown.table(head, rows)}\n\nGrowth of memory: {growth(found):.3f} times."
