"""Fills a database with a large index: N videos, P people, A appearances.

    python -m benchmarks.big_index state/big.sqlite3 --videos 100000 --people 1000 \
        --appearances 1000000 --faces

Also for PostgreSQL, with a URL. The tables of the index have to be empty. The same numbers and seed
give the same index, except for the times, which end now.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table

from rollcall.core.encoding_space import DLIB
from rollcall.core.settings import POSTGRESQL_URLS, SQLITE_URL
from rollcall.database.database import Database
from rollcall.database.index_tables import (
    appearance,
    face_block,
    person,
    unknown_face,
    unknown_group,
    video,
)
from rollcall.database.open_database import prepare
from rollcall.index.sql_index import folded

YEAR_S = 365 * 86400.0
SIZE = 128
"""Numbers of an encoding."""
SPACE = DLIB.name
BUCKET = "input-bucket-video"
UNKNOWN_SHARE = 0.15
"""Share of the appearances without a name."""
PER_GROUP = 20
"""Mean number of appearances in a group of unknown faces. The largest has a hundred times as many,
if there are a million appearances."""

FIRST = [
    "Ada",
    "Ben",
    "Chen",
    "Dora",
    "Emil",
    "Fatima",
    "Goran",
    "Hana",
    "Ines",
    "Juan",
    "Kofi",
    "Lena",
    "Mila",
    "Noor",
    "Olga",
    "Pia",
]
LAST = [
    "Adler",
    "Brand",
    "Costa",
    "Dietz",
    "Ekman",
    "Falk",
    "Gruber",
    "Haas",
    "Ito",
    "Jansen",
    "Klein",
    "Lang",
    "Mori",
    "Novak",
]


def name_of(number: int) -> str:
    """The name of a person, counted from 0. All names are different."""
    rest, first = divmod(number, len(FIRST))
    rest, last = divmod(rest, len(LAST))
    return f"{FIRST[first]} {LAST[last]}" + (f" {rest + 1}" if rest else "")


class BigIndex:
    """The rows of a large index, made from random numbers."""

    def __init__(self, videos: int, people: int, appearances: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self._rng = rng
        self.people = people
        now_s = time.time()
        self.uploaded_s = np.sort(now_s - YEAR_S * rng.random(videos))
        # A few people are in very many videos, most in some: Zipf's law, moderated.
        weights = 1 / (np.arange(people) + 10)
        self.video = np.sort(rng.integers(0, videos, appearances))
        starts = np.searchsorted(self.video, np.arange(videos))
        self.number = np.arange(appearances) - starts[self.video]
        chosen = rng.choice(people, appearances, p=weights / weights.sum())
        unknown = rng.random(appearances) < UNKNOWN_SHARE
        # Nobody is in a video twice: the second appearance becomes an unknown person.
        order = np.lexsort((chosen, self.video))
        pairs = np.stack([self.video[order], chosen[order]])
        unknown[order[1:]] |= (pairs[:, 1:] == pairs[:, :-1]).all(axis=0)
        self.person = np.where(unknown, 0, chosen + 1)
        """The id of each person; 0 for an unknown person."""
        groups = max(1, int(unknown.sum()) // PER_GROUP)
        weights = 1 / (np.arange(groups) + 10)
        of_group = rng.choice(groups, appearances, p=weights / weights.sum())
        self.group = np.where(unknown, of_group + 1, 0)
        """The id of each group of unknown faces, the largest first; 0 for a named person."""
        self.first_s = np.round(rng.random(appearances) * 3000, 2)
        self.length_s = np.round(1 + rng.random(appearances) * 500, 2)
        self.distance = np.round(0.3 + 0.3 * rng.random(appearances), 3)

    def video_rows(self) -> Iterator[tuple[Any, ...]]:
        count = len(self.uploaded_s)
        named = np.bincount(self.video[self.person > 0], minlength=count).tolist()
        unknown = np.bincount(self.video[self.person == 0], minlength=count).tolist()
        not_judged = {"too small": 3, "blurred": 1, "turned": 0}
        coverage = json.dumps({"looks": 360, "longest_gap_s": 10.0, "not_judged": not_judged})
        for n, uploaded_s in enumerate(self.uploaded_s.tolist()):
            failed = n % 97 == 0 and not named[n] and not unknown[n]
            status = "recognised" if named[n] else "unknown" if unknown[n] else "no_face"
            yield (
                n + 1,
                BUCKET,
                f"{LAST[n % len(LAST)].lower()}/lecture-{n:06d}.mp4",
                f"{n:032x}",
                f"{n:032x}",
                "error" if failed else status,
                "not_a_video" if failed else "",
                "the video cannot be decoded" if failed else "",
                uploaded_s,
                uploaded_s + 2,
                3600.0,
                360,
                coverage,
                named[n],
                unknown[n],
                "gallery-1",
                "encodings",
                0,
            )

    def appearance_rows(self) -> Iterator[tuple[Any, ...]]:
        columns = (self.video, self.number, self.person, self.group, self.uploaded_s[self.video])
        times = (self.first_s, self.length_s, self.distance)
        for id_, (
            video_,
            number,
            person_,
            group,
            uploaded_s,
            first_s,
            length_s,
            distance,
        ) in enumerate(zip(*(each.tolist() for each in (*columns, *times)), strict=True), 1):
            last_s = round(first_s + length_s, 2)
            yield (
                id_,
                video_ + 1,
                number,
                person_ or None,
                group or None,
                uploaded_s,
                first_s,
                last_s,
                length_s,
                1 + int(length_s / 10),
                distance,
                "" if not person_ else "clear" if distance < 0.5 else "likely",
                f"[[{first_s},{last_s}]]",
            )

    def person_rows(self) -> Iterator[tuple[Any, ...]]:
        for id_, count, first_s, last_s in self._seen(self.person):
            name = name_of(id_ - 1)
            yield id_, name, folded(name), count, first_s, last_s

    def group_rows(self) -> Iterator[tuple[Any, ...]]:
        for id_, count, first_s, last_s in self._seen(self.group):
            centre = self._encodings(1).tobytes()
            yield id_, SPACE, centre, count, first_s, last_s, "", id_

    def face_rows(self) -> Iterator[tuple[Any, ...]]:
        """A block of one random encoding for each appearance."""
        for video_ in range(len(self.uploaded_s)):
            count = int(np.searchsorted(self.video, [video_, video_ + 1]) @ [-1, 1])
            if count:
                numbers = np.arange(count, dtype="<u2").tobytes()
                encodings = self._encodings(count).astype("<f2").tobytes()
                yield video_ + 1, SPACE, numbers, encodings, count, video_ + 1

    def unknown_face_rows(self) -> Iterator[tuple[Any, ...]]:
        places = np.flatnonzero(self.group)
        columns = (self.video[places] + 1, self.number[places], self.group[places])
        uploaded_s = self.uploaded_s[self.video[places]]
        for row in zip(*(each.tolist() for each in (*columns, uploaded_s)), strict=True):
            yield *row, self._encodings(1).astype("<f2").tobytes()

    def _seen(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, int, float, float]]:
        """Each id above 0 with the number, and the first and last upload, of its appearances."""
        order = np.argsort(ids, kind="stable")  # the appearances are sorted by time already
        found, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        for id_, start, count in zip(found.tolist(), starts, counts.tolist(), strict=True):
            if id_:
                first, last = self.video[order[start]], self.video[order[start + count - 1]]
                yield id_, count, float(self.uploaded_s[first]), float(self.uploaded_s[last])

    def _encodings(self, count: int) -> NDArray[np.float32]:
        """Random encodings, shape (count, SIZE), as long as those of faces (about 1.4)."""
        rows = self._rng.standard_normal((count, SIZE), dtype=np.float32)
        return rows * np.float32(1.4 / SIZE**0.5)


def fill(database: Database, index: BigIndex, *, faces: bool = False) -> None:
    """Write all rows into the empty tables of the index; with `faces`, also those for searches."""
    tables = [
        (video, index.video_rows()),
        (person, index.person_rows()),
        (unknown_group, index.group_rows()),
        (appearance, index.appearance_rows()),
        (unknown_face, index.unknown_face_rows()),
    ]
    if faces:
        tables.append((face_block, index.face_rows()))
    with database.transaction() as connection:
        for table, rows in tables:
            _insert(connection, table, rows, shared=database.shared)
    with database.transaction() as connection:
        connection.exec_driver_sql("ANALYZE")


def _insert(
    connection: Connection, table: Table, rows: Iterator[tuple[Any, ...]], *, shared: bool
) -> None:
    names = [column.name for column in table.columns]
    cursor: Any = connection.connection.cursor()
    if not shared:
        marks = ", ".join("?" for _ in names)
        cursor.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows)  # noqa: S608
        return
    cursor.execute("SET LOCAL statement_timeout = 0")
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    if "id" in names:
        last = f"SELECT max(id) FROM {table.name}"  # noqa: S608
        cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), ({last}))")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fill a database with a large index.")
    parser.add_argument("database", help="path of an SQLite file, or URL of a PostgreSQL database")
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--appearances", type=int, default=1_000_000)
    parser.add_argument("--faces", action="store_true", help="also store encodings for searches")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    is_url = options.database.startswith((*POSTGRESQL_URLS, SQLITE_URL))
    url = options.database if is_url else f"{SQLITE_URL}{options.database}"
    started_s = time.perf_counter()
    with closing(Database(url)) as database:
        prepare(database)
        index = BigIndex(options.videos, options.people, options.appearances, options.seed)
        fill(database, index, faces=options.faces)
    print(f"filled {options.database} in {time.perf_counter() - started_s:.1f} s")


if __name__ == "__main__":
    main()
