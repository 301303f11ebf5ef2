"""After `rollcall gallery remove --everywhere`, nothing mentions the person: no object, table,
page or log."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from support.databases import open_file
from support.filmed import Filmed, between
from support.leaks import traces_of_encodings
from support.settings import embedded_values
from support.waiting import wait_until
from support.web_pages import make_parts, pages_client

from rollcall.cli import forget
from rollcall.cli.forget_in_database import leave_results
from rollcall.cli.main import main
from rollcall.core.encoding_space import DLIB
from rollcall.core.keys import faces_key
from rollcall.core.settings import parse_settings
from rollcall.core.types import Encodings
from rollcall.corrections.corrector import Corrector
from rollcall.corrections.rematch_queue import Done
from rollcall.database.removal_lock import correcting
from rollcall.database.tables import metadata
from rollcall.recognition.stored_faces import parse_faces
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import ensure_table, put_items
from rollcall.stores.s3 import S3Store

NAME = "Zoë Forgotten"
PAGES = ("/", "/videos", "/videos/1", "/videos/2", "/people", "/unknown", "/problems", "/log")


def encoding(number: int) -> Encodings:
    row = np.random.default_rng(number).standard_normal(DLIB.size)
    return (row / np.linalg.norm(row)).astype(np.float32).astype(np.float64)


class Stack(Filmed):
    """Videos in real buckets, with students in a real table."""

    def __init__(self, url: str, folder: Path) -> None:
        n = uuid.uuid4().hex[:8]
        self.env = embedded_values(
            url,
            INPUT_BUCKET=f"in-{n}",
            OUTPUT_BUCKET=f"out-{n}",
            REPORT_BUCKET=f"reports-{n}",
            STUDENT_TABLE=f"t-{n}",
            ENCODINGS=str(folder / "gallery.npz"),
            DATABASE_URL=f"sqlite:///{folder}/inbox.sqlite3",
        )
        settings = parse_settings(self.env)
        client = s3_client(settings)
        store = S3Store(client)
        self.buckets = settings.input_bucket, settings.output_bucket, settings.report_bucket
        for bucket in self.buckets:
            store.create_bucket(bucket)
            versions = {"Status": "Enabled"}
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versions)
        ensure_table(dynamodb_client(settings), settings.student_table)
        records = [{"name": name, "major": "m"} for name in (NAME, "Ben")]
        put_items(dynamodb_resource(settings), settings.student_table, records)
        super().__init__(folder, open_file(folder / "inbox.sqlite3"), settings, store)

    def run(self, *args: str) -> Result:
        return CliRunner().invoke(main, ["gallery", *args], env=self.env)

    def objects(self) -> bytes:
        """All versions of all objects, with their keys and metadata."""
        found = b""
        for bucket in self.buckets:
            for info in [*self.store.list_objects(bucket), *self.store.old_versions(bucket)]:
                found += self.store.read(bucket, info.key, 1 << 24, info.version_id)
            for info in self.store.list_objects(bucket):
                found += repr((info.key, self.store.metadata(bucket, info.key))).encode()
        return found

    def rows(self) -> str:
        with self.database.reading() as connection:
            tables = metadata.sorted_tables
            return repr([connection.execute(select(table)).all() for table in tables])


@pytest.fixture
def stack(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.chdir(tmp_path)
    stack = Stack(moto_url, tmp_path)
    with closing(stack.database):
        stack.faces = {"zoe": encoding(1), "ben": encoding(2), "eve": encoding(3)}
        stack.faces["zoe later"] = between(stack.faces["zoe"], encoding(4), 0.4)
        stack.enrol(**{NAME: stack.faces["zoe"], "Ben": stack.faces["ben"]})
        stack.film("1.mp4", {"zoe": [0, 1, 2], "ben": [1], "eve": [7]})
        stack.film("2.mp4", {"zoe later": [0]})
        stack.film("3.mp4", {"zoe": [4], "ben": [6]}, kept="none")
        yield stack


def pages_of(stack: Stack, folder: Path) -> str:
    parts = make_parts(
        stack.database, folder, store=stack.store, gallery=stack.location, settings=stack.settings
    )
    client = pages_client(parts)
    answers = [client.get(path) for path in PAGES]
    assert {answer.status_code for answer in answers} == {200}
    return "".join(answer.get_data(as_text=True) for answer in answers)


def assert_no_encoding(stack: Stack) -> None:
    rows, objects = stack.rows().encode(), stack.objects()
    traces = traces_of_encodings(stack.faces["zoe"][None])
    assert not [trace for trace in traces if trace in objects or trace in rows]
    half = stack.faces["zoe"].astype("<f2").tobytes()
    with stack.database.reading() as connection:
        for table in ("face_block", "unknown_face"):
            column = "encodings" if table == "face_block" else "encoding"
            query = select(metadata.tables[table].c[column])
            assert not [row for row in connection.execute(query).scalars() if half in row]
    stored = stack.store.read(stack.settings.report_bucket, faces_key("1.mp4"), 1 << 24)
    distances = np.linalg.norm(parse_faces(stored).encodings - stack.faces["zoe"], axis=1)
    assert distances.min() > 0.1


def assert_forgotten(stack: Stack) -> None:
    """Nothing mentions the person, also after all corrections that wait."""
    for _ in range(2):
        assert NAME not in stack.rows()
        assert NAME.encode() not in stack.objects()
        assert_no_encoding(stack)
        stack.rematcher.run_due()
    assert stack.corrections.pending() == 0


def test_nothing_mentions_a_forgotten_person(
    stack: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack.corrections.is_not([stack.face("2.mp4", NAME)], NAME, "olga")
    stack.rematcher.run_due()
    stack.corrections.is_person([stack.face("2.mp4")], NAME, "olga")
    stack.corrections.rename("Ben", "Benjamin", "olga")
    stack.rematcher.run_due()
    assert stack.names("1.mp4") == [NAME, "Benjamin", "unknown"]
    example = next(each for each in stack.gallery.examples_of(NAME) if not each.verdict)
    stack.corrections.remove_example(NAME, example.id, "olga")
    stack.rematcher.run_due()
    assert NAME in stack.rows()
    assert NAME.encode() in stack.objects()
    pages = pages_of(stack, tmp_path)
    assert NAME in pages

    dry = stack.run("remove", NAME, "--everywhere")
    assert "would remove: 3 appearances in the index of the database" in dry.stdout
    done = stack.run("remove", NAME, "--everywhere", "--yes")
    assert done.exit_code == 0, done.output
    for sentence in (
        "removed: 3 appearances in the index of the database",
        "lines in the log of the database",
        "removed: 1 removed photo in the database",
    ):
        assert sentence in done.stdout
    (line,) = stack.log.latest(1)
    assert (line.action, line.name, line.can_undo) == ("forget", "", False)
    assert line.who.endswith("command line)")
    assert (line.details["appearance"], line.details["encoding"]) == (3, 1), "entries, not places"

    assert stack.gallery.people == ("Benjamin",)
    assert stack.gallery.verdicts == ()
    rows, objects = stack.rows(), stack.objects()
    for part in NAME.split():
        assert part not in rows
        assert part.encode() not in objects
        assert part not in pages_of(stack, tmp_path)
        assert part not in caplog.text
    assert_no_encoding(stack)
    assert stack.names("1.mp4") == ["Benjamin", "unknown"]
    assert stack.names("2.mp4") == []


def test_a_person_is_not_forgotten_before_results_have_the_new_name(stack: Stack) -> None:
    """A removal finds results and stored faces by the name that the person has now."""
    stack.corrections.rename(NAME, "Ada", "olga")
    refused = stack.run("remove", "Ada", "--everywhere", "--yes")
    assert refused.exit_code == 1
    assert "videos that wait to be corrected" in refused.output
    assert "rollcall index rematch" in refused.output
    assert stack.gallery.people == ("Ada", "Ben")
    stack.rematcher.run_due()
    assert stack.run("remove", "Ada", "--everywhere", "--yes").exit_code == 0
    assert NAME not in stack.rows()
    assert stack.names("2.mp4") == []


def test_old_versions_with_a_former_name_are_deleted(stack: Stack) -> None:
    stack.corrections.rename(NAME, "Ada", "olga")
    stack.rematcher.run_due()
    assert NAME.encode() in stack.objects()
    dry = stack.run("remove", "Ada", "--everywhere")
    done = stack.run("remove", "Ada", "--everywhere", "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("deleted: old version") > dry.stdout.count("delete: old version") > 0
    assert NAME.encode() not in stack.objects()
    assert_no_encoding(stack)


def test_old_versions_from_before_the_person_had_a_name_are_deleted(stack: Stack) -> None:
    stack.corrections.is_person([stack.face("1.mp4")], "Eve", "olga")
    stack.rematcher.run_due()
    traces = traces_of_encodings(stack.faces["eve"][None])
    assert any(trace in stack.objects() for trace in traces)
    assert stack.run("remove", "Eve", "--everywhere", "--yes").exit_code == 0
    objects, rows = stack.objects(), stack.rows().encode()
    assert not [trace for trace in traces if trace in objects or trace in rows]
    with stack.database.reading() as connection:
        left = connection.execute(select(metadata.tables["unknown_face"].c.encoding)).scalars()
        assert stack.faces["eve"].astype("<f2").tobytes() not in left.all()
    assert stack.names("1.mp4") == [NAME, "Ben"]


def test_the_groups_of_unknown_faces_forget_a_person_too(stack: Stack) -> None:
    """A group that a verdict has joined keeps the encodings of the verdict as its centres."""
    stack.faces["eve later"] = encoding(5)
    stack.film("4.mp4", {"eve later": [0]})
    faces = [stack.face("1.mp4"), stack.face("4.mp4")]
    stack.corrections.same(faces, "olga")
    stack.corrections.is_person(faces, "Eve", "olga")
    stack.rematcher.run_due()
    assert stack.run("remove", "Eve", "--everywhere", "--yes").exit_code == 0
    assert stack.gallery.verdicts == ()
    traces = traces_of_encodings(np.array([stack.faces["eve"], stack.faces["eve later"]]))
    rows = stack.rows().encode()
    assert not [trace for trace in traces if trace in rows]
    with stack.database.reading() as connection:
        assert connection.execute(select(metadata.tables["unknown_group"])).all() == []


def test_a_removed_photo_with_the_name_of_somebody_else_is_forgotten(stack: Stack) -> None:
    stack.corrections.is_person([stack.face("1.mp4")], "Ben", "olga")
    stack.rematcher.run_due()
    wrong = next(each for each in stack.gallery.examples_of("Ben") if each.verdict)
    stack.corrections.remove_example("Ben", wrong.id, "olga")
    stack.rematcher.run_due()
    stack.corrections.is_person([stack.face("1.mp4")], "Eve", "olga")
    stack.rematcher.run_due()
    assert stack.run("remove", "Eve", "--everywhere", "--yes").exit_code == 0
    with stack.database.reading() as connection:
        assert connection.execute(select(metadata.tables["removed_example"])).all() == []
    assert stack.gallery.people == ("Ben", NAME)


def test_the_pages_do_not_hide_the_person_before_the_removal(stack: Stack) -> None:
    """A removal changes the gallery. Comparing all videos with it at once would leave the person's
    faces behind, as those of an unknown person."""
    stack.rematcher.notice_changes()
    stack.rematcher.notice_changes()
    assert stack.run("remove", NAME, "--yes").exit_code == 0
    stack.rematcher.notice_changes()
    stack.rematcher.notice_changes()
    assert stack.corrections.pending() == 0
    assert stack.names("2.mp4") == [NAME]


def test_a_correction_that_waits_does_not_hide_the_person_from_the_removal(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.corrections.ignore([stack.face("1.mp4")], "olga")

    def leave_results_and_correct(*values: Any) -> None:
        leave_results(*values)
        # A thread of `rollcall web` looks for videos right after the gallery has changed.
        assert stack.rematcher.run_batch() == Done()

    monkeypatch.setattr(forget, "leave_results", leave_results_and_correct)
    assert stack.run("remove", NAME, "--everywhere", "--yes").exit_code == 0
    assert stack.corrections.pending() == 1
    assert_forgotten(stack)
    assert stack.names("1.mp4") == ["Ben"]


def may_correct(stack: Stack) -> bool:
    with correcting(stack.database) as check:
        return check is not None


def test_a_removal_waits_for_the_corrections_that_run(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.corrections.ignore([stack.face("1.mp4")], "olga")
    put, results = Corrector.put, []
    thread = threading.Thread(
        target=lambda: results.append(stack.run("remove", NAME, "--everywhere", "--yes"))
    )

    def put_later(self: Corrector, corrections: Any) -> None:
        if not thread.ident:
            thread.start()
            wait_until(lambda: not may_correct(stack), "the removal that waits")
            thread.join(4)  # enough to change the gallery, if it did not wait
            assert NAME in stack.gallery.people
        put(self, corrections)

    monkeypatch.setattr(Corrector, "put", put_later)
    stack.rematcher.run_due()
    thread.join()
    assert [result.exit_code for result in results] == [0]
    assert_forgotten(stack)


def test_a_removal_that_was_killed_can_be_repeated_after_a_correction(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.corrections.ignore([stack.face("1.mp4")], "olga")

    def die(*values: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget, "leave_results", die)
        assert stack.run("remove", NAME, "--everywhere", "--yes").exit_code != 0
    assert NAME not in stack.gallery.people
    for _ in range(2):
        stack.rematcher.notice_changes()
    stack.rematcher.run_due()
    assert stack.run("remove", NAME, "--everywhere", "--yes").exit_code == 0
    assert_forgotten(stack)
