"""The wheel and the images contain the package `rollcall`, but no tools for development."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from setuptools import find_packages
from support.needs import REPOSITORY

DEVELOPMENT_FOLDERS = {"devstack", "benchmarks", "tests"}
STACK_FILES = sorted(REPOSITORY.glob("project3*.yml"))
DOCKERFILES = [
    path
    for pattern in ("OpenFaas/*/Dockerfile", "aws_lambda/Dockerfile", "deploy/*/Dockerfile")
    for path in REPOSITORY.glob(pattern)
]


def top_level_folders(text: str) -> set[str]:
    """Return the top-level folder of each path that a Dockerfile copies or adds."""
    copied = re.findall(r"^(?:COPY|ADD) (?!--from)(.+)$", text, re.MULTILINE)
    sources = [word for line in copied for word in line.split()[:-1] if not word.startswith("--")]
    return {Path(source).parts[0] if Path(source).parts else "." for source in sources}


def test_the_wheel_contains_only_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    options = project["tool"]["setuptools"]["packages"]["find"]
    packages = find_packages(str(REPOSITORY), **options)
    assert {name.partition(".")[0] for name in packages} == {"rollcall"}
    assert "rollcall.cli" in packages


def test_the_wheel_contains_the_files_that_are_not_python() -> None:
    """For example the migrations' SQL and the templates of the trigger's pages."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    package = REPOSITORY / "rollcall"
    patterns = project["tool"]["setuptools"]["package-data"]["rollcall"]
    contained = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*.*") if path.suffix not in {".py", ".pyc"}}
    assert {path for path in files if path.is_file()} == contained


def test_the_development_folders_exist() -> None:
    assert {
        name for name in DEVELOPMENT_FOLDERS if (REPOSITORY / name).is_dir()
    } == DEVELOPMENT_FOLDERS


@pytest.mark.parametrize("path", STACK_FILES, ids=lambda path: path.name)
def test_stack_files_copy_only_the_package(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["configuration"]["copy"] == ["rollcall"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.parent.name))
def test_no_image_contains_development_folders(path: Path) -> None:
    folders = top_level_folders(path.read_text())
    assert folders
    assert not folders & DEVELOPMENT_FOLDERS
    # "." is the repository, except for OpenFaaS, which builds in the folder of the handler.
    assert "." not in folders or path.parent.name == "project3"
