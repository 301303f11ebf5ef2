"""Fixtures of the functional tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.home import Home, make_home
from support.scene_runs import enrol
from support.scenes import KNOWN


@pytest.fixture
def home() -> Home:
    return make_home()


@pytest.fixture(scope="session")
def known_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the people in the rendered scenes who are known."""
    folder = tmp_path_factory.mktemp("known-people")
    return enrol(folder, {name: portraits[0] for name, portraits in KNOWN.items()})
