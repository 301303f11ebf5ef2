"""The numbers of the work queue and the outbox, and what they say about the system in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.retry import metric_code

LONG_S = 300.0
"""Waiting times and transactions from this age on are listed as a problem. Retries after an outage
of a few minutes are normal."""


class OutboxFigures(Protocol):
    """The part of the outbox that the metrics need. Both methods raise InboxUnavailable."""

    def counts(self) -> dict[str, int]:
        """The number of messages in each state."""
        ...

    def oldest_s(self) -> float:
        """Seconds since the oldest undelivered message was written; 0 if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers in the database, which are about all triggers together."""

    work: Mapping[str, int]
    """Number of pieces of work by state, and of bad events."""
    codes: Mapping[tuple[str, str], int]
    """Number of ended pieces of work by state and code."""
    oldest_waiting_s: float
    notices: Mapping[str, int] = field(default_factory=dict)
    oldest_notice_s: float = 0.0
    oldest_transaction_s: float | None = None
    """None if the database has no such figure."""
    unindexed: int | None = None
    """None if the trigger does not fill the index."""

    def by_code(self, state: str) -> dict[str, int]:
        """Number of pieces of work in this state, by a label from a fixed list."""
        found: dict[str, int] = {}
        for (each, code), count in self.codes.items():
            if each == state:
                found[metric_code(code)] = found.get(metric_code(code), 0) + count
        return found

    def problems(self) -> list[str]:
        """Problems that need attention, each in one or two sentences."""
        return [*self._failures(), *self.delays()]

    def _failures(self) -> Iterator[str]:
        if dead := self.by_code("dead"):
            count = sum(dead.values())
            codes = ", ".join(f"{number} {code}" for code, number in sorted(dead.items()))
            yield f"{count} {'video' if count == 1 else 'videos'} failed for good: {codes}."
        if bad := self.work.get("bad", 0):
            yield f"{bad} {'event' if bad == 1 else 'events'} could not be read."
        if lost := self.notices.get("dead", 0):
            were = "message about a result was" if lost == 1 else "messages about results were"
            yield f"{lost} {were} given up; the log of the trigger says why."

    def delays(self) -> Iterator[str]:
        """Sentences about work, messages and transactions that wait for too long."""
        if self.oldest_waiting_s >= LONG_S:
            yield f"A video has been waiting for {duration_text(self.oldest_waiting_s)}."
        if self.oldest_notice_s >= LONG_S:
            age = duration_text(self.oldest_notice_s)
            yield f"A message about a result has been waiting for {age}."
        if (self.oldest_transaction_s or 0.0) >= LONG_S:
            age = duration_text(self.oldest_transaction_s or 0.0)
            yield (
                f"A transaction in the database has been open for {age}. It makes the work queue"
                " slow; find it in pg_stat_activity, and end it."
            )


@dataclass(frozen=True, slots=True)
class FigureSource:
    """Reads the figures. Each takes one query, whose cost does not grow with finished work."""

    queue: WorkQueue
    outbox: OutboxFigures | None = None
    oldest_transaction_s: Callable[[], float] | None = None
    unindexed: Callable[[], int] | None = None

    def read(self) -> Figures:
        """Raises InboxUnavailable."""
        return Figures(
            self.queue.counts(),
            self.queue.codes(),
            self.queue.oldest_waiting_s(),
            self.outbox.counts() if self.outbox else {},
            self.outbox.oldest_s() if self.outbox else 0.0,
            self.oldest_transaction_s() if self.oldest_transaction_s else None,
            self.unindexed() if self.unindexed else None,
        )


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that it contains twice, for example `90 s` or `3 h`."""
    for unit, unit_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
