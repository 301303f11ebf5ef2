"""The sentences of the status page: problems, and the state of the system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rollcall.core.figures import Figures, duration_text
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.trigger.readiness import PartState

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
            *(self.figures.problems() if self.figures else ()),
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
