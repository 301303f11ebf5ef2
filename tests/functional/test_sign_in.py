"""Who may see the pages, and who may change something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.people_index import painted_photo
from support.web_pages import make_parts

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.open_database import prepare
from rollcall.web import sign_in_limit
from rollcall.web.sign_in import MAX_FORM_BYTES
from rollcall.web.sign_in_gate import build_gate
from rollcall.web.sign_in_limit import FREE_FAILURES, MAX_PAUSE_S, SignInLimit
from rollcall.web.user_file import UserFile, UserRefused
from rollcall.web.users import editors_only
from rollcall.web.web_app import create_app

PASSWORD = "three quiet words"
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def users(tmp_path: Path) -> UserFile:
    found = UserFile(tmp_path / "users")
    found.put("ada", "editor", PASSWORD)
    found.put("ben", "viewer", PASSWORD)
    found.put("chen", "editor", None)
    return found


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(Database("sqlite://")) as opened:
        prepare(opened)
        yield opened


def app_for(settings: Settings, database: Database, folder: Path) -> Flask:
    app = create_app(make_parts(database, folder, settings=settings))

    @app.post("/change")
    @editors_only
    def change() -> str:
        return "changed"

    @app.post("/unchecked")
    def unchecked() -> str:
        return "changed"

    return app


@pytest.fixture
def app(users: UserFile, database: Database, tmp_path: Path) -> Flask:
    settings = Settings(web_users=str(users.path), web_listen="0.0.0.0:8091", web_secret="k" * 32)
    return app_for(settings, database, tmp_path)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def token(client: FlaskClient, path: str = "/sign-in") -> str:
    page = client.get(path).get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', page) or re.search(
        r'name="csrf-token" content="([^"]+)"', page
    )
    assert found
    return found[1]


def sign_in(client: FlaskClient, name: str, password: str = PASSWORD, **more: str):
    form = {"name": name, "password": password, "csrf_token": token(client), **more}
    return client.post("/sign-in", data=form)


def post(client: FlaskClient, path: str):
    return client.post(path, headers={"X-CSRFToken": token(client, "/")})


def test_nobody_sees_a_page_without_signing_in(client: FlaskClient) -> None:
    answer = client.get("/videos?q=x")
    assert (answer.status_code, answer.location) == (302, "/sign-in?next=/videos?q%3Dx")
    assert client.get("/").status_code == 302
    part = client.get("/", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["HX-Redirect"]) == (401, "/sign-in")
    assert client.post("/change").status_code in (302, 400)
    assert client.get("/sign-in").status_code == 200
    with closing(client.get("/static/style.css")) as style:
        assert style.status_code == 200


def test_an_editor_signs_in_and_out(client: FlaskClient) -> None:
    answer = sign_in(client, "ada", next="/people?letter=A")
    assert (answer.status_code, answer.location) == (302, "/people?letter=A")
    assert client.get("/").status_code == 200
    assert post(client, "/change").text == "changed"
    assert "signed in" in client.get("/log").text
    client.post("/sign-out", data={"csrf_token": token(client, "/")})
    assert client.get("/").status_code == 302


def test_the_cookie_is_signed_and_kept_from_scripts_and_other_sites(client: FlaskClient) -> None:
    (cookie,) = [
        c for c in sign_in(client, "ada").headers.getlist("Set-Cookie") if "rollcall=" in c
    ]
    for part in ("Secure", "HttpOnly", "SameSite=Lax"):
        assert part in cookie
    client.set_cookie("rollcall", "eyJuYW1lIjoiYWRhIn0.aaaaaa.bbbb")
    assert client.get("/").status_code == 302


def test_a_viewer_looks_but_changes_nothing(client: FlaskClient) -> None:
    sign_in(client, "ben")
    assert client.get("/").status_code == 200
    for path in ("/change", "/unchecked"):
        answer = post(client, path)
        assert answer.status_code == 403
        assert "your role is viewer" in answer.text


def test_a_viewer_may_search_by_a_photo(client: FlaskClient) -> None:
    sign_in(client, "ben")
    photo = {"photo": (BytesIO(painted_photo("red")), "photo.png")}
    form = {**photo, "csrf_token": token(client, "/find")}
    answer = client.post("/find", data=form)
    assert answer.status_code == 200
    assert "your role" not in answer.text
    client.post("/sign-out", data={"csrf_token": token(client, "/find")})
    assert client.post("/find", data={"csrf_token": token(client)}).status_code == 302


def test_a_form_without_its_token_changes_nothing(client: FlaskClient) -> None:
    sign_in(client, "ada")
    answer = client.post("/change")
    assert answer.status_code == 400
    assert client.post("/sign-in", data={"name": "ada", "password": PASSWORD}).status_code == 400


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("nobody", PASSWORD), ("chen", "-"), ("ada", "x" * 2000)],
)
def test_wrong_names_and_passwords_get_the_same_answer(
    client: FlaskClient, name: str, password: str
) -> None:
    answer = sign_in(client, name, password)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert client.get("/").status_code == 302


@pytest.mark.parametrize("typed", ["Ada", "ADA"])
def test_a_name_is_accepted_in_any_case(client: FlaskClient, typed: str) -> None:
    assert sign_in(client, typed).status_code == 302
    assert post(client, "/change").text == "changed"
    page = client.get("/log").text
    assert "ada" in page
    assert typed not in page


def test_case_matters_if_names_differ_only_in_case(client: FlaskClient, users: UserFile) -> None:
    other = "four very quiet words"
    users.put("Ada", "viewer", other)
    assert sign_in(client, "ADA").status_code == 401
    assert sign_in(client, "ADA", other).status_code == 401
    assert sign_in(client, "Ada").status_code == 401
    assert sign_in(client, "ada", other).status_code == 401
    assert sign_in(client, "Ada", other).status_code == 302
    assert post(client, "/change").status_code == 403
    client.post("/sign-out", data={"csrf_token": token(client, "/")})
    assert sign_in(client, "ada").status_code == 302
    assert post(client, "/change").text == "changed"


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause does not end before the next attempt, however slow the machine is."""
    monkeypatch.setattr(sign_in_limit, "FIRST_PAUSE_S", 600.0)


