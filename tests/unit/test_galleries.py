"""The gallery of the moment, and the places where it lies."""

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
from rollcall.gallery import gallery_places as galleries
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_places import CachedGallery, FilePlace, StorePlace, place_of
from rollcall.stores.memory import MemoryStore

REFRESH_S = 60.0


def body(*names: str) -> bytes:
    return render_gallery(Gallery(names, np.zeros((len(names), 128))))


@dataclass
class Place:
    """Counts how often it is asked; what is an error is raised."""

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

    def save(self, body: bytes) -> None:
        raise NotImplementedError


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Cache:
    """A cached gallery, its place and its clock."""

    def __init__(self) -> None:
        self.place, self.clock = Place(), Clock()
        self._cached = CachedGallery(self.place, REFRESH_S, self.clock)

    def people(self) -> tuple[str, ...]:
        return self._cached.current().people

    def later(self, version: str | Exception, content: bytes | Exception) -> None:
        self.clock.now_s += REFRESH_S
        self.place.version, self.place.content = version, content


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_nothing_is_loaded_before_it_is_needed(cache: Cache) -> None:
    assert (cache.place.stamps, cache.place.loads) == (0, 0)
    assert cache.people() == ("alice",)
    assert (cache.place.stamps, cache.place.loads) == (1, 1)


def test_not_looked_at_within_the_interval(cache: Cache) -> None:
    cache.people()
    cache.place.version, cache.place.content = "2", body("bob")
    cache.clock.now_s = REFRESH_S - 0.001
    assert cache.people() == ("alice",)
    assert cache.place.stamps == 1


def test_a_change_is_seen_after_the_interval(cache: Cache) -> None:
    cache.people()
    cache.later("2", body("bob"))
    assert cache.people() == ("bob",)
    assert cache.place.loads == 2


def test_unchanged_stamp_is_not_loaded_again(cache: Cache) -> None:
    first = cache._cached.current()
    cache.later("1", body("bob"))
    assert cache._cached.current() is first
    assert (cache.place.stamps, cache.place.loads) == (2, 1)


TROUBLE: list[tuple[str | Exception, bytes | Exception]] = [
    ("2", b"broken"),
    ("2", b"PK\x03\x04"),
    ("2", GalleryError("gone between stamp and load")),
    (GalleryError("gone"), body("bob")),
    (StoreUnavailable("down"), body("bob")),
    ("2", StoreMisconfigured("refused")),
]


