"""Folders of single videos, and what dead processes leave of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rollcall.video.video_folder import sweep, video_folder

LEAVES_ONE_BEHIND = """
import os, signal
from rollcall.video.video_folder import video_folder
with video_folder() as folder:
    (folder / "video").write_bytes(b"1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_empty_and_goes(temporary: Path) -> None:
    with video_folder() as folder:
        assert list(folder.iterdir()) == []
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_leaves_is_swept(temporary: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", LEAVES_ONE_BEHIND], check=False)
    assert killed.returncode == -9
    assert len(list(temporary.iterdir())) == 1
    assert sweep() == 1
    assert list(temporary.iterdir()) == []


def test_folders_of_the_living_and_of_others_stay(temporary: Path) -> None:
    for name in ("rollcall-1-abc", "rollcall-x-1", "other-99999999-a"):
        (temporary / name).mkdir()
    assert sweep() == 0
