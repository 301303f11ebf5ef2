"""Refuses truncated responses.

botocore takes the first half of an answer for all of it: a record whose answer broke off would be
a person without a record, and a list that broke off an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from botocore.exceptions import IncompleteReadError

_NO_CONTENT = 204
_REFUSED_FROM = 300
"""From here on the status says it all."""

_NOT_SAID = "not said; is a proxy of HTTP/1.0 in between, which leaves Content-Length out?"


class Body(Protocol):
    """A body that comes as it is read: botocore's StreamingBody."""

    def read(self, amount: int | None = None) -> bytes: ...


def refuse_cut_answers(client: Any) -> None:
    """From now on, calls of this boto3 client raise IncompleteReadError for such an answer."""
    client.meta.events.register("before-parse", _require_whole)


def read_body(body: Body, most: int) -> bytes:
    """Up to `most` bytes; one more says that there are more.

    Raises IncompleteReadError when the body ends before its length. botocore itself compares them
    only when it is asked for all.
    """
    content = body.read(most + 1)
    if len(content) <= most:
        content += body.read()
    return content


def _require_whole(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Whether the body has the length that its headers say; one that is streamed tells that when
    it is read. Headers that were cut off mostly say none."""
    status = response_dict["status_code"]
    bodiless = operation_model.http.get("method") == "HEAD" or status == _NO_CONTENT
    if bodiless or status >= _REFUSED_FROM:
        return
    headers, body = response_dict["headers"], response_dict["body"]
    if "chunked" in headers.get("Transfer-Encoding", ""):
        return  # its end was seen, or urllib3 would have raised
    said = headers.get("Content-Length", "")
    if not said.isdecimal():
        raise IncompleteReadError(actual_bytes="some bytes", expected_bytes=_NOT_SAID)
    if isinstance(body, bytes) and len(body) != int(said):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(said))
