"""`rollcall enrol`: add people to the gallery from photos."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from rollcall.cli.enrol_log import EnrolmentLog, enrolment_log
from rollcall.cli.entry import COMMAND_FAILED, command_errors, print_gallery, settings
from rollcall.cli.progress import Progress, progress
from rollcall.cli.similar_hint import similar_hint
from rollcall.cli.terminal import Command, say, say_json, say_table
from rollcall.core.names import checked_name, checked_new_name
from rollcall.core.protocols import FaceEngine, GalleryLocation
from rollcall.core.settings import Settings
from rollcall.core.tolerance import decision_for, gallery_tolerance
from rollcall.core.types import Pixels
from rollcall.gallery.enrolment import enrol_in, enrol_people, load_for_change
from rollcall.gallery.gallery_locations import check_space
from rollcall.gallery.people_folder import read_people_folder
from rollcall.gallery.photo_faces import Photo
from rollcall.gallery.photo_outcomes import Enrolment, PhotoOutcome
from rollcall.wiring import build_engine, build_gallery_location, cut_out


@click.command(cls=Command, name="enrol")
@click.argument("name", required=False)
@click.argument("photos", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Enrol everybody in this folder. It has a folder of photos for each person, and the"
    " folder's name is the person's name.",
)
@click.option(
    "--encodings", metavar="FILE", help="Use this gallery instead of the setting ENCODINGS."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document for each photo.")
@command_errors
def enrol_command(
    name: str | None,
    photos: tuple[Path, ...],
    folder: Path | None,
    encodings: str | None,
    as_json: bool,
) -> None:
    """Add NAME to the gallery, from PHOTOS that show only this person.

    Good photos are stored even if others are refused. If there is a database, the results of
    earlier videos are then corrected for up to ten seconds, as far as their faces are stored
    (KEEP_FACES); `rollcall web` corrects the others. Exit 1 if a photo was refused.
    """
    if folder is not None and name is not None:
        raise click.UsageError("give either NAME and PHOTOS, or --folder")
    if folder is None and (name is None or not photos):
        raise click.UsageError("give NAME and PHOTOS, or --folder")
    chosen = settings(offline=True)
    if encodings:
        chosen = dataclasses.replace(chosen, encodings=encodings)
    # The log is about the gallery in the settings, because an undo changes that one. The results
    # are corrected with this gallery, too.
    with nullcontext(EnrolmentLog(chosen)) if encodings else enrolment_log(chosen) as log:
        if folder is not None:
            all_good = _enrol_folder(chosen, folder, as_json, log)
        else:
            all_good = _enrol_one(chosen, checked_name(name), photos, as_json, log)
        log.correct_results()
    sys.exit(0 if all_good else COMMAND_FAILED)


def _enrol_one(
    chosen: Settings, name: str, photos: Sequence[Path], as_json: bool, log: EnrolmentLog
) -> bool:
    """Enrol one person. Return whether no photo was refused."""
    # Imported here, because Pillow is slow to load, and most commands do not need it.
    from rollcall.gallery.photos import read_photo

    location, engine, tolerance = _open(chosen, log, name)
    pictures = cut_out(chosen)
    done = enrol_in(location, name, photos, engine, read_photo, tolerance, cut_out=pictures)
    log.record(done)
    if as_json:
        _say_documents(done)
    else:
        for kind, sentences in (("", done.notes), ("warning: ", done.warnings), ("", done.refused)):
            for sentence in sentences:
                say(kind + sentence, err=True)
        _print_stored(done, location)
        if len(done.gallery):
            say(str(gallery_tolerance(done.gallery, engine.space, chosen.tolerance)))
    return not done.refused


def _enrol_folder(chosen: Settings, folder: Path, as_json: bool, log: EnrolmentLog) -> bool:
    """Enrol everybody in the folder. Return whether there were people, and no photo was refused."""
    found = read_people_folder(folder)
    for sentence in found.skipped:
        say(sentence, err=True)
    if not found.people:
        say("nobody was found; put the photos of each person into a folder of their own", err=True)
        return False
    location, engine, tolerance = _open(chosen, log)
    count = sum(len(photos) for _, photos in found.people)
    outcomes: list[tuple[str, PhotoOutcome]] = []
    hints: list[str] = []
    with progress("enrolling", count, "photos") as shown:
        people = ((name, list(_photos(photos, shown))) for name, photos in found.people)
        pictures = cut_out(chosen)
        for done in enrol_people(location, people, engine, tolerance, cut_out=pictures):
            log.record(done)
            outcomes += [(done.name, outcome) for outcome in done.outcomes]
            known = done.gallery
            if done.added and done.added == len(known.encodings_of(done.name)):  # a new person
                hints.append(similar_hint(done.name, known.people))
            if as_json:
                _say_documents(done)
    if not as_json:
        _say_outcomes(outcomes)
        if len(known):
            say(str(gallery_tolerance(known, engine.space, chosen.tolerance)))
    for hint in filter(None, hints):
        say(hint, err=True)
    return all(outcome.ok for _, outcome in outcomes)


def _open(
    chosen: Settings, log: EnrolmentLog, name: str = ""
) -> tuple[GalleryLocation, FaceEngine, float]:
    """Return the gallery's location, the engine, and the tolerance of the gallery."""
    location = build_gallery_location(chosen)
    known = load_for_change(location)
    log.note_gallery(known)
    print_gallery(location, known)
    if name:
        # Checked before the models load, so that a wrong name is reported at once.
        is_new = checked_new_name(name, known.people) not in known.people
        if is_new and (hint := similar_hint(name, known.people)):
            say(hint, err=True)
    engine = build_engine(chosen)
    known = check_space(location, known, engine.space)
    return location, engine, decision_for(known, chosen.tolerance, engine.space).tolerance


