"""Check that no video was lost, by comparing buckets, database, calls and counters."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rollcall.core.keys import report_key, result_key
from rollcall.core.results import parse_csv
from support.call_checks import check_acknowledged, check_calls, check_overlaps
from support.call_ledger import read_calls
from support.faulty_flow import FaultyFlow
from support.inbox_rows import Row

MAX_BYTES = 1 << 20

LATE_COUNT_S = 15.0
"""How late counters and logs may be. A trigger counts and logs most changes of the database just
after the commit, and on a busy machine the work may have ended by then."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One uploaded file."""

    people: tuple[tuple[str, str, str], ...] | None
    """Name, major and year of each person in it; None if it is not a video."""
    etag: str
    puts: int
    """Number of uploads until the store had it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of a round, and the violations that the check found."""

    videos: int
    results: int
    dead_letters: int
    given_up: tuple[str, ...]
    """Dead letters of valid videos, each with its reason."""
    calls: int
    orphans: int
    """Pairs of calls for one video that ran at the same time, because the trigger had lost the
    connection to the first one, or its time-out had passed."""
    wrong: tuple[str, ...]
    """Each violation as a sentence; empty if the invariant holds."""

    @property
    def repeats(self) -> int:
        """Number of calls beyond one for each video."""
        return self.calls - self.videos


def check_invariant(
    flow: FaultyFlow,
    prefix: str,
    sent: Mapping[str, Sent],
    logs_from: Mapping[Path, int] = MappingProxyType({}),
    late_s: float = LATE_COUNT_S,
) -> Outcome:
    """Check everything below `prefix`, once all its work is settled.

    Every uploaded video has either one correct result, or a dead letter with a reason. Every result
    belongs to a video, every call has a cause, and two calls for one video never run at the same
    time. No acknowledged event is missing. The counters agree with the database, at the latest
    after `late_s`. The logs of the triggers are read from the bytes in `logs_from`.
    """
    settings = flow.settings
    rows = flow.works(prefix)
    listed = [info.key for info in flow.s3.list_objects(settings.output_bucket)]
    results = [key for key in listed if key.startswith(prefix)]
    by_key: dict[str, list[Row]] = {key: [] for key in sent}
    wrong = [f"work for {row.key}, which was not uploaded" for row in rows if row.key not in sent]
    for row in rows:
        by_key.get(row.key, []).append(row)
    for key, video in sent.items():
        wrong += check_video(flow, key, video, by_key[key], result_key(key) in results)
    wrong += [
        f"the result {key} has no video" for key in set(results) - {result_key(key) for key in sent}
    ]
    calls = [
        call
        for call in read_calls(flow.folder / "calls", flow.killed_workers)
        if call.key.startswith(prefix)
    ]
    overlapping, orphans = check_overlaps(flow, calls)
    wrong += overlapping
    wrong += check_acknowledged(flow, prefix, rows)
    wrong += check_reports(flow, prefix, sent, rows)
    wrong += wrong_for(late_s, lambda: check_calls(flow, prefix, rows, calls, logs_from))
    wrong += wrong_for(late_s, lambda: check_metrics(flow))
    dead = {row.key for row in rows if row.state == "dead"} - set(_done(rows))
    good = {key for key in dead & sent.keys() if sent[key].people is not None}
    given_up = tuple(f"{row.key}: {row.code}: {row.message}" for row in rows if row.key in good)
    total = sum(row.calls for row in rows)
    return Outcome(len(sent), len(results), len(dead), given_up, total, orphans, tuple(wrong))


def wrong_for(late_s: float, check: Callable[[], list[str]]) -> list[str]:
    """Repeat a check until it finds nothing, and return what it still finds after this time."""
    until = time.monotonic() + late_s
    while (wrong := check()) and time.monotonic() < until:
        time.sleep(0.1)
    return wrong


