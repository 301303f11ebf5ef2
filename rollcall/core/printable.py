"""Makes text from outside safe to print.

Control characters can clear a terminal's screen, set the window's title, overwrite lines and type
input. Characters that change the direction of text make it appear in another order. Names, keys and
messages may contain such characters, so they are printed as Python's escapes, for example `\\x1b`
(docs/decisions/0070).
"""

from __future__ import annotations

import json
import re
from typing import Any

_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f"  # C0, delete, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control (Unicode Annex 9)
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # lone surrogates, which UTF-8 cannot encode
)
_ANY = re.compile(f"[{_UNPRINTABLE}]")
_ANY_BUT_LINES = re.compile(f"(?![\\t\\n])[{_UNPRINTABLE}]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    """The text on one line, with control characters as escapes. Safe to apply twice."""
    return _ANY.sub(_escape, text)


def printable_block(text: str, indent: str = "  ") -> str:
    """The text with its tabs and line breaks, and other control characters as escapes.

    Lines after the first are indented, so that none of them can be mistaken for another log line.
    The escapes are those of JSON, because some log lines are JSON.
    """
    return _ANY_BUT_LINES.sub(_json_escape, text).replace("\n", "\n" + indent)


def json_text(document: Any) -> str:
    """The document as JSON on one line. Only control characters are escaped."""
    return _ANY.sub(_json_escape, json.dumps(document, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
