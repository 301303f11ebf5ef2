"""Fill the disk that holds the inbox while the trigger is running."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.needs import need

DISK_BYTES = 16 << 20
"""Large enough for the inbox: its write-ahead log alone grows to 4 MB before SQLite resets it."""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A separate file system of DISK_BYTES."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    need(
        subprocess.run(mount, capture_output=True).returncode == 0,
        "this user may not mount file systems",
    )
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def flow(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    values = {"DATABASE_URL": f"sqlite:///{small_disk / 'inbox.sqlite3'}"}
    with FaultyFlow(tmp_path_factory.mktemp("flow"), overrides=values) as running:
        yield running


def fill(disk: Path) -> Path:
    """Fill the disk, and return the file to delete afterwards."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(DISK_BYTES))
    return filler


def test_a_disk_that_is_full_for_a_while_loses_nothing_and_repeats_nothing(
    flow: FaultyFlow, small_disk: Path
) -> None:
    with Workload(flow, "full-disk/", ["one", "two"] * 20) as workload:
        workload.wait_settled(5)
        filler = fill(small_disk)
        flow.wait(
            lambda: "cannot be used" in flow.trigger.log.read_text(),
            "the trigger to notice the full disk",
        )
        assert flow.trigger.alive()
        filler.unlink()
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.repeats) == (40, 0)


def test_a_trigger_killed_on_a_full_disk_loses_nothing(flow: FaultyFlow, small_disk: Path) -> None:
    with Workload(flow, "full-and-killed/", ["one"] * 20) as workload:
        workload.wait_settled(5)
        filler = fill(small_disk)
        flow.trigger.kill()
        filler.unlink()
        flow.kill_trigger()
        outcome = workload.finish()
    assert not outcome.wrong
    assert outcome.results == 20
