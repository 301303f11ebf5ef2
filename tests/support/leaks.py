"""Search for secrets and encodings in the files and answers of a flow."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from rollcall.core.types import Encodings

MIN_CHARS = 10
"""Minimum length of a trace. Shorter digits could also belong to a distance or a time."""

WINDOW_BYTES = 24
"""Length of the pieces of an encoding to search for: three float64 numbers, six float32 numbers, or
twelve float16 numbers as the index has them."""


def traces_of_secret(secret: str) -> set[bytes]:
    """Return the secret in plain text, hex, base64 and basic authentication."""
    raw = secret.encode()
    return {raw, raw.hex().encode(), *_base64(raw), *_base64(b"rollcall:" + raw)}


def traces_of_encodings(encodings: Encodings) -> set[bytes]:
    """Return the numbers as text, and pieces of their binary form as bytes, hex and base64."""
    found: set[bytes] = set()
    for kind in ("f8", "f4", "f2"):
        array = encodings.astype(kind)
        for number in array.ravel():
            found |= set(_texts(abs(float(number))))
        for row in array:
            found |= set(_pieces(row.tobytes()))
    return {trace for trace in found if len(trace) >= MIN_CHARS}


def _texts(number: float) -> Iterator[bytes]:
    """Yield the number as Python and numpy print it, and with an exponent."""
    if number:
        yield repr(number)[:12].encode()
        yield f"{number:.8f}".encode()
        yield f"{number:.15e}"[:11].encode()


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body) - WINDOW_BYTES, 8):
        piece = body[start : start + WINDOW_BYTES]
        if any(piece):
            yield piece
            yield piece.hex().encode()
            yield from _base64(piece)


def _base64(body: bytes) -> Iterator[bytes]:
    """Yield the base64 text at each of the three alignments that the bytes can have."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + body)
        yield text[4 if before else 0 : -4]


def leaks(texts: dict[str, bytes], traces: set[bytes]) -> list[tuple[str, bytes]]:
    """Return each trace that occurs in a text, with the name of the text."""
    return [(name, trace) for name, text in texts.items() for trace in traces if trace in text]
