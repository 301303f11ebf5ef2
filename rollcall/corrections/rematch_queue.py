"""The queue of videos that a Rematcher corrects (table `rematch`), and what becomes of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from rollcall.core.errors import ObjectChanged, TransientError
from rollcall.database.database import Database
from rollcall.index.change_log import count_failed, count_videos
from rollcall.index.rematch_rows import (
    Rematch,
    any_due,
    claim,
    finish,
    pending,
    postpone,
    without_late_results,
)

log = logging.getLogger(__name__)

BATCH = 20
"""Videos that are claimed at once, and put into the index in one transaction."""

LEASE_S = 300.0
"""How long a batch belongs to one process. A video takes milliseconds, one with 100,000 faces some
seconds."""

FIRST_DELAY_S, MAX_DELAY_S = 2.0, 600.0
"""Delays before the second attempt and before later ones; the delay doubles in between."""

MAX_ATTEMPTS = 50
"""After so many attempts, about seven hours, a video is left uncorrected."""


class Done(NamedTuple):
    """The numbers of videos of a run, by outcome."""

    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    """Videos that cannot be corrected; the process's log says why."""
    postponed: int = 0
    """Videos that are tried again later."""

    def __add__(self, other: tuple[int, ...]) -> Done:  # type: ignore[override]
        return Done(*(left + right for left, right in zip(self, other, strict=True)))

    @property
    def all(self) -> int:
        return sum(self)


class RematchQueue:
    """Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self) -> int:
        """The number of videos in the queue."""
        with self._database.reading() as connection:
            return pending(connection)

    def is_due(self) -> bool:
        """Whether `claim` would find a video."""
        with self._database.reading() as connection:
            return any_due(connection, self._database.now_s(connection))

    def claim(self) -> list[Rematch]:
        """Take a few due videos, which then belong to this process for LEASE_S seconds."""
        return self._database.run(self._claim)

    def _claim(self, connection: Connection) -> list[Rematch]:
        now_s = self._database.now_s(connection)
        while claimed := claim(connection, now_s, BATCH, LEASE_S):
            if rows := without_late_results(connection, now_s, claimed):
                return rows
        return []

    def end(self, corrected: Sequence[tuple[Rematch, bool]]) -> Done:
        """Take videos out of the queue. The second value says whether the result has changed."""
        changes = Counter(row.change_id for row, has_changed in corrected if has_changed)

        def end(connection: Connection) -> None:
            for row, _ in corrected:
                finish(connection, row)
            for change_id, count in changes.items():
                if change_id is not None:
                    count_videos(connection, change_id, count)

        if corrected:
            self._database.run(end)
        changed = changes.total()
        return Done(changed=changed, unchanged=len(corrected) - changed)

    def failed(self, row: Rematch, error: Exception) -> Done:
        """Try a video again later, or give up after MAX_ATTEMPTS."""
        if not isinstance(error, TransientError):
            log.exception("%r cannot be corrected", row.key)
        if row.attempts + 1 >= MAX_ATTEMPTS:
            return self.give_up(row, error)
        return self.postpone([row], error)

    def give_up(self, row: Rematch, error: Exception) -> Done:
        """Take a video out of the queue that cannot be corrected, and count it in the log."""
        log.error("%r is not corrected: %s", row.key, error)

        def end(connection: Connection) -> None:
            if finish(connection, row) and row.change_id is not None:
                count_failed(connection, row.change_id)

        self._database.run(end)
        return Done(failed=1)

    def postpone(self, rows: Iterable[Rematch], error: Exception) -> Done:
        """Try videos again later. The delay grows with the number of attempts."""
        count = 0
        for row in rows:
            delay_s = min(FIRST_DELAY_S * 2.0**row.attempts, MAX_DELAY_S)
            if isinstance(error, ObjectChanged):
                log.info("%r will be corrected later: %s", row.key, error)
            else:
                log.warning(
                    "%r is not corrected, trying again in %.0f s: %s", row.key, delay_s, error
                )
            self._postpone(row, delay_s, row.attempts + 1, error)
            count += 1
        return Done(postponed=count)

    def give_back(self, rows: Iterable[Rematch], error: Exception) -> Done:
        """Try videos again soon. It was not an attempt: the store stopped answering before them."""
        count = 0
        for row in rows:
            # A video that always fails waits longer each time, and no longer holds these up.
            self._postpone(row, FIRST_DELAY_S, row.attempts, error)
            count += 1
        return Done(postponed=count)

    def _postpone(self, row: Rematch, delay_s: float, attempts: int, error: Exception) -> None:
        def later(connection: Connection) -> None:
            due_s = self._database.now_s(connection) + delay_s
            postpone(connection, row, due_s, attempts, str(error)[:1000])

        self._database.run(later)
