"""Only those ranges of a video's object are fetched that are read, with few requests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo
from rollcall.stores.memory import MemoryStore
from rollcall.video.part_file import PartFile
from rollcall.video.video_files import MAX_RANGE_BYTES, ObjectFile, WholeFile

MIB = 1 << 20


class CountingStore(MemoryStore):
    """A store that records the ranges that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[int, int]] = []

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        self.ranges.append((start, end))
        return super().read_range(info, start, end)

    def fetched(self) -> int:
        return sum(end - start for start, end in self.ranges)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def opened(store: CountingStore, body: bytes, tmp_path: Path) -> PartFile:
    store.write("b", "k", body, "", {})
    file = ObjectFile(store, store.head("b", "k"), tmp_path / "video", Stopwatch())
    return PartFile(os.open(file.path, os.O_RDONLY), file.size_bytes, file.ensure_range)


@pytest.mark.parametrize("step", [32_768, 100_001, 3 * MIB + 7])
def test_a_file_read_to_its_end_is_fetched_once_in_growing_ranges(
    store: CountingStore, tmp_path: Path, step: int
) -> None:
    body = bytes(range(256)) * (44 * MIB // 256)
    with opened(store, body, tmp_path) as file:
        read = b"".join(iter(lambda: file.read(step), b""))
    assert read == body
    assert store.fetched() == len(body)
    assert len(store.ranges) <= 7


def test_a_second_reader_gets_the_same_bytes_without_a_new_request(
    store: CountingStore, tmp_path: Path
) -> None:
    """The second reader may be in another child process, which does not know about the first."""
    body = bytes(range(256)) * (9 * MIB // 256)
    store.write("b", "k", body, "", {})
    file = ObjectFile(store, store.head("b", "k"), tmp_path / "video", Stopwatch())
    for _ in range(2):
        with PartFile(
            os.open(file.path, os.O_RDONLY), file.size_bytes, file.ensure_range
        ) as reader:
            assert b"".join(iter(lambda r=reader: r.read(65536), b"")) == body  # type: ignore[misc]
    assert store.fetched() == len(body)


def test_after_a_jump_a_small_range_is_fetched(store: CountingStore, tmp_path: Path) -> None:
    body = bytes(20 * MIB) + b"end"
    with opened(store, body, tmp_path) as file:
        file.read(10)
        file.seek(-3, 2)
        assert file.read(10) == b"end"
    assert store.fetched() < 2 * MIB


def test_one_read_returns_at_most_the_largest_range(store: CountingStore, tmp_path: Path) -> None:
    body = bytes(MAX_RANGE_BYTES + MIB)
    with opened(store, body, tmp_path) as file:
        assert 0 < len(file.read(len(body))) <= MAX_RANGE_BYTES


def test_a_reader_that_fetches_the_same_bytes_endlessly_is_refused(
    store: CountingStore, tmp_path: Path
) -> None:
    store.write("b", "k", bytes(4 * MIB), "", {})
    file = ObjectFile(store, store.head("b", "k"), tmp_path / "video", Stopwatch())
    for _ in range(60):
        try:
            file.ensure_range(0, 10)
            file.ensure_range(3 * MIB, 3 * MIB + 10)
        except ValueError:
            return
    raise AssertionError("the same bytes were fetched again and again")


def test_folders_and_pipes_are_not_videos(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        WholeFile(tmp_path)
    with pytest.raises(FileNotFoundError):
        WholeFile(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular"):
        WholeFile(tmp_path / "pipe")