@pytest.mark.parametrize(("version", "content"), TROUBLE)
def test_the_old_gallery_stays_in_use(
    cache: Cache,
    version: str | Exception,
    content: bytes | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.people()
    cache.later(version, content)
    with caplog.at_level(logging.WARNING):
        assert cache.people() == ("alice",)
    assert "old one stays in use" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
    assert cache._cached.stale
    assert cache.people() == ("alice",)
    assert cache.place.stamps == 2, "asked again at once, not after the interval"


def test_a_broken_gallery_that_is_mended_is_loaded(cache: Cache) -> None:
    cache.people()
    cache.later("2", b"broken")
    cache.people()
    cache.later("2", body("bob"))
    assert cache.people() == ("bob",)
    assert not cache._cached.stale


def test_a_store_that_is_back_with_the_same_gallery_is_no_trouble_any_more(cache: Cache) -> None:
    cache.people()
    cache.later(StoreUnavailable("down"), b"")
    cache.people()
    cache.later("1", b"")
    assert cache.people() == ("alice",)
    assert not cache._cached.stale


@pytest.mark.parametrize(("version", "content"), TROUBLE)
def test_without_an_old_one_the_caller_comes_back(
    cache: Cache, version: str | Exception, content: bytes | Exception
) -> None:
    cache.place.version, cache.place.content = version, content
    with pytest.raises(TransientError):
        cache.people()
    cache.place.version, cache.place.content = "3", body("alice")
    assert cache.people() == ("alice",), "tried again at once"


def test_missing_at_the_start_is_unavailable(tmp_path: Path) -> None:
    cached = CachedGallery(FilePlace(tmp_path / "no.npz"), REFRESH_S)
    with pytest.raises(GalleryUnavailable, match="ENCODINGS"):
        cached.current()


def test_a_gallery_that_would_not_fit_into_memory_is_not_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The process would be killed, and all replicas with it."""
    place, clock = Place(), Clock()
    limit = galleries.OTHER_BYTES + int(2 * len(body("alice")) * galleries.MEMORY_FACTOR)
    cached = CachedGallery(place, REFRESH_S, clock, memory_bytes=limit)
    assert cached.current().people == ("alice",)
    place.content, place.version, clock.now_s = body(*map(str, range(99))), "2", REFRESH_S
    with caplog.at_level(logging.ERROR):
        assert cached.current().people == ("alice",)
    assert cached.stale
    assert "a memory limit of 256 MiB allows 0 MiB; raise the limit" in caplog.text
    small = CachedGallery(place, REFRESH_S, clock, memory_bytes=1 << 20)
    with pytest.raises(GalleryUnavailable, match="memory limit of 1 MiB"):
        small.current()


MEASURE = """
import sys, tracemalloc
from pathlib import Path
from rollcall.gallery.gallery_places import CachedGallery, FilePlace
place = FilePlace(Path(sys.argv[1]))
tracemalloc.start()
cached = CachedGallery(place, 0)
for _ in range(2):
    cached.current()
    Path(sys.argv[1]).touch()
print(tracemalloc.get_traced_memory()[1])
"""


def test_a_refresh_needs_no_more_memory_than_is_reckoned_with(tmp_path: Path) -> None:
    """The old gallery is in use until the new one is there."""
    path, count = tmp_path / "gallery.npz", 40_000
    points = np.random.default_rng(1).normal(0, 0.1, (count, 128))
    gallery = Gallery([f"person {number}" for number in range(count)], points)
    path.write_bytes(render_gallery(gallery))
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", MEASURE, str(path)]
    peak_bytes = int(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)
    assert peak_bytes < galleries.MEMORY_FACTOR * path.stat().st_size


# --- a file


def test_saved_file_is_its_owners_alone(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "gallery.npz")
    place.save(body("alice"))
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert place.load() == body("alice")


def test_stamp_changes_with_every_save(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "gallery.npz")
    stamps = set()
    for name in ("alice", "bobby", "carol"):
        place.save(body(name))
        stamps.add(place.stamp())
    assert len(stamps) == 3


def test_reader_keeps_the_old_bytes_while_new_ones_are_written(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "gallery.npz")
    place.save(body("alice"))
    with open(place.path, "rb") as reader:
        place.save(body("bob", "carol"))
        assert reader.read() == body("alice")
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_failed_save_leaves_the_old_gallery_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = FilePlace(tmp_path / "gallery.npz")
    place.save(body("alice"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GalleryError, match="No space left"):
        place.save(body("bob"))
    assert place.load() == body("alice")
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "gallery.npz"):
        with pytest.raises(GalleryError, match=r"cannot be written|does not exist"):
            FilePlace(path).save(body("alice"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_folder_is_no_gallery(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="Is a directory"):
        FilePlace(tmp_path).load()


# --- a bucket


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_store_place_round_trip(store: MemoryStore) -> None:
    place = StorePlace(store, "galleries", "class/gallery.npz")
    place.save(body("alice"))
    first = place.stamp()
    assert place.load() == body("alice")
    place.save(body("bob"))
    assert place.stamp() != first


def test_missing_object_says_where(store: MemoryStore) -> None:
    place = StorePlace(store, "galleries", "g.npz")
    for ask in (place.stamp, place.load):
        with pytest.raises(GalleryError, match=r"s3://galleries/g\.npz"):
            ask()


def test_too_large_a_gallery_is_not_too_large_a_video(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every video would be refused for ever with 413."""
    monkeypatch.setattr("rollcall.gallery.gallery_places.MAX_GALLERY_BYTES", 10)
    place = StorePlace(store, "galleries", "g.npz")
    place.save(body("alice"))
    with pytest.raises(GalleryUnavailable):
        CachedGallery(place, REFRESH_S).current()


def test_place_of_the_setting(store: MemoryStore) -> None:
    assert place_of("s3://bucket/a/b.npz", lambda: store) == StorePlace(store, "bucket", "a/b.npz")

    def never() -> MemoryStore:
        raise AssertionError("a file needs no store")

    assert place_of("data/encoding", never) == FilePlace(Path("data/encoding"))


def test_a_gallery_that_is_marked_read_only_stays_as_it_is(tmp_path: Path) -> None:
    """Also for root, whom the mark does not stop."""
    path = tmp_path / "gallery.npz"
    path.write_bytes(b"somebody's")
    path.chmod(0o444)
    with pytest.raises(GalleryError, match="read-only"):
        FilePlace(path).save(b"ours")
    assert path.read_bytes() == b"somebody's"
    assert [each.name for each in tmp_path.iterdir()] == ["gallery.npz"]
