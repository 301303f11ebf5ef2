"""The cached gallery, and galleries in files and objects."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from support.needs import REPOSITORY

from rollcall.core.errors import (
    GalleryError,
    GalleryUnavailable,
    StoreMisconfigured,
    StoreUnavailable,
    TransientError,
)
from rollcall.core.gallery import Gallery
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.gallery import gallery_locations as galleries
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import (
    CachedGallery,
    GalleryFile,
    GalleryObject,
    gallery_location,
)
from rollcall.stores.memory import MemoryStore

REFRESH_S = 60.0


def body(*names: str) -> bytes:
    return render_gallery(Gallery(names, np.zeros((len(names), 128))))


@dataclass
class CountingLocation:
    """A location that counts its calls. If `content` or `version` is an exception, it is raised."""

    content: bytes | Exception = field(default_factory=lambda: body("alice"))
    version: str | Exception = "1"
    stamps: int = 0
    loads: int = 0

    def stamp(self) -> str:
        self.stamps += 1
        if isinstance(self.version, Exception):
            raise self.version
        return self.version

    def load(self) -> bytes:
        self.loads += 1
        if isinstance(self.content, Exception):
            raise self.content
        return self.content

    def changed_s(self) -> float:
        return 1000.0 + self.loads

    def save(self, body: bytes) -> None:
        raise NotImplementedError


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Cache:
    """A cached gallery with its location and clock."""

    def __init__(self) -> None:
        self.location, self.clock = CountingLocation(), Clock()
        self._cached = CachedGallery(self.location, REFRESH_S, self.clock)

    def people(self) -> tuple[str, ...]:
        return self._cached.current().people

    def after_interval(self, version: str | Exception, content: bytes | Exception) -> None:
        """Let the refresh interval pass, and replace what the location holds."""
        self.clock.now_s += REFRESH_S
        self.location.version, self.location.content = version, content


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_the_gallery_is_loaded_on_first_use(cache: Cache) -> None:
    assert (cache.location.stamps, cache.location.loads) == (0, 0)
    assert cache.people() == ("alice",)
    assert (cache.location.stamps, cache.location.loads) == (1, 1)


def test_the_location_is_not_checked_within_the_interval(cache: Cache) -> None:
    cache.people()
    cache.location.version, cache.location.content = "2", body("bob")
    cache.clock.now_s = REFRESH_S - 0.001
    assert cache.people() == ("alice",)
    assert cache.location.stamps == 1


def test_a_change_is_seen_after_the_interval(cache: Cache) -> None:
    cache.people()
    cache.after_interval("2", body("bob"))
    assert cache.people() == ("bob",)
    assert cache.location.loads == 2


def test_a_gallery_with_an_unchanged_stamp_is_not_loaded_again(cache: Cache) -> None:
    first = cache._cached.current()
    cache.after_interval("1", body("bob"))
    assert cache._cached.current() is first
    assert (cache.location.stamps, cache.location.loads) == (2, 1)


def test_the_facts_are_those_of_the_gallery_in_use(cache: Cache) -> None:
    assert cache._cached.facts is None
    cache.people()
    assert cache._cached.facts == GalleryFacts(1, 1, 1001.0)
    cache.after_interval("2", b"broken")
    cache.people()
    assert cache._cached.facts == GalleryFacts(1, 1, 1001.0, stale=True)
    cache.after_interval("3", body("alice", "bob", "bob"))
    cache.people()
    assert cache._cached.facts == GalleryFacts(2, 3, 1003.0)


FAILED_REFRESHES: list[tuple[str | Exception, bytes | Exception]] = [
    ("2", b"broken"),
    ("2", b"PK\x03\x04"),
    ("2", GalleryError("gone between stamp and load")),
    (GalleryError("gone"), body("bob")),
    (StoreUnavailable("down"), body("bob")),
    ("2", StoreMisconfigured("refused")),
]


@pytest.mark.parametrize(("version", "content"), FAILED_REFRESHES)
def test_after_a_failed_refresh_the_old_gallery_stays_in_use(
    cache: Cache,
    version: str | Exception,
    content: bytes | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.people()
    cache.after_interval(version, content)
    with caplog.at_level(logging.WARNING):
        assert cache.people() == ("alice",)
    assert "old one stays in use" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
    assert cache._cached.stale
    assert cache.people() == ("alice",)
    assert cache.location.stamps == 2, "asked again at once, not after the interval"


def test_a_repaired_gallery_is_loaded(cache: Cache) -> None:
    cache.people()
    cache.after_interval("2", b"broken")
    cache.people()
    cache.after_interval("2", body("bob"))
    assert cache.people() == ("bob",)
    assert not cache._cached.stale


def test_the_cache_is_not_stale_once_the_store_is_back(cache: Cache) -> None:
    cache.people()
    cache.after_interval(StoreUnavailable("down"), b"")
    cache.people()
    cache.after_interval("1", b"")
    assert cache.people() == ("alice",)
    assert not cache._cached.stale


@pytest.mark.parametrize(("version", "content"), FAILED_REFRESHES)
def test_without_an_old_gallery_a_transient_error_is_raised(
    cache: Cache, version: str | Exception, content: bytes | Exception
) -> None:
    cache.location.version, cache.location.content = version, content
    with pytest.raises(TransientError):
        cache.people()
    cache.location.version, cache.location.content = "3", body("alice")
    assert cache.people() == ("alice",), "tried again at once"


def test_a_gallery_that_is_missing_at_the_start_is_unavailable(tmp_path: Path) -> None:
    cached = CachedGallery(GalleryFile(tmp_path / "no.npz"), REFRESH_S)
    with pytest.raises(GalleryUnavailable, match="ENCODINGS"):
        cached.current()


def test_a_gallery_that_would_not_fit_into_memory_is_not_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise the kernel would kill the process, and then every other replica."""
    location, clock = CountingLocation(), Clock()
    limit = galleries.OTHER_BYTES + int(2 * len(body("alice")) * galleries.MEMORY_FACTOR)
    cached = CachedGallery(location, REFRESH_S, clock, memory_bytes=limit)
    assert cached.current().people == ("alice",)
    location.content, location.version, clock.now_s = body(*map(str, range(99))), "2", REFRESH_S
    with caplog.at_level(logging.ERROR):
        assert cached.current().people == ("alice",)
    assert cached.stale
    assert "a memory limit of 256 MiB allows 0 MiB; raise the limit" in caplog.text
    small = CachedGallery(location, REFRESH_S, clock, memory_bytes=1 << 20)
    with pytest.raises(GalleryUnavailable, match="memory limit of 1 MiB"):
        small.current()


