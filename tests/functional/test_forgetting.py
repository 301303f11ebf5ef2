"""Removing a person from files, and from S3 and DynamoDB servers over HTTP."""

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
from support.listings import memory_listings
from support.settings import embedded_values
from support.stored import faces_body
from support.videos import painted_gallery

from rollcall.cli.main import main
from rollcall.core.errors import ObjectChanged
from rollcall.core.gallery import Gallery
from rollcall.core.results import parse_csv, render_csv, render_error, text_file_without
from rollcall.core.settings import parse_settings
from rollcall.core.types import ObjectInfo, Person
from rollcall.core.verdicts import FaceSource, Verdict, VerdictKind
from rollcall.gallery.forgetting import MAX_RESULT_BYTES, PersonRemoval, results_in
from rollcall.gallery.gallery_formats import is_native, parse_gallery, render_gallery
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.recognition.stored_faces import parse_faces
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import DynamoStudents, ensure_table, put_items
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store
from rollcall.trigger.reconciler import Reconciler
from rollcall.worker.forgotten_results import in_files
from rollcall.worker.result_files import ResultFiles

METADATA = {"source-version": "7", "gallery": "abc", "engine": "onnx"}


class Stores:
    """Buckets and a table for one test."""

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
        """Write a video, and its result and report as the function would."""
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
        """Return the bytes of all versions in all buckets."""
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
def stores(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stores]:
    monkeypatch.chdir(tmp_path)
    return Stores(moto_url)


def test_verdicts_about_the_person_are_removed_too(stores: Stores) -> None:
    known = painted_gallery(alice="red", bob="blue")
    face = known.encodings_of("bob") + 0.01
    sources = (FaceSource(bucket=stores.input, key="a.mp4"),)
    kinds: list[tuple[VerdictKind, str]] = [("is", "alice"), ("not", "alice"), ("not", "bob")]
    for number, (kind, name) in enumerate(kinds):
        known = known.with_verdict(Verdict(f"v{number}", kind, name, face + number, sources))
    stores.write_gallery(known)
    result = stores.remove("alice", "--json", "--yes")
    assert [each["count"] for each in documents(result) if each["kind"] == "gallery"] == [3]
    left = parse_gallery(stores.store.read(stores.galleries, "gallery.npz", 1 << 20))
    assert (left.people, [each.id for each in left.verdicts]) == (("bob",), ["v2"])
    assert b"alice" not in stores.store.read(stores.galleries, "gallery.npz", 1 << 20)


def test_somebody_who_is_only_in_verdicts_can_be_removed(stores: Stores) -> None:
    known = painted_gallery(bob="blue")
    said = Verdict("v", "not", "alice", known.encodings + 0.5, (FaceSource(),))
    stores.write_gallery(known.with_verdict(said))
    assert stores.remove("alice", "--yes").exit_code == 0
    left = parse_gallery(stores.store.read(stores.galleries, "gallery.npz", 1 << 20))
    assert (left.people, left.verdicts) == (("bob",), ())


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- from the gallery


def test_without_yes_nothing_is_changed(stores: Stores) -> None:
    stores.keep_versions()
    stores.recognised("a", "alice", "bob")
    stores.recognised("a", "alice")
    before = stores.everything()
    result = stores.remove("alice", "--everywhere")
    assert result.exit_code == 0, result.output
    assert "nothing was changed; to remove the entries, add --yes" in result.stderr
    assert "would remove" in result.stdout
    assert "would delete: old version" in result.stdout
    assert stores.everything() == before
    assert stores.students.count("alice") == 1


def test_without_everywhere_only_the_gallery_is_changed(stores: Stores) -> None:
    stores.recognised("a", "alice")
    result = stores.remove("alice", "--yes")
    assert result.exit_code == 0, result.output
    assert "the name stays in results, reports and stored faces" in result.stderr
    assert stores.people() == ("bob",)
    assert stores.names("a") == ["alice"]
    assert stores.students.count("alice") == 1


