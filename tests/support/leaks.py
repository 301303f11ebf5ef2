"""Looks for secrets and encodings in what a flow leaves behind."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from rollcall.core.types import Encodings

MIN_CHARS = 10
"""Of a number's text: enough that no distance or time looks like it by chance."""

WINDOW_BYTES = 24


def traces_of_secret(secret: str) -> set[bytes]:
    """A secret as it is, and as basic auth, hex and a URL would have it."""
    raw = secret.encode()
    return {raw, raw.hex().encode(), *_base64(raw), *_base64(b"rollcall:" + raw)}


def traces_of_encodings(encodings: Encodings) -> set[bytes]:
    """Numbers as text, and pieces of the arrays as bytes, hex and base64, as f8 and as f4."""
    found: set[bytes] = set()
    for kind in ("f8", "f4"):
        array = encodings.astype(kind)
        for number in array.ravel():
            found |= set(_texts(abs(float(number))))
        for row in array:
            found |= set(_pieces(row.tobytes()))
    return {trace for trace in found if len(trace) >= MIN_CHARS}


def _texts(number: float) -> Iterator[bytes]:
    """As Python writes it, as numpy does in a list, and with an exponent."""
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
    """As it stands at each of the three places that bytes can have in a longer text."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + body)
        yield text[4 if before else 0 : -4]


def leaks(texts: dict[str, bytes], traces: set[bytes]) -> list[tuple[str, bytes]]:
    return [(name, trace) for name, text in texts.items() for trace in traces if trace in text]
