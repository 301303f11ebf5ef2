"""Pages of the list of people: those of the index, and those of the gallery who were never seen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

from rollcall.index.people_queries import PeopleFilter, PeopleQueries, PersonRow
from rollcall.index.sql_index import folded
from rollcall.web.cursors import NUMBER, damaged, read_cursor, write_cursor
from rollcall.web.gallery_cache import KnownGallery

Sort = Literal["name", "seen"]


class PeoplePage(NamedTuple):
    """Some people of the list, and the cursor of the next page; empty on the last page."""

    people: list[PersonRow]
    next: str


def page_of_people(
    queries: PeopleQueries,
    known: KnownGallery,
    chosen: PeopleFilter,
    sort: Sort,
    cursor: str,
    limit: int,
) -> PeoplePage:
    """A page of the list. Raises BadRequest for a damaged cursor."""
    if sort == "name":
        return _by_name(queries, known, chosen, cursor, limit)
    return _by_last_seen(queries, known, chosen, cursor, limit)


def _by_name(
    queries: PeopleQueries, known: KnownGallery, chosen: PeopleFilter, cursor: str, limit: int
) -> PeoplePage:
    at = read_cursor(cursor, str, str)
    after = (at[0], at[1]) if at else ("", "")
    seen = queries.by_name(chosen, after, limit + 1)
    # At most limit + 1 of these names were seen, and those are all among `seen`. So enough others
    # are left, and the database is not asked about the whole gallery.
    names = list(islice(_from_gallery(known, chosen, after), 2 * (limit + 1)))
    names_seen = queries.seen([name for _, name in names])
    unseen = [PersonRow(name, folded=fold) for fold, name in names if name not in names_seen]
    both = sorted([*seen, *unseen], key=lambda row: (row.folded, row.name))
    return _page(both, limit, lambda row: write_cursor((row.folded, row.name)))


def _by_last_seen(
    queries: PeopleQueries, known: KnownGallery, chosen: PeopleFilter, cursor: str, limit: int
) -> PeoplePage:
    # The cursor is a time and an id. After the last person who was seen, it is -1 and a name.
    at = read_cursor(cursor, NUMBER, (int, str))
    if at is not None and isinstance(at[1], int) != (at[0] >= 0):
        raise damaged()
    rows: list[PersonRow] = []
    if at is None or at[0] >= 0:
        after = (float(at[0]), int(at[1])) if at else None
        rows = queries.by_last_seen(chosen, after, limit + 1)
        at = None
    if len(rows) <= limit:
        rows += islice(_never_seen(queries, known, chosen, at), limit + 1 - len(rows))
    return _page(rows, limit, _seen_cursor)


def _never_seen(
    queries: PeopleQueries, known: KnownGallery, chosen: PeopleFilter, at: list[object] | None
) -> Iterator[PersonRow]:
    seen = queries.seen_names(chosen)
    after = (folded(str(at[1])), str(at[1])) if at else ("", "")
    for fold, each in _from_gallery(known, chosen, after):
        if each not in seen:
            yield PersonRow(each, folded=fold)


def _seen_cursor(row: PersonRow) -> str:
    return write_cursor((-1, row.name) if row.id is None else (row.last_seen_s, row.id))


def _from_gallery(
    known: KnownGallery, chosen: PeopleFilter, after: tuple[str, str]
) -> Iterable[tuple[str, str]]:
    names = known.sorted_names
    start = bisect_right(names, after)
    return (pair for pair in islice(names, start, None) if chosen.accepts(pair[0]))


def _page(rows: list[PersonRow], limit: int, cursor_of: Callable[[PersonRow], str]) -> PeoplePage:
    shown = rows[:limit]
    return PeoplePage(shown, cursor_of(shown[-1]) if len(rows) > limit else "")
