"""Files are replaced as a whole, and nothing is left behind by a failure."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rollcall.atomic_files import replace_file, temporary_file


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_created_and_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.json"
    for body in (b"first", b"2"):
        replace_file(path, body, durable=durable)
        assert path.read_bytes() == body
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for mode in (0o600, 0o644):
            replace_file(tmp_path / "a", b"", mode=mode)
            assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_file_and_folder_are_flushed_only_when_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
    )
    replace_file(tmp_path / "a", b"", durable=False)
    assert synced == []
    replace_file(tmp_path / "a", b"")
    assert synced == [False, True]


def test_a_failure_keeps_the_old_file_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_that_was_not_moved_is_removed(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "part", b"", prepare=lambda handle: os.utime(handle, (5, 5))):
        assert (tmp_path / "part").stat().st_mtime == 5
    assert not list(tmp_path.iterdir())
