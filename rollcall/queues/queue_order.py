"""The order in which queued work is claimed.

Queued work is in one of three stages: in line; resting until its `due_s` (for example a retry); or
behind other work for the same object that is in line or running.

There are two lines, one for new work and one for retries. Both treat the prefixes of keys fairly; a
prefix is the top-level folder of a key. A line is sorted by `turn`. When work joins a line, its
turn is one more than that of the last work with the same prefix, but not less than the turn at the
front of the line (start-time fair queuing, Goyal 1996). So every prefix has work near the front of
the line, however much work the other prefixes have.

Among the work near the front of both lines, the prefix with the fewest running calls comes first,
then the prefix whose calls took less time recently. If both are equal, new work comes before
retries.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

RESTING, IN_LINE, BEHIND = 0, 1, 2
"""The stages. Running work stays IN_LINE, so an object has at most one work in that stage."""

LOOK_AHEAD = 32
"""How many pieces of work at the front of each line are compared, if one is claimed."""

RETRY_EVERY = 10
"""Every tenth call is a retry if one is due, even if there is new work."""

HALF_LIFE_S = 600.0
"""After this time, the call time of a prefix counts half as much."""

SAME_USE_S = 60.0
"""Prefixes whose recent calls took the same number of whole minutes count as equal."""

MAX_PREFIXES = 1000
"""Limit on the prefixes whose call times are remembered: uploaders can make up any number."""


class Candidate(NamedTuple):
    """Work near the front of a line."""

    id: int
    prefix: str
    turn: int
    is_retry: bool


def prefix_of(key: str) -> str:
    """`course/week/a.mp4` -> `course/`; empty for a key without a folder."""
    return key[: key.find("/") + 1]


def next_turn(last_of_prefix: int | None, front: int | None) -> int:
    """The turn of work that joins a line.

    `last_of_prefix` is the largest turn of work with the same prefix in that line, and `front` the
    smallest turn in the line. Both are None if there is no such work.
    """
    return max(front or 0, 0 if last_of_prefix is None else last_of_prefix + 1)


class FairOrder:
    """Chooses the next work, and remembers how long the calls of each prefix took.

    Not safe for threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._call_times: dict[str, tuple[float, float]] = {}
        """Prefix -> (total seconds of its calls, Unix time when that total was computed)."""
        self._calls_since_retry = 0

    def add_call(self, prefix: str, duration_s: float) -> None:
        """Add the duration of a call to the call time of its prefix."""
        if len(self._call_times) >= MAX_PREFIXES:
            self._call_times = {
                known: figure
                for known, figure in self._call_times.items()
                if self.recent_s(known) >= SAME_USE_S
            }
        if prefix in self._call_times or len(self._call_times) < MAX_PREFIXES:
            # A duration is negative if the clock was set back between two starts of the trigger.
            total_s = self.recent_s(prefix) + max(0.0, duration_s)
            self._call_times[prefix] = (total_s, self._clock())

    def recent_s(self, prefix: str) -> float:
        """The call time of a prefix in seconds; the older a call, the less it counts."""
        seconds, at_s = self._call_times.get(prefix, (0.0, 0.0))
        return seconds * math.pow(0.5, max(0.0, self._clock() - at_s) / HALF_LIFE_S)

    def choose_batch(
        self, line: Iterable[Candidate], running: Mapping[str, int], limit: int
    ) -> list[Candidate]:
        """The next `limit` pieces of work, in the order in which they should be called.

        `line` is the work near the front of both lines.
        """
        waiting: dict[tuple[bool, str], deque[Candidate]] = {}
        for candidate in sorted(line, key=lambda each: (each.turn, each.id)):
            waiting.setdefault((candidate.is_retry, candidate.prefix), deque()).append(candidate)
        counts, chosen = Counter(running), list[Candidate]()
        while waiting and len(chosen) < limit:
            best = self.choose([first[0] for first in waiting.values()], counts)
            if best is None:  # never, because a line is not empty here
                break
            chosen.append(best)
            counts[best.prefix] += 1
            rest = waiting[best.is_retry, best.prefix]
            rest.popleft()
            if not rest:
                del waiting[best.is_retry, best.prefix]
        return chosen

    def choose(
        self, candidates: Sequence[Candidate], running: Mapping[str, int]
    ) -> Candidate | None:
        """The next work, given the number of running calls of each prefix."""
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        has_both = len({candidate.is_retry for candidate in candidates}) > 1
        retry_first = has_both and self._calls_since_retry + 1 >= RETRY_EVERY
        use = {each.prefix: self.recent_s(each.prefix) // SAME_USE_S for each in candidates}

        def rank(candidate: Candidate) -> tuple[float, ...]:
            wrong_kind = candidate.is_retry != retry_first
            fair = (running.get(candidate.prefix, 0), use[candidate.prefix])
            if retry_first:
                return (wrong_kind, *fair, candidate.turn)
            return (*fair, wrong_kind, candidate.turn, candidate.id)

        chosen = min(candidates, key=rank)
        if chosen.is_retry or not has_both:
            self._calls_since_retry = 0
        else:
            self._calls_since_retry += 1
        return chosen
