"""Measures the trigger: videos per second from accepted to done, CPU per video, and its pages.

wrk sends events, and nginx answers the calls of the function at once, so both cost little CPU. The
triggers run as in production, as processes of their own, with either database. Each part is also
measured with a million finished videos in the database.

Run alone: `make bench ONLY=trigger`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import bare_queue, markdown, processes
from benchmarks.bench import Bench
from benchmarks.native import (
    BUCKET,
    TOKEN,
    Load,
    missing_programs,
    postgres,
    send,
    start_nginx,
    start_trigger,
)
from benchmarks.trigger_rows import Rows
from devstack.processes import Processes
from rollcall.http_client import HttpClient

TITLE = "The trigger"

MAX_INFLIGHT = 32
PAGES = ("/healthz", "/metrics", "/")
PAGE_REPEATS = 5
MAX_PAGE_BYTES = 1 << 20
QUIET_PER_S = 100
"""Events per second for the latency without a backlog."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and how many triggers use it."""

    name: str
    triggers: int


PLACES = (Place("SQLite", 1), *(Place("PostgreSQL", count) for count in (1, 2, 3)))


def run(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of each place with each number of finished videos, and those of the
    bare transactions."""
    if missing := missing_programs():
        raise click.UsageError(f"programs are missing: {', '.join(missing)}")
    measured = [
        _measure(bench, place, finished)
        for finished in bench.sizes.trigger_finished
        for place in PLACES
    ]
    return {"triggers": measured, "bare": [_measure_bare(bench, place) for place in PLACES[:2]]}


def _measure_bare(bench: Bench, place: Place) -> dict[str, Any]:
    with _Stack(bench, place, 0, "bare") as stack:
        return {"database": place.name, **stack.bare(bench.sizes.trigger_videos)}


def _measure(bench: Bench, place: Place, finished: int) -> dict[str, Any]:
    with _Stack(bench, place, finished) as stack:
        sizes = bench.sizes
        stack.load(sizes.trigger_videos // 10)  # opens connections and fills caches
        runs = [stack.load(sizes.trigger_videos) for _ in range(sizes.trigger_repeats)]
        middle = sorted(runs, key=lambda run: float(run["per_s"]))[len(runs) // 2]
        return {
            "database": place.name,
            "triggers": place.triggers,
            "finished": finished,
            **middle,
            "runs_per_s": [each["per_s"] for each in runs],
            "quiet_ms": stack.quiet_ms(),
            "pages_ms": stack.pages_ms(),
        }


class _Stack:
    """The native programs and the triggers of one measurement."""

    def __init__(self, bench: Bench, place: Place, finished: int, name: str = "") -> None:
        self._bench = bench
        self._place = place
        self._finished = finished
        self._name = f"{name}{place.name}-{place.triggers}-{finished}"
        self._stack = ExitStack()
        self._loads = 0

    def __enter__(self) -> _Stack:
        with self._stack:
            folder = self._folder()
            url, self._database = f"sqlite:///{folder / 'inbox.sqlite3'}", None
            if self._place.name == "PostgreSQL":
                self._database, url = self._stack.enter_context(postgres())
            self._url, self._rows = url, Rows(url)
            self._stack.callback(self._rows.close)
            running = self._running = self._stack.enter_context(Processes())
            self._nginx, gateway = start_nginx(running, folder)
            values = settings_of(url, gateway)
            first, _ = start_trigger(running, folder, "first-trigger", values)
            running.stop(first)  # it has created the tables
            if self._finished:
                self._rows.fill(self._finished)
            names = [f"trigger-{number}" for number in range(self._place.triggers)]
            started = [start_trigger(running, folder, name, values) for name in names]
            self._triggers = [process for process, _ in started]
            self._urls = [url for _, url in started]
            self._opened = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def _folder(self) -> Path:
        folder = self._bench.folder / self._name
        folder.mkdir()
        return folder

    def load(self, videos: int) -> dict[str, Any]:
        """Send events as fast as the triggers accept them, and wait for the results."""
        last_id, before = self._rows.last_id(), self._cpu_s()
        share = videos // len(self._urls)
        wrk_s = send(self._new_loads(share))
        self._rows.wait_ended()
        spent = {part: after - before[part] for part, after in self._cpu_s().items()}
        ended = self._rows.ended_since(last_id)
        if not ended.once or ended.videos != share * len(self._urls):
            raise AssertionError(
                f"{videos} events led to {ended.videos} finished videos, or one was called twice"
            )
        per_video = {part: s / ended.videos * 1000 for part, s in {**spent, "wrk": wrk_s}.items()}
        return {
            "videos": ended.videos,
            "per_s": round(ended.videos / ended.wall_s, 1),
            "cpu_ms": {part: round(ms, 3) for part, ms in per_video.items()},
            "busy": round(sum(per_video.values()) * ended.videos / ended.wall_s / 1000, 2),
        }

    def bare(self, videos: int) -> dict[str, Any]:
        """Do the bare transactions in this process, without the triggers."""
        for trigger in self._triggers:
            self._running.stop(trigger)
        before_s = self._cpu_s()["database"]
        wall_s, used_s = bare_queue.run(self._url, videos)
        spent_s = {"client": used_s, "database": self._cpu_s()["database"] - before_s}
        return {
            "per_s": round(videos / wall_s, 1),
            "cpu_ms": {part: round(s / videos * 1000, 3) for part, s in spent_s.items()},
        }

    def _new_loads(self, share: int, **how: int) -> list[Load]:
        self._loads += 1
        names = [f"load-{self._loads}-{number}" for number in range(len(self._urls))]
        return [Load(url, name, share, **how) for url, name in zip(self._urls, names, strict=True)]

    def quiet_ms(self) -> dict[str, float]:
        """Milliseconds from accepted to done while there is little to do."""
        last_id, connections = self._rows.last_id(), 4
        pause_ms = 1000 * connections * len(self._urls) // QUIET_PER_S
        share = self._bench.sizes.trigger_quiet_videos // len(self._urls)
        send(self._new_loads(share, pause_ms=pause_ms, connections=connections))
        self._rows.wait_ended()
        waits_s = self._rows.ended_since(last_id).waits_s
        at = {"median": len(waits_s) // 2, "p99": len(waits_s) * 99 // 100}
        return {name: round(waits_s[index] * 1000, 1) for name, index in at.items()}

    def pages_ms(self) -> dict[str, float]:
        """Milliseconds until each page of the first trigger is read; the median of some reads."""
        pages = {}
        with HttpClient() as client:
            for page in PAGES:
                taken = [_page_ms(client, self._urls[0] + page) for _ in range(PAGE_REPEATS)]
                pages[page] = round(statistics.median(taken), 1)
        return pages

    def _cpu_s(self) -> dict[str, float]:
        parts = {
            "trigger": [each.pid for each in self._triggers],
            "database": [self._database.pid] if self._database else [],
            "nginx": [self._nginx.pid],
        }
        return {
            part: processes.cpu_s(each for pid in pids for each in processes.tree(pid))
            for part, pids in parts.items()
        }


def settings_of(url: str, gateway: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "OPENFAAS_GATEWAY": gateway,
        "S3_ENDPOINT_URL": gateway,
        "DYNAMODB_ENDPOINT_URL": gateway,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "INPUT_BUCKET": BUCKET,
        "TRIGGER_TOKEN": TOKEN,
        "MAX_INFLIGHT": str(MAX_INFLIGHT),
        "RECONCILE_S": "86400",
        "FUNCTION_HMAC_KEY": "key-of-the-benchmark-" * 2,
    }


def _page_ms(client: HttpClient, url: str) -> float:
    login = {"Authorization": f"Bearer {TOKEN}"}
    started = time.perf_counter()
    answer = client.request("GET", url, login, b"", timeout_s=60, max_bytes=MAX_PAGE_BYTES)
    if answer.status != 200:
        raise AssertionError(f"{url} answered {answer.status}")
    return (time.perf_counter() - started) * 1000


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    return f"{_table_of_triggers(results['triggers'])}\n\n{_table_of_bare(results['bare'])}"


def _table_of_bare(results: list[dict[str, Any]]) -> str:
    head = (
        *("database, bare transactions without a trigger", "videos/s"),
        *("CPU ms per video: client", "database"),
    )
    rows = (
        (each["database"], f"{each['per_s']:.0f}", *(f"{ms:.2f}" for ms in each["cpu_ms"].values()))
        for each in results
    )
    return markdown.table(head, rows)


def _table_of_triggers(results: list[dict[str, Any]]) -> str:
    head = (
        *("database", "triggers", "finished videos before", "videos/s", "cores busy"),
        *("CPU ms per video: trigger", "database", "nginx", "wrk"),
        *("accepted to done, ms: median", "99 %", *(f"`{page}`, ms" for page in PAGES)),
    )
    return markdown.table(head, map(_cells, results))


def _cells(run: Mapping[str, Any]) -> tuple[object, ...]:
    cpu = (f"{run['cpu_ms'][part]:.2f}" for part in ("trigger", "database", "nginx", "wrk"))
    return (
        *(run["database"], run["triggers"], f"{run['finished']:,}"),
        *(f"{run['per_s']:.0f}", f"{run['busy']:.1f}", *cpu),
        *(run["quiet_ms"]["median"], run["quiet_ms"]["p99"]),
        *(run["pages_ms"][page] for page in PAGES),
    )
