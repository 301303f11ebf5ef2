"""One process that scans buckets twice, for `benchmarks/reconcile.py`. Prints JSON.

The store is part of the process, but needs no memory: it makes up each object when it is asked for
it. All videos have results. The modules of the trigger are imported, so that the memory is that of
a real trigger.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from statistics import median

import click
from sqlalchemy import Connection

from rollcall.core.keys import result_key
from rollcall.core.types import ObjectInfo
from rollcall.database.database import Database
from rollcall.database.open_database import prepare
from rollcall.queues.sql_listings import SqlListings
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.memory import MemoryStore
from rollcall.trigger import trigger_service  # noqa: F401 - for its memory
from rollcall.trigger.reconciler import Reconciler

IN, OUT = "input-bucket-video", "output-bucket-vid"
FOLDER = 1000
"""Videos in a folder."""

REQUEST_S = 0.001
"""How long the store takes to answer a request for one object: the time of a fast store in the same
network."""


class LazyStore(MemoryStore):
    """Buckets with `count` videos and their results."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.requests = 0

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        end, etag = (".mp4", "v") if bucket == IN else (".csv", "r")
        for number in range(self.count):
            key = f"{number // FOLDER:06d}/recording-{number:09d}{end}"
            yield ObjectInfo(bucket, key, 1000, f"{etag}{number:031x}", "", 1.7e9 + number)

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        self.requests += 1
        time.sleep(REQUEST_S)
        number = int(key.removesuffix(".csv").rpartition("-")[2])
        return {"source-etag": f"v{number:031x}", "gallery": "g", "engine": "e"}


class TimedDatabase(Database):
    """Remembers how long its write transactions took."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.transactions_s: list[float] = []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as connection:
            started_s = time.perf_counter()
            yield connection
        self.transactions_s.append(time.perf_counter() - started_s)


def with_dicts(store: LazyStore) -> Callable[[], None]:
    """Return a scan that keeps both listings in Python, and asks for one object after the other."""
    sources: dict[str, tuple[str, str]] = {}

    def scan() -> None:
        videos = list(store.list_objects(IN))
        results = {info.key: info.etag for info in store.list_objects(OUT)}
        for info in videos:
            key = result_key(info.key)
            if sources.get(key) != (results[key], info.etag):
                sources[key] = results[key], store.metadata(OUT, key)["source-etag"]

    return scan


def measured(scan: Callable[[], None], store: LazyStore) -> dict[str, float]:
    store.requests = 0
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    scan()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "requests": store.requests,
    }


@click.command()
@click.option("--objects", type=int, required=True)
@click.option(
    "--database", default="", help="URL of an empty database; without it, dicts are used."
)
def main(objects: int, database: str) -> None:
    store = LazyStore(objects)
    if not database:
        scan = with_dicts(store)
        click.echo(json.dumps([measured(scan, store) for _ in range(2)]))
        return
    with closing(TimedDatabase(database)) as opened:
        prepare(opened)
        found: list[float] = []
        queue, listings = SqlQueue(opened), SqlListings(opened)
        reconciler = Reconciler(queue, listings, store, IN, OUT, lambda: found.append(1.0))
        passes = []
        for _ in range(2):
            opened.transactions_s.clear()
            costs = measured(reconciler.reconcile, store)
            median_ms = median(opened.transactions_s) * 1000
            longest_ms = max(opened.transactions_s) * 1000
            passes.append({**costs, "median_ms": median_ms, "longest_ms": longest_ms})
        if found:
            raise RuntimeError("a video was queued although it has a result")
    click.echo(json.dumps(passes))


if __name__ == "__main__":
    main()
