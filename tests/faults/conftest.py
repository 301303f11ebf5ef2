"""One running flow for all tests of a file that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.faulty_flow import FaultyFlow


@pytest.fixture(scope="module")
def running_flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """Gone behind the file: its proxies are threads of this process, and other tests watch what
    that connects to."""
    with FaultyFlow(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def flow(running_flow: FaultyFlow) -> Iterator[FaultyFlow]:
    """In one piece before and after each test."""
    yield running_flow
    running_flow.mend()
