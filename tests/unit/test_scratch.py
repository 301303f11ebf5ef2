"""Temporary folders for videos, and the removal of those that dead processes left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rollcall.video.video_folder import sweep, video_folder

KILLED_WITH_A_FOLDER = """
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


def test_a_folder_is_empty_at_first_and_removed_at_the_end(temporary: Path) -> None:
    with video_folder() as folder:
        assert list(folder.iterdir()) == []
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed(temporary: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_WITH_A_FOLDER], check=False)
    assert killed.returncode == -9
    assert len(list(temporary.iterdir())) == 1
    assert sweep() == 1
    assert list(temporary.iterdir()) == []


def test_folders_of_running_processes_and_other_programs_stay(temporary: Path) -> None:
    for name in ("rollcall-1-abc", "rollcall-x-1", "other-99999999-a"):
        (temporary / name).mkdir()
    assert sweep() == 0
