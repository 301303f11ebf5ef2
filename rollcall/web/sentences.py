"""Sentences about what somebody changed, for the log and for the line at the foot of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rollcall.core.web_protocols import Change
from rollcall.web.formats import counted

SOMEBODY = "a person who was forgotten"
"""Stands for the name of a person who was removed everywhere, also from the log."""


def _number(change: Change, name: str, default: int = 1) -> int:
    value = change.details.get(name, default)
    return value if isinstance(value, int) else len(value) if isinstance(value, list) else default


def _text(change: Change, name: str) -> str:
    value = change.details.get(name)
    return value if isinstance(value, str) and value else SOMEBODY


def _faces(change: Change) -> str:
    return counted(_number(change, "faces"), "face")


def _name(change: Change) -> str:
    return change.name or SOMEBODY


def _problem(change: Change) -> str:
    cause = change.details.get("cause")
    text = cause if isinstance(cause, str) else counted(_number(change, "count"), "problem")
    return f"{text} ({change.name})" if change.name else text


def _enrolled(change: Change) -> str:
    """With the number of photos: many photos of a person come in several changes, one undo each."""
    number = change.details.get("photos")
    photos = f" from {counted(number, 'photo')}" if isinstance(number, int) else ""
    return f"enrolled {_name(change)}{photos}"


def _undo(change: Change) -> str:
    """The line of an undo has the action and the details of the change that was undone."""
    action = str(change.details.get("action"))
    if action == "rename":
        return f"undid a change: {_name(change)} is called {_text(change, 'new_name')} again"
    if action == "dismiss":
        return f"brought back: {_problem(change)}"
    if action == "undo" or action not in _DID:
        return "undid a change"
    return f"undid a change: {_DID[action](change)}"


_DID: Mapping[str, Callable[[Change], str]] = {
    "is": lambda change: f"named {_faces(change)} {_name(change)}",
    "not": lambda change: f"said that {_faces(change)} did not show {_name(change)}",
    "same": lambda change: f"said that {_faces(change)} showed one person",
    "ignore": lambda change: f"ignored {_faces(change)}",
    "rename": lambda change: f"renamed {_name(change)} to {_text(change, 'new_name')}",
    "merge": lambda change: f"merged {_name(change)} into {_text(change, 'into')}",
    "forget": lambda change: f"forgot {change.name or 'a person'} everywhere",
    "enrol": lambda change: _enrolled(change),
    "remove_photo": lambda change: f"removed a photo of {_name(change)}",
    "rerun": lambda change: f"queued {_name(change)} again",
    "retry": lambda change: f"tried again: {_problem(change)}",
    "dismiss": lambda change: f"dismissed: {_problem(change)}",
    "undo": lambda change: _undo(change),
    "view": lambda change: f"looked at {_name(change)}",
    "sign_in": lambda change: "signed in",
}


def predicate(change: Change) -> str:
    """The change as text, to be written after the name of the user."""
    found = _DID.get(change.action)
    return found(change) if found else change.action


def foot_sentence(change: Change) -> str:
    """The change as a sentence, with the number of videos that have changed."""
    text = predicate(change)
    videos = f" {counted(change.videos, 'video')} changed." if change.videos else ""
    return f"{text[0].upper()}{text[1:]}.{videos}"
