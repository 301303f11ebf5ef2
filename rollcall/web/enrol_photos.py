"""Add people to the gallery: photos of one person, or folders with a person each."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from rollcall.core.errors import GalleryMissing
from rollcall.gallery.photos import MAX_PHOTO_BYTES
from rollcall.web.foot import foot_part, show_change
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.photo_enrolment import enrol_uploaded
from rollcall.web.uploads import limit_body, uploaded
from rollcall.web.users import current_user, editors_only

pages = Blueprint("enrol_photos", __name__)

MAX_PHOTOS = 50
"""Photos in one request. `static/photos.js` sends a few at a time."""

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
def add() -> str | Response:
    """Enrol the photos of one person. Scripts get the rows of the table, others the whole page."""
    name = field("name")
    photos = uploaded("photos", MAX_PHOTOS, min(MAX_BYTES, MAX_PHOTO_BYTES))
    done = enrol_uploaded(name, photos, current_user().name)
    if done.change_id is not None:
        show_change(done.change_id)
    values = {"name": done.name, "results": done.outcomes}
    if request.headers.get("HX-Request"):
        return render_template("enrol_rows.html", **values) + str(foot_part())
    return render_template("enrol.html", **values, **_limits())


@pages.post("/enrol/finish")
@editors_only
def finish() -> Response:
    """Compare the stored faces of all videos with the gallery, once all photos were sent."""
    with suppress(GalleryMissing):  # no photo was good enough
        parts().corrections.gallery_changed()
    return Response(status=204)


def _limits() -> dict[str, int]:
    return {"max_photos": MAX_PHOTOS, "max_mb": MAX_BYTES >> 20}
