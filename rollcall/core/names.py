"""People's names: how they are spelled, compared and checked.

One person has one spelling everywhere: Unicode's composed form (NFC), plain single spaces, none at
the ends. macOS and some databases write the decomposed form, and web pages bring no-break spaces.
Names of all languages are welcome: only control characters and characters that change the direction
of the text are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from rollcall.core.errors import NameRefused

UNKNOWN = "unknown"
"""Printed for a person whom the gallery does not know, so nobody can be enrolled under it."""

MAX_NAME_CHARS = 256

MAX_RAW_CHARS = 4 * MAX_NAME_CHARS
"""Limit before normalising: no character decomposes into more than four."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SURROGATES = r"\ud800-\udfff"
_TURNING = r"\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides, isolates and their ends (Unicode Standard Annex 9, section 2)."""

_REFUSED = re.compile(f"[{_CONTROL}{_SURROGATES}{_TURNING}]")

_INVISIBLE = ("Cf", "Zs", "Zl", "Zp")

_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that are not shown, beside those of _INVISIBLE: fillers, variation selectors and the
empty Braille pattern (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt)."""


def normalise_name(text: str) -> str:
    """The spelling under which a name is stored, looked up and compared; checks nothing."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def spellings(name: str) -> tuple[str, ...]:
    """The composed spelling of a name, then the decomposed one (NFD) where that differs.

    A table that others filled may hold either.
    """
    composed = normalise_name(name)
    return tuple(dict.fromkeys((composed, unicodedata.normalize("NFD", composed))))


def near_names(name: str, people: Iterable[str]) -> list[str]:
    """The other names of `people` that a reader would take for the same one.

    Such names differ only in case, spaces, invisible characters or forms of the same letter.
    """
    same, own = look_of(name), normalise_name(name)
    return [each for each in people if each != own and look_of(each) == same]


def checked_new_name(name: object, people: Iterable[str]) -> str:
    """The normalised name of somebody to enrol beside `people`.

    Raises NameRefused as `checked_name` does, and for a name that looks like another one of
    `people`, or like the word for strangers: one person would be two, and removing one of them
    would leave the other.
    """
    known = set(people)
    spelled = checked_name(name)
    if spelled in known:
        return spelled
    if not look_of(spelled):
        raise NameRefused(f"the name {spelled!a} has no visible character")
    if look_of(spelled) == look_of(UNKNOWN):
        raise NameRefused(
            f"the name {spelled!r} looks like {UNKNOWN!r}, which stands for everyone else;"
            " choose another name"
        )
    if near := sorted(near_names(spelled, known)):
        raise NameRefused(
            f"the name {spelled!r} looks like {near[0]!r}, who is in the gallery already; use that"
            " name for the same person, and add something, a second name for example, for another"
        )
    return spelled


def look_of(name: str) -> str:
    """What a reader sees of a name. Case and compatibility forms are folded as in Unicode's
    caseless matching (The Unicode Standard, 3.13, D146)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    visible = (each for each in folded if unicodedata.category(each) not in _INVISIBLE)
    return unicodedata.normalize("NFKC", _IGNORABLE.sub("", "".join(visible)).casefold())


def checked_name(name: object) -> str:
    """The normalised name. Raises NameRefused for one that nobody can be enrolled under.

    Zero-width joiners are spelling in Persian, Sinhala and others, so they stay.
    """
    if not isinstance(name, str):
        raise NameRefused(f"a name has to be text, not {type(name).__name__}")
    if len(name) > MAX_RAW_CHARS:
        raise NameRefused(f"a name has at most {MAX_NAME_CHARS} characters, not {len(name)}")
    if refused := _REFUSED.search(name):
        raise NameRefused(f"the name {name!a} holds {_kind(refused[0])}; leave it out")
    spelled = normalise_name(name)
    if len(spelled) > MAX_NAME_CHARS:
        raise NameRefused(f"a name has at most {MAX_NAME_CHARS} characters, not {len(spelled)}")
    if all(unicodedata.category(character) in _INVISIBLE for character in spelled):
        raise NameRefused(f"the name {name!a} has no visible character")
    if spelled == UNKNOWN:
        raise NameRefused(f"{UNKNOWN!r} stands for everyone else; choose another name")
    return spelled


def _kind(character: str) -> str:
    if re.match(f"[{_TURNING}]", character):
        kind = "changes the direction of the text"
    else:
        kind = "is half of a character" if character >= "\ud800" else "is a control character"
    return f"U+{ord(character):04X}, which {kind}"
