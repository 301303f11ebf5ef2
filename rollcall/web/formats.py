"""How the pages write times, durations and certainties (Jinja filters)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

CERTAINTY_TEXTS = {"clear": "clear", "likely": "likely", "doubtful": "doubtful", "": "unknown"}


def clock(seconds: float) -> str:
    """A time within a video as m:ss, or h:mm:ss from an hour on."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def when(unix_s: float) -> Markup:
    """A <time> element in UTC, which `app.js` rewrites as "40 s ago" in the browser's language."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    text = moment.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


FILTERS: Mapping[str, Callable[..., Any]] = {"clock": clock, "when": when}
