"""What a machine may lack: a skip with the reason, but a failure in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"


def need(present: bool, reason: str) -> None:
    """Skips the test unless `present`; in CI every part has to be there."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI has to have it: {reason}")
    pytest.skip(reason)


def classroom_folder() -> Path:
    """The folder of real clips, from ROLLCALL_DATA or beside the checkout."""
    folder = Path(os.environ.get("ROLLCALL_DATA", SHARED / "classroom"))
    need((folder / "videos").is_dir(), f"no real clips at {folder}; set ROLLCALL_DATA")
    return folder


def events_folder() -> Path:
    """Events captured from a real Ceph gateway."""
    folder = SHARED / "events"
    need(folder.is_dir(), f"no captured events at {folder}")
    return folder
