"""Skip tests on machines that lack a program or data. In CI these tests fail instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"


def need(present: bool, reason: str) -> None:
    """Skip the test with this reason unless `present`. If CI is set, fail the test instead."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI needs this, because no test may be skipped there: {reason}")
    pytest.skip(reason)


def classroom_folder() -> Path:
    """Return the folder of real clips: ROLLCALL_DATA, or else the one beside the checkout."""
    folder = Path(os.environ.get("ROLLCALL_DATA", SHARED / "classroom"))
    need((folder / "videos").is_dir(), f"no real clips at {folder}; set ROLLCALL_DATA")
    return folder


def events_folder() -> Path:
    """Return the folder of events that were captured from a real Ceph gateway."""
    folder = SHARED / "events"
    need(folder.is_dir(), f"no captured events at {folder}")
    return folder
