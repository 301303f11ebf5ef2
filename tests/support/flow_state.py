"""The state of a flow, read from outside: the database, the counters and the logs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from devstack.processes import Process
from support.flow_database import ServedDatabase
from support.flow_triggers import FlowTrigger
from support.inbox_rows import Row, read_rows, sqlite_file
from support.waiting import wait_until

DEADLINE_S = 240.0


@dataclass
class Baseline:
    """What the database and the triggers had counted at a time when no work was running."""

    rows: dict[int, Row] = field(default_factory=dict)
    counters: dict[str, Counter[str]] = field(default_factory=dict)
    """By the name of the trigger."""
    exact: bool = True
    """Whether the counters of the triggers have to agree exactly with the database. False after the
    kill of one of several triggers: its counters are gone, but not its work."""


class FlowState:
    """The part of a flow that reads its state. `database` is None for SQLite."""

    values: dict[str, str]
    """The settings of all processes."""

    def __init__(self, database: ServedDatabase | None, triggers: Sequence[FlowTrigger]) -> None:
        self.database = database
        self.triggers = triggers
        self.baseline = Baseline()
        self.acknowledged: list[tuple[bytes, float]] = []
        """The bodies of all events that a trigger has acknowledged, and when (Unix time)."""

    @property
    def trigger(self) -> Process:
        """The process of the first trigger."""
        return self.triggers[0].process

    @property
    def inbox(self) -> Path:
        """The file of the trigger's SQLite database."""
        return sqlite_file(self.values)

    def rows(self) -> dict[int, Row]:
        """Return the rows of all work in the database by id."""
        return {row.id: row for row in self.works("")}

    def works(self, prefix: str) -> list[Row]:
        """Return the rows of the work on videos below a prefix.

        Waits for a PostgreSQL server that does not answer.
        """
        if self.database is None:
            return read_rows(self.values["DATABASE_URL"], prefix)
        until = time.monotonic() + DEADLINE_S
        while True:
            try:
                return read_rows(self.database.direct_url(), prefix)
            except psycopg.Error:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def take_baseline(self) -> None:
        """Compare counters and database from now on. No work may be running."""
        if self.database is not None:
            running = [each for each in self.triggers if each.process.alive()]
            counters = {each.name: each.counters() for each in running}
            self.baseline = Baseline(self.rows(), counters)

    def counted(self) -> Counter[str]:
        """How much the counters of all triggers have grown since the baseline.

        A gauge is that of the last trigger.
        """
        total: Counter[str] = Counter()
        for each in self.triggers:
            before = self.baseline.counters.get(each.name, Counter())
            for name, value in each.counters().items():
                counts = name.partition(" ")[0].endswith("_total")
                total[name] = total[name] + value - before[name] if counts else value
        return total

    def logs(self) -> dict[Path, int]:
        """The logs of all triggers, with their lengths in bytes."""
        found = [each.process.log for each in self.triggers]
        return {log: log.stat().st_size for log in found}

    def wait(self, condition: Callable[[], object], description: str) -> None:
        wait_until(condition, description, DEADLINE_S)

    def note_start(self, trigger: FlowTrigger) -> None:
        """Note that the counters of a trigger begin at 0."""
        if self.database is None:
            self.baseline = Baseline(self.rows())
        else:
            self.baseline.counters[trigger.name] = Counter()
            self.baseline.exact = False
