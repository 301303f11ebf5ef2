"""A running flow that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.faulty_flow import FaultyFlow


@pytest.fixture(scope="module")
def running_flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """One flow for all tests of a file.

    It must stop before the tests of the next file start. Its proxies are threads of this process,
    and some tests check to which addresses this process connects.
    """
    with FaultyFlow(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def flow(running_flow: FaultyFlow) -> Iterator[FaultyFlow]:
    """The shared flow; its links are repaired after each test."""
    yield running_flow
    running_flow.mend()