MEASURE = """
import sys, tracemalloc
from pathlib import Path
from rollcall.gallery.gallery_locations import CachedGallery, GalleryFile
location = GalleryFile(Path(sys.argv[1]))
tracemalloc.start()
cached = CachedGallery(location, 0)
for _ in range(2):
    cached.current()
    Path(sys.argv[1]).touch()
print(tracemalloc.get_traced_memory()[1])
"""


def test_a_refresh_needs_less_memory_than_memory_factor_allows(tmp_path: Path) -> None:
    """Both galleries are in memory until the new one is complete."""
    path, count = tmp_path / "gallery.npz", 40_000
    points = np.random.default_rng(1).normal(0, 0.1, (count, 128))
    gallery = Gallery([f"person {number}" for number in range(count)], points)
    path.write_bytes(render_gallery(gallery))
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", MEASURE, str(path)]
    peak_bytes = int(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)
    assert peak_bytes < galleries.MEMORY_FACTOR * path.stat().st_size


# --- a file


def test_only_the_owner_can_read_a_saved_file(tmp_path: Path) -> None:
    location = GalleryFile(tmp_path / "gallery.npz")
    location.save(body("alice"))
    assert stat.S_IMODE(location.path.stat().st_mode) == 0o600
    assert location.load() == body("alice")


def test_the_stamp_changes_with_every_save(tmp_path: Path) -> None:
    location = GalleryFile(tmp_path / "gallery.npz")
    stamps = set()
    for name in ("alice", "bobby", "carol"):
        location.save(body(name))
        stamps.add(location.stamp())
    assert len(stamps) == 3


def test_a_reader_of_the_old_file_is_not_disturbed_by_a_write(tmp_path: Path) -> None:
    location = GalleryFile(tmp_path / "gallery.npz")
    location.save(body("alice"))
    with open(location.path, "rb") as reader:
        location.save(body("bob", "carol"))
        assert reader.read() == body("alice")
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_a_failed_save_leaves_the_old_gallery_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = GalleryFile(tmp_path / "gallery.npz")
    location.save(body("alice"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GalleryError, match="No space left"):
        location.save(body("bob"))
    assert location.load() == body("alice")
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_a_file_that_cannot_be_written_is_a_gallery_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "gallery.npz"):
        with pytest.raises(GalleryError, match=r"cannot be written|does not exist"):
            GalleryFile(path).save(body("alice"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_not_a_gallery(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="Is a directory"):
        GalleryFile(tmp_path).load()


# --- a bucket


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_object_round_trip(store: MemoryStore) -> None:
    location = GalleryObject(store, "galleries", "class/gallery.npz")
    location.save(body("alice"))
    first = location.stamp()
    assert location.load() == body("alice")
    location.save(body("bob"))
    assert location.stamp() != first


def test_the_error_for_a_missing_object_names_its_location(store: MemoryStore) -> None:
    location = GalleryObject(store, "galleries", "g.npz")
    for ask in (location.stamp, location.load):
        with pytest.raises(GalleryError, match=r"s3://galleries/g\.npz"):
            ask()


def test_a_gallery_that_is_too_large_is_unavailable(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every video would be refused with 413, which is never retried."""
    monkeypatch.setattr("rollcall.gallery.gallery_locations.MAX_GALLERY_BYTES", 10)
    location = GalleryObject(store, "galleries", "g.npz")
    location.save(body("alice"))
    with pytest.raises(GalleryUnavailable):
        CachedGallery(location, REFRESH_S).current()


def test_the_setting_names_a_file_or_an_object(store: MemoryStore) -> None:
    assert gallery_location("s3://bucket/a/b.npz", lambda: store) == GalleryObject(
        store, "bucket", "a/b.npz"
    )

    def never() -> MemoryStore:
        raise AssertionError("a file needs no store")

    assert gallery_location("data/encoding", never) == GalleryFile(Path("data/encoding"))


def test_a_read_only_gallery_is_not_replaced(tmp_path: Path) -> None:
    """Not even root may replace it, although the file system would allow that."""
    path = tmp_path / "gallery.npz"
    path.write_bytes(b"somebody's")
    path.chmod(0o444)
    with pytest.raises(GalleryError, match="read-only"):
        GalleryFile(path).save(b"ours")
    assert path.read_bytes() == b"somebody's"
    assert [each.name for each in tmp_path.iterdir()] == ["gallery.npz"]
