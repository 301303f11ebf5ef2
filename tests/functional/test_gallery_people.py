"""`rollcall gallery rename`, `merge`, `log` and `undo`, and `rollcall index rematch`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.databases import open_file
from support.filmed import Filmed, direction

from rollcall.cli import correcting, gallery_people
from rollcall.cli.correcting import user_name
from rollcall.cli.main import main
from rollcall.gallery.gallery_formats import render_gallery

ADA, BEN, EVE = direction(0), direction(1), direction(5)


@pytest.fixture
def filmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Filmed]:
    """Commands use the database and the gallery of these videos, and the store in memory."""
    path = tmp_path / "inbox.sqlite3"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("ENCODINGS", str(tmp_path / "gallery.npz"))
    monkeypatch.setenv("REPORT_BUCKET", "rollcall-reports")
    monkeypatch.chdir(tmp_path)
    with closing(open_file(path)) as database:
        filmed = Filmed(tmp_path, database)
        filmed.faces = {"ada": ADA, "ben": BEN, "eve": EVE}
        filmed.enrol(Ada=ADA, Ben=BEN)
        filmed.film("1.mp4", {"ada": [0, 1], "eve": [5]})
        filmed.film("2.mp4", {"ben": [0, 1]}, kept="none")
        monkeypatch.setattr(correcting, "S3Store", lambda client: filmed.store)
        monkeypatch.setattr(correcting, "DynamoStudents", lambda client, table: filmed.students)
        yield filmed


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["gallery", *args])


def test_a_person_is_renamed_and_the_rename_is_undone(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_people, "user_name", lambda: "olga")
    before = filmed.state(["1.mp4", "2.mp4"])
    done = run("rename", "Ben", "Benjamin")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("olga: renamed 'Ben' to 'Benjamin'; 1 result changed\n")
    assert done.stderr == "results changed: 1, unchanged: 0\n"
    assert filmed.names("2.mp4") == ["Benjamin"]
    document = json.loads(run("undo", "1", "--json").stdout)
    assert (document["changed"], document["left"], document["change"]["undoes"]) == (1, 0, 1)
    assert filmed.state(["1.mp4", "2.mp4"]) == before
    lines = run("log").stdout.splitlines()
    assert [line.split("olga: ")[1] for line in lines] == [
        "undid 1: 'Benjamin' is called 'Ben' again; 1 result changed",
        "renamed 'Ben' to 'Benjamin'; 1 result changed; undone by 2",
    ]
    documents = [
        json.loads(line) for line in run("log", "--json", "--limit", "1").stdout.splitlines()
    ]
    assert [document["action"] for document in documents] == ["undo"]
    done = run("log", "--name", "Nobody")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("the log has no line about 'Nobody'; write the whole name")


def test_a_rename_to_a_name_close_to_somebody_elses_gets_a_hint(filmed: Filmed) -> None:
    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Vin Diesel", EVE)))
    done = run("rename", "Ben", "Vin Diesl")
    assert done.exit_code == 0, done.output
    assert "hint: the name 'Vin Diesl' is new, and similar to 'Vin Diesel'; if this" in done.stderr
    assert "hint" not in run("rename", "Vin Diesl", "Benjamin").stderr
    assert "hint" not in run("rename", "Vin Diesel", "Vin Diesell").stderr


def test_two_names_are_merged(filmed: Filmed) -> None:
    done = run("merge", "Ben", "Ada")
    assert done.exit_code == 0, done.output
    assert "merged 'Ben' into 'Ada'; 1 result changed" in done.stdout
    assert filmed.names("2.mp4") == ["Ada"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rename", "Eve", "Eva"), "error: 'Eve' is not in the gallery"),
        (("rename", "ada", "Eva"), "error: 'ada' is not in the gallery; similar names: 'Ada'"),
        (("rename", "Ada", "Ben"), "error: 'Ben' is already in the gallery; merge"),
        (("merge", "Ada", "Eve"), "error: 'Eve' is not in the gallery"),
        (("undo", "7"), "error: the log has no change 7"),
    ],
)
def test_what_cannot_be_changed(filmed: Filmed, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert filmed.log.latest(1) == []


@pytest.mark.parametrize("number", ["0", "-1", "9" * 30, "one"])
def test_a_number_that_no_change_can_have_is_wrong_usage(filmed: Filmed, number: str) -> None:
    done = run("undo", "--", number)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Invalid value for 'CHANGE'" in done.stderr


def test_results_that_cannot_be_corrected_are_counted(filmed: Filmed) -> None:
    filmed.store.delete(filmed.settings.output_bucket, "2.csv")
    done = run("rename", "Ben", "Benjamin")
    assert done.exit_code == 1
    assert "not corrected, the messages above say why: 1" in done.stderr


def test_everything_is_compared_after_an_enrolment(filmed: Filmed) -> None:
    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Eve", EVE)))
    done = CliRunner().invoke(main, ["index", "rematch"])
    assert done.exit_code == 0, done.output
    assert done.stderr == "results changed: 1, unchanged: 0\n"
    assert filmed.names("1.mp4") == ["Ada", "Eve"]
    again = CliRunner().invoke(main, ["index", "rematch", "--json"])
    document = json.loads(again.stdout)
    assert document == {"changed": 0, "unchanged": 1, "failed": 0, "postponed": 0, "left": 0}


def test_without_a_database_the_commands_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/none.sqlite3")
    for command in (["gallery", "log"], ["index", "rematch"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert "set DATABASE_URL to the same database as the trigger" in done.output
        assert not (tmp_path / "none.sqlite3").exists()


def test_a_gallery_without_videos_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/new.sqlite3")
    monkeypatch.setenv("ENCODINGS", str(tmp_path / "gallery.npz"))
    monkeypatch.chdir(tmp_path)
    with closing(open_file(tmp_path / "other.sqlite3")) as database:
        filmed = Filmed(tmp_path, database)
        filmed.enrol(Ada=ADA)
        done = run("rename", "Ada", "Ada L")
        assert done.exit_code == 0, done.output
        assert filmed.gallery.people == ("Ada L",)


def test_the_name_of_an_odd_account_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "olga\udcff")
    assert user_name() == "olga\\udcff (command line)"