def check_video(
    flow: FaultyFlow, key: str, video: Sent, rows: list[Row], has_result: bool
) -> list[str]:
    """Check that a video has either a correct result or a dead letter with a reason.

    A video that was uploaded several times has at most one event and one dead letter per upload.
    """
    states = Counter(row.state for row in rows)
    wrong = []
    if not rows or set(states) - {"done", "dead"}:
        wrong.append(f"{key} is lost: {rows}")
    if has_result == bool(states["dead"] and not states["done"]):
        wrong.append(f"{key}: has a result: {has_result}, which contradicts its work: {rows}")
    if states["dead"] > video.puts:
        wrong.append(f"{key} has too many dead letters: {rows}")
    events = sum(row.origin == "event" for row in rows)
    if events > video.puts:
        wrong.append(f"{key} was uploaded {video.puts} times, but has {events} events: {rows}")
    for row in rows:
        if row.state == "dead" and not (row.code and row.message):
            wrong.append(f"{key} is a dead letter without a reason: {row}")
    if has_result:
        wrong += _check_result(flow, key, video)
    if video.people is None and any(row.state == "done" for row in rows):
        wrong.append(f"{key} is not a video, but its work is done: {rows}")
    return wrong


def _check_result(flow: FaultyFlow, key: str, video: Sent) -> list[str]:
    where = flow.settings.output_bucket, result_key(key)
    rows = parse_csv(flow.s3.read(*where, MAX_BYTES))
    people = tuple((row["name"], row["major"], row["year"]) for row in rows)
    source = flow.s3.metadata(*where)["source-etag"]
    wrong = []
    if video.people is None or people != video.people:
        wrong.append(f"{key}: the result has {people} instead of {video.people}")
    if source != video.etag:
        wrong.append(f"{key}: the result has the etag {source}, the video {video.etag}")
    return wrong


def check_reports(
    flow: FaultyFlow, prefix: str, sent: Mapping[str, Sent], rows: list[Row]
) -> list[str]:
    """Check that each report matches the work, and that the log mentions each missing report."""
    bucket = flow.settings.report_bucket
    there = {info.key for info in flow.s3.list_objects(bucket) if info.key.startswith(prefix)}
    done, log = _done(rows), flow.function.log.read_text()
    wrong = []
    for key in sent:
        if report_key(key) in there:
            report = json.loads(flow.s3.read(bucket, report_key(key), MAX_BYTES))
            if ("error" in report) == (key in done):
                wrong.append(f"{key}: the report contradicts the work: {report}")
        elif key in done and f"cannot write the report of {key!r}" not in log:
            wrong.append(f"{key} has no report, and the log does not say so")
    return wrong


def check_metrics(flow: FaultyFlow) -> list[str]:
    """Compare the counters of all triggers with the changes of the database since the baseline.

    If counters were lost with a killed trigger, or commits were not confirmed, the database may
    have counted more. A trigger that cannot record an answer counts it although another trigger
    repeats the call, so the numbers of answers are compared only if there was no such fault.
    """
    before, now = list(flow.baseline.rows.values()), list(flow.rows().values())
    numbers = flow.counted()
    origins, origins_before = (Counter(row.origin for row in rows) for rows in (now, before))
    all_calls = sum(numbers[f"rollcall_calls_total {outcome}"] for outcome in OUTCOMES)
    pairs = {
        "calls": (all_calls, sum(r.calls for r in now) - sum(r.calls for r in before)),
        "events": (
            numbers["rollcall_events_total queued"],
            origins["event"] - origins_before["event"],
        ),
        "reconciled": (
            numbers["rollcall_reconciled_total"],
            origins["reconcile"] - origins_before["reconcile"],
        ),
    }
    exact = flow.baseline.exact and not flow.database_was_broken()
    if exact:
        answered = _answered(now) - _answered(before)
        pairs["done"] = (numbers["rollcall_calls_total done"], answered)
    wrong = [
        f"the metrics count {counted} {name}, the database has {stored}"
        for name, (counted, stored) in pairs.items()
        if counted > stored or (exact and counted < stored)
    ]
    states = Counter(row.state for row in now)
    for trigger in flow.triggers:
        shown = trigger.counters()
        wrong += [
            f"{trigger.name} shows {shown[f'rollcall_work {state}']} {state}, the database has"
            f" {states[state]}"
            for state in ("done", "dead")
            if shown[f"rollcall_work {state}"] != states[state]
        ]
    return wrong


OUTCOMES = ("done", "retry", "dead")


def _answered(rows: Iterable[Row]) -> int:
    """Count the work that was completed by an answer of the function.

    If an answer is lost, the reconciler finds the result and completes the work without a call.
    """
    return sum(row.state == "done" and row.code != "result_found" for row in rows)


def _done(rows: list[Row]) -> list[str]:
    return [row.key for row in rows if row.state == "done"]
