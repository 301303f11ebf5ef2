"""Fixtures of the functional tests."""

from __future__ import annotations

import pytest
from support.home import Home, make_home


@pytest.fixture
def home() -> Home:
    return make_home()
