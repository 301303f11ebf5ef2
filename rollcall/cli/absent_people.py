"""`rollcall results --absent`: who of a list of names was not seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain

from rollcall.cli.entry import settings
from rollcall.cli.name_lists import first_last
from rollcall.cli.terminal import say, say_json
from rollcall.core.errors import RollcallError
from rollcall.core.results import csv_line
from rollcall.core.similar_names import similar_names
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.result_queries import Period, ResultQueries
from rollcall.wiring import build_gallery_location


def show_absent(
    queries: ResultQueries, names: Sequence[str], period: Period, *, as_csv: bool, as_json: bool
) -> bool:
    """Print who was not seen, as the list writes it. Return whether that is known of anybody.

    Somebody who is not in the gallery was perhaps seen, but without a name. So these names are
    listed apart.
    """
    counts = queries.counts(period)
    if not counts.videos:
        say("no video was uploaded in this time", err=True)
        return False
    people = _people_of_gallery()
    known = {name.casefold() for name in people}
    meant = {name: _meant(name, known) for name in names}
    not_seen = set(queries.absent(list(dict.fromkeys(chain(*meant.values()))), period))
    missing = [name for name in names if not_seen.issuperset(meant[name])]
    is_known = {name: not people or meant[name][0].casefold() in known for name in missing}
    absent = [name for name in missing if is_known[name]]
    not_known = [name for name in missing if not is_known[name]]
    if as_json:
        say_json({"names": len(names), "absent": absent, "not_in_gallery": not_known})
        return len(not_known) < len(names)
    for name in ["name", *absent] if as_csv else absent:
        say(csv_line([name]) if as_csv else name)
    checked = len(names) - len(not_known)
    say(f"{len(absent)} of {checked} {'was' if checked == 1 else 'were'} not seen", err=True)
    if not_known:
        say(f"{len(not_known)} of {len(names)} names cannot be checked:", err=True)
    for name in not_known:
        similar = ", ".join(map(repr, similar_names(first_last(name), people)))
        hint = f"; similar names: {similar}" if similar else ""
        say(f"    {name!r} is not in the gallery{hint}", err=True)
    if counts.with_unknown or counts.failed:
        say(
            f"of {counts.videos} videos, {counts.with_unknown} show unknown people, and"
            f" {counts.failed} could not be recognised",
            err=True,
        )
    return checked > 0


def _meant(name: str, known: Collection[str]) -> list[str]:
    """The person of the gallery whom a name of the list means; otherwise how it may be written.

    `Last, First` means `First Last`, unless somebody is called like the text itself.
    """
    forms = list(dict.fromkeys((name, first_last(name))))
    return [form for form in forms if form.casefold() in known][:1] or forms


def _people_of_gallery() -> Sequence[str]:
    """Everybody in the gallery; nobody if it cannot be read, which is said."""
    try:
        return read_gallery(build_gallery_location(settings(offline=True))).people
    except RollcallError as error:
        say(f"names that are not in the gallery are not told apart: {error}", err=True)
        return ()
