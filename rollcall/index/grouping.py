"""Decides which unknown faces are one person (docs/decisions/0135).

1. A face joins the nearest group within the join distance. Otherwise it starts a new group.
2. The centre of a group is the mean of its faces, so it moves when faces come and go.
3. Two groups whose centres come within the merge distance become one. If one of them has a single
   face, the join distance counts instead, because this face would join now. So it hardly matters in
   which order the faces arrive.
4. If somebody said that faces show one person, the groups of these faces become one. This group
   keeps all their centres, because the mean of two views of a person may be like other people.
5. A face that is written again stays in its group, and one that had left comes back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rollcall.index.centres import Centres, Rows

FACES_AT_ONCE = 256
"""Limit for the faces whose distances to all centres are computed in one matrix product."""

MAX_DISTANCES = 1 << 23
"""Limit for the distances of one matrix product, which take 4 bytes each."""


@dataclass(slots=True, eq=False)
class Group:
    """A group that a transaction reads or changes."""

    id: int
    """0 for a new group."""
    rows: Rows
    """The centre, shape (1, size); more rows if `same` is not empty."""
    count: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    same: frozenset[str] = frozenset()
    """Digests of the verdicts that joined faces."""
    changed: bool = False
    grown: bool = False
    """Whether a face is new here, so that the centre may have come near another one."""
    shrunk: bool = False
    """Whether a face has left, so that the times have to be read again."""
    into: Group | None = None
    """The group that this one has become a part of."""
    places: list[int] = field(default_factory=list)
    """Where the rows are in the matrix of the open groups."""

    def current(self) -> Group:
        group = self
        while group.into is not None:
            group = group.into
        return group

    def add(self, encoding: Rows, uploaded_s: float, *, is_new: bool = True) -> None:
        if not self.same:
            self.rows = (self.rows * self.count + encoding) / np.float32(self.count + 1)
        first = self.count == 0
        self.first_s = uploaded_s if first else min(self.first_s, uploaded_s)
        self.last_s = uploaded_s if first else max(self.last_s, uploaded_s)
        self.count += 1
        self.changed = True
        self.grown |= is_new

    def remove(self, encoding: Rows) -> None:
        """Take a face out. The last one leaves its encoding as the centre, because it may come
        back in the same transaction."""
        if self.count > 1 and not self.same:
            self.rows = (self.rows * self.count - encoding) / np.float32(self.count - 1)
        self.count -= 1
        self.changed = self.shrunk = True

    def absorb(self, other: Group, *, keep_centres: bool) -> None:
        """Make all faces of the other group faces of this group."""
        total = self.count + other.count
        if keep_centres or (self.same and other.same):
            self.rows = np.concatenate([self.rows, other.rows])
        elif other.same:
            self.rows = other.rows
        elif not self.same and total:
            self.rows = (self.rows * self.count + other.rows * other.count) / np.float32(total)
        if other.count:
            both = self.count > 0
            self.first_s = min(self.first_s, other.first_s) if both else other.first_s
            self.last_s = max(self.last_s, other.last_s) if both else other.last_s
        self.count = total
        self.same |= other.same
        self.shrunk |= other.shrunk
        self.changed = self.grown = True
        other.into = self


class Grouping:
    """The groups during one transaction.

    `centres` are those of all groups, as they were at its start. `load` reads groups by their ids;
    it leaves out those that are gone. A group is *open* once it was read or made. Only open groups
    can change.
    """

    def __init__(
        self,
        centres: Centres,
        load: Callable[[Sequence[int]], list[Group]],
        join_distance: float,
        merge_distance: float,
    ) -> None:
        self._centres = centres
        self._load = load
        self._join_distance = join_distance
        self._merge_distance = merge_distance
        self._squares = np.einsum("ij,ij->i", centres.rows, centres.rows)
        self._closed = np.ones(len(centres.ids), bool)
        """Which rows of `centres` belong to groups that are not open."""
        self._opened: dict[int, Group] = {}
        self._made: list[Group] = []
        self.made_again: dict[int, Group] = {}
        """New groups of faces that came back, by the ids that the groups had before."""
        self._rows = np.empty((64, centres.rows.shape[1]), np.float32)
        self._owners: list[Group] = []
        """The open group of each row of `_rows`."""
        self._usable = np.zeros(64, bool)
        """Which rows of `_rows` are still the centre of their group."""

    def groups(self) -> list[Group]:
        """All open groups, also those that were merged into others."""
        return [*self._opened.values(), *self._made]

    def open(self, ids: Iterable[int]) -> list[Group]:
        """Return the groups with these ids, without those that are gone."""
        wanted = list(dict.fromkeys(ids))
        missing = sorted(set(wanted) - self._opened.keys())
        if missing:
            for group in self._load(missing):
                self._opened[group.id] = group
                self._place(group)
            self._closed &= ~np.isin(self._centres.ids, missing)
        groups = (self._opened[i].current() for i in wanted if i in self._opened)
        return list(dict.fromkeys(groups))

    def add(self, encodings: Rows, uploaded_s: Sequence[float]) -> list[Group]:
        """Put faces into groups, and return the group of each face."""
        chosen: list[Group] = []
        compared = self._compared(encodings, self._join_distance)
        for (encoding, squared), time_s in zip(compared, uploaded_s, strict=True):
            group = self._nearest(encoding, squared, self._join_distance)
            group = group or self._new(encoding)
            group.add(encoding[None], time_s)
            self._place(group)
            chosen.append(group)
        return chosen

    def keep(self, group_id: int, encoding: Rows, uploaded_s: float, before_s: float) -> Group:
        """Leave a face in its group. `before_s` is the time that the face had there."""
        if group_id not in self._opened:
            return self.bring_back(group_id, encoding, uploaded_s)
        group = self._opened[group_id].current()
        group.shrunk |= uploaded_s != before_s
        return group

    def bring_back(self, group_id: int, encoding: Rows, uploaded_s: float) -> Group:
        """Put a face into the group that it had left, even if the group is gone by now."""
        group = next(iter(self.open([group_id])), None) or self.made_again.get(group_id)
        if group is None:
            group = self.made_again[group_id] = self._new(encoding)
        group.add(encoding[None], uploaded_s, is_new=False)
        self._place(group)
        return group

    def remove(self, group_id: int, encoding: Rows) -> bool:
        """Take a face out of an open group. Returns whether the group is open."""
        group = self._opened.get(group_id)
        if group is None:
            return False
        group.remove(encoding[None])
        self._place(group)
        return True

    def join(self, encodings: Rows, digest: str) -> None:
        """Make one group of the groups of these faces, which show one person."""
        compared = self._compared(encodings, self._join_distance)
        near = [self._nearest(*each, self._join_distance) for each in compared]
        groups = sorted({group for group in near if group is not None}, key=_rank)
        kept = groups[0] if groups else self._new(encodings[0])
        for other in groups[1:]:
            self._merge(kept, other, keep_centres=True)
        kept.rows = np.concatenate([kept.rows, encodings])
        kept.same |= {digest}
        kept.changed = kept.grown = True
        self._place(kept)

    def dissolve(self, group: Group) -> None:
        """Empty a group, whose faces the caller adds again."""
        group.count, group.same, group.changed = 0, frozenset(), True
        group.rows = group.rows[:0]
        self._place(group)

    def merge_near(self) -> None:
        """Merge groups that have come near each other.

        A group that has only lost faces, or got them back, stays as it is: a correction and its
        undo must not change other groups.
        """
        # A new group of one face was near no other group when it was made, and has not moved.
        waiting = [
            group
            for group in self.groups()
            if group.grown and group.count and (group.id or group.count > 1)
        ]
        while waiting:
            waiting = [group for group in waiting if group.into is None]
            part, waiting = waiting[:FACES_AT_ONCE], waiting[FACES_AT_ONCE:]
            if not part:
                break
            owners = [group for group in part for _ in group.rows]
            rows = np.concatenate([group.rows for group in part])
            compared = self._compared(rows, self._join_distance)
            for group, (row, squared) in zip(owners, compared, strict=True):
                if group.into is not None:
                    continue
                other = self._nearest_to(group, row, squared)
                if other is not None:
                    kept, lost = sorted((group, other), key=_rank)
                    self._merge(kept, lost, keep_centres=False)
                    waiting.append(kept)

    def _compared(
        self, encodings: Rows, limit: float
    ) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        """Each encoding with its squared distances to `centres`.

        The nearest groups within the limit are opened, for several encodings by one query.
        """
        at_once = max(1, min(FACES_AT_ONCE, MAX_DISTANCES // max(1, len(self._squares))))
        for start in range(0, len(encodings), at_once):
            part = encodings[start : start + at_once]
            squared: NDArray[np.float32] = part @ self._centres.rows.T
            squared *= -2
            squared += np.einsum("ij,ij->i", part, part)[:, None]
            squared += self._squares
            if squared.size:
                best = squared.argmin(axis=1)
                near = squared[np.arange(len(best)), best] <= limit**2
                self.open(self._centres.ids[best[near]].tolist())
            yield from zip(part, squared, strict=True)

    def _nearest(self, encoding: Rows, squared: NDArray[np.float32], limit: float) -> Group | None:
        """The nearest group within the limit. `squared` are the squared distances to `centres`."""
        while squared.size:
            closed = np.where(self._closed, squared, np.inf)
            best = int(closed.argmin())
            if closed[best] > limit**2 or self.open([int(self._centres.ids[best])]):
                break
        count = len(self._owners)
        if not count:
            return None
        distances = np.linalg.norm(self._rows[:count] - encoding, axis=1)
        distances[~self._usable[:count]] = np.inf
        best = int(distances.argmin())
        return self._owners[best] if distances[best] <= limit else None

    def _nearest_to(self, group: Group, row: Rows, squared: NDArray[np.float32]) -> Group | None:
        """The nearest of the other groups with faces that may be merged with this one."""
        if squared.size:
            self.open(
                self._centres.ids[self._closed & (squared <= self._join_distance**2)].tolist()
            )
        distances = np.linalg.norm(self._rows[: len(self._owners)] - row, axis=1)
        near = self._usable[: len(distances)] & (distances <= self._join_distance)
        found = [
            (distances[place], place)
            for place in np.flatnonzero(near).tolist()
            if (other := self._owners[place]) is not group
            and other.count
            and (distances[place] <= self._merge_distance or 1 in (group.count, other.count))
        ]
        return self._owners[min(found)[1]] if found else None

    def _new(self, encoding: Rows) -> Group:
        group = Group(0, np.array(encoding, np.float32)[None])
        self._made.append(group)
        return group

    def _merge(self, kept: Group, lost: Group, *, keep_centres: bool) -> None:
        kept.absorb(lost, keep_centres=keep_centres)
        self._usable[lost.places] = False
        self._place(kept)

    def _place(self, group: Group) -> None:
        """Write the rows of a group into the matrix of the open groups."""
        if len(group.places) != len(group.rows):
            self._usable[group.places] = False
            start = len(self._owners)
            group.places = list(range(start, start + len(group.rows)))
            self._owners += [group] * len(group.rows)
            while len(self._owners) > len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
                self._usable = np.concatenate([self._usable, np.zeros_like(self._usable)])
            self._usable[group.places] = True
        self._rows[group.places] = group.rows


def _rank(group: Group) -> tuple[bool, int, float]:
    """Sort key: the oldest stored group first."""
    return group.id == 0, group.id, group.first_s
