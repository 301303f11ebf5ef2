"""Texts about each kind of problem: the meaning, and a remedy."""

from __future__ import annotations

from typing import NamedTuple

from rollcall.core.errors import PermanentError
from rollcall.index.problem_queries import Cause
from rollcall.web.formats import counted


class Meaning(NamedTuple):
    """The end of the sentence `1 video ...` and of `7 videos ...`, and what a person can do."""

    one: str
    many: str
    advice: str


_UPLOAD_AGAIN = "Upload a video that can be played, or dismiss the problem."
_LATER = "Try again when the cause is removed."

_DEAD = {
    "bad_answer": Meaning(
        "got an answer that is not from the function",
        "got answers that are not from the function",
        "OPENFAAS_GATEWAY or OPENFAAS_FUNCTION may name another program.",
    ),
    "bucket_not_allowed": Meaning(
        "is in another bucket",
        "are in other buckets",
        "The function reads only INPUT_BUCKET; trigger and function may have different settings.",
    ),
    "busy": Meaning(
        "was refused too often by the busy function",
        "were refused too often by the busy function",
        "MAX_INFLIGHT may be larger than the number of calls that the function can take. " + _LATER,
    ),
    "changed": Meaning(
        "was replaced while it was read",
        "were replaced while they were read",
        "Try again; the newest upload is then recognised.",
    ),
    "decoder_crashed": Meaning("crashed the decoder", "crashed the decoder", _UPLOAD_AGAIN),
    "decoder_unavailable": Meaning(
        "could not be decoded, because the decoder did not start",
        "could not be decoded, because the decoder did not start",
        "The function may need more memory; its log says more.",
    ),
    "gallery": Meaning(
        "could not be compared with the gallery",
        "could not be compared with the gallery",
        "The gallery is damaged, or belongs to another encoder (ENCODINGS, ENGINE). " + _LATER,
    ),
    "gallery_unavailable": Meaning(
        "could not be compared with the gallery",
        "could not be compared with the gallery",
        "The function could not read ENCODINGS; its log says why. " + _LATER,
    ),
    "gone": Meaning(
        "was deleted before it was recognised",
        "were deleted before they were recognised",
        "Upload it again, or dismiss the problem.",
    ),
    "internal": Meaning(
        "failed, because of an unexpected error",
        "failed, because of an unexpected error",
        "The function's log has the details, under the id of the call.",
    ),
    "key_not_usable": Meaning(
        "has a name that is too long",
        "have names that are too long",
        "Upload it under a shorter name.",
    ),
    "no_answer": Meaning(
        "got no answer from the function",
        "got no answer from the function",
        "The gateway or the function did not run, or took too long. " + _LATER,
    ),
    "no_result": Meaning(
        "was recognised, but its result is missing",
        "were recognised, but their results are missing",
        "Check that function and trigger use the same OUTPUT_BUCKET.",
    ),
    "not_a_video": Meaning("cannot be decoded", "cannot be decoded", _UPLOAD_AGAIN),
    "not_signed": Meaning(
        "was refused, because the call was not signed",
        "were refused, because the calls were not signed",
        "Trigger and function need the same FUNCTION_HMAC_KEY. " + _LATER,
    ),
    "object_too_large": Meaning(
        "needs an object that is too large",
        "need objects that are too large",
        "The gallery may be larger than the function accepts.",
    ),
    "scratch_unavailable": Meaning(
        "did not fit on the function's disk",
        "did not fit on the function's disk",
        "The temporary folder of the function is full or cannot be written. " + _LATER,
    ),
    "settings": Meaning(
        "failed, because a setting of the function is wrong",
        "failed, because a setting of the function is wrong",
        "The messages below name the setting. " + _LATER,
    ),
    "shutting_down": Meaning(
        "came when the function was stopping",
        "came when the function was stopping",
        "Try again.",
    ),
    "store_misconfigured": Meaning(
        "was refused by the store",
        "were refused by the store",
        "Check the keys of the function, its rights, and the names of the buckets. " + _LATER,
    ),
    "store_unavailable": Meaning(
        "failed, because the store did not answer",
        "failed, because the store did not answer",
        _LATER,
    ),
    "unavailable": Meaning(
        "failed, because a service did not answer",
        "failed, because a service did not answer",
        "The messages below say which. " + _LATER,
    ),
    "too_large": Meaning(
        "is too large",
        "are too large",
        "The limits are MAX_VIDEO_BYTES and MAX_VIDEO_PX.",
    ),
    "too_long": Meaning("is too long", "are too long", "The limit is MAX_VIDEO_S."),
    "too_many_faces": Meaning(
        "shows too many faces",
        "show too many faces",
        "Cut the video into parts, or dismiss the problem.",
    ),
    "too_slow": Meaning(
        "takes too long to recognise",
        "take too long to recognise",
        "The limit is MAX_CALL_S. A larger one, or a faster function, helps.",
    ),
}
_OTHERS = {
    "message": Meaning(
        "was given up",
        "were given up",
        "The receiver at RESULT_WEBHOOK_URL refused or did not answer. " + _LATER,
    ),
    "bad": Meaning(
        "could not be read",
        "could not be read",
        "Something other than the store's notifications was sent to the trigger. No video is lost"
        " by that: the next scan of the bucket finds every video without a result.",
    ),
    "skipped": Meaning(
        "is not a video",
        "are not videos",
        "Only objects whose names end in a video extension, such as .mp4, are recognised.",
    ),
}
NOUNS = {
    "dead": ("video", "videos"),
    "message": ("message about a result", "messages about results"),
    "bad": ("event", "events"),
    "skipped": ("upload", "uploads"),
}
CAN_RETRY = ("dead", "message")
"""Kinds of problems that can be tried again."""

_PERMANENT = frozenset(each.code for each in PermanentError.__subclasses__())


def retry_helps(cause: Cause) -> bool:
    """Whether another try is likely to succeed once nothing is wrong any more."""
    return cause.kind in CAN_RETRY and cause.code not in _PERMANENT


def meaning_of(cause: Cause) -> Meaning:
    """What the cause means."""
    if cause.kind != "dead":
        return _OTHERS[cause.kind]
    code = cause.code
    if code.startswith("http_"):
        failed = f"failed, because the gateway answered {code.removeprefix('http_')}"
        return Meaning(failed, failed, "The function or a proxy before it did not work. " + _LATER)
    failed = f"failed ({code})" if code else "failed"
    return _DEAD.get(code, Meaning(failed, failed, "The messages below say why."))


def title_of(cause: Cause) -> str:
    """The cause as a sentence without its full stop, for example `7 videos cannot be decoded`."""
    meaning = meaning_of(cause)
    noun = counted(cause.count, *NOUNS[cause.kind])
    return f"{noun} {meaning.one if cause.count == 1 else meaning.many}"
