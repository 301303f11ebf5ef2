"""`rollcall web user` as people and scripts run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollcall.cli.main import main
from rollcall.core.errors import SettingsError
from rollcall.web.user_file import UserFile

PASSWORD = "three quiet words"


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["web", "user", *arguments], input=answer)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def add(path: Path, *arguments: str, answer: str = PASSWORD + "\n") -> Result:
    return run("add", *arguments, "--file", str(path), answer=answer)


def test_users_are_added_listed_and_removed(path: Path) -> None:
    assert add(path, "ada", "--role", "editor").output == f"added ada (editor) in {path}\n"
    assert add(path, "ben", "--no-password", answer="").exit_code == 0
    assert run("list", "--file", str(path)).output.splitlines() == [
        "ada: editor",
        "ben: viewer, through a reverse proxy only",
    ]
    assert UserFile(path).checked("ada", PASSWORD)
    assert add(path, "ada", answer="another quiet word\n").output.startswith("changed ada (viewer)")
    assert UserFile(path).checked("ada", PASSWORD) is None
    assert run("remove", "ada", "--file", str(path)).exit_code == 0
    assert json.loads(run("list", "--json", "--file", str(path)).output) == [
        {"name": "ben", "role": "viewer", "password": False}
    ]


def test_what_cannot_be_used_is_refused(path: Path) -> None:
    short = add(path, "ada", answer="short\n")
    assert (short.exit_code, "12 to 1024 characters" in short.output) == (1, True)
    name = add(path, "a b")
    assert (name.exit_code, "cannot be used" in name.output) == (1, True)
    assert not path.exists()


def test_a_user_who_does_not_exist_cannot_be_removed(path: Path) -> None:
    add(path, "ada")
    done = run("remove", "ben", "--file", str(path))
    assert (done.exit_code, done.output) == (1, f"'ben' is not a user in {path}\n")


def test_without_a_file_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_USERS", raising=False)
    done = run("list")
    assert done.exit_code == 2
    assert "WEB_USERS is not set" in done.output


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = add(tmp_path / "none" / "users", "ada")
    assert done.exit_code == 2
    assert "cannot be written" in done.output


def test_a_new_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the wrong folder, the pages would be empty without a word."""

    def stop(*args: object) -> None:
        raise SettingsError("stopped")

    monkeypatch.setattr("rollcall.web.web_service.listen", stop)
    monkeypatch.chdir(tmp_path)
    first, second = (CliRunner().invoke(main, ["web"]) for _ in range(2))
    assert "new database 'inbox.sqlite3'; if a trigger runs, set DATABASE_URL" in first.output
    assert "new database" not in second.output
