"""The line at the foot of a page: what was just changed, with a button that undoes it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import flash, get_flashed_messages, render_template
from markupsafe import Markup

from rollcall.core.errors import TransientError
from rollcall.web.parts import parts
from rollcall.web.sentences import foot_sentence
from rollcall.web.users import current_user

FOLLOWED = ("is", "not", "same", "ignore", "rename", "merge", "undo", "remove_photo")
"""Changes after which the results of videos are written again."""


@dataclass(frozen=True, slots=True)
class FootLine:
    """The text, and the change that can be undone."""

    text: str
    change_id: int | None = None
    can_undo: bool = False
    grows: bool = False
    """Whether the results of further videos may follow, so that the text changes."""


def show_change(change_id: int) -> None:
    """Show a change of the log at the foot of the next page, or of `foot_part`."""
    flash(str(change_id), "change")


def show_message(text: str) -> None:
    """Show a sentence at the foot of the next page, or of `foot_part`."""
    flash(text, "message")


def line_of(change_id: int) -> FootLine | None:
    """The line about a change."""
    # Before the change is read: a line that does not grow never asks for a later number of videos.
    is_pending = _is_pending()
    change = parts().changes.get(change_id)
    if change is None:
        return None
    can_undo = change.can_undo and not change.undone_by and current_user().may_edit
    grows = is_pending and change.action in FOLLOWED
    return FootLine(foot_sentence(change), change.id, can_undo, grows)


def _is_pending() -> bool:
    """Whether videos still have to be compared with the gallery again."""
    try:
        return parts().corrections.pending() > 0
    except TransientError:
        return False


def foot_line() -> FootLine | None:
    """The line of the page that is being rendered. Templates call this function once."""
    shown: list[tuple[str, str]] = [*get_flashed_messages(with_categories=True)]
    if not shown:
        return None
    kind, text = shown[-1]
    if kind != "change":
        return FootLine(text)
    try:
        return line_of(int(text))
    except TransientError:  # the page reports it, if it needs the database
        return None


def foot_part() -> Markup:
    """The foot line as an extra part of an answer to htmx, which puts it in its place."""
    # Escaped by its template.
    body = Markup(render_template("foot.html"))  # noqa: S704
    return Markup('<div id="foot" hx-swap-oob="innerHTML">{}</div>').format(body)
