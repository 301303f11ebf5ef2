"""Error answers of S3, DynamoDB, function, trigger, and of a proxy in front of the function."""

from __future__ import annotations

import http.client
import json
from typing import NamedTuple


class Reply(NamedTuple):
    """A complete HTTP answer."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def raw(self, *, has_body: bool = True) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {self.reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body if has_body else b"")


def _reply(status: int, content_type: str, body: str, **headers: str) -> Reply:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    every = {"Content-Type": content_type, "Content-Length": str(len(body)), **more}
    return Reply(status, http.client.responses[status], list(every.items()), body.encode())


def _s3_error(status: int, code: str) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return _reply(status, "application/xml", body)


def _dynamodb_error(code: str) -> Reply:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "on purpose"}
    return _reply(400, "application/x-amz-json-1.0", json.dumps(body))


def _function_error(status: int, code: str, **headers: str) -> Reply:
    error = {"code": code, "message": "on purpose", "retryable": True}
    return _reply(status, "application/json", json.dumps({"error": error}), **headers)


ANSWERS = {
    "slow_down": _s3_error(503, "SlowDown"),
    "s3_500": _s3_error(500, "InternalError"),
    "throughput": _dynamodb_error("ProvisionedThroughputExceededException"),
    "throttling": _dynamodb_error("ThrottlingException"),
    "busy": _reply(429, "text/plain", "busy", Retry_After="1"),
    "function_500": _function_error(500, "internal"),
    "function_503": _function_error(503, "store_unavailable", Retry_After="1"),
    "bad_gateway": _reply(502, "text/html", "<html>bad gateway</html>"),
    "no_route": _reply(404, "text/html", "<html>no route</html>"),
    "unavailable": _reply(503, "text/html", "<html>unavailable</html>"),
}
