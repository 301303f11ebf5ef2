"""Measures memory (MB) and CPU (ms per video) of one worker over a thousand videos.

The worker is a process of gunicorn with the real function, which is called for one video after the
other. There is no reference: the question is only whether memory grows. Run alone:
`make bench ONLY=memory`.
"""

from __future__ import annotations

from typing import Any

from benchmarks import markdown, processes
from benchmarks.bench import Bench
from benchmarks.stacks import BenchStack

TITLE = "A thousand videos through one worker"


def run(bench: Bench) -> list[dict[str, float]]:
    """Return, for each number of videos, the resident MB, and the CPU ms per video since the last.

    The memory and CPU time of gunicorn's master process are included. The same clips are used again
    and again: the function does not remember earlier calls, so a thousand copies in the store are
    not needed.
    """
    results = []
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
            results.append({"videos": count, "rss_mb": rss_mb, "cpu_ms": cpu_ms})
            done, before_s = count, before_s + spent_s
    return results


def _cpu_s(stack: BenchStack) -> float:
    return processes.cpu_s(processes.tree(stack.function.pid))


def growth(results: list[dict[str, Any]]) -> float:
    """Return the last resident memory as a multiple of the first."""
    return float(results[-1]["rss_mb"] / results[0]["rss_mb"])


def table(results: list[dict[str, Any]]) -> str:
    rows = [(each["videos"], f"{each['rss_mb']:.0f}", f"{each['cpu_ms']:.1f}") for each in results]
    head = ("videos so far", "resident memory, MB", "CPU ms per video since the row above")
    return f"{markdown.table(head, rows)}\n\nMemory grew by a factor of {growth(results):.3f}."
