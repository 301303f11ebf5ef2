"""Finds names of the gallery that are similar to a name that is not in it.

`close_names` finds the few names of which the name may be a misspelling (docs/decisions/0203).
`similar_names` finds more, as suggestions for a name that was not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

from rollcall.core.names import lookalike_names, normalise_name

MAX_SUGGESTIONS = 3

MIN_NAME_RATIO = 0.86
"""Smallest ratio (`difflib`) of two whole names of which one may be a misspelling of the other."""

MIN_WORD_RATIO = 0.65
"""The same for each pair of words. Long first names would otherwise make different people close:
Christopher Lee and Christopher Lam, or Sebastian K. and Sebastian M."""

_COMPARED = 4 * MAX_SUGGESTIONS


def similar_names(name: str, people: Iterable[str]) -> list[str]:
    """The names that are most like `name`, in any letter case."""
    known = list(people)
    wanted = normalise_name(name).casefold()
    by_folded = {person.casefold(): person for person in known}
    folded = [other for other in by_folded if wanted in other]
    folded += get_close_matches(wanted, by_folded)
    similar = [*lookalike_names(name, known), *(by_folded[other] for other in folded)]
    return list(dict.fromkeys(similar))[:MAX_SUGGESTIONS]


def close_names(name: str, people: Iterable[str]) -> list[str]:
    """The other names that `name` may be a misspelling of, the most similar first.

    Names are close, too, if one has all words of the other: in another order, or `Clara` for
    `Clara Schumann`. Names with different numbers are not close.
    """
    wanted, normalised = _letters(name), normalise_name(name)
    by_letters: dict[str, list[str]] = {}
    for person in people:
        if person != normalised:
            by_letters.setdefault(_letters(person), []).append(person)
    parts = sorted(
        (other for other in by_letters if _have_the_same_words(wanted, other)),
        key=lambda other: abs(len(other) - len(wanted)),
    )
    similar = get_close_matches(wanted, by_letters, _COMPARED, MIN_NAME_RATIO)
    close = [*parts, *(other for other in similar if _may_be_misspelt(wanted, other))]
    return [each for other in dict.fromkeys(close) for each in by_letters[other]][:MAX_SUGGESTIONS]


def _have_the_same_words(wanted: str, other: str) -> bool:
    """Whether one of the names has all words of the other."""
    words, others = set(_words(wanted)), set(_words(other))
    return (words <= others or words >= others) and _numbers(wanted) == _numbers(other)


def _may_be_misspelt(wanted: str, other: str) -> bool:
    if _numbers(wanted) != _numbers(other):
        return False
    words, others = _words(wanted), _words(other)
    return len(words) != len(others) or all(
        SequenceMatcher(None, word, twin).ratio() >= MIN_WORD_RATIO
        for word, twin in zip(words, others, strict=True)
    )


def _letters(name: str) -> str:
    """The name without differences of case and of accents."""
    decomposed = unicodedata.normalize("NFKD", normalise_name(name).casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _numbers(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _words(letters: str) -> list[str]:
    return letters.replace(",", " ").split()
