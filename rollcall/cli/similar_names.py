"""Suggests names of the gallery for a name that is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from rollcall.core.names import lookalike_names, normalise_name

MAX_SUGGESTIONS = 3


def similar_names(name: str, people: Sequence[str]) -> list[str]:
    """The names that are most like `name`, in any letter case."""
    wanted = normalise_name(name).casefold()
    by_folded = {person.casefold(): person for person in people}
    folded = [other for other in by_folded if wanted in other]
    folded += get_close_matches(wanted, by_folded)
    similar = [*lookalike_names(name, people), *(by_folded[other] for other in folded)]
    return list(dict.fromkeys(similar))[:MAX_SUGGESTIONS]
