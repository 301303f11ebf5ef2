"""Forgetting a person, on a real S3 and DynamoDB over HTTP."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.settings import embedded_values
from support.videos import painted_gallery

from rollcall.cli.main import main
from rollcall.core.errors import ObjectChanged
from rollcall.core.gallery import Gallery
from rollcall.core.results import parse_csv, render_csv, render_error, text_file_without
from rollcall.core.settings import parse_settings
from rollcall.core.types import ObjectInfo, Person
from rollcall.gallery.forgetting import MAX_NAMING_BYTES, Forgetting, results_in
from rollcall.gallery.gallery_formats import is_native, parse_gallery, render_gallery
from rollcall.queues.inbox import Inbox
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import DynamoStudents, ensure_table, put_items
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store
from rollcall.trigger.reconciler import Reconciler
from rollcall.worker.forgotten_results import in_files
from rollcall.worker.result_files import ResultFiles

METADATA = {"source-version": "7", "gallery": "abc", "engine": "onnx"}


class Place:
    """Buckets and a table of this test alone."""

    def __init__(self, url: str) -> None:
        n = uuid.uuid4().hex[:8]
        self.input, self.output, self.reports, self.galleries = (
            f"{kind}-{n}" for kind in ("in", "out", "reports", "galleries")
        )
        self.env = embedded_values(
            url,
            INPUT_BUCKET=self.input,
            OUTPUT_BUCKET=self.output,
            REPORT_BUCKET=self.reports,
            STUDENT_TABLE=f"t-{n}",
            ENCODINGS=f"s3://{self.galleries}/gallery.npz",
        )
        self.settings = parse_settings(self.env)
        self.client = s3_client(self.settings)
        self.store = S3Store(self.client)
        for bucket in (self.input, self.output, self.reports, self.galleries):
            self.store.create_bucket(bucket)
        table = self.settings.student_table
        ensure_table(dynamodb_client(self.settings), table)
        records = [{"name": name, "major": "m"} for name in ("alice", "bob")]
        put_items(dynamodb_resource(self.settings), table, records)
        self.students = DynamoStudents(dynamodb_client(self.settings), table)
        self.write_gallery(painted_gallery(alice="red", bob="blue"))

    def write_gallery(self, gallery: Gallery) -> None:
        body = render_gallery(gallery)
        self.store.write(self.galleries, "gallery.npz", body, "application/octet-stream", {})

    def people(self) -> tuple[str, ...]:
        return parse_gallery(self.store.read(self.galleries, "gallery.npz", 1 << 20)).people

    def keep_versions(self) -> None:
        for bucket in (self.output, self.reports, self.galleries):
            self.client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )

    def recognised(self, stem: str, *names: str) -> None:
        """A video, its result and its report, as the function writes them."""
        self.store.write(self.input, f"{stem}.mp4", stem.encode(), "video/mp4", {})
        etag = self.store.head(self.input, f"{stem}.mp4").etag
        body = render_csv([Person(name, 0, 1, 2, 0.4) for name in names], {})
        metadata = {"source-etag": etag, **METADATA}
        self.store.write(self.output, f"{stem}.csv", body, "text/csv", metadata)
        people = [{"name": name} for name in names]
        faces = [{"time_s": 0, "nearest": name} for name in names]
        report = json.dumps({"status": "recognised", "people": people, "faces": faces})
        self.store.write(
            self.reports, f"{stem}.mp4.json", report.encode(), "application/json", {"x": "y"}
        )

    def names(self, stem: str) -> list[str]:
        body = self.store.read(self.output, f"{stem}.csv", 1 << 20)
        return [row["name"] for row in parse_csv(body)]

    def everything(self) -> bytes:
        """All bytes of all buckets, of every version."""
        found = b""
        for bucket in (self.output, self.reports, self.galleries):
            for info in [*self.store.list_objects(bucket), *self.store.old_versions(bucket)]:
                body = self.store.read(bucket, info.key, 1 << 20, info.version_id)
                gallery = bucket == self.galleries
                found += " ".join(parse_gallery(body).people).encode() if gallery else body
        return found

    def remove(self, *args: str) -> Result:
        return CliRunner().invoke(main, ["gallery", "remove", *args], env=self.env)


@pytest.fixture
def place(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    return Place(moto_url)


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- out of the gallery


def test_without_yes_nothing_is_touched(place: Place) -> None:
    place.keep_versions()
    place.recognised("a", "alice", "bob")
    place.recognised("a", "alice")
    before = place.everything()
    result = place.remove("alice", "--everywhere")
    assert result.exit_code == 0, result.output
    assert "nothing was changed; do it with --yes" in result.stderr
    assert "would remove" in result.stdout
    assert "would delete: old version" in result.stdout
    assert place.everything() == before
    assert place.students.count("alice") == 1


def test_the_gallery_alone(place: Place) -> None:
    place.recognised("a", "alice")
    result = place.remove("alice", "--yes")
    assert result.exit_code == 0, result.output
    assert place.people() == ("bob",)
    assert place.names("a") == ["alice"]
    assert place.students.count("alice") == 1


@pytest.mark.parametrize(
    ("name", "near"), [("Alice", "'alice'"), ("alicia", "'alice'"), ("lic", "'alice'")]
)
def test_an_unknown_name_is_not_guessed(place: Place, name: str, near: str) -> None:
    result = place.remove(name, "--yes", "--everywhere")
    assert result.exit_code == 1
    assert f"near to it: {near}" in result.stderr
    assert place.people() == ("alice", "bob")
    assert place.students.count("alice") == 1


@pytest.mark.parametrize("name", ["unknown", " ", "a\nb"])
def test_a_name_that_nobody_can_have_is_refused(place: Place, name: str) -> None:
    place.recognised("a", "")
    assert place.remove(name, "--yes", "--everywhere").exit_code == 1
    assert place.names("a") == ["unknown"]


def test_a_pickle_becomes_native_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "encoding"
    points = np.random.default_rng(1).normal(0, 0.1, (3, 128))
    path.write_bytes(pickle.dumps({"name": ["alice", "bob", "alice"], "encoding": list(points)}))
    argv = ["gallery", "remove", "alice", "--encodings", str(path)]
    assert CliRunner().invoke(main, argv).exit_code == 0
    assert not is_native(path.read_bytes())
    result = CliRunner().invoke(main, [*argv, "--yes"])
    assert result.exit_code == 0, result.output
    assert "is native now" in result.stderr
    assert parse_gallery(path.read_bytes()).names == ("bob",)
    assert np.array_equal(parse_gallery(path.read_bytes()).encodings, points[1:2])
    assert points[0].tobytes() not in path.read_bytes()


def test_behind_a_symbolic_link_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "gallery.npz", tmp_path / "gallery.npz"
    real.write_bytes(render_gallery(painted_gallery(alice="red", bob="blue")))
    link.symlink_to(real)
    argv = ["gallery", "remove", "alice", "--yes", "--encodings", str(link)]
    assert CliRunner().invoke(main, argv).exit_code == 0
    assert link.is_symlink()
    assert parse_gallery(real.read_bytes()).people == ("bob",)
    assert [path.name for path in real.parent.iterdir()] == ["gallery.npz"]


# --- out of everything


def test_everywhere_takes_one_person_and_leaves_the_others(place: Place) -> None:
    place.recognised("a", "alice", "bob")
    place.recognised("b", "bob")
    place.recognised("c", "alice")
    result = place.remove("alice", "--everywhere", "--yes", "--json")
    assert result.exit_code == 0, result.output
    found = {(each["kind"], each["where"]): each["count"] for each in documents(result)}
    assert found == {
        ("gallery", f"s3://{place.galleries}/gallery.npz"): 1,
        ("result", f"s3://{place.output}/a.csv"): 1,
        ("result", f"s3://{place.output}/c.csv"): 1,
        ("report", f"s3://{place.reports}/a.mp4.json"): 2,
        ("report", f"s3://{place.reports}/c.mp4.json"): 2,
        ("record", f"table {place.settings.student_table}"): 1,
    }
    assert all(each["removed"] for each in documents(result))
    assert b"alice" not in place.everything()
    assert [place.names(stem) for stem in "abc"] == [["bob"], ["bob"], []]
    assert (place.students.count("alice"), place.students.count("bob")) == (0, 1)
    assert len(list(place.store.list_objects(place.output))) == 3


def test_metadata_stays_so_nothing_is_recognised_again(place: Place, tmp_path: Path) -> None:
    place.recognised("a", "alice")
    before = place.store.metadata(place.output, "a.csv")
    place.remove("alice", "--everywhere", "--yes")
    assert place.store.metadata(place.output, "a.csv") == {**before, "forgotten": "1"}
    report = place.store.metadata(place.reports, "a.mp4.json")
    assert report == {"x": "y", "forgotten": "2"}
    kind = place.client.head_object(Bucket=place.output, Key="a.csv")["ContentType"]
    assert kind == "text/csv"
    inbox = Inbox(tmp_path / "inbox.sqlite3")
    missing: list[int] = []
    Reconciler(inbox, place.store, place.input, place.output, lambda: missing.append(1)).reconcile()
    assert not missing
    inbox.close()


def test_old_versions_that_name_them_are_deleted_and_no_others(place: Place) -> None:
    place.keep_versions()
    place.recognised("a", "alice", "bob")
    place.recognised("a", "bob")
    place.recognised("b", "bob")
    place.recognised("b", "alice")
    place.recognised("gone", "alice")
    place.store.delete(place.output, "gone.csv")
    place.write_gallery(painted_gallery(bob="blue"))
    place.write_gallery(painted_gallery(bob="blue", carol="green"))
    result = place.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    assert "deleted: old version" in result.stdout
    assert b"alice" not in place.everything()
    old = [info.key for info in place.store.old_versions(place.output)]
    assert old == ["b.csv"]
    assert place.people() == ("bob", "carol")
    assert len(list(place.store.old_versions(place.galleries))) == 1


def test_what_came_back_is_removed_by_doing_it_again(place: Place) -> None:
    """A call in flight still had the old gallery."""
    place.remove("alice", "--everywhere", "--yes")
    place.recognised("late", "alice")
    result = place.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    assert "once more after that" in result.stderr
    assert b"alice" not in place.everything()
    assert place.remove("alice", "--everywhere", "--yes").exit_code == 1


def test_what_cannot_be_read_is_left_and_said(place: Place) -> None:
    place.store.write(place.output, "odd.csv", b"alice was here", "text/csv", {})
    place.store.write(place.output, "notes.txt", b"alice", "text/plain", {})
    place.recognised("a", "alice")
    result = place.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 1
    assert f"left as it is: s3://{place.output}/odd.csv" in result.stdout
    assert "notes.txt" not in result.stdout
    assert place.names("a") == []
    assert place.store.read(place.output, "odd.csv", 99) == b"alice was here"


def test_without_reports_that_is_said(place: Place) -> None:
    place.env["REPORT_BUCKET"] = ""
    assert "no reports were looked at" in place.remove("alice", "--everywhere").stderr


def test_placeholders_of_the_store_are_minded_only_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.npz"
    path.write_bytes(render_gallery(painted_gallery(alice="red")))
    argv, env = (
        ["gallery", "remove", "alice", "--encodings", str(path)],
        {"TRIGGER_TOKEN": "CHANGE_ME"},
    )
    assert CliRunner().invoke(main, argv, env=env).exit_code == 0
    assert CliRunner().invoke(main, [*argv, "--everywhere"], env=env).exit_code == 2


# --- out of the worker's text files


def in_folder(place: Place, **texts: bytes) -> Path:
    """Text files of a worker, of the time 7 s."""
    folder = Path(place.settings.results_folder)
    files = ResultFiles(folder)
    for stem, text in texts.items():
        files.write(f"{stem}.mp4", text, 7000)
    return folder


def csv_of(*names: str) -> bytes:
    return render_csv([Person(name, 0, 1, 2, 0.4) for name in names], {})


def test_rows_in_text_files_go_and_their_times_stay(place: Place) -> None:
    failed = render_error("gone", "alice.mp4 is gone")
    folder = in_folder(place, a=csv_of("alice", "bob"), b=csv_of("bob"), c=failed)
    for option in ("--everywhere", "--yes"):
        assert place.remove("alice", option).exit_code == 0
        assert (folder / "a.mp4.txt").read_bytes() == csv_of("alice", "bob")
    result = place.remove("alice", "--everywhere", "--yes", "--json")
    assert result.exit_code == 0, result.output
    files = [each for each in documents(result) if each["kind"] == "file"]
    assert [(each["where"], each["count"], each["removed"]) for each in files] == [
        (str(folder / "a.mp4.txt"), 1, True)
    ]
    assert [(folder / f"{stem}.mp4.txt").read_bytes() for stem in "abc"] == [
        csv_of("bob"),
        csv_of("bob"),
        failed,
    ]
    assert (folder / "a.mp4.txt").stat().st_mtime == 7
    assert len(list(folder.iterdir())) == 3
    assert "may hold the name for 14 days" in result.stderr


def test_a_text_file_that_cannot_be_read_is_left_and_said(place: Place) -> None:
    folder = in_folder(place, a=csv_of("alice"), odd=b"alice was here")
    with open(folder / "large.txt", "wb") as file:
        file.truncate(MAX_NAMING_BYTES + 1)
    result = place.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 1
    for name in ("odd.mp4.txt", "large.txt"):
        assert f"left as it is: {folder / name}" in result.stdout
    assert (folder / "a.mp4.txt").read_bytes() == csv_of()


def test_without_a_folder_it_says_where_to_look(place: Place) -> None:
    result = place.remove("alice", "--everywhere")
    assert "no RESULTS_FOLDER 'results' here" in result.stderr
    assert "14 days" not in result.stderr
    place.env["RESULT_QUEUE_URL"] = "http://127.0.0.1:1/1/results"
    assert "14 days" in place.remove("alice", "--everywhere").stderr


@pytest.mark.parametrize("times", [0, 1, 9])
def test_a_text_file_that_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The worker writes a later result, `times` times, between our look and our write; or, for
    none, somebody deletes the file."""
    files, path, writes = ResultFiles(tmp_path), tmp_path / "a.mp4.txt", list(range(times))
    files.write("a.mp4", csv_of("alice"), 1000)

    def meanwhile(body: bytes, name: str) -> tuple[bytes, int]:
        if not times:
            path.unlink()
        elif writes:
            files.write("a.mp4", csv_of("alice", "bob"), 9000 - writes.pop())
        return text_file_without(body, name)

    monkeypatch.setattr("rollcall.worker.forgotten_results.text_file_without", meanwhile)
    traces = in_files(Forgetting("alice", really=True), tmp_path)
    if times > 1:
        with pytest.raises(ObjectChanged, match="later"):
            list(traces)
        assert b"alice" in path.read_bytes()
    else:
        assert sum(trace.count for trace in traces) == times
        assert not times or path.read_bytes() == csv_of("bob")
    assert not list(tmp_path.glob("*.part"))


