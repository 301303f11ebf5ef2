"""Measures the index of who appeared when: 100,000 videos, 1000 people, a million appearances.

Run alone: `make bench ONLY=index`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.big_index import BUCKET, YEAR_S, BigIndex, fill, name_of
from benchmarks.native import postgres
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.database.database import Database
from rollcall.database.open_database import prepare
from rollcall.index.result_queries import PAGE, Period, ResultQueries
from rollcall.index.sql_index import SqlIndex

TITLE = "The index"
BATCHES = (1, 100)
UNITS = ("per_s", "cpu_ms")
REPEATS = 7
DAY_S = 86400.0
ABSENT_NAMES = 300


def run(bench: Bench) -> list[dict[str, Any]]:
    """Return the measurements of both kinds of database."""
    big = BigIndex(*bench.sizes.index_rows)
    results = []
    for name, opened in (("SQLite", _sqlite(bench.folder)), ("PostgreSQL", _postgresql())):
        with opened as url, closing(Database(url)) as database:
            prepare(database)
            started_s = time.perf_counter()
            fill(database, big)
            filled_s = time.perf_counter() - started_s
            results.append(
                {
                    "database": name,
                    "videos": len(big.uploaded_s),
                    "people": big.people,
                    "appearances": len(big.person),
                    "filled_s": round(filled_s, 1),
                    "put": [_put(database, batch, bench.sizes.index_puts) for batch in BATCHES],
                    "queries_ms": _queries(database),
                }
            )
    return results


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'index.sqlite3'}"


@contextmanager
def _postgresql() -> Iterator[str]:
    with postgres() as (_, url):
        yield url


def _put(database: Database, batch: int, puts: int) -> dict[str, Any]:
    """Put new videos of ten people into the full index, and then the same videos again."""
    index = SqlIndex(database)
    rates: dict[str, Any] = {"batch": batch}
    for again in (False, True):
        count = puts if batch > 1 else max(1, puts // 10)
        videos = [_video(batch, number) for number in range(count)]
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        for start in range(0, count, batch):
            index.put(videos[start : start + batch])
        kind = "replaced" if again else "new"
        rates[f"{kind}_per_s"] = round(count / (time.perf_counter() - wall_s))
        rates[f"{kind}_cpu_ms"] = round((time.process_time() - cpu_s) / count * 1000, 3)
    return rates


def _video(batch: int, number: int) -> IndexedVideo:
    now_s = time.time()
    people = tuple(
        Appearance(
            place, name_of((number * 7 + place) % 1000), 1.0, 9.0, 5, 0.4, "clear", ((1, 9),)
        )
        for place in range(10)
    )
    key = f"new/{batch}/{number}.mp4"
    return IndexedVideo(
        BUCKET, key, "etag", "recognised", uploaded_s=now_s, finished_s=now_s, people=people
    )


def _queries(database: Database) -> dict[str, float]:
    """The median milliseconds of the queries of `rollcall results`."""
    queries = ResultQueries(database)
    found = queries.person(name_of(3))
    if found is None:
        raise AssertionError("the index has no such person")
    person_id, now_s = found[0], time.time()
    week, year = Period(now_s - 7 * DAY_S), Period(now_s - YEAR_S)
    names = [name_of(number) for number in range(ABSENT_NAMES)]
    return {
        f"first {PAGE} videos of a week": _median_ms(lambda: _first_page(queries, week, None)),
        f"first {PAGE} videos of a person": _median_ms(
            lambda: _first_page(queries, year, person_id)
        ),
        f"who of {ABSENT_NAMES} was absent in a week": _median_ms(
            lambda: queries.absent(names, week)
        ),
        "a person by name": _median_ms(lambda: queries.person(name_of(7).upper())),
    }


def _first_page(queries: ResultQueries, period: Period, person_id: int | None) -> None:
    next(queries.videos(period, person_id))


def _median_ms(query: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        query()
        times.append((time.perf_counter() - started_s) * 1000)
    return round(statistics.median(times), 1)


def table(results: list[dict[str, Any]]) -> str:
    puts = [
        (
            result["database"],
            str(put["batch"]),
            *(f"{put[f'{kind}_{unit}']}" for kind in ("new", "replaced") for unit in UNITS),
        )
        for result in results
        for put in result["put"]
    ]
    head = ("database", "videos at once", "new, videos/s", "CPU ms", "replaced, videos/s", "CPU ms")
    queries = [
        (query, *(f"{result['queries_ms'][query]:.1f}" for result in results))
        for query in (results[0]["queries_ms"] if results else ())
    ]
    names = [f"{result['database']}, ms" for result in results]
    return "\n\n".join([markdown.table(head, puts), markdown.table(("query", *names), queries)])
