"""The list of videos: search, filters, and a line that announces new ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import BadRequest

from rollcall.index.sql_index import folded
from rollcall.index.video_filter import TOP, Place, VideoFilter
from rollcall.index.video_queries import VideoQueries
from rollcall.web.parts import parts
from rollcall.web.polling import polled

pages = Blueprint("videos", __name__)

STATUSES = {
    "": "all",
    "recognised": "recognised",
    "unknown": "only unknown",
    "no_face": "no faces",
    "error": "failed",
}
MAX_TEXT_CHARS = 200
MAX_CHOICES = 10
"""People who are offered for a part of a name."""
PAGE_ROWS = 50

_PLACE = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,9})?),([0-9]{1,18})")


class Asked(NamedTuple):
    """The filter as the form has it, and as the index understands it."""

    values: dict[str, str]
    wanted: VideoFilter
    nobody: str
    """The wanted name, if it is not that of exactly one person. Then no video is listed."""
    choices: tuple[tuple[str, str], ...] = ()
    """The people whose names contain this name, and the URLs of their videos."""

    def is_wanted(self, name: str) -> bool:
        """Whether the search is for this person."""
        person, words = folded(self.values["person"]), self.wanted.word_list
        in_name = folded(name)
        is_meant = bool(person) and person in in_name
        return is_meant or (bool(words) and all(folded(word) in in_name for word in words))

    @property
    def query(self) -> str:
        """The query of the page's URL, without a place in the list."""
        return _query(self.values)


@pages.get("/videos")
def videos() -> str:
    """The videos that the filter accepts, newest first."""
    queries, asked = VideoQueries(parts().database), _asked()
    before = _place(request.args.get("before", ""))
    newest_id = queries.newest_id()
    page = None if asked.nobody else queries.page(asked.wanted, before, PAGE_ROWS)
    older = page.next if page else None
    return render_template(
        "videos.html",
        asked=asked,
        statuses=STATUSES,
        rows=page.rows if page else (),
        searched_to_s=page.searched_to_s if page else None,
        older=_url(asked.query, older) if older else "",
        first=before == TOP,
        newest_id=newest_id,
        quick=quick(asked.values, datetime.now(UTC).date()),
        settings=parts().settings,
    )


@pages.get("/videos/new")
def new() -> Response:
    """The button that shows new videos; 204 if there are none."""
    asked, after_id = _asked(), request.args.get("after", "")
    if not re.fullmatch("[0-9]{1,18}", after_id):
        raise BadRequest("`after` has to be the number of a video")
    queries = VideoQueries(parts().database)
    count = 0 if asked.nobody else queries.count_new(asked.wanted, int(after_id))
    if not count:
        return Response(status=204)
    return polled(render_template("videos_new.html", count=count, url=_url(asked.query)))


def _asked() -> Asked:
    fields = ("q", "person", "from", "to", "status", "unknown")
    values = {name: request.args.get(name, "").strip() for name in fields}
    for name, value in values.items():
        if len(value) > MAX_TEXT_CHARS:
            raise BadRequest(f"{name!r} is longer than {MAX_TEXT_CHARS} characters")
    if values["status"] not in STATUSES:
        raise BadRequest(f"the status {values['status']!r} does not exist")
    person = values["person"]
    queries = VideoQueries(parts().database)
    person_id = queries.person_id(person) if person else None
    names = queries.names(person, MAX_CHOICES) if person and person_id is None else []
    if len(names) == 1:
        person_id = queries.person_id(names[0])
    wanted = VideoFilter(
        words=values["q"],
        person_id=person_id,
        since_s=_day_s(values["from"]),
        until_s=_day_s(values["to"], 1),
        status=values["status"],
        with_unknown=bool(values["unknown"]),
    )
    if not person or person_id is not None:
        return Asked(values, wanted, "")
    choices = tuple((name, _url(_query({**values, "person": name}))) for name in names)
    return Asked(values, wanted, person, choices)


def _query(values: Mapping[str, str]) -> str:
    return urlencode({name: value for name, value in values.items() if value})


def quick(values: Mapping[str, str], today: date) -> list[tuple[str, str]]:
    """Links that choose days, in UTC as in the form; the other filters stay."""
    monday = today - timedelta(days=today.weekday())
    spans = {
        "today": (today, None),
        "last 7 days": (today - timedelta(days=6), None),
        "last week": (monday - timedelta(days=7), monday - timedelta(days=1)),
    }
    return [
        (label, _url(_query({**values, "from": str(since), "to": str(until or "")})))
        for label, (since, until) in spans.items()
    ]


def _day_s(text: str, days_later: int = 0) -> float | None:
    """The Unix time at which a day begins in UTC."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return (day + timedelta(days=days_later)).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{text!r} is not a day; write it as 2026-11-27") from error


def _place(text: str) -> Place:
    if not text:
        return TOP
    match = _PLACE.fullmatch(text)
    if match is None:
        raise BadRequest("the place in the list cannot be read; open the list again")
    return Place(float(match[1]), int(match[2]))


def _url(query: str, before: Place | None = None) -> str:
    place = urlencode({"before": f"{before.uploaded_s:.9f},{before.id}"}) if before else ""
    joined = "&".join(filter(None, (query, place)))
    return "/videos" + (f"?{joined}" if joined else "")
