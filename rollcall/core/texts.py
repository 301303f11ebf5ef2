"""Text that comes from other machines: encodings, line ends, and the forms of Unicode."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Mapping

from rollcall.core.errors import PermanentError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The marks of UTF-32 come first, because that of UTF-16 LE begins one of them."""

_NOT_IN_TEXT = re.compile("[\\x00-\\x08\\x0e-\\x1a\\x1c-\\x1f]")
"""Control characters that no editor writes; tab, line ends, form feed and escape are allowed."""

_END_OF_FILE = "\x1a"
"""DOS writes it at the end."""


class TextError(PermanentError):
    """A file is not readable text. The message begins with the file's name."""

    code = "text"
    status = 422


def decode_text(body: bytes, name: str) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Marks are removed, also from the first line of a file that was appended to another, and line
    ends become `\\n`. Raises TextError, which begins with `name`, for another encoding and for
    what is not text.
    """
    encoding = _encoding(body)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"{name!r} {_undecodable(body, encoding, error)}") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip(_END_OF_FILE)
    text = re.sub("^\ufeff+", "", text, flags=re.MULTILINE)
    if _NOT_IN_TEXT.search(text):
        raise TextError(f"{name!r} is not a text file")
    return text


def nfc(text: str) -> str:
    """The text in Unicode's form NFC. Names from a Mac often come in NFD."""
    return unicodedata.normalize("NFC", text)


def same_names(wanted: Iterable[str], present: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each wanted name the present ones that are the same.

    The same bytes are the only candidate. Without them, all names that are equal in NFC are, unless
    one of those is wanted itself.
    """
    names, found = list(wanted), set(present)
    asked = set(names)
    by_form: dict[str, list[str]] = {}
    for name in sorted(found - asked):
        by_form.setdefault(nfc(name), []).append(name)
    return {name: (name,) if name in found else tuple(by_form.get(nfc(name), ())) for name in names}


def _encoding(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    if len(body) >= 2 and len(body) % 2 == 0 and 0 in body[:2] and any(body[:2]):
        return "utf-16-le" if body[1] == 0 else "utf-16-be"  # as some tools write it, without mark
    return "utf-8"


def _undecodable(body: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"is not complete {encoding.upper()}; save it again, as UTF-8"
    if _NOT_IN_TEXT.search(body.decode("latin-1")):
        return "is not a text file"
    line = body[: error.start].decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    return (
        f"is not UTF-8: line {line.count(chr(10)) + 1} has the byte 0x{body[error.start]:02x}."
        " It was probably saved as Windows-1252 or Latin-1; save it again, as UTF-8"
    )
