"""The groups of unknown faces of all videos, and forms that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from flask import Blueprint, abort, render_template, request, session

from rollcall.core.web_protocols import UnknownGroup
from rollcall.index.face_queries import FaceQueries, GroupedFace, GroupFacts, SeenFace
from rollcall.index.people_queries import PeopleQueries
from rollcall.index.unknown_groups import RANKED_FACES
from rollcall.web.foot import FOLLOWED
from rollcall.web.gallery_cache import KnownGallery
from rollcall.web.near_people import POSSIBLE, NearWithPicture, near_people
from rollcall.web.parts import parts
from rollcall.web.request_values import whole_number
from rollcall.web.shown_faces import MAX_FACES, write_faces
from rollcall.web.typed_names import refused_name

pages = Blueprint("unknown", __name__)

CHANGED_GROUPS = "changed_groups"
"""The groups that somebody has named or ignored, in the session of the browser."""

PAGE = 10
"""Groups on a page."""

FACES = 5
"""Faces of a group that the list shows."""

OPENED_FACES = 60
"""Faces of an opened group, and how many more each further click shows."""

MAX_OPENED_FACES = 600

NEAREST = 3
"""Known people who are offered for a group."""

COMPARED = 2 * NEAREST
"""Known people who are looked at, because verdicts may exclude some of them."""

RECENT_CHANGES = 20
"""Newest changes of the log whose people are not offered for one key while videos follow them."""

MAX_DISTANCE = POSSIBLE + 0.05
"""People who are further away are not offered: most of them are somebody else, and a single key
gives the group the name of the first one."""


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group, as the list shows it."""

    group: UnknownGroup
    faces: list[SeenFace]
    videos: int
    near: list[NearWithPicture]
    verdict_faces: str
    """The faces that a verdict about the group is about, for the forms."""


@pages.get("/unknown")
def unknown() -> str:
    """The groups, the largest first."""
    # Before the groups: otherwise the last video could follow in between, and a group that is gone
    # would stay on a page that does not ask again.
    pending = parts().corrections.pending()
    queries = FaceQueries(parts().database)
    number = min(max(request.args.get("page", 1, type=whole_number), 1), 10_000)
    # Groups that were just named or ignored are gone as soon as their videos are corrected.
    if not pending:
        session.pop(CHANGED_GROUPS, None)
    changed = set(session.get(CHANGED_GROUPS, ()))
    found = parts().groups.largest(PAGE + 1 + len(changed), (number - 1) * PAGE)
    shown = [each for each in found if each.id not in changed]
    values = {
        "groups": shown_groups(shown[:PAGE]),
        "number": number,
        "older": number + 1 if len(shown) > PAGE else None,
        "count": parts().groups.count(),
        "hidden": len(found) - len(shown),
        "pending": pending,
        "in_change": _in_change(pending),
        "keep_faces": parts().settings.keep_faces,
        "only_files": queries.only_files(),
        "not_stored": queries.unknown_not_stored(),
        "refused": refused_name(),
    }
    return render_template("unknown.html", **values)


@pages.get("/unknown/<int:group_id>")
def group(group_id: int) -> str:
    """All faces of a group; for htmx, without the frame of the page."""
    found = parts().groups.get(group_id)
    if found is None:
        abort(404, "this group is gone: its faces have a name by now, or are in another group")
    limit = min(request.args.get("faces", OPENED_FACES, type=whole_number), MAX_OPENED_FACES)
    refs = parts().groups.faces(group_id, max(limit, 1))
    queries = FaceQueries(parts().database)
    seen = queries.faces(refs)
    members = queries.of_groups([group_id], max(limit, 1))[group_id]
    values = {
        "shown": shown_groups([found])[0],
        "in_change": _in_change(parts().corrections.pending()),
        "all_faces": [seen[ref] for ref in refs if ref in seen],
        "marks": {each.face: write_faces([each.lasting_ref]) for each in members},
        "more": limit + OPENED_FACES if found.appearances > limit < MAX_OPENED_FACES else None,
    }
    if request.headers.get("HX-Request"):
        return render_template("unknown_faces.html", **values)
    return render_template("unknown_group.html", **values, refused=refused_name())


def _in_change(pending: int) -> set[str]:
    """The people that the videos in the queue may still be about.

    Some groups on the page are about to get their names or to change, so a key that was pressed too
    fast would give somebody else's faces to them.
    """
    # Views and sign-ins could be many, and would push the changes out of the newest lines.
    recent = parts().changes.latest(RECENT_CHANGES, only_changes=True) if pending else []
    names = {each.name for each in recent if each.action in FOLLOWED}
    return names | {each.details.get("into", "") for each in recent if each.action == "merge"}


def shown_groups(groups: Sequence[UnknownGroup]) -> list[ShownGroup]:
    queries, known = FaceQueries(parts().database), parts().known.current()
    seen = queries.faces([ref for each in groups for ref in each.faces[:FACES]])
    facts = queries.groups([each.id for each in groups])
    videos = queries.videos({each.id: each.appearances for each in groups})
    members = queries.of_groups([each.id for each in groups], RANKED_FACES)
    near = _near(known, [facts.get(each.id) for each in groups])
    return [
        ShownGroup(
            each,
            [seen[ref] for ref in each.faces[:FACES] if ref in seen],
            videos.get(each.id, each.appearances),
            nearest,
            write_faces(face.lasting_ref for face in _typical(each, members[each.id])),
        )
        for each, nearest in zip(groups, near, strict=True)
    ]


def _typical(group: UnknownGroup, members: Sequence[GroupedFace]) -> list[GroupedFace]:
    """Faces of the group: those nearest to its middle, then the newest."""
    shown = set(group.faces)
    return sorted(members, key=lambda each: each.face not in shown)[:MAX_FACES]


def _near(known: KnownGallery, facts: Sequence[GroupFacts | None]) -> list[list[NearWithPicture]]:
    """The known people nearest to each group."""
    size, space = known.gallery.encodings.shape[1], known.gallery.space
    none = np.empty((0, size))
    centres = [
        each.centres.reshape(-1, size)
        if each and each.space == space and len(each.centres) % size == 0
        else none
        for each in facts
    ]
    found = [
        [
            each
            for each in near
            if each.distance <= MAX_DISTANCE and not known.gallery.excludes(each.name, centre)
        ][:NEAREST]
        for near, centre in zip(known.nearest_to_each(centres, COMPARED), centres, strict=True)
    ]
    # One query for the people of all groups.
    queries = PeopleQueries(parts().database)
    people = iter(near_people(queries, known, [each for near in found for each in near]))
    return [list(islice(people, len(near))) for near in found]
