"""The errors of all parts. The class of an error says what its caller does next.

A PermanentError ends the work, because the same call would fail again. After a TransientError, the
caller waits at least `retry_after_s` seconds and repeats the call. `status` is the HTTP status with
which the function answers; `code` names the error in answers, reports, result messages and metrics.

RollcallError
├── PermanentError               the same call would fail again: never retry
│   ├── BadEvent            400  the body is not an event in a known format
│   ├── BucketNotAllowed    400  the event names a bucket other than INPUT_BUCKET
│   ├── KeyNotUsable        400  the key of the result would be too long for the store
│   ├── ObjectNotFound      404  the object does not exist, or was deleted
│   ├── ObjectTooLarge      413  an object other than a video has too many bytes
│   ├── VideoTooLarge       413  the video has more bytes or pixels than the limits allow
│   ├── VideoTooLong        413  the video is longer than MAX_VIDEO_S
│   ├── VideoTooSlow        413  recognition needs more time than it may take
│   ├── TooManyFaces        413  the video shows more faces than one result can hold
│   ├── NotAVideo           422  nothing can be decoded, or the name has no video extension
│   ├── PhotoError          422  a photo cannot be enrolled
│   ├── GalleryError        422  the gallery cannot be read or changed
│   │   ├── NameRefused          nobody can be enrolled under this name
│   │   └── GalleryMissing       ENCODINGS names a place that holds nothing yet
│   └── SettingsError       400  a setting is missing, unknown or malformed
└── TransientError          503  the call may succeed later: retry after `retry_after_s`
    ├── StoreUnavailable         S3, DynamoDB, SQS or Lambda does not answer, or throttles
    ├── StoreMisconfigured       the store answers, but refuses the request: an operator must act
    ├── CallNotSigned       401  the signature is missing or wrong, or its time is too far off
    ├── FunctionBusy             AWS Lambda limits the rate of calls
    ├── GalleryUnavailable       this process has not been able to load a gallery yet
    ├── ObjectChanged            the object was replaced while it was read
    ├── DecoderCrashed           the decoder's process died while it read a video
    ├── DecoderUnavailable       the decoder's process cannot start, or was killed from outside
    ├── ScratchUnavailable       the disk for videos is full, or cannot be written
    ├── ShuttingDown             this process is stopping and accepts no new work
    ├── InboxUnavailable         the trigger's queue cannot be used (disk full, read-only)
    ├── ResultsUnavailable       the worker's folder for results cannot be written
    └── UnexpectedError     500  a bug, or a failure that none of the other classes describes

Other modules define further subclasses of PermanentError next to the code that raises them.
"""

from __future__ import annotations

from typing import ClassVar


class RollcallError(Exception):
    """Base class of all these errors. Programs read `code`, people read the message."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class PermanentError(RollcallError):
    """The same call would fail again, so the trigger makes the work a dead letter."""


class BadEvent(PermanentError):
    """A parser of events or messages does not know the format of a body.

    The trigger stores the body as a bad event and answers 2xx, because after another answer the
    sender would only repeat it.
    """

    code = "bad_event"
    status = 400


class BucketNotAllowed(PermanentError):
    """The pipeline reads only INPUT_BUCKET, whatever bucket an event names."""

    code = "bucket_not_allowed"
    status = 400


class KeyNotUsable(PermanentError):
    """The key of the video's result or report would be too long for the store."""

    code = "key_not_usable"
    status = 400


class ObjectNotFound(PermanentError):
    """The store has no object with this key, usually because it was deleted after its event."""

    code = "gone"
    status = 404


class VideoTooLarge(PermanentError):
    """A video has more bytes than MAX_VIDEO_BYTES, or a frame more pixels than MAX_VIDEO_PX."""

    code = "too_large"
    status = 413


class ObjectTooLarge(PermanentError):
    """An object, such as a gallery, has more bytes than its reader accepts."""

    code = "object_too_large"
    status = 413


class VideoTooLong(PermanentError):
    """The video is longer than MAX_VIDEO_S, by its header or by its frames."""

    code = "too_long"
    status = 413


