"""Forget a person everywhere: list what would go, ask for the name, and remove it."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from rollcall.core.names import normalise_name
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.polling import polled
from rollcall.web.removals import Removal
from rollcall.web.users import current_user, editors_only

pages = Blueprint("forget_person", __name__)

UNITS = {
    "gallery": ("encoding in the gallery", "encodings in the gallery"),
    "result": ("row in a result (CSV)", "rows in results (CSV)"),
    "report": ("entry in a report (JSON)", "entries in reports (JSON)"),
    "faces": ("entry in the stored faces", "entries in the stored faces"),
    "index": ("appearance in the index", "appearances in the index"),
    "log": ("line of the log", "lines of the log"),
    "record": ("record in the student table", "records in the student table"),
    "file": ("row in a file of the worker", "rows in files of the worker"),
}
"""Names of what is counted, by the kind of a mention."""


@pages.post("/people/forget/list")
@editors_only
def list_mentions() -> Response:
    """Look for everything about a person, in the background."""
    removal = parts().removals.start(field("name"), current_user().name, dry_run=True)
    return redirect(f"/people/forget/{removal.id}", 303)


@pages.post("/people/forget")
@editors_only
def forget() -> Response:
    """Remove everything about a person, in the background."""
    name, typed = field("name"), field("typed")
    if normalise_name(typed) != normalise_name(name):
        raise BadRequest("the name that was typed is another one; nothing was removed")
    removal = parts().removals.start(name, current_user().name, dry_run=False)
    return redirect(f"/people/forget/{removal.id}", 303)


@pages.get("/people/forget/<removal_id>")
@editors_only
def removal(removal_id: str) -> str | Response:
    """What was found or removed so far. The page asks again until it is done."""
    found = parts().removals.get(removal_id)
    if found is None:
        abort(
            404,
            "nothing is known about this removal, because `rollcall web` was started again; if the"
            " person is still on the pages, start the removal again",
        )
    values = {"removal": found, "summary": _summary(found)}
    if request.headers.get("HX-Request"):
        return polled(render_template("removal_state.html", **values))
    return render_template("removal.html", **values)


def _summary(removal: Removal) -> list[str]:
    """For example `12 rows in results (CSV)`."""
    lines = []
    for kind, count in sorted(removal.counts.items()):
        old = kind.startswith("old ")
        one, many = UNITS.get(kind.removeprefix("old "), (kind, kind))
        places = removal.places[kind]
        if old:
            versions = "old version" if places == 1 else "old versions"
            lines.append(f"{places:,} {versions} of objects with {many}")
        else:
            lines.append(f"{count:,} {one if count == 1 else many}")
    return lines
