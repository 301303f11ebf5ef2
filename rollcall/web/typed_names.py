"""Names that somebody types into a form to name a face, and the form after a refusal.

The page that follows shows the form again, open, with the text and the reason. Between the two, the
text is in the session, like a line at the foot.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import session

from rollcall.core.errors import NameRefused
from rollcall.core.names import checked_new_name, lookalike_names, with_known_case
from rollcall.web.parts import parts

MAX_KEPT_CHARS = 256
"""The session is a cookie, and a browser stores at most 4096 bytes of it."""

_SESSION = "refused_name"


class RefusedName(NamedTuple):
    """A form whose name was refused, as the page shows it again."""

    form: str
    """Which form of the page it is."""
    typed: str
    others: tuple[str, ...]
    """The faces that were marked as somebody else."""
    sentence: str
    known: str
    """The person of the gallery whose name looks like this one; empty if there is nobody."""


def typed_name(typed: str) -> str:
    """The name for somebody of the gallery or for a new person. Raises NameRefused."""
    people = parts().known.current().names
    return checked_new_name(with_known_case(typed, people), people)


def keep_refused(form: str, typed: str, others: tuple[str, ...] = ()) -> None:
    """Show the form again on the next page, or in this answer, with the text that was typed."""
    session[_SESSION] = [form, typed[:MAX_KEPT_CHARS], *others]
    parts().known.changed()  # the newest gallery may have refused the name


def refused_name() -> RefusedName | None:
    """The form that has to be shown again. A page calls this function once."""
    if not (kept := session.pop(_SESSION, None)):
        return None
    form, typed, *others = kept
    sentence, known = refusal_of(typed)
    return RefusedName(form, typed, tuple(others), sentence, known)


def refusal_of(typed: str) -> tuple[str, str]:
    """Why a name is refused, in a sentence, and the person whose name looks like it."""
    try:
        typed_name(typed)
    except NameRefused as error:
        near = sorted(lookalike_names(typed, parts().known.current().names))
        if not near:
            reason = str(error)
            return f"{reason[:1].upper()}{reason[1:]}.", ""
        text = f"“{typed}” looks like “{near[0]}”, who is in the gallery already."
        hint = "If this is somebody else, add something, for example a middle name."
        return f"{text} {hint}", near[0]
    return "", ""
