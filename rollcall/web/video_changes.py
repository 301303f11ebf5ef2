"""The changes that the page of a video makes: say who somebody is, and recognise it again."""

from __future__ import annotations

from uuid import uuid4

from flask import Blueprint, make_response, redirect, request
from markupsafe import Markup
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from rollcall.core.errors import NameRefused, ObjectChanged, RollcallError
from rollcall.core.index_types import IndexedVideo
from rollcall.core.types import VideoRef
from rollcall.web.foot import foot_part, show_change, show_message
from rollcall.web.parts import parts
from rollcall.web.shown_people import ShownPerson, person_with
from rollcall.web.typed_names import keep_refused, pressed_name, refused_name, typed_name
from rollcall.web.users import current_user, editors_only
from rollcall.web.video_page import changing_part, facts_of, indexed

pages = Blueprint("video_changes", __name__)

MAX_NAME_CHARS = 1024


@pages.post("/videos/<int:video_id>/people")
@editors_only
def correct(video_id: int) -> Response:
    """Say who a person of the video is, or is not."""
    video, version = indexed(video_id), request.form.get("person", "")
    person = person_with(parts().database, video_id, video, version)
    if person is None:
        show_message(
            "Nothing was changed, because the result about this person has changed since. Check the"
            " people, and try again."
        )
        return _answer(video_id)
    try:
        show_change(_verdict(person))
        parts().known.changed()
    except NameRefused:
        keep_refused(f"person-{version}", pressed_name() or _typed())
    except RollcallError as error:
        show_message(str(error))
        if isinstance(error, ObjectChanged) and (typed := pressed_name() or _typed_text()):
            keep_refused(f"person-{version}", typed)
    return _answer(video_id)


@pages.post("/videos/<int:video_id>/rerun")
@editors_only
def rerun(video_id: int) -> Response:
    """Recognise the video again."""
    found = indexed(video_id)
    if found.is_file:
        raise BadRequest(
            "this video is a file, and is not in the store; run `rollcall recognise --index` again"
        )
    try:
        if _queue_again(found):
            show_change(parts().changes.record(current_user().name, "rerun", found.key))
        else:
            show_message("The video already waits to be recognised.")
    except RollcallError as error:
        show_message(str(error))
    return _answer(video_id)


def _verdict(person: ShownPerson) -> int:
    face, name = person
    corrections, who = parts().corrections, current_user().name
    action = request.form.get("action", "")
    if pressed := pressed_name():
        return corrections.is_person([face], typed_name(pressed, ask=False), who)
    if action == "is":
        return corrections.is_person([face], typed_name(_typed()), who)
    if action == "not" and name:
        return corrections.is_not([face], name, who)
    if action == "ignore":
        return corrections.ignore([face], who)
    raise BadRequest("the form is damaged; open the page again")


def _typed() -> str:
    name = _typed_text()
    if not name or len(name) > MAX_NAME_CHARS:
        raise BadRequest("the field with the name is empty or too long; go back and fill it in")
    return name


def _typed_text() -> str:
    return request.form.get("name", "").strip()


def _queue_again(found: IndexedVideo) -> bool:
    """Queue the video, unless it waits already. Raises ObjectNotFound if it was deleted."""
    queue = parts().queue
    if any(work.state == "queued" for work in queue.history(found.bucket, found.key, 2)):
        return False
    if queue.rerun(found.bucket, [found.key]):
        return True
    info = parts().store.head(found.bucket, found.key)
    ref = VideoRef(info.bucket, info.key, info.version_id, info.etag, event_id=f"rerun-{uuid4()}")
    return bool(queue.add([ref]))


def _answer(video_id: int) -> Response:
    """The changed part of the page for htmx; otherwise the page again."""
    if request.headers.get("HX-Request"):
        # Escaped by their templates.
        part = Markup(changing_part(facts_of(video_id), refused_name()))  # noqa: S704
        return make_response(part + foot_part())
    return redirect(f"/videos/{video_id}", 303)
