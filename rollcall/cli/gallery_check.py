"""`rollcall gallery check`: find people who may be confused, and photos that do not help."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, print_gallery, settings
from rollcall.cli.terminal import Command, say, say_fact, say_json
from rollcall.core.errors import GalleryError
from rollcall.core.gallery_findings import GalleryCheck, Pair

MAX_SHOWN = 20
"""How many pairs, people or photos of each kind are printed as text. With --json, all are."""


@click.command(cls=Command)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    help="Also draw the distances between the faces, as an SVG picture.",
)
@click.option(
    "--encodings", metavar="FILE", help="Use this gallery instead of the setting ENCODINGS."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def check(plot: Path | None, encodings: str | None, as_json: bool) -> None:
    """Find people who look alike, duplicates, and photos that do not help.

    Exit 1 if something needs attention.
    """
    # Imported here, because the engines and the gallery are slow to load.
    from rollcall.core.distance_plot import distance_plot
    from rollcall.core.gallery_findings import check_gallery
    from rollcall.gallery.gallery_locations import check_space, read_gallery
    from rollcall.wiring import build_gallery_location, space_of

    chosen = settings(offline=True)
    if encodings:
        chosen = dataclasses.replace(chosen, encodings=encodings)
    location = build_gallery_location(chosen)
    known = read_gallery(location)
    print_gallery(location, known)
    space = space_of(chosen)
    found = check_gallery(check_space(location, known, space), space, chosen.tolerance)
    if as_json:
        say_json(_document(found))
    else:
        _say_findings(found, keeps_own=chosen.tolerance is None)
    if plot is not None:
        _write(plot, distance_plot(found))
        say(f"drew the distances: {plot}", err=True)
    sys.exit(COMMAND_FAILED if found.needs_attention else 0)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GalleryError(f"{str(path)!r} cannot be written: {error.strerror}") from error


def _document(found: GalleryCheck) -> dict[str, Any]:
    def rounded(items: Sequence[Any]) -> list[dict[str, Any]]:
        return [{**item._asdict(), "distance": round(item.distance, 4)} for item in items]

    return {
        "people": found.people,
        "encodings": found.encodings,
        "compared": found.compared,
        "tolerance": {key: round(value, 4) for key, value in found.tolerance._asdict().items()},
        "proposed": {key: round(value, 4) for key, value in found.proposed._asdict().items()},
        "two_names": rounded(found.two_names),
        "look_alikes": rounded(found.look_alikes),
        "one_photo": found.one_photo,
        "poor_photos": found.poor_photos,
        "far_photos": rounded(found.far_photos),
        "needs_attention": found.needs_attention,
    }


def _say_findings(found: GalleryCheck, keeps_own: bool) -> None:
    """`keeps_own` if TOLERANCE is `auto` already: a pickled gallery has a fixed tolerance then."""
    for right, title, lines in _sections(found):
        say_fact(title, right)
        for line in lines[:MAX_SHOWN]:
            say(f"    {line}")
        if len(lines) > MAX_SHOWN:
            say(f"    and {len(lines) - MAX_SHOWN} more; --json lists them")
    if found.compared < found.people:
        say(f"only {found.compared} of {found.people} people were compared with each other")
    say(f"in use: {found.tolerance}")
    proposed = f"{found.proposed.tolerance:.2f}"
    if proposed != f"{found.tolerance.tolerance:.2f}":
        setting = f"set TOLERANCE={proposed}" if keeps_own else f"set TOLERANCE=auto, or {proposed}"
        say(f"proposed: {found.proposed}; {setting}")


def _sections(found: GalleryCheck) -> Iterator[tuple[bool, str, list[str]]]:
    """Whether each check found nothing, its result in a few words, and the findings."""
    names = [_two_names(pair) for pair in found.two_names]
    yield not names, _title(names, "pair", "of people who may be one person"), names
    alike = [f"{a!r} and {b!r} (distance {distance:.2f})" for a, b, distance in found.look_alikes]
    yield not alike, _title(alike, "pair", "of look-alikes within the tolerance"), alike
    far = [
        f"{each.photo or 'a photo without a name'!r} of {each.name!r} (distance"
        f" {each.distance:.2f}); make sure that it shows this person"
        for each in found.far_photos
    ]
    yield not far, _title(far, "photo", "far from all others of the same person"), far
    one = [repr(name) for name in found.one_photo]
    yield not one, _title(one, "person", "with only one photo; three or more are better"), one
    poor = [repr(name) for name in found.poor_photos]
    yield not poor, _title(poor, "person", "with only poor photos; enrol a better one"), poor


def _two_names(pair: Pair) -> str:
    command = shlex.join(["rollcall", "gallery", "merge", pair.other, pair.name])
    return (
        f"{pair.name!r} and {pair.other!r} (distance {pair.distance:.2f}); if they are one person:"
        f" {command}"
    )


def _title(found: Sequence[str], noun: str, what: str) -> str:
    """The number of findings, and the advice after the semicolon if there are some."""
    plural = {"person": "people"}.get(noun, f"{noun}s")
    if not found:
        return f"no {plural} {what.partition(';')[0]}"
    return f"{len(found)} {noun if len(found) == 1 else plural} {what}"
