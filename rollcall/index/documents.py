"""Reads what the function says about a video: its answer, its report, or the report of an error.

These documents come from another program, or from an earlier version. So any field may be missing,
or of another type. Such a field is left out, and texts and lists that are too long are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, cast, get_args

from rollcall.core.errors import PermanentError
from rollcall.core.index_types import Appearance, IndexedVideo, KeptFaces
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.names import MAX_NAME_CHARS, UNKNOWN, normalise_name
from rollcall.core.reports import COVERAGE_NUMBERS, PROBLEMS
from rollcall.core.texts import storable
from rollcall.core.types import Certainty

STATUSES = frozenset({"recognised", "unknown", "no_face", "error"})
MAX_TEXT_CHARS = 1000
MAX_BUCKET_CHARS = 255
MAX_PEOPLE = 2000
"""Limit on the people of one video. Further ones are left out of the index."""
MAX_INTERVALS = 2000
"""Limit on the intervals of one person in one video."""
MAX_NUMBER = 2.0**53
"""Larger numbers are not exact in JavaScript, and cannot be a time in a video."""


class NotAboutAVideo(PermanentError):
    """A document does not say which video it is about, or what was recognised."""

    code = "not_about_a_video"


def indexed_video(document: object, at_s: float = 0.0) -> IndexedVideo:
    """The facts about the document's video for the index. Raises NotAboutAVideo.

    `at_s` is the time of the recognition (Unix time) for documents without one. Texts are storable
    in every database.
    """
    fields = _mapping(document)
    video = _mapping(fields.get("video"))
    bucket = _text(video.get("bucket"), MAX_BUCKET_CHARS)
    key = _text(video.get("key"), MAX_KEY_BYTES + 1)
    status = _text(fields.get("status"))
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        raise NotAboutAVideo("the document does not name a video")
    if status not in STATUSES:
        raise NotAboutAVideo(
            f"the document has the status {status!r}, which is not the status of a result"
        )
    error = _mapping(fields.get("error"))
    finished_s = _number(fields.get("recognised_s")) or at_s
    kept = _text(fields.get("kept"))
    return IndexedVideo(
        bucket=bucket,
        key=key,
        etag=_text(video.get("etag")),
        status=status,
        work_id=_text(fields.get("work_id")),
        error_code=_text(error.get("code")),
        error_message=_text(error.get("message")),
        uploaded_s=_number(fields.get("uploaded_s")) or finished_s,
        finished_s=finished_s,
        duration_s=_number(fields.get("duration_s")),
        coverage=_coverage(_mapping(fields.get("coverage"))),
        people=tuple(_people(fields.get("people"))),
        gallery=_text(fields.get("gallery")),
        kept=cast("KeptFaces", kept) if kept in get_args(KeptFaces) else "none",
        corrected=fields.get("corrected") is True,
    )


def _people(value: object) -> Iterator[Appearance]:
    """The people of a document. One who cannot be read is left out; the others keep their numbers.

    A name occurs once. If a document repeats it, the first entry counts.
    """
    names = set()
    for number, entry in enumerate(_list(value)[:MAX_PEOPLE]):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        name = normalise_name(storable(entry["name"]))[:MAX_NAME_CHARS]
        name = "" if name == UNKNOWN else name
        if name and name in names:
            continue
        names.add(name)
        yield _appearance(number, name, entry)


def _appearance(number: int, name: str, entry: Mapping[str, Any]) -> Appearance:
    intervals = tuple(_intervals(entry.get("intervals")))
    first_s, last_s = _number(entry.get("first_seen_s")), _number(entry.get("last_seen_s"))
    if not intervals and (first_s or last_s):
        intervals = ((first_s, max(first_s, last_s)),)
    distance, certainty = entry.get("distance"), _text(entry.get("certainty"))
    return Appearance(
        number=number,
        name=name,
        first_s=first_s,
        last_s=max(first_s, last_s),
        frames=int(_number(entry.get("frames"))),
        distance=_number(distance) if _is_number(distance) else None,
        certainty=cast("Certainty", certainty) if certainty in get_args(Certainty) else "",
        intervals=intervals,
    )


def _intervals(value: object) -> Iterator[tuple[float, float]]:
    for pair in _list(value)[:MAX_INTERVALS]:
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_number, pair)):
            start_s, end_s = float(pair[0]), float(pair[1])
            if start_s <= end_s:
                yield start_s, end_s


def _coverage(value: Mapping[str, Any]) -> dict[str, Any]:
    if not value:
        return {}
    not_judged = _mapping(value.get("not_judged"))
    return {
        **{name: value[name] for name in COVERAGE_NUMBERS if _is_number(value.get(name))},
        "not_judged": {name: int(_number(not_judged.get(name))) for name in PROBLEMS},
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object, max_chars: int = MAX_TEXT_CHARS) -> str:
    return storable(value[:max_chars]) if isinstance(value, str) else ""


def _number(value: object) -> float:
    return float(value) if _is_number(value) else 0.0


def _is_number(value: object) -> TypeGuard[int | float]:
    # False for NaN, infinity and negative numbers, which are not valid in these documents.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= MAX_NUMBER
