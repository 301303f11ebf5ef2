"""What a machine may lack for these tests: a skip with the reason, but a failure in CI."""

from __future__ import annotations

import os

import pytest
from support.needs import need

from rollcall.local.ceph import ProgramsMissing, check_programs


@pytest.fixture(scope="session")
def ceph_programs() -> None:
    """Ceph's programs are there."""
    try:
        check_programs(os.environ["PATH"])
    except ProgramsMissing as error:
        need(False, str(error))
