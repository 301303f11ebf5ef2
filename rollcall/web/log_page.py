"""The log: who changed what, and when; with a button that undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request, session
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.web_protocols import Change
from rollcall.index.dismissals import Dismissals
from rollcall.index.face_queries import FaceQueries
from rollcall.web.came_from import back
from rollcall.web.foot import line_of, show_change
from rollcall.web.parts import parts
from rollcall.web.polling import STOP_POLLING, last_poll, polled
from rollcall.web.request_values import whole_number
from rollcall.web.sentences import predicate
from rollcall.web.system_state import system_state
from rollcall.web.unknown import CHANGED_GROUPS
from rollcall.web.users import current_user, editors_only

pages = Blueprint("log", __name__)

SHOWN_VIDEOS = 2
"""Videos that a line names."""

CHANGES = "changes"
"""Value of the field `only` of the form: without views and sign-ins."""

PAGE = 50
"""Lines of a page."""


class Line(NamedTuple):
    """A line of the page."""

    change: Change
    text: str
    videos: list[tuple[int, str]]
    """Id and key of the videos with the faces that the change is about; at most SHOWN_VIDEOS."""
    more: int = 0
    """How many more there are."""


@pages.get("/log")
def show_log() -> str:
    """The newest lines, or those before the line `before`."""
    name = request.args.get("name", "").strip()[:1024]
    before_id = request.args.get("before", type=whole_number)
    only_changes = request.args.get("only") == CHANGES
    found = parts().changes.latest(PAGE + 1, before_id, name, only_changes=only_changes)
    lines = _lines(found[:PAGE])
    filters = {"name": name} if name else {}
    if only_changes:
        filters["only"] = CHANGES
    older = newest = ""
    if len(found) > PAGE:
        older = "/log?" + urlencode({**filters, "before": lines[-1].change.id})
    if before_id is not None:
        newest = "/log" + ("?" + urlencode(filters) if filters else "")
    return render_template(
        "log.html",
        lines=lines,
        name=name,
        only_changes=only_changes,
        older=older,
        newest=newest,
    )


def _lines(changes: Sequence[Change]) -> list[Line]:
    keys = {change.id: _keys(change) for change in changes}
    shown = [key for each in keys.values() for key in each[:SHOWN_VIDEOS]]
    ids = FaceQueries(parts().database).ids(parts().settings.input_bucket, shown)
    return [
        Line(
            change,
            predicate(change),
            [(ids[key], key) for key in keys[change.id][:SHOWN_VIDEOS] if key in ids],
            max(len(keys[change.id]) - SHOWN_VIDEOS, 0),
        )
        for change in changes
    ]


def _keys(change: Change) -> list[str]:
    """The videos with the faces of a change, or the one that was queued again."""
    if change.action == "rerun":
        return [change.name] if change.name else []
    keys = change.details.get("keys")
    found = keys if isinstance(keys, list) else []
    return list(dict.fromkeys(key for key in found if isinstance(key, str)))


@pages.post("/log/<int:change_id>/undo")
@editors_only
def undo(change_id: int) -> AnyResponse:
    """Undo the change."""
    change = parts().changes.get(change_id) or abort(404)
    if not change.can_undo:
        abort(400, "This change cannot be undone, or was undone before.")
    who = current_user().name
    if change.action == "dismiss":
        show_change(Dismissals(parts().database).restore(change_id, who))
    else:
        show_change(parts().corrections.undo(change_id, who))
        session.pop(CHANGED_GROUPS, None)  # one of them may come back
    system_state().forget()
    return back("/log")


@pages.get("/log/<int:change_id>/foot")
def foot(change_id: int) -> Response:
    """The words of the foot line, until the results of all videos have followed the change."""
    line = line_of(change_id) or abort(404)
    answer = polled(render_template("foot_words.html", line=line))
    if line.grows:
        return answer
    if answer.status_code == 304:
        return last_poll()
    answer.status_code = STOP_POLLING
    return answer
