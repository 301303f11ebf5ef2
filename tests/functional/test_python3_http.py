"""Our server treats handlers in the same way as the python3-http template of OpenFaaS."""

from __future__ import annotations

from typing import Any

import pytest

from rollcall.function.python3_http import create_app


def client_of(answer: Any, seen: list[Any]) -> Any:
    def handle(event: Any, context: Any) -> Any:
        seen.append((event, context))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return create_app(handle, "/function/face-recognition").test_client()


def test_the_event_has_the_templates_attributes() -> None:
    seen: list[Any] = []
    client = client_of({"statusCode": 200, "body": "x"}, seen)
    client.post("/function/face-recognition?q=1", data=b"\xff\x00", headers={"X-A": "b"})
    event, context = seen[0]
    assert event.body == b"\xff\x00"
    assert (event.method, event.query["q"], event.headers["X-A"]) == ("POST", "1", "b")
    assert isinstance(context.hostname, str)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ({"statusCode": 422, "body": "text"}, 422, b"text"),
        ({"body": {"a": 1}}, 200, b'{"a":1}\n'),
        ({}, 200, b""),
        (
            {"body": b"\xff", "headers": {"Content-type": "application/octet-stream"}},
            200,
            b"\xff",
        ),
        (
            {"body": b"\xff", "headers": {"Content-Type": "application/octet-stream"}},
            200,
            b"b'\\xff'",
        ),
    ],
)
def test_answers_are_formatted_as_by_the_template(
    answer: dict[str, Any], status: int, body: bytes
) -> None:
    response = client_of(answer, []).post("/function/face-recognition")
    assert (response.status_code, response.data) == (status, body)


def test_headers_are_passed_on() -> None:
    answer = {"statusCode": 503, "body": "", "headers": {"Retry-After": "5"}}
    response = client_of(answer, []).post("/function/face-recognition")
    assert response.headers["Retry-After"] == "5"


def test_an_exception_of_the_handler_is_answered_with_an_html_500() -> None:
    response = client_of(ValueError("inner"), []).post("/function/face-recognition")
    assert response.status_code == 500
    assert b"inner" not in response.data


def test_the_path_of_another_function_is_answered_404() -> None:
    assert client_of({}, []).post("/function/other").status_code == 404
