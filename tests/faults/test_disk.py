"""The disk under the inbox is full for a while, and the trigger runs on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.needs import need

DISK_BYTES = 16 << 20
"""The inbox's log alone grows to 4 MB before SQLite begins it anew."""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    need(subprocess.run(mount, capture_output=True).returncode == 0, "no right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def flow(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    values = {"INBOX": str(small_disk / "inbox.sqlite3")}
    with FaultyFlow(tmp_path_factory.mktemp("flow"), overrides=values) as running:
        yield running


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(DISK_BYTES))
    return filler


def test_a_disk_that_is_full_in_the_middle_loses_nothing_and_repeats_nothing(
    flow: FaultyFlow, small_disk: Path
) -> None:
    with Workload(flow, "full-disk/", ["one", "two"] * 20) as workload:
        workload.wait_settled(5)
        filler = fill(small_disk)
        flow.wait(lambda: "cannot be used" in flow.trigger.log.read_text(), "a full disk")
        assert flow.trigger.alive()
        filler.unlink()
        verdict = workload.finish()
    assert not verdict.wrong
    assert (verdict.results, verdict.repeats) == (40, 0)


def test_a_trigger_killed_on_a_full_disk_loses_nothing(flow: FaultyFlow, small_disk: Path) -> None:
    with Workload(flow, "full-and-killed/", ["one"] * 20) as workload:
        workload.wait_settled(5)
        filler = fill(small_disk)
        flow.trigger.kill()
        filler.unlink()
        flow.kill_trigger()
        verdict = workload.finish()
    assert not verdict.wrong
    assert verdict.results == 20
