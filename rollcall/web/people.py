"""The list of people, and the names that forms suggest."""

from __future__ import annotations

from itertools import islice

from flask import Blueprint, render_template, request

from rollcall.index.people_queries import MAX_LETTERS, PeopleFilter, PeopleQueries
from rollcall.index.sql_index import folded
from rollcall.web.enrolled_faces import example_with_picture
from rollcall.web.parts import parts
from rollcall.web.people_list import Sort, page_of_people

pages = Blueprint("people", __name__)

PAGE = 60
"""People on a page."""

MAX_SUGGESTIONS = 20
MAX_SEARCH_CHARS = 200


@pages.get("/people")
def people() -> str:
    """A grid of people; for htmx, only the next part of the grid."""
    queries, known = PeopleQueries(parts().database), parts().known.current()
    text = request.args.get("q", "")[:MAX_SEARCH_CHARS].strip()
    letter = request.args.get("letter", "")[:1]
    sort: Sort = "seen" if request.args.get("sort") == "seen" else "name"
    chosen = PeopleFilter(folded(letter)[:1], folded(text))
    found = page_of_people(queries, known, chosen, sort, request.args.get("after", ""), PAGE)
    values = {
        "page": found,
        "pictures": queries.pictures([row.id for row in found.people if row.id is not None]),
        "examples": {row.name: example_with_picture(known, row.name) for row in found.people},
        "text": text,
        "letter": chosen.letter,
        "sort": sort,
    }
    if request.headers.get("HX-Request"):
        return render_template("people_grid.html", **values)
    gallery_letters = {fold[:1] for fold, _ in known.sorted_names}
    letters = sorted((queries.letters() | gallery_letters) - {""})[:MAX_LETTERS]
    return render_template("people.html", letters=letters, **values)


@pages.get("/people/names")
def names() -> str:
    """Options for a `<datalist>`: names that contain what was typed."""
    text = folded(request.args.get("name", "")[:MAX_SEARCH_CHARS].strip())
    pairs = parts().known.current().sorted_names if text else []
    begin = [name for fold, name in pairs if fold.startswith(text)]
    inside = (name for fold, name in pairs if text in fold and not fold.startswith(text))
    shown = [*begin[:MAX_SUGGESTIONS], *islice(inside, max(0, MAX_SUGGESTIONS - len(begin)))]
    return render_template("people_names.html", names=shown)


@pages.get("/people/pending")
def pending() -> str:
    """How many videos are still being compared again, for the line that asks every two seconds."""
    return render_template("pending.html", pending=parts().corrections.pending())
