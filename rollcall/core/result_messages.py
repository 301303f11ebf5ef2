"""The message that the Lambda sends for each video: written, and read.

{"work_id": "...", "video": {"bucket", "key", "etag"}, "output": {"bucket", "key"} | null,
 "status": "recognised" | "unknown" | "no_face" | "failed",
 "csv": "<the whole CSV>" | null, "error": null | {"code", "message"}}

Without `csv` it is too long for a message, and has to be read from `output`. A video that failed
has neither, and is not tried again.
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
"""What every queue of SQS takes (only newer ones take more), with room for the attributes of a dead
letter, which count as well."""


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """One video and what came of it."""

    bucket: str
    key: str
    status: str
    output_bucket: str = ""
    output_key: str = ""
    csv: str | None = None
    """None: too long for a message, it is in the output bucket."""
    error_code: str = ""
    error_message: str = ""
    work_id: str = ""


def result_message(answer: Mapping[str, Json], csv: bytes) -> str:
    """Of a video that has its result; `answer` is the function's own."""
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
    """Of a video that never gets one."""
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
    """Raises BadEvent when the body is not such a message."""
    document = decode(body)
    if not isinstance(document, dict):
        raise BadEvent("a result message is a JSON object")
    video = mapping_of(document, "video")
    bucket, key, status = (
        text_of(video, "bucket"),
        text_of(video, "key"),
        text_of(document, "status"),
    )
    if not bucket or not key or len(key.encode()) > MAX_KEY_BYTES or status not in STATUSES:
        raise BadEvent(f"a result needs video.bucket, video.key and a status of {STATUSES}")
    work_id = given_work_id(document.get("work_id"))
    if status == "failed":
        error = mapping_of(document, "error")
        code, message = text_of(error, "code"), text_of(error, "message", MAX_BODY_BYTES)
        return ResultMessage(
            bucket, key, status, error_code=code, error_message=message, work_id=work_id
        )
    output = mapping_of(document, "output")
    where = text_of(output, "bucket"), text_of(output, "key")
    return ResultMessage(bucket, key, status, *where, csv=_csv(document), work_id=work_id)


def _csv(document: dict[str, Json]) -> str | None:
    if document.get("csv") is None:
        return None
    return text_of(document, "csv", MAX_BODY_BYTES)
