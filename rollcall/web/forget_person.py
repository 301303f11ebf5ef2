"""Forget a person everywhere: list what would go, ask for the name, and remove it."""

from __future__ import annotations

import math
from functools import partial

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from rollcall.core.names import normalise_name
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.polling import polled
from rollcall.web.removals import Removal
from rollcall.web.typed_names import Refusal, keep_refused, refused_name
from rollcall.web.users import current_user, editors_only

pages = Blueprint("forget_person", __name__)

TYPED = "forget"
"""The name of the form for `keep_refused`."""

UNITS = {
    "gallery": ("entry of the gallery", "entries of the gallery"),
    "picture": ("picture beside the gallery", "pictures beside the gallery"),
    "encoding": ("removed photo", "removed photos"),
    "appearance": ("appearance in the index", "appearances in the index"),
    "result": ("row in results (CSV)", "rows in results (CSV)"),
    "report": ("entry in reports (JSON)", "entries in reports (JSON)"),
    "faces": ("stored face", "stored faces"),
    "record": ("record in the student table", "records in the student table"),
    "file": ("row in files of the worker", "rows in files of the worker"),
    "answer": ("new result that is not in the index yet", "new results, not in the index yet"),
    "message": ("message that was not sent yet", "messages that were not sent yet"),
    "change": ("line of the log", "lines of the log"),
}
"""The nouns for the kinds of `Mention`, in the order of the page."""

OLD = {
    "gallery": "of the gallery",
    "result": "of results",
    "report": "of reports",
    "faces": "of stored faces",
}
"""The kinds of objects whose old versions a bucket may have."""


@pages.post("/people/forget/list")
@editors_only
def list_mentions() -> Response:
    """Look for everything about a person, in the background."""
    removal = parts().removals.start(field("name"), current_user().name, dry_run=True)
    return redirect(f"/people/forget/{removal.id}", 303)


@pages.post("/people/forget")
@editors_only
def forget() -> Response:
    """Remove everything about a person, in the background.

    If another name was typed, show the list of what would be removed again, with the reason.
    """
    name, typed = field("name"), request.form.get("typed", "")
    if normalise_name(typed).casefold() != normalise_name(name).casefold():
        keep_refused(TYPED, typed)
        listed = parts().removals.get(request.form.get("list", ""))
        if listed is None or listed.name != name:  # `rollcall web` was started again
            listed = parts().removals.start(name, current_user().name, dry_run=True)
        return redirect(f"/people/forget/{listed.id}", 303)
    removal = parts().removals.start(name, current_user().name, dry_run=False)
    return redirect(f"/people/forget/{removal.id}", 303)


@pages.get("/people/forget/<removal_id>")
@editors_only
def removal(removal_id: str) -> str | Response:
    """The page with everything that was found or removed so far. It asks again until it is done."""
    found = parts().removals.get(removal_id)
    if found is None:
        abort(
            404,
            "this removal is unknown, because the person is forgotten by now, or `rollcall web` was"
            " started again; if the person is still on the pages, start the removal again",
        )
    minutes = max(1, math.ceil(parts().removals.repeat_after_s / 60))
    values = {
        "removal": found,
        "summary": _summary(found),
        "minutes": minutes,
        "refused": refused_name(partial(_refusal, found.name)) if _asks(found) else None,
    }
    if request.headers.get("HX-Request"):
        return polled(render_template("removal_state.html", **values))
    return render_template("removal.html", **values)


def _asks(removal: Removal) -> bool:
    """Whether the page asks for the name."""
    return removal.done and removal.dry_run and not removal.error


def _refusal(name: str, typed: str) -> Refusal:
    what = f"“{typed}” is not the name of this person" if typed.strip() else "No name was typed"
    return Refusal(f"{what}, so nothing was removed. Type {name}.")


def _summary(removal: Removal) -> list[str]:
    """For example `12 rows in results (CSV)`."""
    lines = []
    counts, places = dict(removal.counts), removal.places
    current = [kind for kind in counts if not kind.startswith("old ")]
    for kind in [*UNITS, *sorted(set(current) - UNITS.keys())]:
        if count := counts.get(kind, 0):
            one, many = UNITS.get(kind, (kind, kind))
            lines.append(f"{count:,} {one if count == 1 else many}")
    for kind, count in sorted(places.items()):
        if kind.startswith("old "):
            what = OLD.get(kind.removeprefix("old "), kind)
            lines.append(f"{count:,} old version{'' if count == 1 else 's'} {what}")
    return lines
