"""The page of problems: one card for each cause, with what helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask import Blueprint, abort, current_app, render_template, request
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response

from rollcall.index.dismissals import Dismissals
from rollcall.index.problem_queries import (
    KINDS,
    Cause,
    Kind,
    Problem,
    bad_event_bodies,
    numbers,
    problems,
)
from rollcall.web.came_from import back
from rollcall.web.foot import show_change, show_message
from rollcall.web.formats import counted
from rollcall.web.parts import parts
from rollcall.web.polling import polled
from rollcall.web.problem_texts import CAN_RETRY, NOUNS, meaning_of, retry_helps, title_of
from rollcall.web.request_values import whole_number
from rollcall.web.system_state import KEEP_S, Kept, system_state
from rollcall.web.users import current_user, editors_only

pages = Blueprint("problems", __name__)

SHOWN = 20
"""Problems that are listed in a card."""

MAX_AT_ONCE = 10_000
"""Problems that one button tries again or dismisses."""


class Card(NamedTuple):
    """A cause with its problems."""

    cause: Cause
    title: str
    advice: str
    rows: Sequence[Problem]
    bodies: dict[int, str]
    can_retry: bool
    retry_helps: bool
    listed: str
    """How many problems are listed, for example `3 videos`."""


@pages.record
def _add_cards(state: BlueprintSetupState) -> None:
    state.app.extensions["rollcall-problems"] = Kept(_read_cards, KEEP_S)


@pages.get("/problems")
def list_problems() -> str:
    """All causes, each with its newest problems."""
    system_state().troubles.forget()  # the user may just have changed something elsewhere
    _cards().forget()
    return render_template("problems.html", part=_part)


@pages.get("/problems/part")
def part() -> Response:
    """The part of the page that is polled."""
    return polled(_part())


def _part() -> str:
    failed_files = system_state().progress.get().failed_files
    return render_template("problems_part.html", cards=_cards().get(), failed_files=failed_files)


def _cards() -> Kept[list[Card]]:
    """The cards, which are read once for all readers."""
    cards: Kept[list[Card]] = current_app.extensions["rollcall-problems"]
    return cards


def _read_cards() -> list[Card]:
    return [_card(cause) for cause in system_state().troubles.get().causes]


def _card(cause: Cause) -> Card:
    database = parts().database
    rows = problems(database, cause.kind, cause.code, SHOWN)
    bodies = bad_event_bodies(database, [row.id for row in rows]) if cause.kind == "bad" else {}
    return Card(
        cause,
        title_of(cause),
        meaning_of(cause).advice,
        rows,
        bodies,
        cause.kind in CAN_RETRY,
        retry_helps(cause),
        counted(len(rows), *NOUNS[cause.kind]),
    )


@pages.post("/problems/<kind>/retry")
@editors_only
def retry(kind: str) -> Response:
    """Queue one problem again, or all of a cause."""
    known = _kind(kind)
    if known not in CAN_RETRY:
        abort(400, "Only failed videos and messages can be tried again.")
    ids, name, code = _chosen(known)
    queue = parts().queue
    count = (queue.replay(ids) if known == "dead" else queue.outbox.replay(ids)) if ids else 0
    if not count:
        return _nothing_left()
    details = _details(known, code, count)
    return _done(parts().changes.record(current_user().name, "retry", name, details))


@pages.post("/problems/<kind>/dismiss")
@editors_only
def dismiss(kind: str) -> Response:
    """Hide one problem, or all of a cause."""
    known = _kind(kind)
    ids, name, code = _chosen(known)
    if not ids:
        return _nothing_left()
    details = _details(known, code, len(ids))
    dismissals = Dismissals(parts().database)
    return _done(dismissals.dismiss(known, ids, current_user().name, name, details))


def _kind(text: str) -> Kind:
    found: Kind | None = next((kind for kind in KINDS if kind == text), None)
    return found or abort(404)


def _chosen(kind: Kind) -> tuple[list[int], str, str]:
    """The ids that the form is about, the name of a single video, and the code of the cause."""
    code = request.form.get("code", "")[:200] if kind == "dead" else ""
    ids = numbers(parts().database, kind, code, MAX_AT_ONCE)
    if "number" in request.form:
        number = request.form.get("number", type=whole_number)
        ids = [each for each in ids if each == number]
    name = request.form.get("name", "")[:1024] if len(ids) == 1 else ""
    return ids, name, code


def _details(kind: Kind, code: str, count: int) -> dict[str, object]:
    """Details for the log."""
    cause = title_of(Cause(kind, code, count))
    return {"kind": kind, "code": code, "cause": cause, "count": count}


def _done(change_id: int) -> Response:
    system_state().forget()
    show_change(change_id)
    return back("/problems")


def _nothing_left() -> Response:
    system_state().forget()
    show_message("Nothing was changed, because somebody else has settled this already.")
    return back("/problems")
