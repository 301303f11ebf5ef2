"""`rollcall status`, `purge`, `rerun`, `backup`, `restore` and `copy-database`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert
from support.databases import open_file, open_tables
from support.old_inbox import write_old_inbox
from support.postgres import FreshDatabases
from support.settings import embedded_values
from support.waiting import wait_until

from rollcall.cli.main import main
from rollcall.core.settings import parse_settings
from rollcall.core.types import VideoRef
from rollcall.core.work import Notice
from rollcall.database import postgres_backup
from rollcall.database.database import Database
from rollcall.database.file_lock import own_file
from rollcall.database.open_database import migrate
from rollcall.database.tables import reconciled
from rollcall.index.change_log import SqlChangeLog
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.boto import s3_client


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(*args: str | Path, **env: str) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], env=env)


def printed(*args: str | Path, **env: str) -> str:
    result = run(*args, **env)
    assert result.exit_code == 0, result.output
    return result.stdout


def document(*args: str | Path, **env: str) -> dict[str, object]:
    found = json.loads(printed(*args, "--json", **env))
    assert isinstance(found, dict)
    return found


def fill(queue: SqlQueue) -> None:
    """Two videos wait, one is running, two are done (one of them with a message), one is dead."""
    queue.add([VideoRef("input-bucket-video", f"{n}.mp4", event_id=str(n)) for n in range(6)])
    works = queue.claim(4, 60)
    queue.finish(works[0], "recognised", Notice("m-1", "{}"))
    queue.finish(works[1], "no_face")
    queue.bury(works[2], "gone", "the video is gone")
    queue.add_bad_event(b"x", "not an event")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the rows of `fill`."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'inbox.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres_url")
    with closing(SqlQueue(open_tables(url))) as queue:
        fill(queue)
    return url


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """The default database, with the rows of `fill`."""
    with closing(SqlQueue(open_file(tmp_path / "inbox.sqlite3"))) as queue:
        fill(queue)
    return tmp_path / "inbox.sqlite3"


# --- status


def test_status_prints_counts_in_words(url: str) -> None:
    lines = printed("status", DATABASE_URL=url).splitlines()
    assert lines[0].startswith("database: ")
    assert lines[1].startswith("waiting: 2, the oldest for ")
    assert lines[2:] == [
        "running: 1",
        "done: 2 (no_face 1, recognised 1)",
        "dead letters: 1 (gone 1)",
        "events that could not be read: 1",
        lines[6],
    ]
    assert lines[6].startswith("messages: 1 not delivered yet, the oldest for ")
    assert lines[6].endswith("; 0 given up")


def test_status_prints_a_document(url: str) -> None:
    found = document("status", DATABASE_URL=url)
    counts = [found[state] for state in ("queued", "running", "done", "dead", "bad")]
    assert counts == [2, 1, 2, 1, 1]
    assert found["done_by_code"] == {"no_face": 1, "recognised": 1}
    assert found["dead_by_code"] == {"gone": 1}
    assert found["last_scan_s"] is None
    assert "rollcall@" not in str(found["database"])


def test_status_says_when_the_buckets_were_scanned(url: str) -> None:
    with closing(open_tables(url)) as database, database.transaction() as connection:
        row = {"bucket": "input-bucket-video", "finished_s": database.now_s(connection) - 7300}
        connection.execute(insert(reconciled), row)
    assert printed("status", DATABASE_URL=url).endswith("last scan of the buckets: 2 h ago\n")


def test_status_of_a_database_that_does_not_exist() -> None:
    result = run("status")
    assert (result.exit_code, "set DATABASE_URL" in result.output) == (2, True)
    assert not Path("inbox.sqlite3").exists()


# --- purge


def test_purge_deletes_finished_work_and_on_request_dead_letters(url: str) -> None:
    assert document("purge", "--older-than", "1", "--dead", "--yes", DATABASE_URL=url) == {
        "done": 0,
        "dead": 0,
    }
    found = document("purge", "--older-than", "0", "--yes", DATABASE_URL=url)
    assert found == {"done": 2, "dead": 0}
    text = printed("purge", "--older-than", "0", "--dead", "--yes", DATABASE_URL=url)
    assert text == "deleted 0 finished and 1 dead\n"
    left = document("status", DATABASE_URL=url)
    assert [left[state] for state in ("queued", "running", "done", "dead")] == [2, 1, 0, 0]


def test_purge_asks_first(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("purge", "--older-than", "0")
    assert (refused.exit_code, "add --yes" in refused.output) == (2, True)
    monkeypatch.setattr("rollcall.cli.purge.stdin_is_terminal", lambda: True)
    answered = CliRunner().invoke(main, ["purge", "--older-than", "0"], input="n\n")
    assert (answered.exit_code, "nothing was deleted" in answered.output) == (0, True)
    assert document("status")["done"] == 2
    answered = CliRunner().invoke(main, ["purge", "--older-than", "0"], input="y\n")
    assert answered.stdout.endswith("deleted 2 finished and 0 dead\n")


@pytest.mark.parametrize("days", ["-1", "nan", "x", "1e9"])
def test_purge_refuses_wrong_days(inbox: Path, days: str) -> None:
    assert run("purge", "--older-than", days, "--yes").exit_code == 2
    assert document("status")["done"] == 2


# --- rerun


@pytest.fixture
def bucket_env(moto_url: str, url: str) -> dict[str, str]:
    """Settings with a bucket that has three videos and one other object."""
    name = f"in-{uuid.uuid4().hex[:8]}"
    env = embedded_values(moto_url, INPUT_BUCKET=name) | {"DATABASE_URL": url}
    client = s3_client(parse_settings(env))
    client.create_bucket(Bucket=name)
    for key in ("old/a.mp4", "old/b.mp4", "c.mp4", "old/notes.txt"):
        client.put_object(Bucket=name, Key=key, Body=b"x")
    return env


def test_rerun_queues_finished_videos_again(bucket_env: dict[str, str]) -> None:
    bucket = bucket_env["INPUT_BUCKET"]
    with closing(SqlQueue(open_tables(bucket_env["DATABASE_URL"]))) as queue:
        queue.requeue_expired(everything=True)
        for work in queue.claim(10, 60):
            queue.finish(work, "recognised")
        queue.add([VideoRef(bucket, "old/a.mp4", etag="e", event_id="a")])
        (work,) = queue.claim(1, 60)
        queue.finish(work, "recognised")
        assert document("rerun", "old/a.mp4", "old/a.mp4", **bucket_env) == {
            "queued": 1,
            "waiting": 0,
            "missing": [],
        }
        assert printed("rerun", "old/a.mp4", **bucket_env) == "queued 0 videos again\n"
        (again,) = queue.claim(10, 60)
        assert (again.key, again.etag, again.attempts) == ("old/a.mp4", "e", 1)
        # A call that is running may have begun before the reason to recognise the video again.
        assert document("rerun", "old/a.mp4", **bucket_env)["queued"] == 1
        assert queue.claim(10, 60) == []
        queue.finish(again, "recognised")
        (last,) = queue.claim(10, 60)
        assert last.key == "old/a.mp4"


def test_rerun_looks_unknown_videos_up_in_the_bucket(bucket_env: dict[str, str]) -> None:
    result = run("rerun", "c.mp4", "no.mp4", "old/notes.txt", **bucket_env)
    assert result.exit_code == 1
    assert "queued 1 video again" in result.output
    for key in ("no.mp4", "old/notes.txt"):
        assert f"{key}: {bucket_env['INPUT_BUCKET']} has no such video" in result.output
    with closing(SqlQueue(open_tables(bucket_env["DATABASE_URL"]))) as queue:
        (work,) = queue.history(bucket_env["INPUT_BUCKET"], "c.mp4")
        assert (work.state, bool(work.etag)) == ("queued", True)


def test_rerun_of_a_prefix_queues_its_videos(bucket_env: dict[str, str]) -> None:
    assert document("rerun", "--prefix", "old/", **bucket_env)["queued"] == 2
    assert document("rerun", "--prefix", "", **bucket_env) == {
        "queued": 1,
        "waiting": 2,
        "missing": [],
    }


def test_rerun_says_why_nothing_is_queued(bucket_env: dict[str, str]) -> None:
    result = run("rerun", "--prefix", "other/", **bucket_env)
    assert result.exit_code == 1
    bucket = bucket_env["INPUT_BUCKET"]
    assert f"{bucket} has no video whose key begins with 'other/'" in result.output
    assert "queued" not in result.stdout
    assert "rollcall up" not in result.output


def test_rerun_in_an_empty_bucket_says_to_upload_the_videos_again(
    bucket_env: dict[str, str],
) -> None:
    client = s3_client(parse_settings(bucket_env))
    for key in ("old/a.mp4", "old/b.mp4", "c.mp4"):
        client.delete_object(Bucket=bucket_env["INPUT_BUCKET"], Key=key)
    result = run("rerun", "--prefix", "", **bucket_env)
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "has no video, so nothing is queued; `rollcall up` starts without videos, so upload them"
        " again\n"
    )


def test_rerun_needs_a_key_or_a_prefix(inbox: Path) -> None:
    assert run("rerun").exit_code == 2


# --- backup and restore


def test_a_backup_contains_the_newest_rows_and_is_private(inbox: Path, tmp_path: Path) -> None:
    """The newest rows are in the file's -wal, which a plain copy would lack."""
    target = tmp_path / "backup.sqlite3"
    with closing(SqlQueue(open_file(inbox))) as queue:
        queue.add([VideoRef("b", "newest.mp4", event_id="newest")])
        assert document("backup", target) == {
            "file": str(target),
            "rows": {"work": 4, "finished": 3, "notice": 1, "video": 0, "change": 0},
        }
    assert target.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(target)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("SELECT count(*) FROM work WHERE key='newest.mp4'").fetchone() == (1,)
    left = {path.name for path in tmp_path.iterdir()}
    assert {name for name in left if "part" in name or "backup" in name} == {target.name}