# --- beside a function that writes


class Busy(MemoryStore):
    """Somebody writes a new result between our look and our write, `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def metadata(self, bucket: str, key: str) -> Any:
        if self.times:
            self.times -= 1
            body = render_csv([Person("alice", 0, 1, 50 + self.times, 0.4)], {})
            self.write(bucket, key, body, "text/csv", {"source-etag": "new"})
        return super().metadata(bucket, key)


def busy(times: int) -> Busy:
    store = Busy(times)
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {"source-etag": "old"})
    return store


def test_a_newer_result_is_not_overwritten_by_an_older_one() -> None:
    store = busy(1)
    (trace,) = Forgetting("alice", really=True).in_bucket(store, results_in("out"))
    assert trace.count == 1
    assert parse_csv(store.read("out", "a.csv", 999)) == []
    assert store.metadata("out", "a.csv")["source-etag"] == "new"


def test_one_that_never_rests_is_for_later() -> None:
    with pytest.raises(ObjectChanged, match="later"):
        list(Forgetting("alice", really=True).in_bucket(busy(9), results_in("out")))


def test_what_is_deleted_meanwhile_names_nobody() -> None:
    class Emptied(Busy):
        def metadata(self, bucket: str, key: str) -> Any:
            self.delete(bucket, key)
            return super().metadata(bucket, key)

    store = Emptied(0)
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {})
    assert not list(Forgetting("alice", really=True).in_bucket(store, results_in("out")))
    assert not list(store.list_objects("out"))


def test_a_count_that_is_none_is_begun_anew() -> None:
    store = MemoryStore()
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {"forgotten": "some"})
    list(Forgetting("alice", really=True).in_bucket(store, results_in("out")))
    assert store.metadata("out", "a.csv")["forgotten"] == "1"


def test_many_objects_are_listed_page_by_page(place: Place) -> None:
    """And old versions are deleted while they are listed."""
    place.keep_versions()
    for event, most in (("ListObjectsV2", 7), ("ListObjectVersions", 7)):
        place.client.meta.events.register(
            f"before-parameter-build.s3.{event}",
            lambda params, most=most, **_: params.update(MaxKeys=most),
        )
    for number in range(20):
        place.recognised(f"{number:02}", "alice", "bob")
        place.recognised(f"{number:02}", "alice")
    named = results_in(place.output)
    traces = list(Forgetting("alice", really=True).in_bucket(place.store, named))
    assert sum(not trace.version for trace in traces) == 20
    assert sum(bool(trace.version) for trace in traces) == 40
    left: list[ObjectInfo] = list(place.store.list_objects(place.output))
    assert len(left) == 20
    assert not list(place.store.old_versions(place.output))


def test_an_old_version_that_is_deleted_meanwhile_is_no_trouble() -> None:
    """Two removals at once find the same old versions."""

    class Versions(MemoryStore):
        def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
            return iter([ObjectInfo(bucket, "a.csv", 1, "e", "7")])

    assert not list(Forgetting("alice", really=True).in_bucket(Versions(), results_in("out")))


@pytest.mark.parametrize("compares", [True, False])
def test_a_result_that_comes_in_the_last_moment_is_kept(compares: bool) -> None:
    """After the last look, so that only the store itself can tell. Not every store can."""

    class LastMoment(MemoryStore):
        times = 1

        def head(self, bucket: str, key: str) -> ObjectInfo:
            info = super().head(bucket, key)
            if compares and self.times:
                self.times -= 1
                body = render_csv([Person("alice", 0, 1, 50, 0.4)], {})
                self.write(bucket, key, body, "text/csv", {"source-etag": "new"})
            return info

        def write_if(self, *args: Any) -> None:
            if not compares:
                raise ObjectChanged("412, as Ceph 16 answers in a bucket that keeps versions")
            super().write_if(*args)

    store = LastMoment()
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {"source-etag": "old"})
    (trace,) = Forgetting("alice", really=True).in_bucket(store, results_in("out"))
    assert trace.count == 1
    assert parse_csv(store.read("out", "a.csv", 999)) == []
    expected = {"source-etag": "new" if compares else "old", "forgotten": "1"}
    assert store.metadata("out", "a.csv") == expected
