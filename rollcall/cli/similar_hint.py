"""A hint about a new name that may be a misspelling of a known one (docs/decisions/0203)."""

from __future__ import annotations

from collections.abc import Iterable

from rollcall.core.similar_names import close_names


def similar_hint(name: str, people: Iterable[str]) -> str:
    """A sentence about the people whose names are close to a new name; empty if there are none."""
    if not (close := close_names(name, people)):
        return ""
    similar = ", ".join(map(repr, close))
    return (
        f"hint: the name {name!r} is new, and similar to {similar}; if this is the same person,"
        " run `rollcall gallery merge`"
    )
