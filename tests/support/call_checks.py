"""The part of the invariant check that compares events, work and calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rollcall.core.events import parse_events
from rollcall.core.types import VideoRef
from support.call_ledger import Call, overlaps, was_given_up
from support.faulty_flow import FaultyFlow
from support.inbox_rows import Row


def check_calls(
    flow: FaultyFlow,
    prefix: str,
    rows: list[Row],
    calls: Sequence[Call],
    logs_from: Mapping[Path, int],
) -> list[str]:
    """Check that the triggers counted every call that arrived, and that the logs explain each."""
    arrived = Counter(call.key for call in calls)
    claimed: Counter[str] = Counter()
    for row in rows:
        claimed[row.key] += row.calls
    wrong = [
        f"{key}: {n} more calls arrived than the database counts"
        for key, n in (arrived - claimed).items()
    ]
    log = b"".join(path.read_bytes()[logs_from.get(path, 0) :] for path in flow.logs()).decode()
    again = len(re.findall(rf"'{re.escape(prefix)}[^']*' is retried in", log))
    cut_off = sum(map(int, re.findall(r"(\d+) calls were cut off", log)))
    replayed = sum(key.startswith(prefix) for key in flow.replayed)
    explained = len(rows) + again + cut_off + replayed
    # If the answer to a commit was lost, the triggers do not know of the calls that they claimed.
    if sum(claimed.values()) > explained and not flow.database_was_broken():
        causes = f"{len(rows)} items, {again} retries, {cut_off} cut off, {replayed} replayed"
        wrong.append(f"{sum(claimed.values())} calls, but the logs explain only: {causes}")
    return wrong


def check_overlaps(flow: FaultyFlow, calls: Sequence[Call]) -> tuple[list[str], int]:
    """Check that no two calls for one video ran at the same time.

    Also returns the number of pairs that did, after the trigger had to give up the first call.
    """
    wrong, orphans = [], 0
    cuts = flow.cut_calls()
    for first, second in overlaps(calls):
        if was_given_up(first, second, flow.settings.function_timeout_s, cuts):
            orphans += 1
        else:
            wrong.append(f"{first.key}: two calls ran at the same time: {first}, {second}")
    return wrong, orphans


def check_acknowledged(flow: FaultyFlow, prefix: str, rows: Sequence[Row]) -> list[str]:
    """Check that the work of every acknowledged event is in the database.

    If the reconciler found the upload first, the event is a duplicate of the reconciler's work.
    """
    stored = {row.identity for row in rows}
    found = [row for row in rows if row.origin == "reconcile"]
    return [
        f"{video.key}: its event was acknowledged, but is not in the database"
        for video, at_s in acknowledged(flow, prefix).items()
        if video.identity() not in stored
        and not any(row.key == video.key and row.received_s <= at_s for row in found)
    ]


def acknowledged(flow: FaultyFlow, prefix: str) -> dict[VideoRef, float]:
    """The videos below a prefix whose events were acknowledged, and when that was first."""
    times_s: dict[VideoRef, float] = {}
    for body, at_s in flow.acknowledged:
        for video in parse_events(body):
            if video.key.startswith(prefix):
                times_s[video] = min(at_s, times_s.get(video, at_s))
    return times_s
