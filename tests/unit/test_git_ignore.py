"""Git ignores galleries, inboxes, result files and settings with secrets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.needs import REPOSITORY, need


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A new repository with our ignore rules, because the checkout may lack `.git`."""
    need(shutil.which("git") is not None, "git is not installed")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    return tmp_path


def ignored(repository: Path, path: str) -> bool:
    argv = ["git", "check-ignore", "--quiet", "--no-index", path]
    return subprocess.run(argv, cwd=repository).returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        "gallery.npz",
        "gallery.npz.faces/0a1b.jpg",
        "aws_lambda/gallery.npz",
        "encoding",
        "mine/encoding",
        "encodings.pickle",
        "faces.pkl",
        "inbox.sqlite3",
        "inbox.sqlite3-wal",
        "inbox.sqlite3.lock",
        "results/a.mp4.txt",
        "state/up/gallery.npz",
        "people/Ada Lovelace/1.jpg",
        "users",
        "students.json",
    ],
)
def test_personal_or_secret_files_are_ignored(repository: Path, path: str) -> None:
    assert ignored(repository, path)


@pytest.mark.parametrize(
    "path",
    [
        "credentials.env",
        "openstack/worker.env",
        "benchmarks/encodings.py",
        "data/mapping",
        "rollcall/web/users.py",
        "rollcall/web/templates/people.html",
    ],
)
def test_files_of_the_project_are_not_ignored(repository: Path, path: str) -> None:
    assert not ignored(repository, path)
