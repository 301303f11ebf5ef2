"""A year as a strip of days, one column a week, for an SVG. Days are in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from rollcall.index.people_queries import DAY_S
from rollcall.web.formats import moment

STEP_PX = 20
"""Distance between two squares of 16 pixels."""

LEFT_PX = 32
TOP_PX = 20
"""Space for the names of weekdays and months."""

LEVELS = (1, 2, 4, 8)
"""Smallest number of videos of each shade."""

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Day:
    """A square of the strip. `x` and `y` are its upper left corner, in pixels."""

    date: date
    x: int
    y: int
    videos: int

    @property
    def level(self) -> int:
        """Shade, 0 to 4."""
        return sum(self.videos >= least for least in LEVELS)

    @property
    def text(self) -> str:
        """The text for screen readers."""
        unit = "video" if self.videos == 1 else "videos"
        return f"{self.date.day} {self.date:%B %Y}: {self.videos} {unit}"


@dataclass(frozen=True, slots=True)
class YearStrip:
    """Everything that the template draws."""

    year: int
    days: list[Day]
    months: list[tuple[int, str]]
    """Place (x) and short name of each month."""
    width: int
    height: int = TOP_PX + 7 * STEP_PX

    @property
    def seen(self) -> int:
        """Number of days with a video."""
        return sum(1 for day in self.days if day.videos)


def year_strip(year: int, videos: Mapping[int, int]) -> YearStrip:
    """The strip of a year. `videos` has the number of videos for days counted from 1970."""
    first = date(year, 1, 1)
    monday = first - timedelta(days=first.weekday())
    count = (date(year, 12, 31) - first).days + 1
    days = []
    for day in (first + timedelta(days=number) for number in range(count)):
        week = (day - monday).days // 7
        x, y = LEFT_PX + week * STEP_PX, TOP_PX + day.weekday() * STEP_PX
        days.append(Day(day, x, y, videos.get((day - EPOCH).days, 0)))
    months = [(day.x, f"{day.date:%b}") for day in days if day.date.day == 1]
    return YearStrip(year, days, months, days[-1].x + STEP_PX)


def bounds_of_year(year: int) -> tuple[float, float]:
    """Unix times of the beginning and the end."""
    begins, ends = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    return begins.timestamp(), ends.timestamp()


def bounds_of_day(day: date) -> tuple[float, float]:
    start_s = float((day - EPOCH).days * DAY_S)
    return start_s, start_s + DAY_S


def day_of(unix_s: float) -> date:
    return moment(unix_s).date()
