"""The page of one person: when they were seen, their photos, and who looks like them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from rollcall.index.people_queries import PeopleQueries, PersonInVideo, PersonRow
from rollcall.web.cursors import NUMBER, read_cursor, write_cursor
from rollcall.web.day_strip import bounds_of_day, bounds_of_year, day_of, year_strip
from rollcall.web.enrolled_faces import example_with_picture
from rollcall.web.gallery_cache import KnownGallery
from rollcall.web.near_people import LOOKS_LIKE, NearWithPicture, near_people
from rollcall.web.parts import parts
from rollcall.web.person_photos import photos_of
from rollcall.web.request_values import whole_number
from rollcall.web.typed_names import refusal_of_rename, refused_name
from rollcall.web.users import current_user

pages = Blueprint("person", __name__)

PAGE = 30
"""Appearances on a page."""

LOOK_ALIKES = 3
GONE = (
    "This address is out of date: the person was renamed, merged or forgotten, or no video shows"
    " the person under this name any more. Search for the name on the page People."
)

MIN_YEAR, MAX_YEAR = 1970, 9998


@pages.get("/people/<int:person_id>")
def person(person_id: int) -> str | Response:
    """The page of somebody who was seen."""
    # Before the row: otherwise the last video could follow in between, and the page, which then
    # does not ask again, would not count it.
    pending = parts().corrections.pending()
    row = PeopleQueries(parts().database).person(person_id)
    if row is None:
        abort(404, GONE)
    return _page(row, pending)


@pages.get("/people/by-name/<path:name>")
def by_name(name: str) -> str | AnyResponse:
    """The page of somebody who may never have been seen."""
    pending = parts().corrections.pending()
    row = PeopleQueries(parts().database).with_name(name)
    if row is not None:
        return redirect(f"/people/{row.id}")
    if name not in parts().known.current().names:
        abort(404, f"{name!r} is neither in the gallery nor in any video")
    return _page(PersonRow(name), pending)


def _page(row: PersonRow, pending: int) -> str:
    note_look(row.name)
    queries = PeopleQueries(parts().database)
    if request.headers.get("HX-Request"):
        return render_template("person_appearances.html", **_appearances(queries, row))
    known = parts().known.current()
    picture = queries.pictures([row.id]).get(row.id) if row.id is not None else None
    return render_template(
        "person.html",
        picture=picture,
        example=example_with_picture(known, row.name),
        **photos_of(known, row)._asdict(),
        near=_look_alikes(queries, known, row.name),
        in_gallery=row.name in known.names,
        pending=pending,
        refused=refused_name(partial(refusal_of_rename, name=row.name)),
        removal=parts().removals.running(row.name),
        **_year(queries, row),
        **_appearances(queries, row),
    )


def note_look(name: str) -> None:
    """Write the view of a person's page into the log, if AUDIT_VIEWS is set."""
    if parts().settings.audit_views == "yes":
        parts().changes.record(current_user().name, "view", name)


def _year(queries: PeopleQueries, row: PersonRow) -> dict[str, Any]:
    newest = day_of(row.last_seen_s or datetime.now(UTC).timestamp()).year
    year = min(max(request.args.get("year", newest, type=whole_number), MIN_YEAR), MAX_YEAR)
    days = queries.days(row.id, *bounds_of_year(year)) if row.id is not None else {}
    first = day_of(row.first_seen_s).year if row.videos else year
    return {"strip": year_strip(year, days), "first_year": first, "newest_year": newest}


def _appearances(queries: PeopleQueries, row: PersonRow) -> dict[str, Any]:
    """A part of the appearances by day: of all days, or of the one that `day` names."""
    day = _chosen_day()
    at = read_cursor(request.args.get("after", ""), NUMBER, int)
    since_s, until_s = bounds_of_day(day) if day else (0.0, None)
    found: list[PersonInVideo] = []
    if row.id is not None:
        before = (float(at[0]), at[1]) if at else (until_s, 0) if until_s else None
        found = queries.appearances(row.id, PAGE + 1, before, since_s)
    shown = found[:PAGE]
    last = shown[-1] if len(found) > PAGE else None
    return {
        "person": row,
        "day": day,
        "days": [(each, list(seen)) for each, seen in groupby(shown, key=_day_of)],
        "next": write_cursor((last.uploaded_s, last.face.video_id)) if last else "",
    }


def _day_of(seen: PersonInVideo) -> date:
    return day_of(seen.uploaded_s)


def _chosen_day() -> date | None:
    try:
        return date.fromisoformat(request.args.get("day", ""))
    except ValueError:
        return None


def _look_alikes(queries: PeopleQueries, known: KnownGallery, name: str) -> list[NearWithPicture]:
    encodings = known.counting(name)
    near = known.nearest(encodings, LOOK_ALIKES, leave_out=name)
    return near_people(queries, known, [each for each in near if each.distance <= LOOKS_LIKE])
