"""The navigation: its pages, and the numbers of groups of unknown faces and of problems."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from rollcall.core.errors import TransientError
from rollcall.web.system_state import MANY, system_state


class Entry(NamedTuple):
    """A page of the navigation. `drawing` is the path of an icon of 20 x 20."""

    path: str
    label: str
    drawing: str
    number: str = ""


DRAWINGS = {
    "now": "M2 10h4l2-6 4 12 2-6h4",
    "videos": "M3 4h14v12H3z M8.5 7.5l4 2.5-4 2.5z",
    "people": "M10 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M4 17c0-3 3-4.5 6-4.5s6 1.5 6 4.5",
    "unknown": "M7 7a3 3 0 1 1 4.5 2.6C10.4 10.3 10 11 10 12.5 M10 16v.1",
    "problems": "M10 3l8 14H2z M10 8v4 M10 14.5v.1",
    "log": "M7 5h10 M7 10h10 M7 15h10 M3 5h.1 M3 10h.1 M3 15h.1",
}


def navigation() -> list[Entry]:
    """The entries, without counts if the database does not answer."""
    unknown = problems = 0
    with suppress(TransientError):  # the page reports it, if it needs the database
        state = system_state()
        unknown, problems = state.unknown_groups.get(), len(state.troubles.get().urgent)
    return [
        Entry("/", "Now", DRAWINGS["now"]),
        Entry("/videos", "Videos", DRAWINGS["videos"]),
        Entry("/people", "People", DRAWINGS["people"]),
        Entry("/unknown", "Unknown", DRAWINGS["unknown"], shown(unknown)),
        Entry("/problems", "Problems", DRAWINGS["problems"], shown(problems)),
        Entry("/log", "Log", DRAWINGS["log"]),
    ]


def shown(count: int) -> str:
    """A count for the navigation, empty for 0."""
    return f"{MANY}+" if count > MANY else str(count or "")
