"""Several writers change one gallery, in a file or a bucket, and no change is lost."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.gallery_commands import NumberedFaces, encoding, photo
from support.gallery_writers import at_once, enrol_and_remove
from support.needs import REPOSITORY
from support.settings import embedded_settings

from devstack.up import run_up
from rollcall import locks
from rollcall.cli import enrol as enrol_cli
from rollcall.cli import main as cli
from rollcall.core.errors import GalleryError, ObjectChanged, StoreMisconfigured, StoreUnavailable
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import NO_METADATA, ObjectStore
from rollcall.gallery import gallery_files, gallery_objects
from rollcall.gallery.enrolled_pictures import stored_pictures
from rollcall.gallery.forgetting import PersonRemoval
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, GalleryObject, read_gallery
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store


def gallery_of(*names: str) -> Gallery:
    points = [encoding(number) for number in range(len(names))]
    return Gallery(names, np.array(points).reshape(-1, 128))


def adding(name: str) -> Callable[[bytes | None], bytes | None]:
    def change(body: bytes | None) -> bytes | None:
        gallery = parse_gallery(body) if body else empty_gallery()
        return render_gallery(gallery.with_encoding(name, encoding(len(gallery))))

    return change


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.npz"


@pytest.fixture
def quick_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol_cli, "build_engine", lambda settings: NumberedFaces())


def enrol(name: str, picture: Path, gallery: Path | str) -> Any:
    argv = ["enrol", name, str(picture), "--encodings", str(gallery)]
    return CliRunner().invoke(cli.main, argv)


# --- a file


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_enrol_and_remove_at_once_lose_nothing(
    tmp_path: Path, path: Path, attempt: int
) -> None:
    plans, left = enrol_and_remove(str(path), tmp_path, writers=4, people=8)
    codes = at_once(plans, tmp_path)
    assert [set(each) for each in codes] == [{0}] * 4
    assert set(parse_gallery(path.read_bytes()).people) == left
    assert not list(tmp_path.glob(".gallery*"))


def test_folders_photos_and_verdicts_at_once_lose_nothing(tmp_path: Path, path: Path) -> None:
    """Two processes enrol a folder each, one enrols single photos, and two give verdicts."""
    gallery, env = str(path), {"KEEP_FACES": "pictures", "REPORT_BUCKET": "reports"}
    plans: list[list[list[str]]] = []
    for writer in range(2):
        folder = tmp_path / f"people {writer}"
        for each in range(25):
            person = folder / f"person {writer}-{each:02}"
            person.mkdir(parents=True)
            photo(person, 30 * writer + each)
        plans.append([["enrol", "--folder", str(folder), "--encodings", gallery]])
    plans.append(
        [
            ["enrol", f"single {each}", str(photo(tmp_path, 100 + each)), "--encodings", gallery]
            for each in range(6)
        ]
    )
    for writer in range(2):
        numbers = range(200 + 10 * writer, 206 + 10 * writer)
        plans.append(
            [
                ["verdict", gallery, kind, f"{kind} {each}" if kind != "ignore" else "", str(each)]
                for each, kind in zip(numbers, ("is", "not", "ignore") * 2, strict=True)
            ]
        )
    codes = at_once(plans, tmp_path, env)
    assert [set(each) for each in codes] == [{0}] * 5
    known = read_gallery(GalleryFile(path))
    expected = {f"person {writer}-{each:02}" for writer in range(2) for each in range(25)}
    expected |= {f"single {each}" for each in range(6)} | {f"is {n}" for n in (200, 203, 210, 213)}
    assert set(known.people) == expected
    assert len(known) == len(expected)
    assert sorted(verdict.kind for verdict in known.verdicts) == sorted(("is", "not", "ignore") * 4)
    photos = {each.id for each in known.examples if not each.verdict}
    assert stored_pictures(GalleryFile(path)) == photos


def test_the_file_keeps_its_owner_and_mode(path: Path, tmp_path: Path, quick_faces: None) -> None:
    """Otherwise, the function could no longer read the gallery after root had changed it."""
    path.write_bytes(render_gallery(gallery_of("alice", "bob")))
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    argv = ["gallery", "remove", "alice", "--yes", "--encodings", str(path)]
    assert CliRunner().invoke(cli.main, argv).exit_code == 0
    assert enrol("carol", photo(tmp_path, 7), path).exit_code == 0
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )
    assert parse_gallery(path.read_bytes()).people == ("bob", "carol")


def test_extended_attributes_stay(path: Path) -> None:
    """Access control lists are extended attributes."""
    GalleryFile(path).save(render_gallery(gallery_of("alice")))
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        return  # this file system has none, so nothing can be lost
    GalleryFile(path).update(adding("bob"))
    assert os.getxattr(path, "user.note") == b"kept"


def test_an_input_output_error_is_not_an_empty_gallery(
    path: Path, tmp_path: Path, quick_faces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = render_gallery(gallery_of("alice"))
    path.write_bytes(body)

    failed: list[str] = []

    def once(real: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(asked: Path, *args: Any, **kwargs: Any) -> Any:
            if asked == path and what not in failed:
                failed.append(what)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(asked, *args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr("rollcall.gallery.gallery_locations.Path.stat", once(Path.stat, "stat"))
        patch.setattr("rollcall.gallery.gallery_locations.open", once(open, "open"), raising=False)
        result = enrol("bob", photo(tmp_path, 1), path)
    assert result.exit_code == 1
    assert "Input/output error" in result.output
    assert path.read_bytes() == body


def test_a_loop_of_links_is_a_gallery_error(tmp_path: Path, path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(GalleryError, match="cannot be"):
        GalleryFile(path).update(adding("bob"))
    with pytest.raises(GalleryError, match="cannot be"):
        GalleryFile(path).save(b"")


def test_the_folder_is_synced_to_disk_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    GalleryFile(path).save(render_gallery(gallery_of("alice")))
    assert synced == [False, True]


KILLED = """
import os, signal, sys
from pathlib import Path
from rollcall.gallery.gallery_locations import GalleryFile
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
GalleryFile(Path(sys.argv[1])).save(b"PK\\x03\\x04 with encodings")
"""


def test_only_temporary_files_of_killed_commands_are_deleted(tmp_path: Path, path: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(path)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run(argv, check=False, env=env).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    before = tmp_path / ".gallery-a1b2c3d_"  # a temporary name of an earlier version
    before.write_bytes(b"PK\x03\x04")
    theirs = [tmp_path / name for name in (".gallery-holidays", ".gallery-old.npz", "notes.part")]
    for each in theirs:
        each.write_text("mine")
    GalleryFile(path).save(render_gallery(gallery_of("alice")))
    assert left.exists(), "it may belong to a command that is running"
    old_s = time.time() - 2 * gallery_files.ABANDONED_S
    for each in (left, before, *theirs):
        os.utime(each, (old_s, old_s))
    GalleryFile(path).update(adding("bob"))
    assert set(tmp_path.iterdir()) == {path, *theirs}


def test_waiting_too_long_for_the_lock_is_a_gallery_error(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.2)
    with (
        locks.locked(tmp_path),
        pytest.raises(GalleryError, match="another process has been changing"),
    ):
        GalleryFile(path).save(b"")
    GalleryFile(path).save(render_gallery(gallery_of("alice")))


def test_a_file_is_locked_if_the_folder_cannot_be_locked(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS cannot lock folders."""
    lock = locks.fcntl.flock

    def of_nfs(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", of_nfs)
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.2)
    GalleryFile(path).update(adding("alice"))
    with locks.locked(tmp_path), pytest.raises(GalleryError, match="another process"):
        GalleryFile(path).update(adding("bob"))
    GalleryFile(path).update(adding("carol"))
    assert read_gallery(GalleryFile(path)).people == ("alice", "carol")


