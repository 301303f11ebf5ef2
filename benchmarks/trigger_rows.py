"""The rows of the trigger's database, as the benchmark of the trigger adds and counts them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, text

POLL_S = 0.05
DRAIN_TIMEOUT_S = 300.0

_NUMBERS = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :count)"
    " SELECT n FROM c)",
    "postgresql": "generate_series(1, :count) AS n",
}

_NEXT_ID = {
    "sqlite": "INSERT INTO sqlite_sequence (name, seq) VALUES ('work', :count)",
    "postgresql": "SELECT setval(pg_get_serial_sequence('work', 'id'), :count)",
}

_WRITE_OUT = {
    "sqlite": ("PRAGMA wal_checkpoint(TRUNCATE)",),
    "postgresql": ("VACUUM ANALYZE", "CHECKPOINT"),
}
"""Otherwise the server would still write the million rows to the disk during the measurement."""

_FILL = (
    "INSERT INTO finished (id, identity, bucket, key, etag, event_name, uploaded_s, origin, state,"
    " attempts, calls, received_s, changed_s, code) SELECT n, 'old-' || n, 'input-bucket-video',"
    " 'course-' || n % 10 || '/old-' || n || '.mp4', '336311a016184326ddbdd61edd4eeb52',"
    " 'ObjectCreated:Put', :first_s + n / 10.0, 'event', 'done', 1, 1, :first_s + n / 10.0,"
    " :first_s + n / 10.0 + 1, 'recognised' FROM {numbers}",
    "INSERT INTO seen_event (identity) SELECT identity FROM finished",
    "INSERT INTO tally (slot, state, code, count) VALUES (1000, 'done', 'recognised', :count)",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """The videos of a run, as the database has them."""

    videos: int
    once: bool
    """Whether every video has one row, and is done after one call."""
    wall_s: float
    """From the first accepted event to the last result."""
    waits_s: list[float]
    """Seconds from accepted to done, in ascending order."""


class Rows:
    """The tables of one trigger, or of several that share a database."""

    def __init__(self, url: str) -> None:
        driver = url.replace("postgresql://", "postgresql+psycopg://")
        self._engine = create_engine(driver, isolation_level="AUTOCOMMIT")
        self._dialect = self._engine.dialect.name

    def close(self) -> None:
        self._engine.dispose()

    def fill(self, count: int) -> None:
        """Add finished videos, ended within the last days so that none of them is pruned."""
        values = {"count": count, "first_s": time.time() - count / 10 - 60}
        with self._engine.connect() as connection:
            for statement in (*_FILL, _NEXT_ID[self._dialect]):
                filled = statement.format(numbers=_NUMBERS[self._dialect])
                used = {name: value for name, value in values.items() if f":{name}" in filled}
                connection.execute(text(filled), used)
            for statement in _WRITE_OUT[self._dialect]:
                connection.execute(text(statement))

    def last_id(self) -> int:
        return int(self._query("SELECT coalesce(max(id), 0) FROM finished")[0][0])

    def wait_ended(self) -> None:
        """Wait until no work is queued or running, and all results are in the index.

        Raises TimeoutError.
        """
        until = time.monotonic() + DRAIN_TIMEOUT_S
        for table in ("work", "unindexed"):  # one after the other, because dead rows make it slow
            while left := self._query(f"SELECT count(*) FROM {table}")[0][0]:  # noqa: S608
                if time.monotonic() > until:
                    raise TimeoutError(f"{left} videos are not done after {DRAIN_TIMEOUT_S:g} s")
                time.sleep(POLL_S)

    def ended_since(self, last_id: int) -> Ended:
        rows = self._query(
            "SELECT received_s, changed_s, state = 'done' AND calls = 1, key FROM finished"
            " WHERE id > :last_id",
            last_id=last_id,
        )
        keys = {key for *_, key in rows}
        return Ended(
            videos=len(rows),
            once=len(keys) == len(rows) and all(once for _, _, once, _ in rows),
            wall_s=max(end for _, end, *_ in rows) - min(start for start, *_ in rows),
            waits_s=sorted(end - start for start, end, *_ in rows),
        )

    def _query(self, statement: str, **values: int) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), values).all())
