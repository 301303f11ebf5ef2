"""The ledger of the function's calls, and the search for calls that ran at the same time."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class LedgerLine(NamedTuple):
    """The begin or the end of a call. Times are in seconds of `time.monotonic`, which all processes
    of a machine share."""

    call: str
    key: str
    link: str
    """The link through which the call came: each trigger has its own."""
    sent_s: float
    """When the link forwarded the call. The call may begin much later, if no worker is free."""
    pid: int
    at_s: float = 0.0
    ends: bool = False


@dataclass(slots=True)
class Call:
    """A call that the function got."""

    key: str
    link: str
    pid: int
    sent_s: float
    begin_s: float
    end_s: float = float("inf")
    """Infinite if the call has not ended."""


def append_line(ledger: Path, line: LedgerLine) -> None:
    """Add a line with the current time."""
    # Several workers append to the file. A single unbuffered write in append mode is atomic.
    with open(ledger, "ab", buffering=0) as file:
        file.write(json.dumps(line._replace(at_s=time.monotonic())).encode() + b"\n")


def read_calls(ledger: Path, killed: Mapping[int, float] | None = None) -> list[Call]:
    """Return all calls. `killed` has the times at which workers were killed, by their pid."""
    calls: dict[str, Call] = {}
    for text in ledger.read_text().splitlines() if ledger.exists() else ():
        line = LedgerLine(*json.loads(text))
        if line.ends:
            calls[line.call].end_s = line.at_s
        else:
            calls[line.call] = Call(line.key, line.link, line.pid, line.sent_s, line.at_s)
    for call in calls.values():
        if call.pid in (killed or {}):
            call.end_s = min(call.end_s, (killed or {})[call.pid])
    return list(calls.values())


def overlaps(calls: Iterable[Call]) -> Iterator[tuple[Call, Call]]:
    """Yield each pair of calls for one video that ran at the same time, the one sent first first.

    The calls of a pair may have come from different triggers.
    """
    by_key: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    for same in by_key.values():
        same.sort(key=lambda call: call.sent_s)
        for number, first in enumerate(same):
            for second in same[number + 1 :]:
                if first.begin_s < second.end_s and second.begin_s < first.end_s:
                    yield first, second


def was_given_up(
    first: Call, second: Call, timeout_s: float, broken: Mapping[str, Sequence[float]]
) -> bool:
    """Whether the trigger had to give up the first call before the second one was sent.

    A function goes on with a call whose trigger has timed out, or whose connection is gone, so such
    calls may overlap. `broken` has the times at which a link was cut.
    """
    if second.sent_s - first.sent_s >= timeout_s:
        return True
    return any(first.sent_s <= at_s <= second.sent_s for at_s in broken.get(first.link, ()))