def test_converting_does_not_replace_another_gallery(tmp_path: Path, path: Path) -> None:
    old = tmp_path / "old.npz"
    old.write_bytes(render_gallery(gallery_of("alice")))
    argv = ["gallery", "convert", str(old), str(path)]
    for _ in range(2):
        assert CliRunner().invoke(cli.main, argv).exit_code == 0
    GalleryFile(path).update(adding("bob"))
    result = CliRunner().invoke(cli.main, argv)
    assert result.exit_code == 1
    assert "other people or encodings; name a new file" in result.stderr
    assert read_gallery(GalleryFile(path)).people == ("alice", "bob")
    same = ["gallery", "convert", str(path), str(path)]
    assert CliRunner().invoke(cli.main, same).exit_code == 0


def test_up_does_not_replace_a_gallery_that_appeared_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default gallery appears after `up` has found it missing, and before `up` writes it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".local" / "share" / "rollcall" / "gallery.npz"
    real = locks.locked

    def late(folder: Path) -> Any:
        if not path.exists():
            path.write_bytes(render_gallery(gallery_of("alice")))
        return real(folder)

    class Stopped(Exception):
        pass

    def stop(*args: Any) -> Any:
        raise Stopped

    monkeypatch.setattr("rollcall.gallery.gallery_locations.locked", late)
    monkeypatch.setattr("devstack.up.OpenFaasStack", stop)
    with pytest.raises(Stopped):
        run_up(tmp_path / "up", {}, "", lambda: None)
    assert read_gallery(GalleryFile(path)).people == ("alice",)


