"""Numbers and characters that no database stores, in addresses and forms of the pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.databases import open_tables
from support.people_index import encoding, put_unknown, put_video
from support.web_pages import make_parts, pages_client, post

HUGE = ["9223372036854775808", "9" * 25, "9" * 5000]


@pytest.fixture(params=["sqlite", "postgresql"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlaskClient]:
    is_postgresql = request.param == "postgresql"
    file = f"sqlite:///{tmp_path / 'inbox.sqlite3'}"
    url = request.getfixturevalue("postgres_url") if is_postgresql else file
    with closing(open_tables(url)) as database:
        people = [("Ada", [(1.0, 2.0)]), ("", [(3.0, 4.0)])]
        video_id = put_video(database, "1.mp4", people)
        put_unknown(database, video_id, {1: encoding(1)})
        client = pages_client(make_parts(database, tmp_path))
        client.application.testing = False  # an exception becomes an error page
        yield client


def cursor(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize("number", HUGE)
def test_a_number_that_no_row_has_leads_to_no_page(client: FlaskClient, number: str) -> None:
    for path in (
        *(f"/people/{number}", f"/unknown/{number}", f"/videos/{number}", f"/log/{number}/foot"),
        f"/videos/{number}/people.vtt",
    ):
        assert client.get(path).status_code == 404, path
    for path in (f"/log/{number}/undo", f"/unknown/{number}/name", f"/videos/{number}/rerun"):
        assert post(client, path, {"name": "Ben"}).status_code == 404, path


@pytest.mark.parametrize("number", [*HUGE, "-" + HUGE[0], "x"])
def test_a_number_that_cannot_be_read_is_not_used(client: FlaskClient, number: str) -> None:
    for path in (
        *(f"/log?before={number}", f"/unknown?page={number}"),
        *(f"/people/1?year={number}", f"/unknown/1?faces={number}"),
    ):
        assert client.get(path).status_code == 200, path
    assert post(client, "/problems/bad/dismiss", {"number": number}).status_code in (302, 303)
    for form in ({"faces": f"{number}-0-1"}, {"faces": "1-1-1", "other": f"{number}-0-1"}):
        assert post(client, "/unknown/1/name", {"name": "Ben", **form}).status_code == 400
    groups = ["1/1-1-1", f"{number}/2-1-1"]
    assert post(client, "/unknown/same", {"group": groups}).status_code == 400


@pytest.mark.parametrize("values", [(10**19, 1), (1.0, 10**19), (10**400, 1), (float("nan"), 1)])
def test_a_place_in_a_list_that_no_row_has_is_refused(
    client: FlaskClient, values: tuple[object, ...]
) -> None:
    for path in ("/people?sort=seen&after=", "/people/1?after="):
        assert client.get(path + cursor(*values)).status_code == 400
    for path in ("/people?after=", "/people?sort=seen&after="):
        assert client.get(path + cursor(-1, "a\0")).status_code == 400
    assert client.get("/people?after=" + cursor("a\0", "b")).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/people?q=%00", "/people?letter=%00", "/people/names?name=%00", "/people/by-name/%00a"),
        *("/videos?q=%00", "/videos?person=%00", "/videos/new?after=0&q=%00", "/log?name=%00"),
        *("/people/merge?name=%00&into=Ada", "/people/photos/%00.jpg"),
    ],
)
def test_a_nul_in_an_address_is_refused_with_a_reason(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert "contains the character NUL" in answer.get_data(as_text=True)
    assert client.get(path.replace("%00", "%ed%a0%80")).status_code < 500


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *(("/people/rename", "new_name"), ("/people/forget/list", "name")),
        *(("/problems/dead/dismiss", "code"), ("/videos/1/people", "name")),
    ],
)
def test_a_nul_in_a_form_is_refused_with_a_reason(
    client: FlaskClient, path: str, field: str
) -> None:
    answer = post(client, path, {"name": "Ada", field: "a\0"})
    assert answer.status_code == 400
    assert "contains the character NUL" in answer.get_data(as_text=True)
