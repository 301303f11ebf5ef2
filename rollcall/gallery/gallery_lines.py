"""The facts about a gallery's examples and verdicts as text: one JSON object a line.

A gallery may come from somebody else. So the number of lines and the length of each are compared
with what is expected before a line is parsed, and every field is checked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rollcall.core.errors import GalleryError
from rollcall.core.gallery_checks import MAX_VERDICT_FACES
from rollcall.core.types import Encodings, FaceQuality
from rollcall.core.verdicts import VERDICT_KINDS, Example, FaceSource, Verdict, VerdictKind

MAX_LINE_BYTES = 64 << 10
"""Longest line. The five texts of an example have at most 12 KiB each, if all of their characters
are escaped."""

MAX_NUMBER = 1e15
"""Largest number. A Unix time in seconds is below 1e10."""

T = TypeVar("T")


class VerdictHead:
    """A verdict without its faces, and how many faces it has in the other members."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.id = _text(document, "id")
        self.kind = _kind(_text(document, "kind"))
        self.name = _text(document, "name")
        self.who = _text(document, "who")
        self.at_s = _number(document, "at_s")
        self.faces = int(_number(document, "faces"))
        if not 0 <= self.faces <= MAX_VERDICT_FACES:
            raise ValueError

    def verdict(self, encodings: Encodings, sources: Sequence[FaceSource]) -> Verdict:
        return Verdict(
            self.id, self.kind, self.name, encodings, tuple(sources), self.who, self.at_s
        )


def head_document(verdict: Verdict) -> dict[str, Any]:
    """The line of a verdict. An *is* verdict has its faces among the examples, so it counts 0."""
    return {
        "id": verdict.id,
        "kind": verdict.kind,
        "name": verdict.name,
        "who": verdict.who,
        "at_s": verdict.at_s,
        "faces": 0 if verdict.kind == "is" else len(verdict.sources),
    }


def example_document(example: Example) -> dict[str, Any]:
    quality = example.quality
    return {
        "id": example.id,
        **source_document(example.source),
        "added_s": example.added_s,
        "added_by": example.added_by,
        "quality": quality and [quality.size_px, quality.sharpness, quality.turn, quality.score],
        "verdict": example.verdict,
    }


def source_document(source: FaceSource) -> dict[str, Any]:
    return {field.name: getattr(source, field.name) for field in fields(source)}


def example_of(document: Mapping[str, Any]) -> Example:
    measures = document.get("quality")
    quality = None
    if measures is not None:
        size_px, sharpness, turn, score = map(_checked_number, measures)
        quality = FaceQuality(int(size_px), sharpness, turn, score)
    return Example(
        _text(document, "id"),
        source_of(document),
        _number(document, "added_s"),
        _text(document, "added_by"),
        quality,
        _text(document, "verdict"),
    )


def source_of(document: Mapping[str, Any]) -> FaceSource:
    return FaceSource(
        _text(document, "photo"),
        _text(document, "bucket"),
        _text(document, "key"),
        _text(document, "etag"),
        _number(document, "time_s"),
    )


def render_lines(documents: Iterable[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """The documents as JSON, one a line. Empty fields are left out."""
    lines = (
        json.dumps({name: value for name, value in document.items() if value}) + "\n"
        for document in documents
    )
    return np.frombuffer("".join(lines).encode(), np.uint8)


def parse_lines(
    array: NDArray[Any], what: str, max_lines: int, parse: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    """Parse the lines of one member of a gallery. Raises GalleryError."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise GalleryError(f"the gallery's {what} are not text")
    body = array.tobytes()
    if body.count(b"\n") > max_lines:
        raise GalleryError(f"the gallery has more than {max_lines} {what}")
    parsed, lines = [], io.BytesIO(body)
    while line := lines.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise GalleryError(f"the gallery's {what} contain a line that is too long")
        try:
            parsed.append(parse(json.loads(line)))
        except (AttributeError, RecursionError, TypeError, ValueError, OverflowError):
            number = len(parsed) + 1
            raise GalleryError(
                f"line {number} of the gallery's {what} cannot be used; restore a backup of the"
                " gallery"
            ) from None
    return parsed


def _kind(text: str) -> VerdictKind:
    for kind in VERDICT_KINDS:
        if kind == text:
            return kind
    raise ValueError(text)


# A large gallery has a million fields, so these functions are short: `type` is faster than
# `isinstance`, and a comparison with the limits also refuses NaN.


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name, "")
    if type(value) is not str:
        raise TypeError(name)
    return value


def _number(document: Mapping[str, Any], name: str) -> float:
    return _checked_number(document.get(name, 0.0))


def _checked_number(value: object) -> float:
    if (type(value) is float or type(value) is int) and -MAX_NUMBER <= value <= MAX_NUMBER:
        return float(value)
    raise ValueError
