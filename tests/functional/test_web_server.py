"""The pages as waitress serves them: behind a reverse proxy, and against long requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from socket import create_connection
from urllib.parse import urlencode, urlsplit

import pytest
from support.web_pages import serve_pages, web_parts

from rollcall.core.settings import Settings
from rollcall.web import sign_in_limit
from rollcall.web.sign_in_limit import FREE_FAILURES
from rollcall.web.user_file import UserFile
from rollcall.web.web_service import MAX_SENT_BYTES

PASSWORD = "three quiet words"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Pages that trust a reverse proxy on this machine."""
    users = UserFile(tmp_path / "users")
    users.put("ada", "editor", PASSWORD)
    settings = Settings(web_users=str(users.path), web_proxies="127.0.0.1", web_secret="k" * 32)
    with web_parts(tmp_path, settings=settings) as parts, serve_pages(parts) as url:
        yield urlsplit(url).netloc


def sign_in(address: str, name: str, password: str, **forwarded: str) -> HTTPResponse:
    """Send the form as a browser does through the proxy."""
    headers = {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    with closing(HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", "/sign-in", headers=headers)
        answer = connection.getresponse()
        cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
        page = answer.read().decode()
        token = page.partition('name="csrf-token" content="')[2].partition('"')[0]
        form = {"name": name, "password": password, "csrf_token": token}
        headers |= {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/sign-in", urlencode(form), headers)
        answer = connection.getresponse()
        answer.read()
        return answer


def test_the_proxy_says_whether_the_browser_used_https(address: str) -> None:
    assert sign_in(address, "ada", PASSWORD, Proto="http").status == 400
    assert sign_in(address, "ada", PASSWORD, Proto="https").status == 302


def test_attempts_are_counted_by_the_address_of_the_browser(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limit, "FIRST_PAUSE_S", 600.0)  # not over before the next attempt

    def status(number: int, browser: str) -> int:
        return sign_in(address, f"user{number}", "wrong", Proto="https", For=browser).status

    assert {status(number, "198.51.100.1") for number in range(FREE_FAILURES)} == {401}
    assert status(10, "198.51.100.1") == 429
    assert status(11, "198.51.100.2") == 401


def test_many_open_connections_keep_nobody_out(address: str) -> None:
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        for _ in range(200):  # thirty browsers that have just opened a page
            stack.enter_context(closing(create_connection((host, int(port)), timeout=60)))
        connection = stack.enter_context(closing(HTTPConnection(address, timeout=60)))
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_a_long_body_is_refused_before_it_is_received(address: str) -> None:
    with closing(HTTPConnection(address, timeout=60)) as connection:
        connection.putrequest("POST", "/sign-in")
        connection.putheader("Content-Length", str(MAX_SENT_BYTES + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