def test_a_similar_name_is_refused_and_listed(
    tmp_path: Path, path: Path, quick_faces: None
) -> None:
    assert enrol("Ada", photo(tmp_path, 1), path).exit_code == 0
    for name in ("ada", "A\u200bda", "Unknown "):
        result = enrol(name, photo(tmp_path, 2), path)
        assert (result.exit_code, "looks like" in result.stderr) == (1, True)
    assert enrol(" Ada\u00a0", photo(tmp_path, 3), path).exit_code == 0
    assert read_gallery(GalleryFile(path)).names == ("Ada", "Ada")
    similar = gallery_of("Ada", "ada", "A\u200bda", "Grace")
    path.write_bytes(render_gallery(similar))
    argv = ["gallery", "remove", "Ada", "--encodings", str(path)]
    for option in ((), ("--yes",)):
        result = CliRunner().invoke(cli.main, [*argv, *option])
        assert result.exit_code == 0
        for name in ("ada", "A\u200bda"):
            assert f"kept {name!r}, which looks like that name" in result.stderr
        assert "Grace" not in result.stderr
    result = CliRunner().invoke(cli.main, ["gallery", "remove", "ADA", "--encodings", str(path)])
    assert (result.exit_code, "'ada'" in result.stderr) == (1, True)


def test_a_similar_name_enrolled_meanwhile_is_refused(
    tmp_path: Path, path: Path, quick_faces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = locks.locked

    def late(folder: Path) -> Any:
        path.write_bytes(render_gallery(gallery_of("ada")))
        return real(folder)

    monkeypatch.setattr("rollcall.gallery.gallery_locations.locked", late)
    result = enrol("Ada", photo(tmp_path, 2), path)
    assert (result.exit_code, "looks like 'ada'" in result.stderr) == (1, True)
    assert read_gallery(GalleryFile(path)).people == ("ada",)


def test_converting_lists_names_that_look_alike(tmp_path: Path, path: Path) -> None:
    old = tmp_path / "old.npz"
    old.write_bytes(render_gallery(gallery_of("Ada", "ada", "Grace")))
    result = CliRunner().invoke(cli.main, ["gallery", "convert", str(old), str(path)])
    assert result.exit_code == 0
    assert "'ada' looks like 'Ada'; is it the same person?" in result.stderr
    assert "Grace" not in result.stderr


# --- a bucket


class Ignoring(MemoryStore):
    """A store that ignores the condition of a write."""

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        self.write(bucket, key, body, content_type, metadata)


class NeverMatching(MemoryStore):
    """A store that refuses every conditional replacement, as Ceph 16 does in versioned buckets."""

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        if etag:
            raise ObjectChanged("412")
        super().write_if(bucket, key, body, content_type, etag)


@pytest.fixture(params=["memory", "s3", "versions", "ignoring", "never matching"])
def location(request: pytest.FixtureRequest) -> GalleryObject:
    bucket = f"galleries-{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        return GalleryObject(MemoryStore(), bucket, "gallery.npz")
    if request.param in ("ignoring", "never matching"):
        store = Ignoring() if request.param == "ignoring" else NeverMatching()
        return GalleryObject(store, bucket, "gallery.npz")
    client = s3_client(embedded_settings(request.getfixturevalue("moto_url")))
    s3 = S3Store(client)
    s3.create_bucket(bucket)
    if request.param == "versions":
        versioning = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    return GalleryObject(s3, bucket, "gallery.npz")


def keys(location: GalleryObject) -> list[str]:
    listed = [
        *location.store.list_objects(location.bucket),
        *location.store.old_versions(location.bucket),
    ]
    return sorted({info.key for info in listed})


def test_changes_create_and_replace_only_the_gallery(location: GalleryObject) -> None:
    for name in ("alice", "bob"):
        location.update(adding(name))
    assert read_gallery(location).people == ("alice", "bob")
    assert keys(location) == ["gallery.npz"]


def supports_conditions(location: GalleryObject) -> bool:
    return not isinstance(location.store, Ignoring | NeverMatching)


@pytest.mark.parametrize("first", [[], ["alice"]])
def test_the_changes_of_another_writer_are_kept(location: GalleryObject, first: list[str]) -> None:
    """The other writer uses no locks, and writes between our read and our write."""
    if not supports_conditions(location):
        return  # these stores cannot keep other programs apart, as docs/security.md says
    if first:
        location.save(render_gallery(gallery_of(*first)))
    others = ["zoe", "yan", "xi"]

    def change(body: bytes | None) -> bytes | None:
        new = adding("bob")(body)
        if others:
            theirs = adding(others.pop())(body)
            assert theirs
            location.store.write(location.bucket, location.key, theirs, "", {})
        return new

    location.update(change)
    assert read_gallery(location).people == tuple(sorted([*first, "bob", "xi", "yan", "zoe"]))


def test_a_gallery_that_is_deleted_meanwhile_is_created_again(location: GalleryObject) -> None:
    if not supports_conditions(location):
        return
    location.save(render_gallery(gallery_of("alice")))
    found: list[bool] = []

    def change(body: bytes | None) -> bytes | None:
        new = adding("bob")(body)
        if not found:
            location.store.delete(location.bucket, location.key)
        found.append(body is not None)
        return new

    location.update(change)
    assert found == [True, False]
    assert read_gallery(location).people == ("bob",)


def test_other_writers_that_are_always_faster_are_an_error(
    location: GalleryObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not supports_conditions(location):
        return
    monkeypatch.setattr(gallery_objects, "MAX_TRIES", 3)
    count = 0

    def change(body: bytes | None) -> bytes | None:
        nonlocal count
        count += 1
        location.store.write(location.bucket, location.key, b"%d" % count, "", {})
        return b"ours"

    with pytest.raises(ObjectChanged, match="later"):
        location.update(change)
    assert count == 3
    assert location.load() == b"3"


def test_a_lost_answer_to_our_own_write_is_not_another_writer() -> None:
    class LosesOneAnswer(MemoryStore):
        lost = 0

        def write_if(
            self,
            bucket: str,
            key: str,
            body: bytes,
            kind: str,
            etag: str,
            metadata: Mapping[str, str] = NO_METADATA,
        ) -> None:
            super().write_if(bucket, key, body, kind, etag)
            if key == "gallery.npz" and not self.lost:
                self.lost += 1
                raise ObjectChanged("the repeat of a write whose answer was lost")

    store = LosesOneAnswer()
    store.write("g", "gallery.npz", render_gallery(gallery_of("alice", "bob")), "", {})
    (mention,) = PersonRemoval("bob", dry_run=False).remove_from_gallery(
        GalleryObject(store, "g", "gallery.npz")
    )
    assert (mention.count, store.lost) == (1, 1)


def test_a_lock_object_keeps_two_commands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_objects, "LOCK_WAIT_S", 0.2)
    store = Ignoring()
    location = GalleryObject(store, "g", "gallery.npz")

    def change(body: bytes | None) -> bytes | None:
        with pytest.raises(GalleryError, match=r"delete s3://g/gallery\.npz\.lock-"):
            location.update(adding("bob"))
        return adding("alice")(body)

    location.update(change)
    assert read_gallery(location).people == ("alice",)
    assert keys(location) == ["gallery.npz"]


def test_the_lock_object_of_a_killed_command_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Ignoring()
    with monkeypatch.context() as patch:
        old_s = time.time() - 2 * gallery_objects.LOCK_EXPIRES_S
        patch.setattr(time, "time", lambda: old_s)
        store.write("g", "gallery.npz.lock-abc", b"", "", {})
    location = GalleryObject(store, "g", "gallery.npz")
    location.update(adding("alice"))
    assert keys(location) == ["gallery.npz"]


def test_keys_that_may_write_only_the_gallery_suffice() -> None:
    """A policy may allow only this object. The write is still conditional."""

    class Narrow(MemoryStore):
        def write_if(
            self,
            bucket: str,
            key: str,
            body: bytes,
            kind: str,
            etag: str,
            metadata: Mapping[str, str] = NO_METADATA,
        ) -> None:
            self._refuse(key)
            super().write_if(bucket, key, body, kind, etag)

        def head(self, bucket: str, key: str) -> Any:
            self._refuse(key)
            return super().head(bucket, key)

        def _refuse(self, key: str) -> None:
            if key != "gallery.npz":
                raise StoreMisconfigured("refused with AccessDenied")

    location = GalleryObject(Narrow(), "g", "gallery.npz")
    location.update(adding("alice"))
    assert read_gallery(location).people == ("alice",)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreMisconfigured("refused")])
def test_a_store_that_does_not_answer_is_not_an_empty_gallery(error: Exception) -> None:
    class Down(MemoryStore):
        def read_with_etag(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
            raise error

    store: ObjectStore = Down()
    body = render_gallery(gallery_of("alice"))
    store.write("g", "gallery.npz", body, "", {})
    with pytest.raises(type(error)):
        GalleryObject(store, "g", "gallery.npz").update(adding("bob"))
    assert store.read("g", "gallery.npz", 1 << 20) == body
