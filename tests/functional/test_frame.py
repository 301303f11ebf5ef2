"""The frame that all pages share: navigation, errors, polled parts and the foot line."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from support.web_pages import pages_client, post

from rollcall.core.errors import InboxUnavailable, ObjectNotFound, PermanentError
from rollcall.web.foot import foot_part, show_change, show_message
from rollcall.web.parts import WebParts
from rollcall.web.polling import polled
from rollcall.web.users import editors_only


@pytest.fixture
def client(parts: WebParts) -> FlaskClient:
    client = pages_client(parts)
    app: Flask = client.application

    @app.get("/part")
    def part():
        from flask_wtf.csrf import generate_csrf

        return polled(f"<p>{app.config.get('TEXT', 'one')} {generate_csrf()}</p>")

    @app.get("/gone")
    def gone():
        raise ObjectNotFound("lecture.mp4 does not exist")

    @app.get("/refused")
    def refused():
        raise PermanentError("another search still runs")

    @app.get("/later")
    def later():
        raise InboxUnavailable("the database cannot be used")

    @app.get("/bug")
    def bug():
        raise RuntimeError("secret detail")

    @app.post("/save")
    @editors_only
    def save():
        change_id = parts.changes.record("ada", "enrol", "Ben", undo={"enrol": ["x"]})
        show_change(change_id)
        return str(foot_part())

    @app.post("/note")
    def note():
        show_message("Queued <lecture.mp4> again.")
        return ""

    return client


def test_a_polled_part_is_sent_only_when_it_has_changed(client: FlaskClient) -> None:
    first = client.get("/part")
    etag = first.headers["ETag"]
    again = client.get("/part", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    client.application.config["TEXT"] = "two"
    changed = client.get("/part", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
    assert changed.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/nothing", 404, "Page not found"),
        ("/refused", 400, "another search still runs"),
        ("/gone", 404, "lecture.mp4 does not exist"),
        ("/later", 503, "the database cannot be used"),
        ("/save", 405, "cannot be opened"),
    ],
)
def test_an_error_page_says_what_happened_and_has_a_way_out(
    client: FlaskClient, path: str, status: int, text: str
) -> None:
    answer = client.get(path, headers={"Referer": "http://localhost/people?q=a"})
    assert answer.status_code == status
    assert text in answer.text
    assert 'href="/people?q=a">Back</a>' in answer.text
    assert 'href="/">Go to the first page</a>' in client.get(path).text


@pytest.mark.parametrize("referrer", ["http://elsewhere/x", "http://localhost//elsewhere/x"])
def test_the_way_out_leads_to_these_pages_only(client: FlaskClient, referrer: str) -> None:
    assert "elsewhere" not in client.get("/nothing", headers={"Referer": referrer}).text


def test_an_unexpected_error_shows_no_details(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.application.testing = False
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


def test_a_form_of_an_ended_session_changes_nothing(client: FlaskClient, parts: WebParts) -> None:
    answer = client.post("/save", data={"csrf_token": "old"})
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.text
    assert parts.changes.latest(10) == []


def test_the_foot_line_shows_the_change_once_with_undo(client: FlaskClient) -> None:
    part = post(client, "/save").text
    assert part.startswith('<div id="foot" hx-swap-oob="innerHTML">')
    assert "Enrolled Ben." in part
    assert 'action="/log/1/undo"' in part
    assert "Enrolled Ben." not in client.get("/").text


def test_the_foot_line_of_the_next_page_shows_a_message(client: FlaskClient) -> None:
    post(client, "/note")
    assert "Queued &lt;lecture.mp4&gt; again." in client.get("/").text
    assert "Queued" not in client.get("/").text


def test_pages_appear_although_the_counts_cannot_be_read(
    client: FlaskClient, parts: WebParts
) -> None:
    parts.database.close()
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert ">Problems</span>" in answer.text


def test_no_template_has_inline_script_or_style() -> None:
    import rollcall.web

    folder = Path(rollcall.web.__file__).parent / "templates"
    for path in folder.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert " style=" not in text, path
        assert " onclick=" not in text, path
        assert "<script>" not in text, path


def test_a_session_has_no_other_contents_without_sign_in(client: FlaskClient) -> None:
    with client:
        client.get("/")
        assert set(session) == {"csrf_token"}
