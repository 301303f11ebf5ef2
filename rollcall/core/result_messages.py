"""Writes and parses the message that the function sends for each video if it has a result queue.

{"work_id": "...", "video": {"bucket", "key", "etag"}, "output": {"bucket", "key"} | null,
 "status": "recognised" | "unknown" | "no_face" | "failed",
 "csv": "<the whole CSV>" | null, "error": null | {"code", "message"}}

`csv` is null if the CSV is too long for a message; then it has to be read from `output`. A failed
video has neither a CSV nor an output, and is not tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rollcall.core.errors import BadEvent, RollcallError
from rollcall.core.event_records import Json, mapping_of, text_of
from rollcall.core.events import MAX_BODY_BYTES, decode
from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.types import VideoRef
from rollcall.core.work_ids import given_work_id

STATUSES = ("recognised", "unknown", "no_face", "failed")

MAX_MESSAGE_BYTES = (256 << 10) - 4096
"""Largest message. All SQS queues accept 256 KiB (newer ones accept more), of which 4 KiB are left
for the attributes of a dead letter."""


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """The result of one video, or the error of a failed one."""

    bucket: str
    key: str
    status: str
    output_bucket: str = ""
    output_key: str = ""
    csv: str | None = None
    """None if the video failed, or if the CSV has to be read from the output bucket."""
    error_code: str = ""
    error_message: str = ""
    work_id: str = ""


def result_message(answer: Mapping[str, Json], csv: bytes) -> str:
    """The message about a video that has a result. `answer` is the function's answer."""
    document = {
        "work_id": answer["work_id"],
        "video": answer["video"],
        "output": answer["output"],
        "status": answer["status"],
        "csv": csv.decode(),
        "error": None,
    }
    text = json.dumps(document)
    if len(text) <= MAX_MESSAGE_BYTES:
        return text
    return json.dumps(document | {"csv": None})


def failure_message(video: VideoRef, error: RollcallError) -> str:
    """The message about a video that failed with a permanent error."""
    document = {
        "work_id": video.work_id,
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "output": None,
        "status": "failed",
        "csv": None,
        "error": {"code": error.code, "message": str(error)},
    }
    return json.dumps(document)


def parse_result(body: bytes) -> ResultMessage:
    """Parse a message. Raises BadEvent if the body is not such a message."""
    document = decode(body)
    if not isinstance(document, dict):
        raise BadEvent("the result message is not a JSON object")
    video = mapping_of(document, "video")
    bucket, key = text_of(video, "bucket"), text_of(video, "key")
    status = text_of(document, "status")
    if not bucket or not key or len(key.encode()) > MAX_KEY_BYTES or status not in STATUSES:
        raise BadEvent(
            f"a result message needs video.bucket, video.key and one of these statuses: {STATUSES}"
        )
    work_id = given_work_id(document.get("work_id"))
    if status == "failed":
        error = mapping_of(document, "error")
        code, message = text_of(error, "code"), text_of(error, "message", MAX_BODY_BYTES)
        return ResultMessage(
            bucket, key, status, error_code=code, error_message=message, work_id=work_id
        )
    output = mapping_of(document, "output")
    place = text_of(output, "bucket"), text_of(output, "key")
    has_csv = document.get("csv") is not None
    csv = text_of(document, "csv", MAX_BODY_BYTES) if has_csv else None
    return ResultMessage(bucket, key, status, *place, csv=csv, work_id=work_id)
