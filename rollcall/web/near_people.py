"""People of the gallery who look like somebody, with a picture where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rollcall.core.index_types import FaceRef
from rollcall.index.people_queries import PeopleQueries
from rollcall.web.enrolled_faces import example_with_picture
from rollcall.web.gallery_cache import KnownGallery, NearPerson

PROBABLE, POSSIBLE, LOOKS_LIKE = 0.5, 0.6, 0.7
"""Distances. Faces of two different people are hardly ever within 0.5 of each other, and within 0.6
in one pair of people out of a hundred (docs/decisions/0086). Beyond 0.7, nobody is shown as a
look-alike."""


class NearWithPicture(NamedTuple):
    name: str
    distance: float
    id: int | None
    """The person's row in the index; None for somebody who was never seen."""
    picture: FaceRef | None
    example: str
    """Id of an enrolled photo that may have a picture; empty if there is none."""

    @property
    def words(self) -> str:
        return distance_words(self.distance)


def near_people(
    queries: PeopleQueries, known: KnownGallery, near: Sequence[NearPerson]
) -> list[NearWithPicture]:
    """The same people, each with the row of the index and a picture."""
    if not near:
        return []
    rows = queries.rows_of(list({each.name for each in near}))
    ids = [row.id for row in rows.values() if row.id is not None]
    pictures = queries.pictures(ids)
    found = []
    for name, distance in near:
        row_id = rows[name].id if name in rows else None
        picture = pictures.get(row_id) if row_id is not None else None
        example = example_with_picture(known, name)
        found.append(NearWithPicture(name, distance, row_id, picture, example))
    return found


def distance_words(distance: float) -> str:
    """How alike two faces are."""
    if distance <= PROBABLE:
        return "very alike"
    if distance <= POSSIBLE:
        return "alike"
    return "somewhat alike" if distance <= LOOKS_LIKE else "not alike"
