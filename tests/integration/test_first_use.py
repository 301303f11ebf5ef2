"""The first steps after cloning the repository: set-up, clean-up, `pip install .`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from manifests.images import offline
from support.needs import REPOSITORY, need

MINUTES_10 = 600
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


def make(*words: str, folder: Path = REPOSITORY, **env: str) -> subprocess.CompletedProcess[str]:
    """Run make without the variables that `make test` would pass on."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFL"))
    }
    return subprocess.run(
        ["make", *words], cwd=folder, env=own | env, capture_output=True, text=True
    )


def test_without_network_the_set_up_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    done = make("demo", f"VENV={folder}", f"PYTHON={sys.executable}", **NO_INDEX)
    assert done.returncode
    *_, sentence, last = done.stderr.splitlines()
    assert sentence == (
        "error: the packages were not installed; pip's message above says why. Set-up downloads"
        " packages: connect this machine to the network, then run the same command again."
    )
    assert last.startswith("make:")
    assert not (folder / ".ready").exists()


def test_the_set_up_says_that_python3_venv_is_missing(tmp_path: Path) -> None:
    """On Debian, only the package python3-venv contains `ensurepip`."""
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError('No module ensurepip')\n")
    folder = tmp_path / "venv"
    own = {"PYTHONPATH": str(tmp_path)}
    done = make("setup", f"VENV={folder}", f"PYTHON={sys.executable}", **own)
    assert done.returncode
    assert "install python3-venv (apt-get install python3-venv)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not folder.exists()


def test_the_set_up_rejects_an_old_python(tmp_path: Path) -> None:
    python = tmp_path / "python"
    code = "import sys; sys.version_info = V((3, 10)); exec(sys.argv[1])"
    lines = f"V = type('V', (tuple,), {{}}); {code}"
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{lines}" "$@"\n')
    python.chmod(0o755)
    done = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert "Python 3.11 to 3.13 is needed, not 3.10; try: make setup PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_without_network_the_sample_says_what_to_do(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "devstack.demo", "--folder", str(tmp_path)]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env=os.environ | NO_INDEX, capture_output=True, text=True
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: pip cannot download face_recognition==1.3.0")
    assert "make demo DATA=folder" in sentence
    assert not (tmp_path / "sample").exists()


REMOVED = [
    ".venv/bin/python",
    ".venv-heat/x",
    "state/demo/run/1/store.log",
    "state/demo/sample/mapping",
]
KEPT = [
    ".env",
    "credentials.env",
    "gallery.npz",
    "inbox.sqlite3",
    "state/bench.json",
    "state/demo/mine.npz",
    "state/up/gallery.npz",
    "state/up/inbox.sqlite3",
]


def create_files(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_clean_keeps_the_files_of_the_user(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    create_files(tmp_path, REMOVED + KEPT)
    assert make("clean", folder=tmp_path).returncode == 0
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {*KEPT, "Makefile"}


def test_clean_leaves_no_empty_folder_and_can_run_again(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    create_files(tmp_path, REMOVED)
    for _ in range(2):
        assert make("clean", folder=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of a new virtual environment after `pip install .` without extras."""
    source, venv = (tmp_path_factory.mktemp(name) for name in ("source", "venv"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "rollcall", source / "rollcall", ignore=no_cache)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "."]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True, timeout=MINUTES_10)
    need(not (done.returncode and offline(done.stderr)), "no package index can be reached")
    assert done.returncode == 0, done.stderr
    return venv / "bin"


def rollcall(
    binaries: Path, folder: Path, *words: str | Path, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(binaries / "rollcall"), *map(str, words)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **env},
        capture_output=True,
        text=True,
    )


def test_an_installed_package_recognises_a_video(
    installed: Path, sample: Path, tmp_path: Path
) -> None:
    video = sample / "videos" / "lecture_1.mp4"
    words = ("recognise", "--json", "--encodings", sample / "encoding", video)
    done = rollcall(installed, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [person["name"] for person in document["people"]] == ["president_obama"]
    assert done.stderr == f"gallery {sample / 'encoding'}: 2 people\n"


def test_pip_installs_dlib_only_as_a_binary_package(installed: Path) -> None:
    pip = [str(installed / "python"), "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(pip, capture_output=True, check=True).stdout)
    names = {package["name"].replace("_", "-").lower() for package in listed}
    assert names & {"dlib", "dlib-bin", "face-recognition"} == {"dlib-bin"}


def test_an_engine_without_its_package_says_how_to_install_it(
    installed: Path, sample: Path, tmp_path: Path
) -> None:
    words = ("recognise", "--encodings", sample / "encoding", "video.mp4")
    done = rollcall(installed, tmp_path, *words, ENGINE="face_recognition")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: ENGINE=face_recognition needs the package ")
    assert "pip install --no-deps face_recognition==1.3.0" in sentence


def test_up_says_that_it_needs_a_checkout(installed: Path, tmp_path: Path) -> None:
    done = rollcall(installed, tmp_path, "up")
    assert done.returncode == 1
    assert "needs a checkout of the repository" in done.stderr
    assert len(done.stderr.splitlines()) == 1