def test_passwords_cannot_be_tried_without_end(client: FlaskClient, long_pause: None) -> None:
    for _ in range(FREE_FAILURES):
        assert sign_in(client, "ada", "wrong").status_code == 401
    answer = sign_in(client, "ada")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_pause_doubles_and_ends() -> None:
    now = [0.0]
    limit = SignInLimit(lambda: now[0])
    for _ in range(FREE_FAILURES):
        limit.note_failure("ada", "192.0.2.1")
    assert limit.wait_s("ada", "192.0.2.9") == 2  # the same name from elsewhere
    assert limit.wait_s("ben", "192.0.2.1") == 2  # another name from the same address
    assert limit.wait_s("ben", "192.0.2.9") == 0
    for _ in range(20):
        limit.note_failure("ada", "192.0.2.1")
    assert limit.wait_s("ada", "192.0.2.9") == MAX_PAUSE_S
    now[0] += MAX_PAUSE_S
    assert limit.wait_s("ada", "192.0.2.9") == 0
    limit.note_success("ada", "192.0.2.9")
    limit.note_failure("ada", "192.0.2.9")
    assert limit.wait_s("ada", "192.0.2.9") == 0


def test_a_new_password_or_a_removed_user_ends_the_session(
    client: FlaskClient, users: UserFile
) -> None:
    sign_in(client, "ada")
    users.put("ada", "editor", "another quiet word")
    assert client.get("/").status_code == 302
    sign_in(client, "ben")
    users.put("ben", "editor", None)
    assert client.get("/").status_code == 302
    users.put("ada", "editor", PASSWORD)
    sign_in(client, "ada")
    users.remove("ada")
    assert client.get("/").status_code == 302


def test_a_changed_role_counts_at_once(client: FlaskClient, users: UserFile) -> None:
    sign_in(client, "ben")
    text = users.path.read_text().replace("ben viewer", "ben editor")
    users.path.write_text(text)
    assert post(client, "/change").status_code == 200


def test_a_password_is_refused_over_plain_http(client: FlaskClient) -> None:
    form = {"name": "ada", "password": PASSWORD, "csrf_token": token(client)}
    answer = client.post("/sign-in", data=form, environ_base=ELSEWHERE)
    assert answer.status_code == 400
    assert "Sign in over HTTPS" in answer.text
    form = {"name": "ada", "password": PASSWORD, "csrf_token": token(client)}
    headers = {"Referer": "https://localhost/sign-in"}
    answer = client.post(
        "/sign-in", base_url="https://localhost", data=form, headers=headers, environ_base=ELSEWHERE
    )
    assert answer.status_code == 302


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", ""]
)
def test_sign_in_never_leads_to_another_site(client: FlaskClient, target: str) -> None:
    assert sign_in(client, "ada", next=target).location == "/"


