"""People's names: how they are spelled, compared and checked.

One person has one spelling everywhere: Unicode's composed form (NFC), plain single spaces, none at
the ends. macOS and some databases write the decomposed form, and web pages bring no-break spaces.
Names of all languages are welcome: only control characters and characters that change the direction
of the text are refused.
"""

from __future__ import annotations

import re
import unicodedata

from rollcall.core.errors import GalleryError

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


def normalise_name(text: str) -> str:
    """The spelling under which a name is stored, looked up and compared; checks nothing."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def spellings(name: str) -> tuple[str, ...]:
    """The composed spelling of a name, then the decomposed one (NFD) where that differs.

    A table that others filled may hold either.
    """
    composed = normalise_name(name)
    return tuple(dict.fromkeys((composed, unicodedata.normalize("NFD", composed))))


def checked_name(name: object) -> str:
    """The normalised name. Raises GalleryError for one that nobody can be enrolled under.

    Zero-width joiners are spelling in Persian, Sinhala and others, so they stay.
    """
    if not isinstance(name, str):
        raise GalleryError(f"a name has to be text, not {type(name).__name__}")
    if len(name) > MAX_RAW_CHARS:
        raise GalleryError(f"a name has at most {MAX_NAME_CHARS} characters, not {len(name)}")
    if refused := _REFUSED.search(name):
        raise GalleryError(f"the name {name!a} holds {_kind(refused[0])}; leave it out")
    spelled = normalise_name(name)
    if len(spelled) > MAX_NAME_CHARS:
        raise GalleryError(f"a name has at most {MAX_NAME_CHARS} characters, not {len(spelled)}")
    if all(unicodedata.category(character) in _INVISIBLE for character in spelled):
        raise GalleryError(f"the name {name!a} has no visible character")
    if spelled == UNKNOWN:
        raise GalleryError(f"{UNKNOWN!r} stands for everyone else; choose another name")
    return spelled


def _kind(character: str) -> str:
    if re.match(f"[{_TURNING}]", character):
        kind = "changes the direction of the text"
    else:
        kind = "is half of a character" if character >= "\ud800" else "is a control character"
    return f"U+{ord(character):04X}, which {kind}"
