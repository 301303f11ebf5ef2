"""Fixtures for databases and work queues, and a Hypothesis profile without deadlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.databases import open_file, open_tables
from support.work_queues import Clock

from rollcall.core.queue_protocols import WorkQueue
from rollcall.database.database import Database
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.queues.sql_queue import SqlQueue

settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

OpenQueue = Callable[[Callable[[], float] | None], WorkQueue]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind, with all tables."""
    is_postgresql = request.param == "postgresql"
    file = f"sqlite:///{tmp_path}/index.sqlite3"
    url = request.getfixturevalue("postgres_url") if is_postgresql else file
    with closing(open_tables(url)) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def open_empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenQueue]:
    """A function that opens an empty queue of each kind, with the given clock or the real one."""
    with ExitStack() as opened:

        def open_(clock: Callable[[], float] | None = None) -> WorkQueue:
            return opened.enter_context(closing(open_kind(clock)))

        def open_kind(clock: Callable[[], float] | None) -> WorkQueue:
            if request.param == "memory":
                return MemoryQueue(clock)
            if request.param == "postgresql":
                return SqlQueue(Database(request.getfixturevalue("postgres_url"), clock))
            return SqlQueue(open_file(tmp_path / "state" / "inbox.sqlite3", clock))

        yield open_


@pytest.fixture
def queue(open_empty: OpenQueue, clock: Clock) -> WorkQueue:
    return open_empty(clock)
