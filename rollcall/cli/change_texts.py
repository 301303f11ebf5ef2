"""Sentences about lines of the log of changes, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rollcall.cli.shown_times import moment_text
from rollcall.core.web_protocols import Change

MAX_SHOWN_VIDEOS = 3
"""How many videos a sentence names. The others are counted."""

SOMEBODY = "a forgotten person"
"""Stands for the name of somebody who was removed everywhere, also from the log."""


def change_sentence(line: Change) -> str:
    """The number and the time of a change, who made it, and what was changed."""
    who = line.who or "somebody"
    facts = [f"{line.id}: {moment_text(line.at_s)}, {who}: {action_text(line)}"]
    if line.videos:
        facts.append(f"{_count(line.videos, 'result')} changed")
    if line.undone_by is not None:
        facts.append(f"undone by {line.undone_by}")
    return "; ".join(facts)


def action_text(line: Change) -> str:
    """Says what was changed, for example `renamed 'Ann' to 'Eve'`."""
    found = _TEXTS.get(line.action)
    return found(line) if found else line.action


def _whole(value: object) -> int:
    """The number; 1 if the line has none."""
    return value if isinstance(value, int) else 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _name(line: Change) -> str:
    return repr(line.name) if line.name else SOMEBODY


def _other(line: Change, field: str) -> str:
    value = line.details.get(field)
    return repr(value) if isinstance(value, str) and value else SOMEBODY


def _faces(line: Change) -> str:
    return _count(_whole(line.details.get("faces")), "face")


def _where(line: Change) -> str:
    """` in 'lecture.mp4'`; empty if the line names no video."""
    keys = line.details.get("keys")
    if not isinstance(keys, list) or not keys:
        return ""
    more = len(keys) - MAX_SHOWN_VIDEOS
    shown = ", ".join(repr(str(key)) for key in keys[:MAX_SHOWN_VIDEOS])
    return f" in {shown}" + (f" and {_count(more, 'other video')}" if more > 0 else "")


def _enrolled(line: Change) -> str:
    number = line.details.get("photos")
    photos = f" from {_count(number, 'photo')}" if isinstance(number, int) else ""
    return f"enrolled {_name(line)}{photos}"


def _problem(line: Change) -> str:
    cause, number = line.details.get("cause"), line.details.get("count")
    what = cause if isinstance(cause, str) else _count(_whole(number), "problem")
    return f"{what} ({line.name})" if line.name else what


def _undone(line: Change) -> str:
    """The line of an undo has the action and the details of the change that was undone."""
    action = line.details.get("action")
    if action == "rename":
        return f"undid {line.undoes}: {_name(line)} is called {_other(line, 'new_name')} again"
    if not isinstance(action, str) or action == "undo" or action not in _TEXTS:
        return f"undid {line.undoes}"
    return f"undid {line.undoes}: {_TEXTS[action](line)}"


_TEXTS: Mapping[str, Callable[[Change], str]] = {
    "is": lambda line: f"named {_faces(line)} {_name(line)}{_where(line)}",
    "not": lambda line: f"said that {_faces(line)} did not show {_name(line)}{_where(line)}",
    "same": lambda line: f"said that {_faces(line)} showed one person{_where(line)}",
    "ignore": lambda line: f"ignored {_faces(line)}{_where(line)}",
    "rename": lambda line: f"renamed {_name(line)} to {_other(line, 'new_name')}",
    "merge": lambda line: f"merged {_name(line)} into {_other(line, 'into')}",
    "forget": lambda line: f"forgot {_name(line) if line.name else 'a person'} everywhere",
    "enrol": _enrolled,
    "remove_photo": lambda line: f"removed a photo of {_name(line)}",
    "rerun": lambda line: f"queued the video {_name(line)} again",
    "retry": lambda line: f"tried again: {_problem(line)}",
    "dismiss": lambda line: f"dismissed: {_problem(line)}",
    "undo": _undone,
    "view": lambda line: f"looked at the page of {_name(line)}",
    "sign_in": lambda line: "signed in",
}
