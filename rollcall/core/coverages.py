"""Reads the coverage of a report or of the index, and says why a video shows nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollcall.core.reports import limits_of
from rollcall.core.types import Coverage


def coverage_of(document: Mapping[str, Any]) -> Coverage:
    """The coverage of a document (`reports.coverage_document`), of which any field may be missing
    or of another type."""
    not_judged = document.get("not_judged")
    return Coverage(
        track=_whole(document, "video_track", 1),
        tracks=_whole(document, "video_tracks", 1),
        searched=_whole(document, "video_tracks_searched", 1),
        looks=_whole(document, "looks"),
        longest_gap_s=_number(document.get("longest_gap_s")) or 0.0,
        faces=_whole(document, "faces"),
        not_judged={
            problem: count
            for problem, count in (not_judged if isinstance(not_judged, dict) else {}).items()
            if isinstance(count, int)
        },
        ignored=_whole(document, "ignored"),
        stopped_at_s=_number(document.get("stopped_at_s")),
    )


def limits_in(document: Mapping[str, Any]) -> list[str]:
    """What was not looked at, and which faces could not be judged."""
    return limits_of(coverage_of(document))


def stopped_at_s(document: Mapping[str, Any]) -> float | None:
    """The time after which the video was not searched; None if it was searched to its end."""
    return _number(document.get("stopped_at_s"))


def was_forgotten(document: Mapping[str, Any]) -> bool:
    """Whether a video without people has shown somebody who was forgotten since.

    Every face that can be judged belongs to somebody in the result, or to somebody ignored. A
    removal takes the people out of the result, and leaves the number of faces.
    """
    coverage = coverage_of(document)
    return not coverage.ignored and coverage.faces > sum(coverage.not_judged.values())


def nobody_words(document: Mapping[str, Any]) -> str:
    """Why a video shows nobody, in a few words."""
    coverage = coverage_of(document)
    if coverage.ignored:
        return "only ignored faces"
    if was_forgotten(document):
        return "somebody was forgotten"
    if coverage.faces:
        return "no clear faces"
    return "no faces" if coverage.looks else "nobody"


def _whole(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = values.get(name, default)
    return value if isinstance(value, int) else default


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
