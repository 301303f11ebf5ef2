"""Groups the faces of known people as if they were unknown, with several distances.

    python -m benchmarks.likeness_groups FOLDER...

Each folder has pictures of one person. Every picture counts as an appearance of its own, in random
order. Then the same is done with made-up people, whose encodings have the same statistics as those
of the real people. In the results, *swallowed* is the share of faces in a group most of whose faces
show somebody else, and *groups* is the mean number of groups of a person who has several faces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import markdown
from benchmarks.people import photos, run_on_pictures
from benchmarks.strangers import population
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Encodings
from rollcall.database.database import IN_MEMORY, Database
from rollcall.database.index_tables import unknown_face
from rollcall.database.tables import metadata
from rollcall.index import unknown_groups
from rollcall.index.unknown_groups import SqlUnknownGroups, UnknownFaces

PARTS = (
    *((0.65, 0.55), (0.70, 0.60), (0.75, 0.65), (0.80, 0.70), (0.85, 0.70), (0.85, 0.80)),
    *((0.90, 0.75), (0.95, 0.85), (1.00, 0.90)),
)
"""Join and merge distance, divided by the tolerance."""

ORDERS = 5
"""How many random orders are tried."""

MADE_UP = (100, 1000, 3000)
"""Numbers of made-up people, each with 1 to 20 faces."""

VIDEOS_AT_ONCE = 64


class Outcome(NamedTuple):
    swallowed: float
    groups: float
    """Groups of a person who has several faces."""
    differing: float
    """Share of the people with several faces whose groups differ from those of the first order."""


def outcome(
    people: Sequence[str], encodings: Encodings, space: str, orders: int = ORDERS
) -> Outcome:
    """Group the faces in several random orders. The result is the mean."""
    assigned = [_grouped(encodings, space, seed) for seed in range(orders)]
    swallowed, counts, differing = [], [], []
    several = [name for name, count in Counter(people).items() if count > 1]
    rows = {name: [i for i, each in enumerate(people) if each == name] for name in several}
    parts = [[_parts(rows[name], groups) for name in several] for groups in assigned]
    for groups, own in zip(assigned, parts, strict=True):
        most: dict[int, Counter[str]] = {group: Counter() for group in groups}
        for name, group in zip(people, groups, strict=True):
            most[group][name] += 1
        right = sum(counter.most_common(1)[0][1] for counter in most.values())
        swallowed.append(1 - right / len(people))
        counts.append(np.mean([len(each) for each in own]))
        differing.append(np.mean([a != b for a, b in zip(own, parts[0], strict=True)]))
    last = float(np.mean(differing[1:])) if orders > 1 else 0.0
    return Outcome(float(np.mean(swallowed)), float(np.mean(counts)), last)


def report(paths: Sequence[Path], engine: FaceEngine) -> str:
    known = [photo for photo in photos(paths, engine) if photo.known]
    names = [photo.person for photo in known]
    real = np.array([photo.encoding for photo in known])
    drawn = [(f"{len(set(names))} real", names, real, ORDERS)]
    random = np.random.default_rng(1)
    statistics = population(known)
    for count in MADE_UP:
        counts = np.clip(random.geometric(0.2, count), 1, 20)
        all_ = statistics.draw(count, 20, random).reshape(count, 20, -1)
        rows = np.vstack([each[:n] for each, n in zip(all_, counts, strict=True)])
        people = [str(person) for person, n in enumerate(counts) for _ in range(n)]
        drawn.append((f"{count} made up", people, rows, 2))
    lines = []
    for join, merge in PARTS:
        unknown_groups.JOIN_PART, unknown_groups.MERGE_PART = join, merge
        for label, people, rows, orders in drawn:
            found = outcome(people, rows, engine.space.name, orders)
            tolerance = engine.space.tolerance
            lines.append(
                (
                    f"{join * tolerance:.2f}",
                    f"{merge * tolerance:.2f}",
                    label,
                    str(len(people)),
                    f"{found.swallowed:.1%}",
                    f"{found.groups:.2f}",
                    f"{found.differing:.1%}",
                )
            )
    head = ("join", "merge", "people", "faces", "swallowed", "groups", "differ by order")
    return markdown.table(head, lines)


def _parts(rows: Sequence[int], groups: Sequence[int]) -> frozenset[frozenset[int]]:
    by_group: dict[int, set[int]] = {}
    for row in rows:
        by_group.setdefault(groups[row], set()).add(row)
    return frozenset(frozenset(part) for part in by_group.values())


def _grouped(encodings: Encodings, space: str, seed: int) -> list[int]:
    """The group of each face."""
    order = np.random.default_rng(seed).permutation(len(encodings)).tolist()
    with closing(Database(IN_MEMORY)) as database:
        metadata.create_all(database.engine)
        groups = SqlUnknownGroups(database)
        for start in range(0, len(order), VIDEOS_AT_ONCE):
            part = order[start : start + VIDEOS_AT_ONCE]
            groups.put_all([UnknownFaces(i, space, [0], encodings[i][None], 1.0) for i in part])
        with database.reading() as connection:
            rows = connection.execute(unknown_face.select()).all()
    found = {row.video_id: row.group_id for row in rows}
    return [found[i] for i in range(len(encodings))]


if __name__ == "__main__":
    run_on_pictures(report, __doc__)
