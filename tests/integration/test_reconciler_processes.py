"""A process that is killed in the middle of a scan leaves listings that the next scan completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.databases import open_tables
from support.settings import embedded_settings
from support.waiting import wait_until

from rollcall.core.settings import SQLITE_URL, Settings
from rollcall.core.types import ObjectInfo
from rollcall.database.database import Database
from rollcall.queues import sql_listings
from rollcall.queues.sql_listings import SqlListings
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.trigger.reconciler import Reconciler

PAGE = 10
VIDEOS = 60
MISSING = [f"{number:02}.mp4" for number in range(3, VIDEOS, 7)]


class CountingStore(S3Store):
    """Prints each request for an object, and each listed object, when it has been answered."""

    def __init__(self, settings: Settings, *, prints: bool = False) -> None:
        super().__init__(s3_client(settings))
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._prints = prints

    def head(self, bucket: str, key: str) -> ObjectInfo:
        found = super().head(bucket, key)
        self._count("head")
        return found

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        found = super().metadata(bucket, key)
        self._count("metadata")
        return found

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for info in super().list_objects(bucket, prefix):
            self._count("listed")
            yield info

    def _count(self, kind: str) -> None:
        with self._lock:  # several requests run at once
            self.requests.append(kind)
            if self._prints:
                print(kind, self.requests.count(kind), flush=True)


def build(
    database: Database, store: S3Store, settings: Settings, found: list[int]
) -> tuple[SqlQueue, Reconciler]:
    queue, buckets = SqlQueue(database), (settings.input_bucket, settings.output_bucket)
    parts = queue, SqlListings(database), store
    return queue, Reconciler(*parts, *buckets, lambda: found.append(1))


def scan_and_print(moto_url: str, database_url: str, input_bucket: str, output_bucket: str) -> None:
    """What the killed process does."""
    sql_listings.PAGE = sql_listings._LIMIT = PAGE  # type: ignore[assignment]
    settings = embedded_settings(moto_url, INPUT_BUCKET=input_bucket, OUTPUT_BUCKET=output_bucket)
    database = Database(database_url)
    store = CountingStore(settings, prints=True)
    _, reconciler = build(database, store, settings, [])
    reconciler.reconcile()
    print("finished", flush=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    url = f"{SQLITE_URL}{tmp_path / 'inbox.sqlite3'}"
    open_tables(url).close()
    return url


@pytest.fixture
def settings(moto_url: str) -> Settings:
    """Buckets with videos, most of which have results."""
    name = uuid.uuid4().hex[:8]
    settings = embedded_settings(moto_url, INPUT_BUCKET=f"in-{name}", OUTPUT_BUCKET=f"out-{name}")
    store = S3Store(s3_client(settings))
    store.create_bucket(settings.input_bucket)
    store.create_bucket(settings.output_bucket)
    store.write(settings.input_bucket, "probe.mp4", b"v", "video/mp4", {})
    etag = store.head(settings.input_bucket, "probe.mp4").etag
    store.delete(settings.input_bucket, "probe.mp4")
    for number in range(VIDEOS):
        key = f"{number:02}.mp4"
        store.write(settings.input_bucket, key, b"v", "video/mp4", {})
        if key not in MISSING:
            result = f"{number:02}.csv"
            store.write(settings.output_bucket, result, b"r", "text/csv", {"source-etag": etag})
    return settings


def kill_at(line: str, *arguments: str) -> None:
    """Run `scan_and_print` in another process, and kill that process when it prints the line."""
    program = (
        f"from integration.test_reconciler_processes import scan_and_print as scan\nscan{arguments}"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ
    ) as child:
        assert child.stdout is not None
        printed = iter(child.stdout)
        assert line in (each.strip() for each in printed), "the scan ended too early"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


def locks(database: Database) -> int:
    """The number of locks like that of a scan. PostgreSQL needs a moment to see a client's end."""
    if not database.shared:
        return 0
    with database.reading() as connection:
        query = text("SELECT count(*) FROM pg_locks WHERE locktype='advisory'")
        found: int = connection.execute(query).scalar_one()
        return found


@pytest.mark.parametrize("moment", ["listed 35", "listed 80", "metadata 25", "head 4"])
def test_a_scan_after_a_killed_one_finds_what_is_missing(
    moto_url: str,
    database_url: str,
    settings: Settings,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sql_listings, "PAGE", PAGE)
    monkeypatch.setattr(sql_listings, "_LIMIT", PAGE)
    kill_at(moment, moto_url, database_url, settings.input_bucket, settings.output_bucket)
    found: list[int] = []
    with closing(Database(database_url)) as database:
        wait_until(lambda: not locks(database), "the end of the killed process's connections")
        store = CountingStore(settings)
        queue, reconciler = build(database, store, settings, found)
        before = [work.key for work in queue.latest(VIDEOS)]
        reconciler.reconcile()
        assert sorted(work.key for work in queue.latest(VIDEOS)) == MISSING
        assert len(found) == len(MISSING) - len(before)
        read = store.requests.count("metadata")
        if moment == "metadata 25":
            # The pages that were complete are remembered.
            assert read <= VIDEOS - len(MISSING) - PAGE
        store.requests.clear()
        reconciler.reconcile()
        assert set(store.requests) == {"listed"}
