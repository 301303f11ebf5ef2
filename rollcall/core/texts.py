"""Decodes text files from other machines, whatever their encoding, line ends and Unicode form."""

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
"""Byte order marks. Those of UTF-32 come first, because the mark of UTF-32 LE begins with the mark
of UTF-16 LE."""

_NOT_IN_TEXT = re.compile("[\\x00-\\x08\\x0e-\\x1a\\x1c-\\x1f]")
"""Control characters that text files do not contain. Tab, line ends, form feed and escape are
allowed."""

_END_OF_FILE = "\x1a"
"""DOS programs write this character at the end of a text."""


class TextError(PermanentError):
    """A file cannot be read as text. The message begins with the file's name."""

    code = "text"
    status = 422


def decode_text(body: bytes, name: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Line ends become `\\n`, and byte order marks are removed. Raises TextError, whose message begins
    with `name`, if the encoding is another one or if the file is not text.
    """
    encoding = _encoding(body)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"{name!r} {_undecodable(body, encoding, error)}") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip(_END_OF_FILE)
    # Marks are removed from every line, because files with marks may have been joined.
    text = re.sub("^\ufeff+", "", text, flags=re.MULTILINE)
    if _NOT_IN_TEXT.search(text):
        raise TextError(f"{name!r} is not a text file")
    return text


def storable(text: str) -> str:
    """The text, with the characters replaced that PostgreSQL cannot store.

    These are NUL and halves of surrogate pairs (`"\\ud800"` in JSON).
    """
    if text.isascii() and "\x00" not in text:  # most texts, and ten times as fast
        return text
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def nfc(text: str) -> str:
    """The text in Unicode's composed form. Names from macOS often come in the decomposed form."""
    return unicodedata.normalize("NFC", text)


def same_names(wanted: Iterable[str], present: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each wanted name, the present names that are equal in Unicode's composed form.

    If a present name has exactly the same characters, it is the only match, and it matches no other
    wanted name.
    """
    names, present_names = list(wanted), set(present)
    by_form: dict[str, list[str]] = {}
    for name in sorted(present_names - set(names)):
        by_form.setdefault(nfc(name), []).append(name)
    return {
        name: (name,) if name in present_names else tuple(by_form.get(nfc(name), ()))
        for name in names
    }


def _encoding(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    # Some tools write UTF-16 without a mark. If the first character is ASCII, one of its bytes is
    # 0.
    if len(body) >= 2 and len(body) % 2 == 0 and 0 in body[:2] and any(body[:2]):
        return "utf-16-le" if body[1] == 0 else "utf-16-be"
    return "utf-8"


def _undecodable(body: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"is incomplete or damaged {encoding.upper()}; save it again as UTF-8"
    if _NOT_IN_TEXT.search(body.decode("latin-1")):
        return "is not a text file"
    line = body[: error.start].decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    return (
        f"is not UTF-8: line {line.count(chr(10)) + 1} has the byte 0x{body[error.start]:02x}."
        " It was probably saved as Windows-1252 or Latin-1; save it again as UTF-8"
    )
