"""Two writers of one gallery lose nothing, in a file and in a bucket."""

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
from rollcall.cli import main as cli
from rollcall.core.errors import GalleryError, ObjectChanged, StoreMisconfigured, StoreUnavailable
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import NO_METADATA, ObjectStore
from rollcall.gallery import gallery_files, gallery_objects
from rollcall.gallery.forgetting import Forgetting
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.gallery.gallery_places import FilePlace, StorePlace, read_gallery
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store


def gallery_of(*names: str) -> Gallery:
    points = [encoding(number) for number in range(len(names))]
    return Gallery(names, np.array(points).reshape(-1, 128))


def adding(name: str) -> Callable[[bytes | None], bytes | None]:
    def change(body: bytes | None) -> bytes | None:
        gallery = parse_gallery(body) if body else empty_gallery()
        return render_gallery(gallery.with_face(name, encoding(len(gallery))))

    return change


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.npz"


@pytest.fixture
def quick_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "build_engine", lambda settings: NumberedFaces())


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


def test_the_file_keeps_its_owner_and_mode(path: Path, tmp_path: Path, quick_faces: None) -> None:
    """Otherwise root removes somebody, and the function can no longer read the gallery."""
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
    """Access lists are among them."""
    FilePlace(path).save(render_gallery(gallery_of("alice")))
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        return  # this file system has none, so nothing can be lost
    FilePlace(path).change(adding("bob"))
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
        patch.setattr("rollcall.gallery.gallery_places.Path.stat", once(Path.stat, "stat"))
        patch.setattr("rollcall.gallery.gallery_places.open", once(open, "open"), raising=False)
        result = enrol("bob", photo(tmp_path, 1), path)
    assert result.exit_code == 1
    assert "Input/output error" in result.output
    assert path.read_bytes() == body


