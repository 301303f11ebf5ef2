"""`make demo`, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import REPOSITORY


def demo(folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "devstack.demo", "--folder", folder, *args]
    return subprocess.run(
        [str(word) for word in argv], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_the_sample_is_made_and_every_video_is_right(fresh: Path) -> None:
    done = demo(fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("7/7 correct in ")
    assert sorted(path.name for path in (fresh / "sample").iterdir()) == [
        "encoding",
        "mapping",
        "student_data.json",
        "videos",
    ], "no picture is left behind"


def test_a_wrong_answer_is_named_and_fails(fresh: Path, sample: Path, tmp_path: Path) -> None:
    """The same sample, with a mapping that expects somebody else."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("encoding", "student_data.json"):
        (data / name).symlink_to(sample / name)
    (data / "videos").mkdir()
    (data / "videos" / "cat.mp4").symlink_to(sample / "videos" / "cat.mp4")
    (data / "mapping").write_text("cat.mp4:physics,junior\n")
    done = demo(tmp_path / "run", "--data", data)
    assert done.returncode == 1
    assert "WRONG  cat.mp4" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0/1 correct in ")


def test_the_real_clips_are_right(classroom: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", classroom)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("8/8 correct in ")


def test_between_queues_every_video_and_every_count_is_right(sample: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", sample, "--flow", "openstack")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = lines = done.stdout.splitlines()
    assert last.startswith("7/7 correct in ")
    assert [line[0] for line in lines[-8:-1]] == ["✓"] * 7
    (run,) = (tmp_path / "run").iterdir()
    assert len(list((run / "results").glob("*.txt"))) == 7


def test_ceph_fills_no_queue(sample: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", sample, "--flow", "openstack", "--store", "ceph")
    assert done.returncode == 2
    assert "the flow openstack runs on the embedded store" in done.stderr


def test_what_a_folder_lacks_is_said_before_anything_starts(sample: Path, tmp_path: Path) -> None:
    nothing = demo(tmp_path / "run", "--data", tmp_path / "nowhere")
    assert nothing.returncode == 1
    assert "missing: videos, encoding, mapping, student_data.json" in nothing.stderr
    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    (data / "videos" / "cat.mp4").symlink_to(sample / "videos" / "cat.mp4")
    for name in ("encoding", "student_data.json", "mapping"):
        (data / name).symlink_to(sample / name)
    fewer = demo(tmp_path / "run", "--data", data)
    assert "names videos that are not there: late.mp4" in fewer.stderr
    assert not (tmp_path / "run").exists()
