"""`rollcall find`: everyone in all videos who looks like the face in a photo."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.shown_times import intervals_text, moment_text
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.errors import PermanentError, PhotoError
from rollcall.core.names import UNKNOWN
from rollcall.core.protocols import FaceEngine
from rollcall.core.settings import Settings
from rollcall.database.open_database import open_database
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.find_faces import (
    MAX_FOUND,
    FoundByPhoto,
    LikeFace,
    PhotoFace,
    faces_of_photo,
    find_by_photo,
)
from rollcall.wiring import build_engine

MAX_SHOWN_INTERVALS = 3
"""How many intervals of an appearance are printed as text. With `--json`, all are printed."""


class NoFacesStored(PermanentError):
    """The index has no encodings that the photo could be compared with."""

    code = "no_faces_stored"


@click.command(cls=Command)
@click.argument("photo", type=click.Path(path_type=Path))
@click.option(
    "--face",
    type=click.IntRange(min=1),
    metavar="N",
    help="Search for the N-th largest face of the photo, instead of the largest.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_FOUND),
    default=50,
    show_default=True,
    help="Print at most this many appearances.",
)
@click.option(
    "--newest", is_flag=True, help="Print the newest videos first, instead of the nearest faces."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def find(photo: Path, face: int | None, limit: int, newest: bool, as_json: bool) -> None:
    """Find everyone in all videos who looks like the face in PHOTO.

    Videos whose faces were stored (KEEP_FACES) are searched. Nothing of the photo is stored. Exit 1
    if nobody is found.
    """
    # Imported here, because Pillow is slow to load, and most commands do not need it.
    from rollcall.gallery.photos import read_photo

    pixels = read_photo(photo)
    chosen = settings(offline=True)
    with closing(open_database(chosen, must_exist=True)) as database:
        engine = build_engine(chosen)
        search = SqlFaceSearch(database)
        stored = _check_stored(search, engine, chosen)
        try:
            found = find_by_photo(
                faces_of_photo(pixels, engine),
                engine,
                search,
                database,
                face=None if face is None else face - 1,
                limit=limit,
                newest=newest,
            )
        except PhotoError as error:
            raise PhotoError(f"{str(photo)!r} {error}") from error
    if as_json:
        say_json(_document(photo, found, stored))
    else:
        _print(found, stored)
    sys.exit(0 if found.like else COMMAND_FAILED)


def _check_stored(search: SqlFaceSearch, engine: FaceEngine, chosen: Settings) -> int:
    """Return the number of encodings that can be compared. Raises NoFacesStored."""
    spaces = search.spaces()
    if stored := spaces.get(engine.space.name, 0):
        return stored
    if spaces:
        raise NoFacesStored(
            f"the stored faces are of {', '.join(sorted(spaces))}, but ENGINE makes encodings of"
            f" {engine.space.name}; set ENGINE to its earlier value, or recognise the videos again:"
            " rollcall rerun --prefix ''"
        )
    if chosen.keep_faces == "none":
        raise NoFacesStored(
            "no faces of videos are stored, because KEEP_FACES is none; set KEEP_FACES=encodings"
            " for the function, and recognise earlier videos again: rollcall rerun --prefix ''"
        )
    raise NoFacesStored(
        f"no faces of videos are in the index yet, though KEEP_FACES is {chosen.keep_faces};"
        " recognise the videos again (rollcall rerun --prefix ''), or fill the index from the"
        " stored faces (rollcall index rebuild)"
    )


def _print(found: FoundByPhoto, stored: int) -> None:
    if len(found.faces) > 1:
        say(_faces_sentence(found), err=True)
    say(
        f"compared with {stored} face{'' if stored == 1 else 's'} in earlier videos",
        err=True,
    )
    for like in found.like:
        say(_line(like))
    if not found.like:
        say("nobody in the stored faces looks like this face", err=True)
    elif found.more:
        say("there are more; print them with --limit", err=True)


def _faces_sentence(found: FoundByPhoto) -> str:
    """Say which of several faces was searched for, and how to choose another."""
    others = "; ".join(
        f"--face {number}: {_position(face)}"
        for number, face in enumerate(found.faces[:10], 1)
        if number - 1 != found.chosen
    )
    chosen = found.faces[found.chosen]
    return (
        f"the photo shows {len(found.faces)} faces; searching for face {found.chosen + 1}"
        f" ({_position(chosen)}). To search for another one: {others}"
    )


def _position(face: PhotoFace) -> str:
    box = face.detected.box
    middle = (box.left + box.right) // 2, (box.top + box.bottom) // 2
    problem = f", {face.problem}" if face.problem else ""
    return f"{face.quality.size_px} pixels wide around {middle[0]}, {middle[1]}{problem}"


def _line(like: LikeFace) -> str:
    seen = like.seen.seen
    facts = f"{like.certainty}, distance {like.distance:.2f}"
    times = intervals_text(seen.intervals, MAX_SHOWN_INTERVALS)
    uploaded = moment_text(seen.uploaded_s)
    return f"{uploaded}  {seen.key}: {like.seen.name or UNKNOWN} ({facts}): {times}"


def _document(photo: Path, found: FoundByPhoto, stored: int) -> dict[str, Any]:
    return {
        "photo": str(photo),
        "faces": [
            {"box": face.detected.box._asdict(), "problem": face.problem} for face in found.faces
        ],
        "face": found.chosen + 1,
        "stored": stored,
        "max_distance": found.max_distance,
        "found": [_found_document(like) for like in found.like],
        "more": found.more,
    }


def _found_document(like: LikeFace) -> dict[str, Any]:
    seen = like.seen.seen
    return {
        "bucket": seen.bucket,
        "key": seen.key,
        "uploaded_s": round(seen.uploaded_s, 3),
        "name": like.seen.name or UNKNOWN,
        "distance": round(like.distance, 4),
        "certainty": like.certainty,
        "intervals": [list(interval) for interval in seen.intervals],
    }
