"""Add people to the gallery: photos of one person, or folders with a person each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from rollcall.core.errors import GalleryMissing, NameRefused
from rollcall.core.web_protocols import Change
from rollcall.gallery.photos import MAX_PHOTO_BYTES
from rollcall.web.foot import foot_part, show_change, show_message
from rollcall.web.formats import counted
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.photo_enrolment import enrol_uploaded
from rollcall.web.request_values import whole_number
from rollcall.web.typed_names import check_pressed_name, pressed_name, refusal_of
from rollcall.web.uploads import limit_body, uploaded
from rollcall.web.users import current_user, editors_only

pages = Blueprint("enrol_photos", __name__)

MAX_PHOTOS = 50
"""Photos in one request. `static/enrol.js` sends a few at a time."""

MAX_CHANGES = 2_000
"""Lines of the log that the line at the foot is about."""

MAX_NAMES = 5
"""People whom the line at the foot names."""

MAX_BYTES = 32 << 20
"""Longest photo. Phones write 2 to 12 MB."""

MAX_REQUEST_BYTES = 64 << 20


@pages.url_value_preprocessor
def _limit(endpoint: str | None, values: dict[str, Any] | None) -> None:
    limit_body(MAX_REQUEST_BYTES)


@pages.get("/enrol")
@editors_only
def enrol() -> str:
    """The form."""
    return render_template("enrol.html", name=request.args.get("name", ""), **_limits())


@pages.post("/enrol")
@editors_only
def add() -> str | tuple[str, int]:
    """Enrol the photos of one person. Scripts get the rows of the table, others the whole page.

    For the name of a folder, nobody is asked whether a similar one is meant: the row says so.
    """
    pressed, is_folder = pressed_name(), "folder" in request.form
    name = pressed or field("name")
    photos = uploaded("photos", MAX_PHOTOS, min(MAX_BYTES, MAX_PHOTO_BYTES))
    check_pressed_name()
    try:
        ask = not (pressed or is_folder)
        done = enrol_uploaded(name, photos, current_user().name, ask=ask)
    except NameRefused:
        return _refused(name), NameRefused.status
    if done.change_id is not None:
        show_change(done.change_id)
    values = {
        "name": done.name,
        "results": done.outcomes,
        "change_id": done.change_id,
        "close": done.close if is_folder else (),
    }
    if request.headers.get("HX-Request"):
        return render_template("enrol_rows.html", **values) + str(foot_part())
    return render_template("enrol.html", **values, **_limits())


@pages.post("/enrol/finish")
@editors_only
def finish() -> Response | str:
    """Compare the stored faces of all videos with the gallery, once all photos were sent.

    The line at the foot then names all people who were added.
    """
    with suppress(GalleryMissing):  # no photo was good enough
        parts().corrections.gallery_changed()
    ids = set(request.form.getlist("change", type=whole_number)[:MAX_CHANGES])
    if len(ids) < 2:  # this line is shown already, with its button that undoes it
        return Response(status=204)
    newest = parts().changes.latest(2 * len(ids), only_changes=True)
    enrolled = [each for each in newest if each.id in ids and each.action == "enrol"]
    if not enrolled:
        return Response(status=204)
    show_message(_all_enrolled(enrolled))
    return str(foot_part())


def _all_enrolled(changes: Sequence[Change]) -> str:
    photos: Counter[str] = Counter()
    for each in reversed(changes):
        photos[each.name] += int(each.details.get("photos", 0))
    people = [f"{name} ({counted(number, 'photo')})" for name, number in photos.items()]
    if len(people) > MAX_NAMES:
        people = [*people[:MAX_NAMES], f"{len(people) - MAX_NAMES} more people"]
    return f"Enrolled {', '.join(people)}. Each can be undone in the log."


def _refused(name: str) -> str:
    """For scripts, the reason or the question; otherwise the page with the name.

    No browser keeps photos over a load of the page.
    """
    parts().known.changed()
    refused = refusal_of(name)
    if request.headers.get("HX-Request"):
        return render_template("enrol_refused.html", refused=refused)
    return render_template("enrol.html", name=name, refused=refused, **_limits())


def _limits() -> dict[str, int]:
    return {"max_photos": MAX_PHOTOS, "max_mb": MAX_BYTES >> 20}