def test_a_backup_while_videos_are_accepted_has_every_earlier_one(inbox: Path) -> None:
    """Also while the file grows and its pages move."""
    stop = threading.Event()
    accepted = []

    def accept() -> None:
        with closing(SqlQueue(open_file(inbox))) as queue:
            while not stop.is_set():
                name = f"{len(accepted)}.mp4"
                queue.add([VideoRef("live", name, event_id=f"live-{name}")])
                accepted.append(name)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        for number in range(5):
            count = len(accepted)
            wait_until(lambda count=count: len(accepted) > count + 2, "more videos")
            before = set(accepted)
            printed("backup", f"backup-{number}")
            with closing(sqlite3.connect(f"backup-{number}")) as db:
                copied = {key for (key,) in db.execute("SELECT key FROM work WHERE bucket='live'")}
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copied >= before
    finally:
        stop.set()
        thread.join()
    assert len(accepted) > 10


def test_a_backup_replaces_a_file_only_with_yes(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    result = run("backup", tmp_path / "notes")
    assert (result.exit_code, "exists already" in result.output) == (1, True)
    assert (tmp_path / "notes").read_text() == "mine"
    printed("backup", tmp_path / "notes", "--yes")
    assert "is the database itself" in run("backup", inbox, "--yes").output
    assert document("status")["queued"] == 2


def test_there_is_no_backup_of_a_database_that_does_not_exist() -> None:
    result = run("backup", "b")
    assert (result.exit_code, "set DATABASE_URL" in result.output) == (2, True)
    assert list(Path().iterdir()) == []


def test_a_restore_brings_the_rows_back(inbox: Path) -> None:
    printed("backup", "b")
    printed("purge", "--older-than", "0", "--yes")
    refused = run("restore", "b")
    assert refused.exit_code == 1
    assert "has 3 rows in work, 1 rows in finished, 1 rows in notice; " in refused.output
    assert document("status")["done"] == 0
    assert printed("restore", "b", "--force") == (
        "restored b: 3 waiting or running, 3 done or dead\n"
    )
    assert document("status")["done"] == 2
    assert inbox.stat().st_mode & 0o777 == 0o600


def test_a_restore_asks_before_it_replaces_a_log_of_changes(inbox: Path) -> None:
    """A database of `recognise --index` and the pages has no work, but its log exists only once."""
    printed("backup", "b")
    inbox.unlink()
    with closing(open_file(inbox)) as database:
        SqlChangeLog(database).record("eve", "rename", "ada")
    refused = run("restore", "b")
    assert (refused.exit_code, "has 1 rows in change; " in refused.output) == (1, True)
    with closing(open_file(inbox)) as database:
        assert [line.name for line in SqlChangeLog(database).latest(5)] == ["ada"]


@pytest.mark.parametrize("damage", ["no database", "damaged pages", "missing"])
def test_a_restore_replaces_a_damaged_database(inbox: Path, damage: str) -> None:
    printed("backup", "b")
    for name in ("-wal", "-shm"):
        inbox.with_name(inbox.name + name).unlink(missing_ok=True)
    if damage == "no database":
        inbox.write_bytes(b"broken" * 10_000)
    elif damage == "damaged pages":
        body = inbox.read_bytes()
        inbox.write_bytes(body[:4096] + b"\xff" * (len(body) - 4096))
    else:
        inbox.unlink()
    if damage != "missing":
        refusal = run("restore", "b").output
        assert "is damaged; to replace it with the backup, add --force" in refusal
    printed("restore", "b", "--force")
    assert document("status")["done"] == 2


def test_nothing_is_restored_while_a_trigger_runs(inbox: Path) -> None:
    printed("backup", "b")
    with own_file(inbox):
        result = run("restore", "b", "--force")
        printed("backup", "b2")
    assert (result.exit_code, "another trigger already uses" in result.output) == (1, True)


def test_a_file_that_is_not_a_backup_is_not_restored(inbox: Path, tmp_path: Path) -> None:
    printed("backup", "good")
    body = Path("good").read_bytes()
    Path("half").write_bytes(body[: len(body) // 2])
    Path("text").write_text("no database" * 1000)
    with closing(sqlite3.connect("other")) as db:
        db.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect("newer")) as db, db:
        db.executescript("CREATE TABLE work (x); CREATE TABLE alembic_version (version_num);")
        db.execute("INSERT INTO alembic_version VALUES ('9999')")
    for name, problem in {
        "none": "there is no file",
        "half": "damaged",
        "text": "not a usable backup",
        "other": "no tables of Rollcall",
        "newer": "newer version",
    }.items():
        result = run("restore", name, "--force")
        assert result.exit_code in (1, 2), name
        assert problem in result.output or (name == "half" and "malformed" in result.output)
    assert document("status")["done"] == 2


def test_a_backup_of_an_earlier_version_is_restored_and_taken_over(tmp_path: Path) -> None:
    write_old_inbox(tmp_path / "old", [("e", "a.mp4", "x", "event", "done", 1, 1, "ok", 0, "", 0)])
    printed("restore", "old")
    assert document("status")["done"] == 1
    write_old_inbox(tmp_path / "old2", [])
    printed("backup", "copy", DATABASE_URL=f"sqlite:///{tmp_path / 'old2'}")
    with closing(sqlite3.connect("copy")) as db:
        assert db.execute("SELECT count(*) FROM bad_event").fetchone() == (1,)


CHILD = """
import os, signal, sys
from pathlib import Path
from rollcall.database import sqlite_backup

sqlite_backup._check = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
check = sqlite_backup.check_backup
sqlite_backup.check_backup = lambda path: {}
if sys.argv[1] == "backup":
    sqlite_backup.back_up(Path(sys.argv[2]), Path(sys.argv[3]))
else:
    sqlite_backup.restore(Path(sys.argv[3]), Path(sys.argv[2]), force=True)
"""


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_killed_command_leaves_a_whole_database(inbox: Path, command: str) -> None:
    printed("backup", "b")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    target = "b" if command == "restore" else "new"
    child = subprocess.run([sys.executable, "-c", CHILD, command, inbox, target], env=environ)
    assert child.returncode == -signal.SIGKILL
    assert not Path("new").exists()
    assert document("status")["done"] == 2
    printed("restore", "b", "--force")


def test_a_postgresql_backup_brings_the_rows_back(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DATABASE_URL": postgres_url}
    with closing(SqlQueue(open_tables(postgres_url))) as queue:
        fill(queue)
        printed("backup", "dump", **env)
        assert Path("dump").stat().st_mode & 0o777 == 0o600
        assert "exists already" in run("backup", "dump", **env).output
        with monkeypatch.context() as patch:
            patch.setattr(postgres_backup, "CLOSING_S", 0.0)
            in_use = run("restore", "dump", "--force", **env)
        assert (in_use.exit_code, "the pages first" in in_use.output) == (1, True)
    printed("purge", "--older-than", "0", "--yes", **env)
    refused = run("restore", "dump", **env)
    assert (refused.exit_code, "add --force" in refused.output) == (1, True)
    printed("restore", "dump", "--force", **env)
    assert document("status", **env)["done"] == 2
    (tmp_path / "text").write_text("no dump")
    assert "pg_restore failed" in run("restore", "text", "--force", **env).output
    assert document("status", **env)["done"] == 2


def test_a_restore_waits_for_a_connection_that_is_just_ending(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DATABASE_URL": postgres_url}
    open_tables(postgres_url).close()
    printed("backup", "dump", **env)
    other = psycopg.connect(postgres_url, application_name="rollcall")
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: other.close())
    monkeypatch.setattr(postgres_backup, "time", clock)
    printed("restore", "dump", "--force", **env)
    assert other.closed


def test_a_postgresql_backup_of_the_version_before_can_be_upgraded_again(
    postgres: FreshDatabases, tmp_path: Path
) -> None:
    """pg_restore drops only the tables that the backup has, so the newer ones are still there."""
    with postgres.url("template1") as url:
        with closing(Database(url)) as database:
            database.run(partial(migrate, revision="0001"))
        printed("backup", tmp_path / "b", DATABASE_URL=url)
        with closing(open_tables(url)) as database:
            SqlChangeLog(database).record("eve", "rename", "ada")
        printed("restore", tmp_path / "b", "--force", DATABASE_URL=url)
        with closing(open_tables(url)) as database:
            assert [line.name for line in SqlChangeLog(database).latest(5)] == ["ada"]


def test_without_pg_dump_the_message_names_the_way_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = run("backup", "dump", DATABASE_URL=postgres_url)
    assert result.exit_code == 1
    assert "pg_dump is not installed here; install PostgreSQL's client programs" in result.output
    assert not Path("dump").exists()


# --- copy-database


def test_all_rows_move_from_sqlite_to_postgresql_and_back(
    inbox: Path, postgres: FreshDatabases, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(inbox)) as db, db:
        db.execute("UPDATE finished SET message='a' || char(0) || 'b' WHERE state='dead'")
    with postgres.url("template1") as url:
        found = document("copy-database", "-", url)
        assert found["rows"]["work"] == 3
        assert found["rows"]["seen_event"] == 6
        assert document("status", DATABASE_URL=url)["done_by_code"] == {
            "no_face": 1,
            "recognised": 1,
        }
        with closing(SqlQueue(open_tables(url))) as queue:
            assert queue.add([VideoRef("input-bucket-video", "1.mp4", event_id="1")]) == 0
            assert queue.add([VideoRef("b", "new.mp4", event_id="new")]) == 1
            assert queue.history("b", "new.mp4")[0].id == 7
            assert queue.replay() == 1
        again = run("copy-database", "-", url)
        assert (again.exit_code, "has rows in the table" in again.output) == (1, True)
        printed("copy-database", "-", f"sqlite:///{tmp_path / 'back'}", DATABASE_URL=url)
    back = document("status", DATABASE_URL=f"sqlite:///{tmp_path / 'back'}")
    assert [back[state] for state in ("queued", "running", "done", "dead")] == [4, 1, 2, 0]
    with closing(SqlQueue(open_file(tmp_path / "back"))) as queue:
        queue.add([VideoRef("b", "newer.mp4", event_id="newer")])
        assert queue.history("b", "newer.mp4")[0].id == 8


def test_nothing_is_copied_while_a_trigger_runs(inbox: Path, tmp_path: Path) -> None:
    with own_file(inbox):
        result = run("copy-database", "-", f"sqlite:///{tmp_path / 'new'}")
    assert (result.exit_code, "another trigger already uses" in result.output) == (1, True)


def test_a_malformed_url_is_not_shown() -> None:
    result = run("copy-database", "-", "mysql://user:s3cr3t@host/db")
    assert (result.exit_code, "s3cr3t" in result.output) == (2, False)