class VideoTooSlow(PermanentError):
    """The search or the decoder used up its wall-clock or processor time.

    The error is permanent, because the next call would take as long. After a slow download,
    StoreUnavailable is raised instead.
    """

    code = "too_slow"
    status = 413


class TooManyFaces(PermanentError):
    """The video shows more faces than memory, or a result that people can read, allows."""

    code = "too_many_faces"
    status = 413


class NotAVideo(PermanentError):
    """The file cannot be decoded, crashed the decoder twice, or has no video extension."""

    code = "not_a_video"
    status = 422


class PhotoError(PermanentError):
    """A photo for enrolment cannot be read, or does not show exactly one usable face."""

    code = "photo"
    status = 422


class GalleryError(PermanentError):
    """The gallery cannot be read or changed.

    A function goes on with the gallery that it loaded before, and logs a warning. Commands end with
    the message.
    """

    code = "gallery"
    status = 422


class NameRefused(GalleryError):
    """Nobody can be enrolled under this name.

    The message quotes the name. Commands may print the message, but it must not be logged.
    """

    code = "name_refused"


class GalleryMissing(GalleryError):
    """There is nothing yet at the place that ENCODINGS names; `enrol` starts a new gallery there.

    After any other GalleryError a gallery may exist there, so it must not be overwritten.
    """

    code = "gallery_missing"


class SettingsError(PermanentError):
    """A setting is missing, unknown or malformed, so the process does not start."""

    code = "settings"
    status = 400


class TransientError(RollcallError):
    """The call may succeed later. `retry_after_s` becomes the header Retry-After.

    The trigger repeats the call with growing delays; after MAX_ATTEMPTS failed calls the work is a
    dead letter. Most errors whose cause only a person can remove ask for a delay of a minute.
    """

    code = "unavailable"
    status = 503
    retryable = True
    default_retry_after_s: ClassVar[int] = 5

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = self.default_retry_after_s if retry_after_s is None else retry_after_s


class StoreUnavailable(TransientError):
    """AWS or a compatible store does not answer, sends a truncated answer, or throttles."""

    code = "store_unavailable"


class StoreMisconfigured(TransientError):
    """The store refuses the request: wrong keys, missing bucket or table, no permission.

    The error is transient although a person has to act, so that the waiting work continues by
    retries once the cause is removed.
    """

    code = "store_misconfigured"
    default_retry_after_s = 60


class CallNotSigned(TransientError):
    """The function refuses a call without a valid signature of FUNCTION_HMAC_KEY.

    The error is transient so that no video is lost while a key is being replaced.
    """

    code = "not_signed"
    status = 401
    default_retry_after_s = 60


class FunctionBusy(TransientError):
    """AWS Lambda limits the rate of calls. The worker retries without counting an attempt."""

    code = "busy"


class GalleryUnavailable(TransientError):
    """A function that has never loaded its gallery cannot recognise anybody."""

    code = "gallery_unavailable"
    default_retry_after_s = 60


class ObjectChanged(TransientError):
    """The object was replaced by a new version, on which the repeated call works.

    A conditional write raises this error too; the writer then reads the object again and applies
    its change to the new content.
    """

    code = "changed"
    default_retry_after_s = 1


class DecoderCrashed(TransientError):
    """The decoder's process died while it read a video.

    The recogniser tries once more. After a second crash, it blames the video and raises NotAVideo.
    """

    code = "decoder_crashed"


class DecoderUnavailable(TransientError):
    """The decoder's process cannot start, or was killed from outside, for example when memory ran
    out."""

    code = "decoder_unavailable"


class ScratchUnavailable(TransientError):
    """The pipeline cannot store the video in the temporary folder."""

    code = "scratch_unavailable"
    default_retry_after_s = 60


class ShuttingDown(TransientError):
    """A function that received SIGTERM answers new calls with this error."""

    code = "shutting_down"


class InboxUnavailable(TransientError):
    """The trigger cannot store events. It answers 503, so that the sender repeats them."""

    code = "inbox_unavailable"


class ResultsUnavailable(TransientError):
    """The worker cannot write its result files. It leaves the messages in their queue."""

    code = "results_unavailable"


class UnexpectedError(TransientError):
    """An error that none of the other classes describes. It is retried, but only a few times."""

    code = "internal"
    status = 500
