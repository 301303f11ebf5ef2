"""Dates and periods as people write them: `2026-11-01`, `7 days`, `yesterday`, `last week`."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta

import click

from rollcall.index.result_queries import Period

_UNITS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_DURATION = re.compile(r"(\d{1,4})\s*(minute|hour|day|week)s?( ago)?")
EXAMPLES = "2026-11-01, '2026-11-01 14:30', '7 days', yesterday or 'last week'"
"""Examples in error messages."""


def period_between(since: str | None, until: str | None, now: datetime) -> Period:
    """The period from the start of `since` to the end of `until`, in the zone of `now`.

    Raises click.BadParameter.
    """
    start_s = _span(since, now, "--since")[0].timestamp() if since else 0.0
    end_s = _span(until, now, "--until")[1].timestamp() if until else Period().until_s
    if start_s >= end_s:
        text = f"{until!r} is not after {since!r}" if since else f"{until!r} is before 1970"
        raise click.BadParameter(text, param_hint="--until")
    return Period(start_s, end_s)


def _span(text: str, now: datetime, option: str) -> tuple[datetime, datetime]:
    """The start and the end of the time that the text names."""
    words = " ".join(text.lower().split())
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    week = day - timedelta(days=day.weekday())
    month = day.replace(day=1)
    last_month = (month - timedelta(days=1)).replace(day=1)
    named = {
        "now": (now, now),
        "today": (day, day + timedelta(days=1)),
        "yesterday": (day - timedelta(days=1), day),
        "this week": (week, week + timedelta(weeks=1)),
        "last week": (week - timedelta(weeks=1), week),
        "this month": (month, (month + timedelta(days=32)).replace(day=1)),
        "last month": (last_month, month),
    }
    if words in named:
        return _in_zone(*named[words])
    try:
        if found := _DURATION.fullmatch(words):
            ago = now - int(found[1]) * _UNITS[found[2]]
            return ago, ago
        with suppress(ValueError):  # it has a time of day
            start = datetime.combine(date.fromisoformat(words.upper()), time.min)
            return _in_zone(start, start + timedelta(days=1))
        at = datetime.fromisoformat(text.strip())
        return _in_zone(at, at) if at.tzinfo is None else (at, at)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is not a time; write for example {EXAMPLES}", param_hint=option
        ) from error


def _in_zone(*times: datetime) -> tuple[datetime, datetime]:
    """The same times on the clock of this machine, which may be set an hour forward or back."""
    start, end = (each.replace(tzinfo=None).astimezone() for each in times)
    return start, end
