"""Which videos the list of videos shows, and places in this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MAX_WORDS = 5
"""Words of a search that are used."""


class Place(NamedTuple):
    """A place in the list, which is sorted by these values, the largest first."""

    uploaded_s: float
    id: int


TOP = Place(1e18, 1 << 62)
"""Before the first video."""

BOTTOM = Place(-1e18, 0)
"""After the last one."""


@dataclass(frozen=True, slots=True)
class VideoFilter:
    """Which videos are listed. Empty values accept every video."""

    words: str = ""
    """Every word has to be in the key, or every word in the name of one person."""
    person_id: int | None = None
    since_s: float | None = None
    until_s: float | None = None
    """The first time after the last one that is accepted."""
    status: str = ""
    with_unknown: bool = False

    @property
    def impossible(self) -> bool:
        """Whether the values contradict each other, so that no video needs to be read."""
        named = self.person_id is not None and self.status not in ("", "recognised")
        return named or (self.with_unknown and self.status in ("no_face", "error"))

    @property
    def word_list(self) -> list[str]:
        return self.words.split()[:MAX_WORDS]
