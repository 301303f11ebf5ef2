"""How the pages write times, people and certainties (Jinja filters)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote
from zlib import crc32

from markupsafe import Markup

from rollcall.core.coverages import nobody_words
from rollcall.core.index_types import Appearance
from rollcall.web.strips import rest_x, strip_text, ticks

SHOWN_NAMES = 3
"""Names of people in a row of a list. Further people are counted."""

LANES = 8
"""Number of lane colours in `static/style.css`."""

ALIKE = {0: 5, 5: 0}
"""Lane colours that are similar. Two people of one video have both only if no others are free."""

LATEST_S = 253_402_128_000
"""The end of the year 9999 but one day. Python has no later dates, and documents may have any
time."""


def clock(seconds: float) -> str:
    """A time within a video as m:ss, or h:mm:ss from an hour on."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def when(unix_s: float, exact: bool = False) -> Markup:
    """A <time> element in UTC, which `app.js` rewrites as "40 s ago" in the browser's language.

    With `exact`, the browser shows the date and the time instead.
    """
    at = moment(unix_s).replace(microsecond=0)
    text = at.strftime("%Y-%m-%d %H:%M UTC")
    mark = Markup(" data-exact") if exact else ""
    return Markup('<time datetime="{}"{}>{}</time>').format(at.isoformat(), mark, text)


def moment(unix_s: float) -> datetime:
    """The time in UTC; LATEST_S for later ones."""
    return datetime.fromtimestamp(min(unix_s, LATEST_S), UTC)


def lane(name: str) -> str:
    """The lane colour of a person who is not shown in a video. `x` is that of unknown people."""
    return str(_own_colour(name)) if name else "x"


def _own_colour(name: str) -> int:
    return crc32(name.encode("utf-8", "surrogatepass")) % LANES


def video_lane(names: Iterable[str]) -> Callable[[str], str]:
    """A function like `lane` for the people of one video, whose colours differ while some are free.

    Whoever comes first keeps the colour that `lane` returns.
    """
    colours: dict[str, int] = {}
    for name in filter(None, names):
        free = set(range(LANES)).difference(colours.values())
        if name in colours or not free:
            continue
        alike = {ALIKE.get(colour) for colour in colours.values()}
        own = _own_colour(name)
        colours[name] = min(free, key=lambda each: (each in alike, (each - own) % LANES))
    return lambda name: str(colours[name]) if name in colours else lane(name)


def person_url(name: str) -> str:
    """The page of a person."""
    return "/people/by-name/" + quote(name, safe="", errors="surrogatepass")


class SomePeople(Protocol):
    """The people of a video: some of them, and how many there are."""

    @property
    def people(self) -> Sequence[Appearance]: ...
    @property
    def named(self) -> int: ...
    @property
    def unknown(self) -> int: ...


def people_text(video: SomePeople, is_first: Callable[[str], bool] | None = None) -> str:
    """Who is in a video, for example `Ada, Ben, Chen +4, 2 unknown`; empty for nobody.

    The names for which `is_first` is true come first.
    """
    names = [seen.name for seen in video.people if seen.name]
    if is_first is not None:
        names.sort(key=is_first, reverse=True)  # the others keep their order
    names = names[:SHOWN_NAMES]
    text = ", ".join(names)
    if video.named > len(names):
        text += f" +{video.named - len(names)}"
    unknown = f"{video.unknown} unknown" if video.unknown else ""
    return ", ".join(filter(None, (text, unknown)))


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, for example `1 video` or `7 videos`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "clock": clock,
    "counted": counted,
    "lane": lane,
    "nobody_words": lambda video: nobody_words(json.loads(video.coverage or "{}")),
    "people_text": people_text,
    "person_url": person_url,
    "rest_x": rest_x,
    "strip_text": strip_text,
    "ticks": lambda video: ticks(video, video_lane(seen.name for seen in video.people)),
    "when": when,
}
