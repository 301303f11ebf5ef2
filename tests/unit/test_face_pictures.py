"""The cache of the pictures of faces."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from rollcall.core.index_types import IndexedVideo
from rollcall.web import face_pictures
from rollcall.web.face_pictures import ENTRY_BYTES, FacePictures, VideoPictures


def pictures(size_bytes: int) -> VideoPictures:
    jpeg = b"x" * (size_bytes - ENTRY_BYTES)
    return VideoPictures({0: jpeg}, {0: [(1.0, jpeg)]})


def test_what_was_not_used_for_longest_is_dropped() -> None:
    cache, reads = FacePictures(max_bytes=10_000), list[int]()

    def get(video_id: int, size_bytes: int = 4_000) -> VideoPictures:
        def read() -> VideoPictures:
            reads.append(video_id)
            return pictures(size_bytes)

        return cache.get((video_id, "v"), read)

    for video_id in (1, 2, 1, 3, 1, 2):
        assert get(video_id).best
    assert reads == [1, 2, 3, 2]


def test_several_threads_read_a_video_once() -> None:
    cache, reads = FacePictures(), list[int]()

    def read() -> VideoPictures:
        reads.append(1)
        time.sleep(0.1)
        return pictures(4_000)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: cache.get((1, "v"), read), range(6)))
    assert reads == [1]
    assert all(each is found[0] for each in found)


def test_threads_that_wait_get_the_error_of_the_first_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise all of them would wait for one time-out after the other."""
    cache, reads, waiting = FacePictures(), list[int](), threading.Semaphore(0)

    class Watched(Future[VideoPictures]):
        def result(self, timeout: float | None = None) -> VideoPictures:
            waiting.release()
            return super().result(timeout)

    monkeypatch.setattr(face_pictures, "Future", Watched)

    def fail() -> VideoPictures:
        reads.append(1)
        for _ in range(5):
            assert waiting.acquire(timeout=60)
        raise ConnectionError("the store did not answer")

    def get(_: int) -> str:
        with pytest.raises(ConnectionError) as error:
            cache.get((1, "v"), fail)
        return str(error.value)

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(get, range(6))) == {"the store did not answer"}
    assert reads == [1]


def test_the_next_thread_tries_again_after_an_error() -> None:
    cache = FacePictures()

    def fail() -> VideoPictures:
        raise ConnectionError("the store did not answer")

    for _ in range(2):
        with pytest.raises(ConnectionError, match="did not answer"):
            cache.get((1, "v"), fail)
    assert cache.get((1, "v"), lambda: pictures(4_000)).best


def test_a_video_that_does_not_fit_is_returned_but_not_kept() -> None:
    cache, reads = FacePictures(max_bytes=10_000), list[int]()

    def read() -> VideoPictures:
        reads.append(1)
        return pictures(11_000)

    assert len(cache.get((1, "v"), read).best[0]) == 10_000
    cache.get((1, "v"), read)
    assert reads == [1, 1]


def test_damaged_files_have_no_pictures() -> None:
    assert (
        VideoPictures.parse(b"damaged", IndexedVideo("in", "a.mp4", "e", "recognised")).picture_of(
            0, None
        )
        is None
    )
