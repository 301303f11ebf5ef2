"""The sentences of the status page: problems, and the state of the system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rollcall.core.gallery_facts import GalleryFacts
from rollcall.trigger.metrics import Figures
from rollcall.trigger.readiness import PartState

LONG_S = 300.0
"""Waiting times and transactions from this age on are listed as a problem. Retries after an outage
of a few minutes are normal."""

MISSED_SCANS = 3
SCAN_S = 1800.0
"""A scan of the buckets counts as overdue after MISSED_SCANS pauses, plus SCAN_S, the time that the
scan of a large bucket may take."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the whole system at one time. Ages are in seconds."""

    figures: Figures | None
    """None if the database does not answer."""
    parts: Sequence[PartState]
    gallery: GalleryFacts | None
    stale_gallery: bool
    scan_age_s: float | None
    """Time since the last complete scan; None if this trigger knows of none."""
    gallery_age_s: float
    running_s: float
    """Time since this trigger was started."""
    reconcile_s: float

    def problems(self) -> list[str]:
        """The problems that a person should look at, each in one or two sentences."""
        return [
            *(f"{_named(part)}: {part.error}." for part in self.parts if part.error),
            *(_problems_of(self.figures) if self.figures else ()),
            *self._scan_problems(),
            *self._gallery_problems(),
        ]

    def facts(self) -> list[tuple[str, str]]:
        """Names and texts of the figures that are shown even if there is no problem."""
        found = []
        if self.figures:
            waiting_s = self.figures.oldest_waiting_s
            text = f"the oldest for {duration_text(waiting_s)}" if waiting_s else "none"
            found.append(("Videos waiting", text))
        scan = "none since this trigger was started"
        if self.scan_age_s is not None:
            scan = f"{duration_text(self.scan_age_s)} ago"
        found.append(("Last complete scan of the buckets", scan))
        found.append(("Gallery", self._gallery_text()))
        reached = [part.name for part in self.parts if part.ok]
        found.append(("Reachable", ", ".join(reached) or "nothing"))
        return found

    def _scan_problems(self) -> Iterator[str]:
        overdue_s = MISSED_SCANS * self.reconcile_s + SCAN_S
        age_s = self.running_s if self.scan_age_s is None else self.scan_age_s
        if age_s > overdue_s:
            yield (
                f"No scan of the buckets was completed in the last {duration_text(age_s)}, so lost"
                " events are not found; the triggers' logs say why."
            )

    def _gallery_problems(self) -> Iterator[str]:
        if self.stale_gallery:
            yield (
                "The function uses an old gallery, because the new one cannot be read; the"
                " function's log says why."
            )

    def _gallery_text(self) -> str:
        if self.gallery is None:
            return "unknown until the function has answered"
        people, encodings = self.gallery.people, self.gallery.encodings
        size = f"{people} {'person' if people == 1 else 'people'}, {encodings} encodings"
        if not self.gallery.changed_s:
            return size
        return f"{size}, changed {duration_text(self.gallery_age_s)} ago"


def _named(part: PartState) -> str:
    return f"The {part.name} cannot be reached (needed for {part.needed_for})"


def _problems_of(figures: Figures) -> Iterator[str]:
    if dead := figures.by_code("dead"):
        count = sum(dead.values())
        codes = ", ".join(f"{number} {code}" for code, number in sorted(dead.items()))
        yield f"{count} {'video' if count == 1 else 'videos'} failed for good: {codes}."
    if bad := figures.work.get("bad", 0):
        yield f"{bad} {'event' if bad == 1 else 'events'} could not be read."
    if figures.oldest_waiting_s >= LONG_S:
        yield f"A video has been waiting for {duration_text(figures.oldest_waiting_s)}."
    if lost := figures.notices.get("dead", 0):
        were = "message about a result was" if lost == 1 else "messages about results were"
        yield f"{lost} {were} given up; the log of the trigger says why."
    if figures.oldest_notice_s >= LONG_S:
        age = duration_text(figures.oldest_notice_s)
        yield f"A message about a result has been waiting for {age}."
    if (figures.oldest_transaction_s or 0.0) >= LONG_S:
        age = duration_text(figures.oldest_transaction_s or 0.0)
        yield (
            f"A transaction in the database has been open for {age}. It makes the work queue slow;"
            " find it in pg_stat_activity, and end it."
        )


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that it contains twice, for example `90 s` or `3 h`."""
    for unit, unit_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