def test_a_loop_of_links_is_one_sentence(tmp_path: Path, path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(GalleryError, match="cannot be"):
        FilePlace(path).change(adding("bob"))
    with pytest.raises(GalleryError, match="cannot be"):
        FilePlace(path).save(b"")


def test_the_folder_is_on_disk_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    FilePlace(path).save(render_gallery(gallery_of("alice")))
    assert synced == [False, True]


KILLED = """
import os, signal, sys
from pathlib import Path
from rollcall.gallery.gallery_places import FilePlace
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
FilePlace(Path(sys.argv[1])).save(b"PK\\x03\\x04 with encodings")
"""


def test_what_a_killed_command_left_is_swept_and_nothing_else(tmp_path: Path, path: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(path)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run(argv, check=False, env=env).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    before = tmp_path / ".gallery-a1b2c3d_"  # the name that an earlier version gave
    before.write_bytes(b"PK\x03\x04")
    theirs = [tmp_path / name for name in (".gallery-holidays", ".gallery-old.npz", "notes.part")]
    for each in theirs:
        each.write_text("mine")
    FilePlace(path).save(render_gallery(gallery_of("alice")))
    assert left.exists(), "it may belong to a command that is running"
    old_s = time.time() - 2 * gallery_files.ABANDONED_S
    for each in (left, before, *theirs):
        os.utime(each, (old_s, old_s))
    FilePlace(path).change(adding("bob"))
    assert set(tmp_path.iterdir()) == {path, *theirs}


def test_a_writer_waits_for_the_lock_and_says_so(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.2)
    with (
        locks.locked(tmp_path),
        pytest.raises(GalleryError, match="another process has been changing"),
    ):
        FilePlace(path).save(b"")
    FilePlace(path).save(render_gallery(gallery_of("alice")))


def test_a_file_is_locked_where_a_folder_cannot_be(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS."""
    lock = locks.fcntl.flock

    def of_nfs(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", of_nfs)
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.2)
    FilePlace(path).change(adding("alice"))
    with locks.locked(tmp_path), pytest.raises(GalleryError, match="another process"):
        FilePlace(path).change(adding("bob"))
    FilePlace(path).change(adding("carol"))
    assert read_gallery(FilePlace(path)).people == ("alice", "carol")


def test_converting_replaces_no_other_gallery(tmp_path: Path, path: Path) -> None:
    old = tmp_path / "old.npz"
    old.write_bytes(render_gallery(gallery_of("alice")))
    argv = ["gallery", "convert", str(old), str(path)]
    for _ in range(2):
        assert CliRunner().invoke(cli.main, argv).exit_code == 0
    FilePlace(path).change(adding("bob"))
    result = CliRunner().invoke(cli.main, argv)
    assert result.exit_code == 1
    assert "other people or encodings; name a new file" in result.stderr
    assert read_gallery(FilePlace(path)).people == ("alice", "bob")
    same = ["gallery", "convert", str(path), str(path)]
    assert CliRunner().invoke(cli.main, same).exit_code == 0


def test_up_replaces_no_gallery_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default gallery is missing when `up` looks, and there when it writes."""
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

    monkeypatch.setattr("rollcall.gallery.gallery_places.locked", late)
    monkeypatch.setattr("devstack.up.OpenFaasStack", stop)
    with pytest.raises(Stopped):
        run_up(tmp_path / "up", {}, "", lambda: None)
    assert read_gallery(FilePlace(path)).people == ("alice",)


def test_a_near_name_is_refused_and_listed(tmp_path: Path, path: Path, quick_faces: None) -> None:
    assert enrol("Ada", photo(tmp_path, 1), path).exit_code == 0
    for name in ("ada", "A\u200bda", "Unknown "):
        result = enrol(name, photo(tmp_path, 2), path)
        assert (result.exit_code, "looks like" in result.stderr) == (1, True)
    assert enrol(" Ada\u00a0", photo(tmp_path, 3), path).exit_code == 0
    assert read_gallery(FilePlace(path)).names == ("Ada", "Ada")
    near = gallery_of("Ada", "ada", "A\u200bda", "Grace")
    path.write_bytes(render_gallery(near))
    argv = ["gallery", "remove", "Ada", "--encodings", str(path)]
    for option in ((), ("--yes",)):
        result = CliRunner().invoke(cli.main, [*argv, *option])
        assert result.exit_code == 0
        for name in ("ada", "A\u200bda"):
            assert f"{name!r} looks like that name and stays" in result.stderr
        assert "Grace" not in result.stderr
    result = CliRunner().invoke(cli.main, ["gallery", "remove", "ADA", "--encodings", str(path)])
    assert (result.exit_code, "'ada'" in result.stderr) == (1, True)


def test_a_near_name_that_another_command_enrols_meanwhile(
    tmp_path: Path, path: Path, quick_faces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = locks.locked

    def late(folder: Path) -> Any:
        path.write_bytes(render_gallery(gallery_of("ada")))
        return real(folder)

    monkeypatch.setattr("rollcall.gallery.gallery_places.locked", late)
    result = enrol("Ada", photo(tmp_path, 2), path)
    assert (result.exit_code, "looks like 'ada'" in result.stderr) == (1, True)
    assert read_gallery(FilePlace(path)).people == ("ada",)


def test_converting_names_the_look_alikes(tmp_path: Path, path: Path) -> None:
    old = tmp_path / "old.npz"
    old.write_bytes(render_gallery(gallery_of("Ada", "ada", "Grace")))
    result = CliRunner().invoke(cli.main, ["gallery", "convert", str(old), str(path)])
    assert result.exit_code == 0
    assert "'ada' looks like 'Ada'; is it the same person?" in result.stderr
    assert "Grace" not in result.stderr


# --- a bucket


class Ignoring(MemoryStore):
    """Takes every write, whatever its condition."""

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
    """Creates on condition, but refuses every replacement, as Ceph 16 does in versioned buckets."""

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
def place(request: pytest.FixtureRequest) -> StorePlace:
    bucket = f"galleries-{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        return StorePlace(MemoryStore(), bucket, "gallery.npz")
    if request.param in ("ignoring", "never matching"):
        store = Ignoring() if request.param == "ignoring" else NeverMatching()
        return StorePlace(store, bucket, "gallery.npz")
    client = s3_client(embedded_settings(request.getfixturevalue("moto_url")))
    s3 = S3Store(client)
    s3.create_bucket(bucket)
    if request.param == "versions":
        kept = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=kept)
    return StorePlace(s3, bucket, "gallery.npz")


def keys(place: StorePlace) -> list[str]:
    listed = [*place.store.list_objects(place.bucket), *place.store.old_versions(place.bucket)]
    return sorted({info.key for info in listed})


def test_a_change_creates_and_replaces_and_leaves_nothing_else(place: StorePlace) -> None:
    for name in ("alice", "bob"):
        place.change(adding(name))
    assert read_gallery(place).people == ("alice", "bob")
    assert keys(place) == ["gallery.npz"]


def conditional(place: StorePlace) -> bool:
    return not isinstance(place.store, Ignoring | NeverMatching)


@pytest.mark.parametrize("first", [[], ["alice"]])
def test_a_writer_that_comes_between_is_kept(place: StorePlace, first: list[str]) -> None:
    """A writer without locks, which comes between our look and our write."""
    if not conditional(place):
        return  # nothing keeps other programs apart there, and docs/security.md says so
    if first:
        place.save(render_gallery(gallery_of(*first)))
    others = ["zoe", "yan", "xi"]

    def change(body: bytes | None) -> bytes | None:
        new = adding("bob")(body)
        if others:
            theirs = adding(others.pop())(body)
            assert theirs
            place.store.write(place.bucket, place.key, theirs, "", {})
        return new

    place.change(change)
    assert read_gallery(place).people == tuple(sorted([*first, "bob", "xi", "yan", "zoe"]))


def test_a_gallery_that_is_deleted_meanwhile_is_made_anew(place: StorePlace) -> None:
    if not conditional(place):
        return
    place.save(render_gallery(gallery_of("alice")))
    looks: list[bool] = []

    def change(body: bytes | None) -> bytes | None:
        new = adding("bob")(body)
        if not looks:
            place.store.delete(place.bucket, place.key)
        looks.append(body is not None)
        return new

    place.change(change)
    assert looks == [True, False]
    assert read_gallery(place).people == ("bob",)


def test_others_that_always_come_first_are_an_error(
    place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not conditional(place):
        return
    monkeypatch.setattr(gallery_objects, "TRIES", 3)
    count = 0

    def change(body: bytes | None) -> bytes | None:
        nonlocal count
        count += 1
        place.store.write(place.bucket, place.key, b"%d" % count, "", {})
        return b"ours"

    with pytest.raises(ObjectChanged, match="later"):
        place.change(change)
    assert count == 3
    assert place.load() == b"3"


def test_a_lost_answer_to_our_own_write_is_not_another_writer() -> None:
    class Forgetful(MemoryStore):
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

    store = Forgetful()
    store.write("g", "gallery.npz", render_gallery(gallery_of("alice", "bob")), "", {})
    (trace,) = Forgetting("bob", really=True).in_gallery(StorePlace(store, "g", "gallery.npz"))
    assert (trace.count, store.lost) == (1, 1)


def test_a_lock_object_keeps_two_commands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_objects, "LOCK_WAIT_S", 0.2)
    store = Ignoring()
    place = StorePlace(store, "g", "gallery.npz")

    def change(body: bytes | None) -> bytes | None:
        with pytest.raises(GalleryError, match=r"delete s3://g/gallery\.npz\.lock-"):
            place.change(adding("bob"))
        return adding("alice")(body)

    place.change(change)
    assert read_gallery(place).people == ("alice",)
    assert keys(place) == ["gallery.npz"]


def test_the_lock_object_of_a_killed_command_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Ignoring()
    with monkeypatch.context() as patch:
        old_s = time.time() - 2 * gallery_objects.LOCK_EXPIRES_S
        patch.setattr(time, "time", lambda: old_s)
        store.write("g", "gallery.npz.lock-abc", b"", "", {})
    place = StorePlace(store, "g", "gallery.npz")
    place.change(adding("alice"))
    assert keys(place) == ["gallery.npz"]


def test_keys_that_may_write_the_gallery_alone_suffice() -> None:
    """A policy may name just that object. The condition is sent all the same."""

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

    place = StorePlace(Narrow(), "g", "gallery.npz")
    place.change(adding("alice"))
    assert read_gallery(place).people == ("alice",)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreMisconfigured("refused")])
def test_a_store_that_does_not_answer_is_not_an_empty_gallery(error: Exception) -> None:
    class Down(MemoryStore):
        def read_tagged(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
            raise error

    store: ObjectStore = Down()
    body = render_gallery(gallery_of("alice"))
    store.write("g", "gallery.npz", body, "", {})
    with pytest.raises(type(error)):
        StorePlace(store, "g", "gallery.npz").change(adding("bob"))
    assert store.read("g", "gallery.npz", 1 << 20) == body
