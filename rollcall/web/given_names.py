"""Finds the people of a video whose names somebody has given, so that the page says who."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlencode

from rollcall.core.errors import RollcallError
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.web.parts import parts
from rollcall.web.users import LOCAL

SHOWN_AS_ZERO = 0.005
"""Distances below are shown as 0.00. That of a face to itself is among them."""


class GivenName(NamedTuple):
    """Who has said that an appearance is this person."""

    who: str
    at_s: float
    log_url: str
    """The lines of the log about the person."""

    @property
    def words(self) -> str:
        # Without sign-in, everybody is called "local".
        return "named by hand" if self.who == LOCAL.name else f"named by {self.who}"


def given_names(video: IndexedVideo) -> dict[int, GivenName]:
    """The given names by the numbers of the people."""
    asked = [seen for seen in video.people if _may_be_given(seen)]
    found: dict[int, GivenName] = {}
    if not asked:
        return found  # without a look at the gallery, which may be in the store
    with suppress(RollcallError):  # the page also opens if the gallery cannot be read
        given = parts().known.current().given_names
        for seen in asked:
            verdict = given.get((video.bucket, video.key, video.etag, seen.name))
            if verdict is not None:
                url = "/log?" + urlencode({"name": seen.name, "only": "changes"}, errors="replace")
                found[seen.number] = GivenName(verdict.who or "somebody", verdict.at_s, url)
    return found


def _may_be_given(seen: Appearance) -> bool:
    return bool(seen.name) and seen.distance is not None and seen.distance < SHOWN_AS_ZERO
