"""Texts on the page of one video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollcall.core.coverages import coverage_of, was_forgotten
from rollcall.core.index_types import IndexedVideo
from rollcall.core.printable import printable
from rollcall.core.work import Work
from rollcall.web.formats import clock, counted
from rollcall.web.lanes import labelled

NOT_PLAYED = (".3gp", ".avi", ".flv", ".m2ts", ".mkv", ".mpeg", ".mpg", ".mts", ".ts", ".wmv")
"""Extensions of formats that browsers do not play, whatever the codec."""

KEEP_FACES_HINT = (
    "To correct names, the faces of the video have to be stored: set KEEP_FACES to encodings or"
    " pictures for the function, and recognise the video again."
)
FILE_HINT = (
    "The names cannot be corrected here, because the faces of files are not stored. They are stored"
    " for videos that are uploaded to the store."
)

MAX_SHOWN_DELAY_S = 3600.0

_STATES = {"queued": "waiting", "running": "running", "done": "done", "dead": "failed"}
_ORIGINS = {
    "event": "new upload",
    "reconcile": "found without a result",
    "rerun": "recognised again",
}
_ADVICE = {
    "gone": "Upload the video again.",
    "key_not_usable": "Upload the video under a shorter name.",
    "not_a_video": "Play the file on your computer. If that works, convert it to MP4, and upload it"
    " again.",
    "too_large": "Upload a smaller file, or raise MAX_VIDEO_BYTES or MAX_VIDEO_PX.",
    "too_long": "Cut the video into parts, or raise MAX_VIDEO_S.",
    "too_many_faces": "Cut the video into parts, and upload these.",
    "too_slow": "Cut the video into parts, or raise MAX_CALL_S.",
}


def advice(code: str) -> str:
    """The remedy for this error."""
    return _ADVICE.get(code, "Recognise the video again when the cause is removed.")


def plays_in_browsers(key: str) -> bool:
    return not key.lower().endswith(NOT_PLAYED)


def keep_faces_hint(video: IndexedVideo) -> str:
    """Why names cannot be corrected."""
    return FILE_HINT if video.is_file else KEEP_FACES_HINT


def after_upload(video: IndexedVideo) -> str:
    """How long the result took, if that is known; a video that was found later took longer."""
    seconds = video.finished_s - video.uploaded_s
    if video.is_file or not 0 < seconds < MAX_SHOWN_DELAY_S:
        return ""
    length = f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{length if seconds < 60 else clock(seconds)} after the upload"


def looks_text(coverage: Mapping[str, Any]) -> str:
    """How often the video was looked at, and the longest gap; empty if that is unknown."""
    looks, gap_s = coverage.get("looks"), coverage.get("longest_gap_s")
    if not isinstance(looks, int) or not looks:
        return ""
    gap = f", at most {gap_s:.3g} s apart" if isinstance(gap_s, int | float) and looks > 1 else ""
    return f"at {counted(looks, 'moment')}{gap}"


def nobody_text(coverage: Mapping[str, Any]) -> str:
    """Why nobody is listed."""
    found = coverage_of(coverage)
    if found.ignored:
        return f"{counted(found.ignored, 'face')} {'is' if found.ignored == 1 else 'are'} ignored."
    if was_forgotten(coverage):
        return "Nobody is listed any more, because somebody was forgotten."
    if found.faces:
        return f"{counted(found.faces, 'face')} could not be judged."
    return "No faces were found."


def state_text(work: Work) -> str:
    return _STATES.get(work.state, work.state)


def origin_text(work: Work) -> str:
    return _ORIGINS.get(work.origin, work.origin)


def web_vtt(video: IndexedVideo) -> str:
    """The people as captions (WebVTT, https://www.w3.org/TR/webvtt1/)."""
    cues = [
        (start_s, end_s, label)
        for seen, label in labelled(video.people)
        for start_s, end_s in seen.intervals
    ]
    lines = ["WEBVTT", ""]
    for start_s, end_s, label in sorted(cues):
        # A cue has to have a length.
        times = f"{_vtt_time(start_s)} --> {_vtt_time(max(end_s, start_s + 0.1))}"
        lines += [times, _vtt_text(label), ""]
    return "\n".join(lines)


def _vtt_time(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def _vtt_text(text: str) -> str:
    # A line break could end the caption, and begin another one.
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
