"""Size and age of the gallery in use, which the function sends with its answers.

Contract 3.2 fixes the answer's document, so these facts are in headers. The trigger turns them into
metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HEADER = "X-Rollcall-Gallery"
"""Header with the facts: `people=32, encodings=120, changed=1764216000`."""

STALE_GALLERY = "X-Rollcall-Gallery-Stale"
"""Header of an answer for which an old gallery was used, because the new one cannot be read."""

_NUMBER = "([0-9]{1,12})"
_FORM = re.compile(f"people={_NUMBER}, encodings={_NUMBER}, changed={_NUMBER}")


@dataclass(frozen=True, slots=True)
class GalleryFacts:
    """Facts about a gallery that name nobody."""

    people: int
    encodings: int
    changed_s: float
    """Unix time at which the gallery was last changed; 0 if unknown."""
    stale: bool = False
    """Whether a newer gallery exists but cannot be read."""

    def headers(self) -> dict[str, str]:
        """The headers of an answer that was made with this gallery."""
        values = f"people={self.people}, encodings={self.encodings}, changed={self.changed_s:.0f}"
        return {HEADER: values, **({STALE_GALLERY: "1"} if self.stale else {})}


def gallery_facts_in(headers: Mapping[str, str]) -> GalleryFacts | None:
    """The facts in an answer's headers, whose names are in lower case; None if there are none."""
    match = _FORM.fullmatch(headers.get(HEADER.lower(), ""))
    if match is None:
        return None
    people, encodings, changed_s = map(int, match.groups())
    return GalleryFacts(people, encodings, changed_s, STALE_GALLERY.lower() in headers)
