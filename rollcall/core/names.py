"""Normalises, compares and checks people's names.

A name is stored in one spelling everywhere: Unicode's composed form (NFC), single plain spaces
between words, and no spaces at the ends. Other spellings come from macOS and some databases, which
write the decomposed form, and from web pages with no-break spaces. Names in all languages are
accepted; only control characters, lone surrogates, and characters that change the direction of the
text are refused (docs/decisions/0030 and 0066).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from rollcall.core.errors import NameRefused

UNKNOWN = "unknown"
"""Stands in results for a person who is not in the gallery. Nobody can be enrolled as `unknown`."""

MAX_NAME_CHARS = 256
"""Longest normalised name. It has at most 1024 bytes in UTF-8, so it fits any key of the student
table."""

MAX_RAW_CHARS = 4 * MAX_NAME_CHARS
"""Longest name before normalising. NFC composes at most four characters into one."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SURROGATES = r"\ud800-\udfff"
_DIRECTION = r"\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides, isolates and their ends (Unicode Standard Annex 9, section 2)."""

_REFUSED = re.compile(f"[{_CONTROL}{_SURROGATES}{_DIRECTION}]")

_INVISIBLE = ("Cf", "Zs", "Zl", "Zp")
"""Unicode's categories of format characters, spaces and separators."""

_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Further characters that are not shown: fillers, variation selectors and the empty Braille pattern
(Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt)."""


def normalise_name(text: str) -> str:
    """The spelling in which a name is stored, looked up and compared. Accepts every text."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def spellings(name: str) -> tuple[str, ...]:
    """The composed spelling of a name, and the decomposed one (NFD) if it is different.

    A table that other programs fill may contain either spelling.
    """
    composed = normalise_name(name)
    return tuple(dict.fromkeys((composed, unicodedata.normalize("NFD", composed))))


def lookalike_names(name: str, people: Iterable[str]) -> list[str]:
    """The other names among `people` that look the same to a reader.

    Such names differ only in case, spaces, invisible characters or forms of the same letter.
    """
    appearance, normalised = appearance_of(name), normalise_name(name)
    return [other for other in people if other != normalised and appearance_of(other) == appearance]


def checked_new_name(name: object, people: Iterable[str]) -> str:
    """The normalised name of a person who is to be enrolled in a gallery of `people`.

    Raises NameRefused for the names that `checked_name` refuses, and for a name that looks like
    UNKNOWN or like another name in `people`. Otherwise one person could have two names, and
    removing one of them would leave the other.
    """
    known = set(people)
    normalised = checked_name(name)
    if normalised in known:
        return normalised
    if not appearance_of(normalised):
        raise NameRefused(f"the name {normalised!a} has no visible character")
    if appearance_of(normalised) == appearance_of(UNKNOWN):
        raise NameRefused(
            f"the name {normalised!r} looks like {UNKNOWN!r}, which stands for everyone else;"
            " choose another name"
        )
    if near := sorted(lookalike_names(normalised, known)):
        raise NameRefused(
            f"the name {normalised!r} looks like {near[0]!r}, who is in the gallery already; use"
            f" {near[0]!r} for the same person; for another person, add something, for example a"
            " middle name"
        )
    return normalised


def with_known_case(name: str, people: Iterable[str]) -> str:
    """The one name among `people` that differs only in upper and lower case, if there is one.

    Otherwise the normalised name. People type names of others in lower case.
    """
    known, normalised = set(people), normalise_name(name)
    if normalised in known:
        return normalised
    same = [other for other in known if other.casefold() == normalised.casefold()]
    return same[0] if len(same) == 1 else normalised


def appearance_of(name: str) -> str:
    """The visible characters of a name, without differences of case or form.

    Case and compatibility forms are folded as in Unicode's caseless matching (The Unicode Standard,
    3.13, D146).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    visible = (char for char in folded if unicodedata.category(char) not in _INVISIBLE)
    return unicodedata.normalize("NFKC", _IGNORABLE.sub("", "".join(visible)).casefold())


def checked_name(name: object) -> str:
    """The normalised name. Raises NameRefused for a name that nobody can be enrolled under."""
    # Zero-width joiners are allowed. They belong to the spelling of Persian and Sinhala words.
    if not isinstance(name, str):
        raise NameRefused(f"a name has to be text, not {type(name).__name__}")
    if len(name) > MAX_RAW_CHARS:
        raise NameRefused(f"a name has at most {MAX_NAME_CHARS} characters, not {len(name)}")
    if refused := _REFUSED.search(name):
        raise NameRefused(f"the name {name!a} contains {_described(refused[0])}; leave it out")
    normalised = normalise_name(name)
    if len(normalised) > MAX_NAME_CHARS:
        raise NameRefused(f"a name has at most {MAX_NAME_CHARS} characters, not {len(normalised)}")
    if all(unicodedata.category(character) in _INVISIBLE for character in normalised):
        raise NameRefused(f"the name {name!a} has no visible character")
    if normalised == UNKNOWN:
        raise NameRefused(f"{UNKNOWN!r} stands for everyone else; choose another name")
    return normalised


def _described(character: str) -> str:
    if re.match(f"[{_DIRECTION}]", character):
        kind = "changes the direction of the text"
    else:
        kind = "is half of a character" if character >= "\ud800" else "is a control character"
    return f"U+{ord(character):04X}, which {kind}"
