"""Refuses truncated responses.

botocore does not compare the length of a response with its Content-Length, so it would accept a
truncated response as complete. A truncated record would look like a missing one, and a truncated
listing like an empty bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from botocore.exceptions import IncompleteReadError

_NO_CONTENT = 204
_MIN_ERROR_STATUS = 300
"""Lowest status of a response whose body is not checked: the status alone makes the call fail."""

_NO_LENGTH = "unknown; does an HTTP/1.0 proxy remove the header Content-Length?"


class Body(Protocol):
    """A body that is received while it is read: botocore's StreamingBody."""

    def read(self, amount: int | None = None) -> bytes: ...


def refuse_cut_answers(client: Any) -> None:
    """Make later calls of this boto3 client raise IncompleteReadError for a truncated response."""
    client.meta.events.register("before-parse", _require_whole)


def read_body(body: Body, max_bytes: int) -> bytes:
    """Read up to `max_bytes`, and one byte more if the body is longer than that.

    Raises IncompleteReadError if the body is shorter than its Content-Length.
    """
    content = body.read(max_bytes + 1)
    if len(content) <= max_bytes:
        # botocore compares the lengths only in a call that reads to the end.
        content += body.read()
    return content


def _require_whole(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Raise IncompleteReadError unless the body has the length that its headers give.

    A missing Content-Length is refused, too, because truncated headers usually lack it. A body that
    is streamed is checked while it is read (`read_body`).
    """
    status = response_dict["status_code"]
    has_no_body = operation_model.http.get("method") == "HEAD" or status == _NO_CONTENT
    if has_no_body or status >= _MIN_ERROR_STATUS:
        return
    headers, body = response_dict["headers"], response_dict["body"]
    if "chunked" in headers.get("Transfer-Encoding", ""):
        return  # a chunked body has an end mark, and urllib3 raises if the mark is missing
    length = headers.get("Content-Length", "")
    if not length.isdecimal():
        raise IncompleteReadError(actual_bytes="some bytes", expected_bytes=_NO_LENGTH)
    if isinstance(body, bytes) and len(body) != int(length):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(length))
