"""The changes that the page of a person makes: rename, merge, and the removal of a photo."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from rollcall.core.names import normalise_name, with_known_case
from rollcall.core.similar_names import close_names
from rollcall.index.people_queries import PeopleQueries
from rollcall.web.foot import show_change
from rollcall.web.formats import person_url
from rollcall.web.gallery_cache import NearPerson
from rollcall.web.near_people import near_people
from rollcall.web.parts import parts
from rollcall.web.person import note_look
from rollcall.web.typed_names import keep_refused, pressed_name, refusal_of_rename
from rollcall.web.users import current_user, editors_only

pages = Blueprint("person_changes", __name__)


@pages.post("/people/rename")
@editors_only
def rename() -> Response:
    """Give a person another name, in the gallery and in all results.

    If it is somebody else's or similar, the page asks first: perhaps both are one person.
    """
    name, pressed = field("name"), pressed_name()
    new_name = pressed or field("new_name")
    if not pressed and refusal_of_rename(new_name, name).sentence:
        keep_refused("rename", new_name)
        return redirect(person_url(name), 303)
    show_change(parts().corrections.rename(name, new_name, current_user().name))
    return _to_person(new_name)


@pages.get("/people/merge")
def merge_form() -> str:
    """Two people side by side, with the question whether they are one person."""
    name, into = (normalise_name(request.args.get(each, "")) for each in ("name", "into"))
    queries, known = PeopleQueries(parts().database), parts().known.current()
    into = with_known_case(into, known.names)
    rows = queries.rows_of([name, into])
    for each in (name, into):
        if each not in rows and each not in known.names:
            near = " or ".join(map(repr, close_names(each, known.names)))
            hint = f"do you mean {near}?" if near else "choose a name that the field suggests"
            raise BadRequest(f"{each!r} is neither in the gallery nor in any video; {hint}")
    if name == into:
        raise BadRequest(f"{name!r} is the same person; choose another one")
    for each in (name, into):
        note_look(each)
    distance = known.distance(name, into)
    pair = [NearPerson(each, distance or 0.0) for each in (name, into)]
    return render_template(
        "person_merge.html", people=near_people(queries, known, pair), rows=rows, distance=distance
    )


@pages.post("/people/merge")
@editors_only
def merge() -> Response:
    """Make two people one."""
    name, into = field("name"), field("into")
    show_change(parts().corrections.merge(name, into, current_user().name))
    return _to_person(into)


@pages.post("/people/remove-photo")
@editors_only
def remove_photo() -> Response:
    """Remove one encoding from the gallery."""
    name, example_id = field("name"), field("example")
    show_change(parts().corrections.remove_example(name, example_id, current_user().name))
    return _to_person(name)


def field(name: str) -> str:
    """A text of the form. Raises BadRequest if it is missing."""
    if value := request.form.get(name, "").strip():
        return value
    raise BadRequest(f"the field {name.replace('_', ' ')!r} is empty; go back and fill it in")


def _to_person(name: str) -> Response:
    parts().known.changed()
    name = normalise_name(name)
    row = PeopleQueries(parts().database).with_name(name)
    in_gallery = name in parts().known.current().names
    return redirect(person_url(name) if row or in_gallery else "/people", 303)
