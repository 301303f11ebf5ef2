"""The changes that the page of unknown faces makes: name, join and ignore groups."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from rollcall.core.index_types import FaceRef
from rollcall.core.names import checked_new_name
from rollcall.web.foot import show_change
from rollcall.web.parts import parts
from rollcall.web.person_changes import field
from rollcall.web.users import current_user, editors_only

pages = Blueprint("unknown_changes", __name__)

MAX_FACES = 50
"""Faces of a group that a verdict stores. The others are like them, so they follow."""

MAX_REF_CHARS = 24

MAX_GROUPS = 10
"""Groups that are made one at once."""


@pages.post("/unknown/<int:group_id>/name")
@editors_only
def name_group(group_id: int) -> Response:
    """Name the group, or add it to a person of the gallery.

    Faces that were marked as somebody else get a verdict, too, because they are like the others and
    would get the same name.
    """
    given = request.form.get("to") or field("name")
    name = checked_new_name(given, parts().known.current().names)
    others = _others()
    faces = _without(_faces(group_id), others)
    change_id = parts().corrections.is_person(faces, name, current_user().name, others)
    return _changed(change_id, group_id)


@pages.post("/unknown/<int:group_id>/ignore")
@editors_only
def ignore_group(group_id: int) -> Response:
    faces = _without(_faces(group_id), _others())
    return _changed(parts().corrections.ignore(faces, current_user().name), group_id)


@pages.post("/unknown/same")
@editors_only
def same_person() -> Response:
    """Make several groups one."""
    ids = sorted({*request.form.getlist("group", type=int)})
    if not 2 <= len(ids) <= MAX_GROUPS:
        raise BadRequest(f"select two to {MAX_GROUPS} groups that show the same person")
    each = MAX_FACES // len(ids)
    faces = [face for group_id in ids for face in _faces(group_id, each)]
    return _changed(parts().corrections.same(faces, current_user().name), *ids)


def _others() -> list[FaceRef]:
    """The faces that were marked as somebody else."""
    found = []
    for text in request.form.getlist("other")[:MAX_FACES]:
        video, _, number = text.partition("-")
        if not (video.isdecimal() and number.isdecimal()) or len(text) > MAX_REF_CHARS:
            raise BadRequest("the form names a face that does not exist; load the page again")
        found.append(FaceRef(int(video), int(number)))
    return found


def _without(faces: list[FaceRef], others: list[FaceRef]) -> list[FaceRef]:
    if rest := [face for face in faces if face not in others]:
        return rest
    raise BadRequest("every face of the group is marked as somebody else; leave at least one")


def _faces(group_id: int, limit: int = MAX_FACES) -> list[FaceRef]:
    """Faces of the group, those nearest to its middle first."""
    found = parts().groups.get(group_id)
    if found is None:
        abort(404, "this group is gone: its faces have a name by now, or are in another group")
    newest = parts().groups.faces(group_id, limit)
    return list(dict.fromkeys([*found.faces, *newest]))[:limit]


def _changed(change_id: int, *group_ids: int) -> Response:
    """Show the other groups. The results of the videos follow the change a moment later."""
    show_change(change_id)
    parts().known.changed()
    return redirect(url_for("unknown.unknown", done=group_ids), 303)