@pytest.mark.parametrize(
    ("name", "near"), [("Alice", "'alice'"), ("alicia", "'alice'"), ("lic", "'alice'")]
)
def test_similar_names_are_shown_for_an_unknown_name(stores: Stores, name: str, near: str) -> None:
    result = stores.remove(name, "--yes", "--everywhere")
    assert result.exit_code == 1
    assert f"similar names: {near}" in result.stderr
    assert stores.people() == ("alice", "bob")
    assert stores.students.count("alice") == 1


@pytest.mark.parametrize("name", ["unknown", " ", "a\nb"])
def test_a_name_that_nobody_can_have_is_refused(stores: Stores, name: str) -> None:
    stores.recognised("a", "")
    assert stores.remove(name, "--yes", "--everywhere").exit_code == 1
    assert stores.names("a") == ["unknown"]


def test_a_pickle_becomes_native_under_the_same_file_name(tmp_path: Path) -> None:
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


def test_the_target_of_a_symbolic_link_is_rewritten(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "gallery.npz", tmp_path / "gallery.npz"
    real.write_bytes(render_gallery(painted_gallery(alice="red", bob="blue")))
    link.symlink_to(real)
    argv = ["gallery", "remove", "alice", "--yes", "--encodings", str(link)]
    assert CliRunner().invoke(main, argv).exit_code == 0
    assert link.is_symlink()
    assert parse_gallery(real.read_bytes()).people == ("bob",)
    assert [path.name for path in real.parent.iterdir()] == ["gallery.npz"]


# --- from everything


def test_everywhere_removes_one_person_and_keeps_the_others(stores: Stores) -> None:
    stores.recognised("a", "alice", "bob")
    stores.recognised("b", "bob")
    stores.recognised("c", "alice")
    result = stores.remove("alice", "--everywhere", "--yes", "--json")
    assert result.exit_code == 0, result.output
    found = {(each["kind"], each["where"]): each["count"] for each in documents(result)}
    assert found == {
        ("gallery", f"s3://{stores.galleries}/gallery.npz"): 1,
        ("result", f"s3://{stores.output}/a.csv"): 1,
        ("result", f"s3://{stores.output}/c.csv"): 1,
        ("report", f"s3://{stores.reports}/a.mp4.json"): 2,
        ("report", f"s3://{stores.reports}/c.mp4.json"): 2,
        ("record", f"table {stores.settings.student_table}"): 1,
    }
    assert all(each["removed"] for each in documents(result))
    assert b"alice" not in stores.everything()
    assert [stores.names(stem) for stem in "abc"] == [["bob"], ["bob"], []]
    assert (stores.students.count("alice"), stores.students.count("bob")) == (0, 1)
    assert len(list(stores.store.list_objects(stores.output))) == 3


def test_metadata_stays_so_no_video_is_recognised_again(stores: Stores) -> None:
    stores.recognised("a", "alice")
    before = stores.store.metadata(stores.output, "a.csv")
    stores.remove("alice", "--everywhere", "--yes")
    assert stores.store.metadata(stores.output, "a.csv") == {**before, "forgotten": "1"}
    report = stores.store.metadata(stores.reports, "a.mp4.json")
    assert report == {"x": "y", "forgotten": "2"}
    kind = stores.client.head_object(Bucket=stores.output, Key="a.csv")["ContentType"]
    assert kind == "text/csv"
    missing: list[int] = []
    buckets = stores.input, stores.output
    parts = MemoryQueue(), memory_listings(), stores.store
    Reconciler(*parts, *buckets, lambda: missing.append(1)).reconcile()
    assert not missing


def test_only_old_versions_that_name_the_person_are_deleted(stores: Stores) -> None:
    stores.keep_versions()
    stores.recognised("a", "alice", "bob")
    stores.recognised("a", "bob")
    stores.recognised("b", "bob")
    stores.recognised("b", "alice")
    stores.recognised("gone", "alice")
    stores.store.delete(stores.output, "gone.csv")
    stores.write_gallery(painted_gallery(bob="blue"))
    stores.write_gallery(painted_gallery(bob="blue", carol="green"))
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    assert "deleted: old version" in result.stdout
    assert b"alice" not in stores.everything()
    old = [info.key for info in stores.store.old_versions(stores.output)]
    assert old == ["b.csv"]
    assert stores.people() == ("bob", "carol")
    assert len(list(stores.store.old_versions(stores.galleries))) == 1


def test_old_galleries_with_the_face_under_another_name_are_deleted(stores: Stores) -> None:
    stores.keep_versions()
    stores.write_gallery(painted_gallery(bob="red"))
    stores.write_gallery(painted_gallery(bob="blue"))
    stores.write_gallery(painted_gallery(alice="red", bob="blue"))
    result = stores.remove("alice", "--yes")
    assert result.exit_code == 0, result.output
    (left,) = stores.store.old_versions(stores.galleries)
    body = stores.store.read(stores.galleries, left.key, 1 << 20, left.version_id)
    assert body == render_gallery(painted_gallery(bob="blue"))


def test_a_second_run_removes_a_result_that_was_written_late(stores: Stores) -> None:
    """A call that was in flight writes another result with the old gallery."""
    stores.remove("alice", "--everywhere", "--yes")
    stores.recognised("late", "alice")
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    assert "run this again after that" in result.stderr
    assert b"alice" not in stores.everything()
    assert stores.remove("alice", "--everywhere", "--yes").exit_code == 1


def test_unreadable_objects_are_left_unchanged_and_reported(stores: Stores) -> None:
    stores.store.write(stores.output, "odd.csv", b"alice was here", "text/csv", {})
    stores.store.write(stores.output, "notes.txt", b"alice", "text/plain", {})
    stores.recognised("a", "alice")
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 1
    assert f"left unchanged: s3://{stores.output}/odd.csv" in result.stdout
    assert "notes.txt" not in result.stdout
    assert stores.names("a") == []
    assert stores.store.read(stores.output, "odd.csv", 99) == b"alice was here"


def test_stored_faces_lose_the_person_and_keep_the_others(stores: Stores) -> None:
    gallery = painted_gallery(alice="red", bob="blue")
    stores.store.write(
        stores.reports,
        "a.mp4.faces.npz",
        faces_body(gallery, "red blue green", "red"),
        "application/octet-stream",
        {"x": "y"},
    )
    stores.recognised("a", "alice", "bob")
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    where = f"s3://{stores.reports}/a.mp4.faces.npz"
    assert f"removed: 2 stored faces of {where}" in result.stdout
    stored = parse_faces(stores.store.read(stores.reports, "a.mp4.faces.npz", 1 << 20))
    assert stored.names == ("bob", "")
    assert [stored.encodings[row].argmax() for row in stored.rows] == [2, 1]  # blue, green
    assert stores.store.metadata(stores.reports, "a.mp4.faces.npz") == {"x": "y", "forgotten": "2"}


def test_old_versions_of_stored_faces_are_deleted(stores: Stores) -> None:
    stores.keep_versions()
    gallery = painted_gallery(alice="red", bob="blue")
    for looks in ("red", "blue", "red blue"):
        body = faces_body(gallery, looks)
        stores.store.write(stores.reports, "a.mp4.faces.npz", body, "text/plain", {})
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 0, result.output
    bodies = [
        stores.store.read(stores.reports, info.key, 1 << 20, info.version_id)
        for info in (
            *stores.store.list_objects(stores.reports),
            *stores.store.old_versions(stores.reports),
        )
    ]
    assert [parse_faces(body).names for body in bodies] == [("bob",), ("bob",)]


def test_stored_faces_that_cannot_be_read_are_reported(stores: Stores) -> None:
    stores.store.write(stores.reports, "a.mp4.faces.npz", b"alice", "text/plain", {})
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 1
    assert f"left unchanged: s3://{stores.reports}/a.mp4.faces.npz" in result.stdout
    assert "not stored faces in Rollcall's format" in result.stdout


@pytest.mark.parametrize("bucket", ["", "reports-that-nobody-made"])
def test_without_a_report_bucket_a_note_says_so(stores: Stores, bucket: str) -> None:
    stores.env["REPORT_BUCKET"] = bucket
    result = stores.remove("alice", "--everywhere")
    assert result.exit_code == 0, result.output
    assert "no reports were searched" in result.stderr


def test_placeholders_are_refused_only_if_the_store_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.npz"
    path.write_bytes(render_gallery(painted_gallery(alice="red")))
    argv, env = (
        ["gallery", "remove", "alice", "--encodings", str(path)],
        {"TRIGGER_TOKEN": "CHANGE_ME"},
    )
    assert CliRunner().invoke(main, argv, env=env).exit_code == 0
    assert CliRunner().invoke(main, [*argv, "--everywhere"], env=env).exit_code == 2


# --- from the worker's text files


def in_folder(stores: Stores, **texts: bytes) -> Path:
    """Write text files as a worker does, with the modification time 7 s."""
    folder = Path(stores.settings.results_folder)
    files = ResultFiles(folder)
    for stem, text in texts.items():
        files.write(f"{stem}.mp4", text, 7000)
    return folder


def csv_of(*names: str) -> bytes:
    return render_csv([Person(name, 0, 1, 2, 0.4) for name in names], {})


def test_rows_are_removed_from_text_files_whose_times_stay(stores: Stores) -> None:
    failed = render_error("gone", "alice.mp4 is gone")
    folder = in_folder(stores, a=csv_of("alice", "bob"), b=csv_of("bob"), c=failed)
    for option in ("--everywhere", "--yes"):
        assert stores.remove("alice", option).exit_code == 0
        assert (folder / "a.mp4.txt").read_bytes() == csv_of("alice", "bob")
    result = stores.remove("alice", "--everywhere", "--yes", "--json")
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
    assert "may contain the name for up to 14 days" in result.stderr


def test_unreadable_text_files_are_left_unchanged_and_reported(stores: Stores) -> None:
    folder = in_folder(stores, a=csv_of("alice"), odd=b"alice was here")
    with open(folder / "large.txt", "wb") as file:
        file.truncate(MAX_RESULT_BYTES + 1)
    result = stores.remove("alice", "--everywhere", "--yes")
    assert result.exit_code == 1
    for name in ("odd.mp4.txt", "large.txt"):
        assert f"left unchanged: {folder / name}" in result.stdout
    assert (folder / "a.mp4.txt").read_bytes() == csv_of()


def test_without_a_results_folder_a_note_says_so(stores: Stores) -> None:
    result = stores.remove("alice", "--everywhere")
    assert "RESULTS_FOLDER 'results' does not exist on this machine" in result.stderr
    assert "14 days" not in result.stderr
    stores.env["RESULT_QUEUE_URL"] = "http://127.0.0.1:1/1/results"
    assert "14 days" in stores.remove("alice", "--everywhere").stderr


@pytest.mark.parametrize("times", [0, 1, 9])
def test_a_text_file_that_changes_between_read_and_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Between our read and our write, the worker writes a newer result, `times` times in all. If
    `times` is 0, somebody deletes the file instead."""
    files, path, writes = ResultFiles(tmp_path), tmp_path / "a.mp4.txt", list(range(times))
    files.write("a.mp4", csv_of("alice"), 1000)

    def change_first(body: bytes, name: str) -> tuple[bytes, int]:
        if not times:
            path.unlink()
        elif writes:
            files.write("a.mp4", csv_of("alice", "bob"), 9000 - writes.pop())
        return text_file_without(body, name)

    monkeypatch.setattr("rollcall.worker.forgotten_results.text_file_without", change_first)
    mentions = in_files(PersonRemoval("alice", dry_run=False), tmp_path)
    if times > 1:
        with pytest.raises(ObjectChanged, match="later"):
            list(mentions)
        assert b"alice" in path.read_bytes()
    else:
        assert sum(mention.count for mention in mentions) == times
        assert not times or path.read_bytes() == csv_of("bob")
    assert not list(tmp_path.glob("*.part"))


# --- while a function writes results


class Busy(MemoryStore):
    """A store in which another writer replaces the result between our read and our write.

    This happens `times` times.
    """

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
    (mention,) = PersonRemoval("alice", dry_run=False).remove_from_bucket(store, results_in("out"))
    assert mention.count == 1
    assert parse_csv(store.read("out", "a.csv", 999)) == []
    assert store.metadata("out", "a.csv")["source-etag"] == "new"


def test_an_object_that_keeps_changing_is_an_error() -> None:
    with pytest.raises(ObjectChanged, match="later"):
        list(PersonRemoval("alice", dry_run=False).remove_from_bucket(busy(9), results_in("out")))


def test_an_object_deleted_meanwhile_is_skipped() -> None:
    class Emptied(Busy):
        def metadata(self, bucket: str, key: str) -> Any:
            self.delete(bucket, key)
            return super().metadata(bucket, key)

    store = Emptied(0)
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {})
    assert not list(
        PersonRemoval("alice", dry_run=False).remove_from_bucket(store, results_in("out"))
    )
    assert not list(store.list_objects("out"))


def test_a_damaged_count_starts_again_at_zero() -> None:
    store = MemoryStore()
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {"forgotten": "some"})
    list(PersonRemoval("alice", dry_run=False).remove_from_bucket(store, results_in("out")))
    assert store.metadata("out", "a.csv")["forgotten"] == "1"


def test_all_pages_of_a_listing_are_searched(stores: Stores) -> None:
    """Deleting old versions must not disturb their listing."""
    stores.keep_versions()
    for event, max_keys in (("ListObjectsV2", 7), ("ListObjectVersions", 7)):
        stores.client.meta.events.register(
            f"before-parameter-build.s3.{event}",
            lambda params, max_keys=max_keys, **_: params.update(MaxKeys=max_keys),
        )
    for number in range(20):
        stores.recognised(f"{number:02}", "alice", "bob")
        stores.recognised(f"{number:02}", "alice")
    named = results_in(stores.output)
    mentions = list(PersonRemoval("alice", dry_run=False).remove_from_bucket(stores.store, named))
    assert sum(not mention.version for mention in mentions) == 20
    assert sum(bool(mention.version) for mention in mentions) == 40
    left: list[ObjectInfo] = list(stores.store.list_objects(stores.output))
    assert len(left) == 20
    assert not list(stores.store.old_versions(stores.output))


def test_an_old_version_that_is_deleted_meanwhile_is_skipped() -> None:
    """Two removals that run at the same time find the same old versions."""

    class Versions(MemoryStore):
        def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
            return iter([ObjectInfo(bucket, "a.csv", 1, "e", "7")])

    assert not list(
        PersonRemoval("alice", dry_run=False).remove_from_bucket(Versions(), results_in("out"))
    )


@pytest.mark.parametrize("supports_conditions", [True, False])
def test_the_write_is_conditional_if_the_store_supports_that(supports_conditions: bool) -> None:
    """Another writer replaces the result after our last HEAD, which only a conditional write
    notices. If the store refuses all conditional writes, the result is written without one."""

    class LastMoment(MemoryStore):
        times = 1

        def head(self, bucket: str, key: str) -> ObjectInfo:
            info = super().head(bucket, key)
            if supports_conditions and self.times:
                self.times -= 1
                body = render_csv([Person("alice", 0, 1, 50, 0.4)], {})
                self.write(bucket, key, body, "text/csv", {"source-etag": "new"})
            return info

        def write_if(self, *args: Any) -> None:
            if not supports_conditions:
                raise ObjectChanged("412, as Ceph 16 answers in a bucket that keeps versions")
            super().write_if(*args)

    store = LastMoment()
    body = render_csv([Person("alice", 0, 1, 2, 0.4)], {})
    store.write("out", "a.csv", body, "text/csv", {"source-etag": "old"})
    (mention,) = PersonRemoval("alice", dry_run=False).remove_from_bucket(store, results_in("out"))
    assert mention.count == 1
    assert parse_csv(store.read("out", "a.csv", 999)) == []
    expected = {"source-etag": "new" if supports_conditions else "old", "forgotten": "1"}
    assert store.metadata("out", "a.csv") == expected