def _photos(photos: Sequence[Path], shown: Progress) -> Iterator[Photo]:
    """The photos, which count as done when they are read."""
    from rollcall.gallery.photos import read_photo

    def read(photo: Path) -> Pixels:
        shown.advance()
        return read_photo(photo)

    return (Photo(str(photo), partial(read, photo)) for photo in photos)


def _say_documents(done: Enrolment) -> None:
    for outcome in done.outcomes:
        say_json(
            {
                "person": done.name,
                "photo": outcome.photo,
                "ok": outcome.ok,
                "kind": outcome.kind,
                "text": outcome.remark,
            }
        )


def _say_outcomes(outcomes: Sequence[tuple[str, PhotoOutcome]]) -> None:
    """Print a table with a line for each photo, and how many photos had each result."""
    rows = [
        (outcome.ok, (name, Path(outcome.photo).name, _result(outcome)))
        for name, outcome in outcomes
    ]
    say_table(("person", "photo", "result"), rows, words=("✓", "✗"))
    kinds = Counter(outcome.kind for _, outcome in outcomes)
    say(", ".join(f"{kind} {number}" for kind, number in kinds.most_common()))
    people, good = len({name for name, _ in outcomes}), sum(each.ok for _, each in outcomes)
    say(
        f"{_count(len(outcomes), 'photo', 'photos')} of {_count(people, 'person', 'people')}:"
        f" {good} {'is' if good == 1 else 'are'} in the gallery, {len(outcomes) - good}"
        f" {'was' if len(outcomes) - good == 1 else 'were'} refused"
    )


def _result(outcome: PhotoOutcome) -> str:
    """The result of a photo in the table. A warning alone would not say that it was enrolled."""
    words = f"enrolled; {outcome.remark}" if outcome.warning else outcome.remark
    return words or outcome.kind


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _print_stored(done: Enrolment, location: GalleryLocation) -> None:
    count = len(done.gallery.encodings_of(done.name))
    if not done.added and done.refused:
        say(f"error: {done.name}: nothing was stored", err=True)
    else:
        say(f"{done.name}: {count} encoding{'' if count == 1 else 's'} in {location}")
