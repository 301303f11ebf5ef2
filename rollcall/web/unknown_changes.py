"""The changes that the page of unknown faces makes: name, join and ignore groups."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, redirect, request, session, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from rollcall.core.errors import NameRefused, ObjectChanged
from rollcall.core.index_types import UnknownFaceRef
from rollcall.index.face_queries import FaceQueries
from rollcall.web.came_from import back
from rollcall.web.foot import show_change, show_message
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.request_values import whole_number
from rollcall.web.shown_faces import MAX_FACES, read_faces, read_group
from rollcall.web.typed_names import keep_refused, pressed_name, typed_name
from rollcall.web.unknown import CHANGED_GROUPS, MAX_OPENED_FACES
from rollcall.web.users import current_user, editors_only

pages = Blueprint("unknown_changes", __name__)

MAX_GROUPS = 10
"""Groups that are made one at once."""

MAX_CHANGED_GROUPS = 50
"""Groups that are not shown while videos follow their changes. The session is a cookie, and a
browser stores at most 4096 bytes of it."""

CHANGED_SINCE = (
    "Nothing was changed, because the faces have changed since. Check them, and try again."
)


@pages.post("/unknown/<int:group_id>/name")
@editors_only
def name_group(group_id: int) -> Response:
    """Name the group, or add it to a person of the gallery.

    Faces that were marked as somebody else get a verdict, too, because they are like the others and
    would get the same name.
    """
    pressed = pressed_name()
    typed = pressed or field("name")
    chosen = _chosen()
    if chosen is None:
        show_message(CHANGED_SINCE)
        return _refused(group_id, typed)
    faces, others = chosen
    try:
        name = typed_name(typed, ask=not pressed)
        change_id = parts().corrections.is_person(faces, name, current_user().name, others)
    except NameRefused:
        return _refused(group_id, typed)
    except ObjectChanged as error:
        show_message(str(error))
        return _refused(group_id, typed)
    return _changed(change_id, group_id)


@pages.post("/unknown/<int:group_id>/ignore")
@editors_only
def ignore_group(group_id: int) -> Response:
    chosen = _chosen()
    if chosen is None:
        return _changed_since()
    return _changed(parts().corrections.ignore(chosen[0], current_user().name), group_id)


@pages.post("/unknown/same")
@editors_only
def same_person() -> Response:
    """Make several groups one."""
    groups = dict(map(read_group, request.form.getlist("group")[: MAX_GROUPS + 1]))
    if not 2 <= len(groups) <= MAX_GROUPS or not all(groups.values()):
        raise BadRequest(f"select two to {MAX_GROUPS} groups that show the same person")
    left = [_still_unknown(group[: MAX_FACES // len(groups)]) for group in groups.values()]
    if not all(left):
        return _changed_since()
    faces = [face for group in left for face in group]
    # One of the groups has all faces now, and stays.
    return _changed(parts().corrections.same(faces, current_user().name))


def _chosen() -> tuple[list[UnknownFaceRef], list[UnknownFaceRef]] | None:
    """The faces of the group, and those that were marked as somebody else.

    A face that somebody has named or ignored since the page was shown is left out. None if no face
    is left, or if one of the marked ones is left out.
    """
    sent = read_faces(request.form.get("faces", ""))
    others = read_faces(" ".join(request.form.getlist("other")))
    if not sent:
        raise BadRequest("the form names no face; load the page again")
    if not (rest := [face for face in sent if face not in others]):
        raise BadRequest("every face of the group is marked as somebody else; leave at least one")
    faces, apart = _still_unknown(rest), _still_unknown(others)
    return (faces, apart) if faces and len(apart) == len(others) else None


def _still_unknown(faces: Sequence[UnknownFaceRef]) -> list[UnknownFaceRef]:
    return FaceQueries(parts().database).still_unknown(faces)


def _refused(group_id: int, typed: str) -> Response:
    """Show the form again. With faces that are marked, show the group alone with all faces.

    Without their marks, they would get the name if somebody sent the form again.
    """
    marked = tuple(request.form.getlist("other"))
    if parts().groups.get(group_id) is None:
        return redirect("/unknown", 303)
    keep_refused(f"group-{group_id}", typed, marked)
    if marked:
        return redirect(url_for("unknown.group", group_id=group_id, faces=MAX_OPENED_FACES), 303)
    page = request.form.get("page", type=whole_number)
    return back(url_for("unknown.unknown", page=page))


def _changed_since() -> Response:
    show_message(CHANGED_SINCE)
    return redirect("/unknown", 303)


def _changed(change_id: int, *group_ids: int) -> Response:
    """Show the other groups of the page. The results of the videos follow a moment later."""
    show_change(change_id)
    parts().known.changed()
    session[CHANGED_GROUPS] = [*session.get(CHANGED_GROUPS, ()), *group_ids][-MAX_CHANGED_GROUPS:]
    page = request.form.get("page", type=whole_number)
    return redirect(url_for("unknown.unknown", page=page), 303)
