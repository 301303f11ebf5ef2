"""Which work is called next.

Work that is queued has a stage: it is in line, or it rests until `due_s` (a retry), or it stands
behind other work of the same object, which is in line or running.

Fair by prefix: the prefix of a key is its first folder. A line is sorted by `turn`, which grows by
one with each work of the same prefix and begins at the front of the line (start-time fair queuing,
Goyal 1996). So the next work of every prefix is near the front, however many works others have.
Among those near the front, the prefix with the fewest running calls goes first, then the one whose
calls have taken less time of late; then new work goes before retries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

RESTS, IN_LINE, BEHIND = 0, 1, 2
"""Stages. Running work keeps IN_LINE; a unique index allows one such work per object."""

LOOK_AHEAD = 32
"""How many works at the front of each line are compared."""

RETRY_SHARE = 10
"""One call in so many is a retry, if one waits, even while there is new work."""

HALF_LIFE_S = 600.0
"""The time that a prefix has used counts half as much after this time."""

SAME_USE_S = 60.0
"""Prefixes whose calls took equally many minutes count as equal."""

MAX_PREFIXES = 1000


class Candidate(NamedTuple):
    """Work near the front of a line."""

    id: int
    prefix: str
    turn: int
    again: bool
    """Whether it is a retry."""


def prefix_of(key: str) -> str:
    """`course/week/a.mp4` -> `course/`; empty for a key without a folder."""
    return key[: key.find("/") + 1]


class FairOrder:
    """Remembers how long the calls of each prefix took. Not safe for threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}
        """Prefix -> (seconds, when that was)."""
        self._since_retry = 0

    def used(self, prefix: str, seconds: float) -> None:
        """Adds the time of a call."""
        if len(self._used) >= MAX_PREFIXES:
            self._used = {
                each: at for each, at in self._used.items() if self.used_s(each) >= SAME_USE_S
            }
        if prefix in self._used or len(self._used) < MAX_PREFIXES:
            self._used[prefix] = (self.used_s(prefix) + max(0.0, seconds), self._clock())

    def used_s(self, prefix: str) -> float:
        """Recent time of its calls."""
        seconds, at_s = self._used.get(prefix, (0.0, 0.0))
        return seconds * math.pow(0.5, max(0.0, self._clock() - at_s) / HALF_LIFE_S)

    def choose(
        self, candidates: Sequence[Candidate], running: Mapping[str, int]
    ) -> Candidate | None:
        """The next work, given the number of running calls of each prefix."""
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        kinds = {each.again for each in candidates}
        retry_first = len(kinds) > 1 and self._since_retry + 1 >= RETRY_SHARE
        use = {each.prefix: self.used_s(each.prefix) // SAME_USE_S for each in candidates}

        def rank(each: Candidate) -> tuple[float, ...]:
            late = each.again != retry_first
            fair = (running.get(each.prefix, 0), use[each.prefix])
            return (late, *fair, each.turn) if retry_first else (*fair, late, each.turn, each.id)

        chosen = min(candidates, key=rank)
        self._since_retry = 0 if chosen.again or len(kinds) == 1 else self._since_retry + 1
        return chosen
