"""Names that somebody types into a form to name a face, and the form after a refusal or a question.

A name that is not in the gallery, but may be a misspelling of one that is, is not taken before
somebody was asked (docs/decisions/0203). The page that follows shows the form again, open, with the
text and the reason or the question. Between the two, the text is in the session, like a line at the
foot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from flask import request, session

from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.names import checked_new_name, lookalike_names, normalise_name, with_known_case
from rollcall.core.similar_names import close_names
from rollcall.web.parts import parts

MAX_KEPT_CHARS = 256
"""The session is a cookie, and a browser stores at most 4096 bytes of it."""

_SESSION = "refused_name"


class NameInDoubt(NameRefused):
    """A new name may be a misspelling of a known one, so somebody has to say who is meant."""

    def __init__(self, name: str, close: Sequence[str]) -> None:
        super().__init__(f"the name {name!r} is not in the gallery, but {close[0]!r} is")
        self.name = name
        self.close = tuple(close)


class Refusal(NamedTuple):
    """Why a name was not taken."""

    sentence: str
    known: tuple[str, ...] = ()
    """The people of the gallery who may be meant; none if the name is not allowed."""
    new: str = ""
    """The name to offer for a new person; empty if it is not allowed."""


class RefusedName(NamedTuple):
    """A form whose name was not taken, as the page shows it again."""

    form: str
    """Which form of the page it is."""
    typed: str
    others: tuple[str, ...]
    """The faces that were marked as somebody else."""
    sentence: str
    known: tuple[str, ...]
    new: str
    """As in Refusal."""


def pressed_name() -> str:
    """The name on the button that was pressed: a known person, or a new one despite a question.

    Empty if it was another button, so that the name is the text in the field.
    """
    return request.form.get("to") or request.form.get("new") or ""


def check_pressed_name() -> None:
    """Raise GalleryError if the pressed button is about a known person who is gone since.

    Otherwise it would make a new person of that name, even of somebody who was removed everywhere.
    """
    known = request.form.get("to")
    if known and normalise_name(known) not in parts().known.current().names:
        raise GalleryError(
            f"nothing was changed, because {known!r} is not in the gallery any more; load the page"
            " again"
        )


def typed_name(typed: str, *, ask: bool = True) -> str:
    """The name for somebody of the gallery or for a new person.

    Raises NameRefused, and the errors of `check_pressed_name`. With `ask`, raises NameInDoubt for a
    new name that is close to a known one.
    """
    check_pressed_name()
    return name_among(typed, parts().known.current().names, ask=ask)


def name_among(typed: str, people: Collection[str], *, ask: bool) -> str:
    """The name in a gallery of `people`. Raises NameRefused, and with `ask` NameInDoubt."""
    name = checked_new_name(with_known_case(typed, people), people)
    if ask and name not in people and (close := close_names(name, people)):
        raise NameInDoubt(name, close)
    return name


def keep_refused(form: str, typed: str, others: tuple[str, ...] = ()) -> None:
    """Show the form again on the next page, or in this answer, with the text that was typed."""
    session[_SESSION] = [form, typed[:MAX_KEPT_CHARS], *others]
    parts().known.changed()  # the newest gallery may have refused the name


def refused_name(refusal: Callable[[str], Refusal] | None = None) -> RefusedName | None:
    """The form that has to be shown again. A page calls this function once.

    `refusal` finds the reason; by default, `refusal_of` does.
    """
    if not (kept := session.pop(_SESSION, None)):
        return None
    form, typed, *others = kept
    return RefusedName(form, typed, tuple(others), *(refusal or refusal_of)(typed))


def refusal_of(typed: str) -> Refusal:
    """Why a name was not taken."""
    people = parts().known.current().names
    try:
        name_among(typed, people, ask=True)
    except NameInDoubt as doubt:
        meant = " or ".join(f"“{each}”" for each in doubt.close)
        question = f"“{doubt.name}” is not in the gallery yet. Do you mean {meant}?"
        return Refusal(question, doubt.close, doubt.name)
    except NameRefused as error:
        return _not_allowed(typed, error, people)
    return Refusal("")


def refusal_of_rename(new_name: str, name: str) -> Refusal:
    """Why the person `name` is not renamed at once; an empty sentence if nothing prevents it."""
    others = parts().known.current().names - {normalise_name(name)}
    try:
        new = checked_new_name(new_name, others)
    except NameRefused as error:
        return _not_allowed(new_name, error, others)
    if new in others:
        return Refusal(f"“{new}” is in the gallery already. Are both the same person?", (new,))
    if close := tuple(close_names(new, others)):
        similar = " and ".join(f"“{each}”" for each in close)
        question = "Is it one of them?" if len(close) > 1 else "Are both the same person?"
        return Refusal(f"“{new}” is similar to {similar}. {question}", close, new)
    return Refusal("")


def _not_allowed(typed: str, error: NameRefused, people: Collection[str]) -> Refusal:
    near = sorted(lookalike_names(typed, people))
    if not near:
        reason = str(error)
        return Refusal(f"{reason[:1].upper()}{reason[1:]}.")
    text = f"“{typed}” looks like “{near[0]}”, who is in the gallery already."
    hint = "If this is somebody else, add something, for example a middle name."
    return Refusal(f"{text} {hint}", (near[0],))
