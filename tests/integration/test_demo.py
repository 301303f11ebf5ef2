"""Run `make demo` as a new user does."""

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


def test_the_demo_creates_its_sample_and_every_result_is_correct(fresh: Path) -> None:
    done = demo(fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("7/7 correct in ")
    assert sorted(path.name for path in (fresh / "sample").iterdir()) == [
        "encoding",
        "mapping",
        "student_data.json",
        "videos",
    ], "the downloaded pictures are deleted"


def test_the_demo_names_a_wrong_result_and_fails(fresh: Path, sample: Path, tmp_path: Path) -> None:
    """The mapping expects a person in the video of a cat."""
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


def test_the_results_of_the_real_clips_are_correct(classroom: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", classroom)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("8/8 correct in ")


def test_with_the_flow_openstack_every_result_and_every_count_is_correct(
    sample: Path, tmp_path: Path
) -> None:
    done = demo(tmp_path, "--data", sample, "--flow", "openstack")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = lines = done.stdout.splitlines()
    assert last.startswith("7/7 correct in ")
    assert [line[0] for line in lines[-8:-1]] == ["✓"] * 7
    (run,) = (tmp_path / "run").iterdir()
    assert len(list((run / "results").glob("*.txt"))) == 7


def test_the_flow_openstack_cannot_use_ceph(sample: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "--data", sample, "--flow", "openstack", "--store", "ceph")
    assert done.returncode == 2
    assert "run the flow openstack on the embedded store" in done.stderr


def test_the_demo_names_missing_data_before_it_starts_the_flow(
    sample: Path, tmp_path: Path
) -> None:
    nothing = demo(tmp_path / "run", "--data", tmp_path / "nowhere")
    assert nothing.returncode == 1
    assert "missing: videos, encoding, mapping, student_data.json" in nothing.stderr
    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    (data / "videos" / "cat.mp4").symlink_to(sample / "videos" / "cat.mp4")
    for name in ("encoding", "student_data.json", "mapping"):
        (data / name).symlink_to(sample / name)
    fewer = demo(tmp_path / "run", "--data", data)
    assert "names videos that are missing: late.mp4" in fewer.stderr
    assert not (tmp_path / "run").exists()