def test_a_reverse_proxy_names_the_user(
    users: UserFile, database: Database, tmp_path: Path
) -> None:
    settings = Settings(
        web_users=str(users.path),
        web_listen="0.0.0.0:8091",
        web_proxy_header="X-Forwarded-User",
        web_proxies="192.0.2.0/24, 2001:db8::1",
    )
    client = app_for(settings, database, tmp_path).test_client()
    named = {"X-Forwarded-User": "chen"}

    def status(headers: dict[str, str], address: str) -> int:
        return client.get("/", headers=headers, environ_base={"REMOTE_ADDR": address}).status_code

    for address in ("192.0.2.7", "::ffff:192.0.2.8", "2001:db8::1"):
        assert (
            client.get("/", headers=named, environ_base={"REMOTE_ADDR": address}).status_code == 200
        )
    assert status({"X-Forwarded-User": "ada"}, "198.51.100.1") == 302
    assert status({}, "192.0.2.7") == 302
    stranger = {"X-Forwarded-User": "dora"}  # not in the file: a viewer
    assert status(stranger, "192.0.2.7") == 200
    page = client.get("/", headers=stranger, environ_base=ELSEWHERE).text
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found
    changed = client.post(
        "/change", headers={**stranger, "X-CSRFToken": found[1]}, environ_base=ELSEWHERE
    )
    assert changed.status_code == 403


def test_a_trusted_proxy_says_whether_the_browser_used_https(
    users: UserFile, database: Database, tmp_path: Path
) -> None:
    settings = Settings(
        web_users=str(users.path), web_listen="0.0.0.0:8091", web_proxies="192.0.2.7"
    )
    client = app_for(settings, database, tmp_path).test_client()

    def status(protocol: str, address: str) -> int:
        form = {"name": "ada", "password": PASSWORD, "csrf_token": token(client)}
        headers = {"X-Forwarded-Proto": protocol}
        environ = {"REMOTE_ADDR": address}
        return client.post("/sign-in", data=form, headers=headers, environ_base=environ).status_code

    assert status("http", "192.0.2.7") == 400
    assert status("https", "198.51.100.1") == 400
    assert status("http", "127.0.0.1") == 400
    assert status("https", "192.0.2.7") == 302


def test_attempts_are_counted_by_the_address_behind_the_proxies(
    users: UserFile, database: Database, tmp_path: Path, long_pause: None
) -> None:
    settings = Settings(
        web_users=str(users.path), web_listen="0.0.0.0:8091", web_proxies="192.0.2.0/24"
    )
    client = app_for(settings, database, tmp_path).test_client()

    def status(name: str, chain: str) -> int:
        form = {"name": name, "password": "wrong", "csrf_token": token(client)}
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": chain}
        return client.post(
            "/sign-in", data=form, headers=headers, environ_base=ELSEWHERE
        ).status_code

    for number in range(FREE_FAILURES):
        assert status(f"user{number}", f"10.9.9.{number}, 198.51.100.1, 192.0.2.8") == 401
    assert status("another", "198.51.100.1") == 429
    assert status("another", "198.51.100.2") == 401
    # A name is counted in any case, and in the same way whether there is such a user or not.
    for count, names in enumerate((["ada", "Ada", "ADA"], ["eve", "Eve", "EVE"])):
        for number in range(FREE_FAILURES):
            assert status(names[number % 2], f"203.0.113.{10 * count + number}") == 401
        assert status(names[2], f"203.0.113.{10 * count + 9}") == 429


def test_probes_need_no_user(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"service": "rollcall-web", "status": "ok"}


