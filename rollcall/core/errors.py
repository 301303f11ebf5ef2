"""Every error of the flow, by what the caller should do about it.

Commands add a few of their own below PermanentError.

RollcallError
├── PermanentError          the same call would fail again: never retry
│   ├── BadEvent            400  the body is not an event that we know
│   ├── BucketNotAllowed    400  the event names a bucket that is not ours to read
│   ├── KeyNotUsable        400  no result key can be made from the video's key
│   ├── ObjectNotFound           404  the object does not exist (any more)
│   ├── VideoTooLarge       413  more bytes, seconds or pixels than the limits
│   ├── NotAVideo           422  nothing in it can be decoded
│   ├── PhotoError          422  a photo cannot be enrolled
│   ├── GalleryError        422  the gallery cannot be read or changed
│   │   ├── NameRefused          nobody can have this name
│   │   └── GalleryMissing       there is no gallery at that place yet
│   └── SettingsError       400  a setting is missing, unknown or malformed
└── TransientError          503  may succeed later: retry, not before `retry_after_s`
    ├── StoreUnavailable         AWS, or a store like it, does not answer, or throttles
    ├── StoreMisconfigured       it answers, but refuses us: a person must act
    ├── CallNotSigned       401  FUNCTION_HMAC_KEY differs, or it is not our trigger
    ├── FunctionBusy             all places of the function are taken
    ├── GalleryUnavailable       no gallery could be loaded yet
    ├── ObjectChanged             the object was replaced while it was read
    ├── DecoderCrashed           the decoder's process ended while it read a video
    ├── DecoderUnavailable       the decoder's process cannot start, or was killed from outside
    ├── ScratchUnavailable       the disk for videos is full, or cannot be written
    ├── ShuttingDown             this process takes no new work
    ├── InboxUnavailable         the inbox cannot store (disk full, read-only)
    └── ResultsUnavailable       nor can the worker's folder of results
"""

from __future__ import annotations

from typing import ClassVar


class RollcallError(Exception):
    """Base of all of ours. `code` is for programs, the message for people."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class PermanentError(RollcallError):
    """The same call would fail again."""


class BadEvent(PermanentError):
    code = "bad_event"
    status = 400


class BucketNotAllowed(PermanentError):
    code = "bucket_not_allowed"
    status = 400


class KeyNotUsable(PermanentError):
    code = "key_not_usable"
    status = 400


class ObjectNotFound(PermanentError):
    code = "gone"
    status = 404


class VideoTooLarge(PermanentError):
    code = "too_large"
    status = 413


class NotAVideo(PermanentError):
    code = "not_a_video"
    status = 422


class PhotoError(PermanentError):
    code = "photo"
    status = 422


class GalleryError(PermanentError):
    code = "gallery"
    status = 422


class NameRefused(GalleryError):
    """The message holds the name, so it belongs on a terminal and not in a log."""

    code = "name_refused"


class GalleryMissing(GalleryError):
    """Nothing is there. Every other GalleryError means that something is there, or may be."""

    code = "gallery_missing"


class SettingsError(PermanentError):
    code = "settings"
    status = 400


class TransientError(RollcallError):
    """May succeed later."""

    code = "unavailable"
    status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(TransientError):
    code = "store_unavailable"


class StoreMisconfigured(TransientError):
    """Retried, not refused: once the operator has acted, nothing needs to be sent again."""

    code = "store_misconfigured"

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class CallNotSigned(TransientError):
    """Retried, not refused, as StoreMisconfigured is: a person has to act, and nothing is lost."""

    code = "not_signed"
    status = 401

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class FunctionBusy(TransientError):
    code = "busy"


class GalleryUnavailable(TransientError):
    code = "gallery_unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class ObjectChanged(TransientError):
    code = "changed"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class DecoderCrashed(TransientError):
    """Once it may be the machine's fault; the second time in a row it is the video's."""

    code = "decoder_crashed"


class DecoderUnavailable(TransientError):
    code = "decoder_unavailable"


class ScratchUnavailable(TransientError):
    code = "scratch_unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class ShuttingDown(TransientError):
    code = "shutting_down"


class InboxUnavailable(TransientError):
    code = "inbox_unavailable"


class ResultsUnavailable(TransientError):
    code = "results_unavailable"


INTERNAL = "internal"
"""Code of the function's answer (status 500) to an error that none of these classes describes."""
