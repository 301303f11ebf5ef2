"""Who is looking at the page, and what they may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from flask import abort, g

Role = Literal["viewer", "editor"]
ROLES: tuple[Role, ...] = ("viewer", "editor")
"""A viewer looks; an editor also corrects, enrols and forgets people."""

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class User:
    """A person who uses the pages."""

    name: str
    role: Role

    @property
    def may_edit(self) -> bool:
        return self.role == "editor"


LOCAL = User("local", "editor")
"""A user who need not sign in, which is possible only from this machine."""


NOBODY = User("", "viewer")
"""A user who has not signed in yet, and sees only the form."""


def current_user() -> User:
    """The user of the current request (`rollcall.web.sign_in` finds out who it is)."""
    user: User = g.get("user", NOBODY)
    return user


def editors_only(view: View) -> View:
    """Refuse viewers with 403. Every view that changes something needs this decorator."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not current_user().may_edit:
            abort(403, "your role is viewer; ask an editor to make this change")
        return view(*args, **kwargs)

    return cast(View, checked)