def test_without_users_only_this_machine_sees_the_pages(database: Database, tmp_path: Path) -> None:
    client = app_for(Settings(), database, tmp_path).test_client()
    for host in ("localhost:8091", "127.0.0.1:8091", "[::1]:8091"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    answer = client.get("/", headers={"Host": "evil.example:8091"})
    assert answer.status_code == 403
    assert "open the pages at http://127.0.0.1" in answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.7", "pages.example"])
def test_pages_for_everybody_do_not_start(host: str) -> None:
    with pytest.raises(SettingsError, match=r"nobody has to sign in; set WEB_USERS"):
        build_gate(Settings(web_listen=f"{host}:8091"))


def test_a_header_of_everybody_does_not_start() -> None:
    with pytest.raises(SettingsError, match="WEB_PROXY_HEADER needs WEB_PROXIES"):
        build_gate(Settings(web_proxy_header="X-User"))
    with pytest.raises(SettingsError, match="WEB_PROXIES 'ten' has to be a list of addresses"):
        build_gate(Settings(web_proxy_header="X-User", web_proxies="ten"))


def test_a_file_of_users_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WEB_USERS .*cannot be read"):
        build_gate(Settings(web_users=str(tmp_path / "none")))
    (tmp_path / "users").write_text("# fine\nada owner x\n")
    with pytest.raises(SettingsError, match="line 2 of WEB_USERS"):
        build_gate(Settings(web_users=str(tmp_path / "users")))


def test_the_file_is_private_and_holds_no_password(users: UserFile) -> None:
    assert users.path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in users.path.read_text()
    assert "scrypt:" in users.path.read_text()


@pytest.mark.parametrize("name", ["", "a b", "-ada", "a\nb", "ä", "x" * 65])
def test_names_that_a_line_cannot_hold_are_refused(users: UserFile, name: str) -> None:
    with pytest.raises(UserRefused, match="cannot be used"):
        users.put(name, "viewer", PASSWORD)


@pytest.mark.parametrize("password", ["short", "x" * 1025])
def test_passwords_have_a_length(users: UserFile, password: str) -> None:
    with pytest.raises(UserRefused, match="12 to 1024 characters"):
        users.put("dora", "viewer", password)


def test_every_page_has_the_security_headers(client: FlaskClient) -> None:
    headers = client.get("/sign-in").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_an_answer_in_flight_does_not_sign_somebody_in_again(client: FlaskClient) -> None:
    sign_in(client, "ada")
    client.get("/")
    # A page in another tab asks for its changes again and again, also while somebody signs out.
    assert "Set-Cookie" not in client.get("/now/part").headers


def test_the_form_says_that_it_needs_https_before_anybody_types(client: FlaskClient) -> None:
    page = client.get("/sign-in", environ_base=ELSEWHERE)
    assert page.status_code == 400
    assert "Sign in over HTTPS" in page.text
    assert 'type="password"' not in page.text


def test_a_form_over_plain_http_says_what_is_missing(client: FlaskClient) -> None:
    # The browser does not send the cookie back, so the token of the form has nothing to fit.
    answer = client.post("/sign-in", data={"name": "ada"}, environ_base=ELSEWHERE)
    assert answer.status_code == 400
    assert "over HTTPS" in answer.text


def test_a_form_with_a_long_body_is_not_read(client: FlaskClient) -> None:
    form = {"name": "ada", "file": (BytesIO(b"x" * MAX_FORM_BYTES), "a.jpg")}
    assert client.post("/sign-in", data=form).status_code == 413


def test_without_the_proxy_that_signs_people_in_there_is_no_form(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(web_proxy_header="X-User", web_proxies="192.0.2.7")
    client = app_for(settings, database, tmp_path).test_client()
    page = client.get("/", follow_redirects=True)
    assert page.status_code == 400
    assert "at the address of the reverse proxy" in page.text
    assert 'type="password"' not in page.text


@pytest.mark.parametrize("headers", [{}, {"X-User": "Ada Lovelace"}])
def test_a_proxy_that_names_nobody_is_not_called_missing(
    database: Database, tmp_path: Path, headers: dict[str, str]
) -> None:
    settings = Settings(web_proxy_header="X-User", web_proxies="192.0.2.7")
    client = app_for(settings, database, tmp_path).test_client()
    address = {"REMOTE_ADDR": "192.0.2.7"}
    page = client.get("/sign-in", headers=headers, environ_base=address)
    assert page.status_code == 400
    assert "The reverse proxy has not named a user." in page.text
    assert "Open these pages at" not in page.text


def test_a_damaged_file_of_users_is_not_shown_to_visitors(
    client: FlaskClient, users: UserFile
) -> None:
    sign_in(client, "ada")
    users.path.write_text("ada owner x\n")
    for answer in (client.get("/"), sign_in(client, "ada")):
        assert answer.status_code == 503
        assert str(users.path) not in answer.text
        assert "the log of `rollcall web` says why" in answer.text
    with closing(client.get("/static/style.css")) as style:
        assert style.status_code == 200
    assert client.get("/healthz").status_code == 200


def test_an_expired_session_leads_back_to_its_page(client: FlaskClient) -> None:
    headers = {"HX-Request": "true", "Referer": "http://localhost/videos/7?t=3"}
    part = client.get("/videos/7/facts", headers=headers)
    assert part.headers["HX-Redirect"] == "/sign-in?next=/videos/7?t%3D3"


def test_a_damaged_name_of_a_host_is_refused(database: Database, tmp_path: Path) -> None:
    client = app_for(Settings(), database, tmp_path).test_client()
    for host in ("[", "[::1", "a]b", "127.0.0.1:x"):
        assert client.get("/", headers={"Host": host}).status_code in (400, 403)
