"""Fixtures of the functional tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.home import Home, make_home
from support.scene_runs import enrol
from support.scenes import KNOWN
from support.web_pages import pages_client, web_parts

from rollcall.web.parts import WebParts


@pytest.fixture
def home() -> Home:
    return make_home()


@pytest.fixture(scope="session")
def known_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the people in the rendered scenes who are known."""
    folder = tmp_path_factory.mktemp("known-people")
    return enrol(folder, {name: portraits[0] for name, portraits in KNOWN.items()})


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    """The parts of pages with an empty database."""
    with web_parts(tmp_path) as built:
        yield built


@pytest.fixture
def client(parts: WebParts) -> FlaskClient:
    """A client of the pages with these parts, which a test file may replace."""
    return pages_client(parts)
