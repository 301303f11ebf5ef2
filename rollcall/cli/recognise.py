"""`rollcall recognise`: who is in video files."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, print_gallery, settings
from rollcall.cli.file_index import FileIndex, opened_file_index
from rollcall.cli.progress import progress
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.errors import RollcallError
from rollcall.core.gallery import Gallery
from rollcall.core.reports import coverage_document, limits_of, person_document
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import Recognition
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.gallery.people_folder import PHOTO_EXTENSIONS
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_gallery_location, build_recogniser

if TYPE_CHECKING:
    from rollcall.cli.saved_results import ResultFiles

MAX_SHOWN_INTERVALS = 5
"""How many intervals of a person are printed as text. With `--json`, all are printed."""

ANIMATED = frozenset({".avif", ".gif", ".webp"})
"""Pictures that may be moving ones, which the decoder may read."""

PERSON_FIELDS = (
    "name",
    "distance",
    "first_seen_s",
    "last_seen_s",
    "frames",
    "intervals",
    "certainty",
)
"""Fields of a person in the documents of `recognise`, which does not look up student records."""


@click.command(cls=Command)
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--encodings", metavar="FILE", help="Use this gallery instead of the setting ENCODINGS."
)
@click.option(
    "--scan", type=click.Choice(list(SCANS)), help="Use this instead of the setting SCAN."
)
@click.option(
    "--save",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Save pictures in this folder: frames with boxes and names, a face of each person, and a"
    " contact sheet.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with faces and times, which opens without a network.",
)
@click.option(
    "--index", "fills_index", is_flag=True, help="Put the results into the index (DATABASE_URL)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def recognise(
    videos: tuple[Path, ...],
    encodings: str | None,
    scan: str | None,
    folder: Path | None,
    page: Path | None,
    fills_index: bool,
    as_json: bool,
) -> None:
    """Recognise the people in each of VIDEOS. Exit 1 if a video cannot be read.

    A folder stands for all videos in it.
    """
    videos = _expanded(videos)
    results = _results(folder, page)
    chosen = _settings(encodings, scan)
    if fills_index and chosen.keep_faces != "none":
        say("KEEP_FACES has no effect with --index: the faces of files are not stored", err=True)
    location = build_gallery_location(chosen)
    engine = build_engine(chosen)
    gallery = read_gallery(location, engine.space)
    print_gallery(location, gallery)
    recogniser = build_recogniser(chosen, engine, *(results.hooks if results else ()))
    opened = opened_file_index(chosen, gallery.version) if fills_index else nullcontext()
    failed = False
    try:
        with opened as files, progress("recognising", len(videos), "videos") as shown:
            for video in videos:
                shown.mention(video.name)
                document, recognition = _recognise(recogniser, video, gallery)
                failed = failed or document["status"] == "error"
                _keep(video, document, recognition, results, files, as_json=as_json)
                shown.advance()
    finally:
        # Also after Ctrl-C or an error, because the videos so far may have taken hours.
        for sentence in results.finish(gallery.version) if results else ():
            say(sentence, err=True)
    sys.exit(COMMAND_FAILED if failed else 0)


def _expanded(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The paths, with the videos of each folder instead of the folder. Raises NoVideos."""
    videos: list[Path] = []
    for path in paths:
        if path.is_dir():
            # Imported here, because the client of the store is slow to load.
            from rollcall.cli.workload import find_videos

            videos += find_videos(path).videos.values()
        else:
            videos.append(path)
    return tuple(videos)


def _results(folder: Path | None, page: Path | None) -> ResultFiles | None:
    if folder is None and page is None:
        return None
    # Imported here, because Pillow is slow to load, and most calls need no pictures.
    from rollcall.cli.saved_results import ResultFiles

    return ResultFiles(folder, page)


def _settings(encodings: str | None, scan: str | None) -> Settings:
    options = {"encodings": encodings, "scan": scan}
    changes = {name: value for name, value in options.items() if value}
    return dataclasses.replace(settings(offline=True), **changes)  # type: ignore[arg-type]


def _recognise(
    recogniser: Recogniser, video: Path, known: Gallery
) -> tuple[dict[str, Any], Recognition | None]:
    """Return the document, and the recognition; None for a video that cannot be read."""
    if video.suffix.lower() in PHOTO_EXTENSIONS - ANIMATED and video.is_file():
        text = "it is a photo, and `recognise` reads videos; for a photo, use `rollcall find`"
        return _document(video, "error", [], text), None
    try:
        recognition = recogniser.recognise(WholeFile(video), known, Stopwatch())
    except RollcallError as error:
        return _document(video, "error", [], str(error)), None
    except OSError as error:
        return _document(video, "error", [], f"cannot be read: {error.strerror}"), None
    # One shape for results and errors, so that scripts find the same keys in each document.
    document = _document(video, recognition.status, _people(recognition), None) | {
        "coverage": coverage_document(recognition.coverage),
        "limits": limits_of(recognition.coverage),
    }
    return document, recognition


def _keep(
    video: Path,
    document: dict[str, Any],
    recognition: Recognition | None,
    results: ResultFiles | None,
    files: FileIndex | None,
    *,
    as_json: bool,
) -> None:
    """Print what was found, and write it where the user asked for it."""
    if as_json:
        say_json(document)
    else:
        say(_sentence(document))
    if results:
        results.add(video, document, recognition)
    if files:
        files.put(video, document, recognition.duration_s if recognition else 0.0)


def _document(video: Path, status: str, people: list[Any], error: str | None) -> dict[str, Any]:
    return {
        "video": str(video),
        "status": status,
        "people": people,
        "coverage": None,
        "limits": [],
        "error": error,
    }


def _people(recognition: Recognition) -> list[dict[str, Any]]:
    """Return the people in the form of the function's answer, with more digits, without records."""
    documents = [
        person_document(person, {}, time_digits=3, distance_digits=4)
        for person in recognition.people
    ]
    return [{field: document[field] for field in PERSON_FIELDS} for document in documents]


def _sentence(document: dict[str, Any]) -> str:
    if document["error"]:
        return f"{document['video']}: error: {document['error']}"
    texts = [_person_text(person) for person in document["people"]]
    limits = "".join(f"; {limit}" for limit in document["limits"])
    return f"{document['video']}: {', '.join(texts) or 'nobody'}{limits}"


def _person_text(person: dict[str, Any]) -> str:
    """Return a person's name, certainty, distance and intervals as text."""
    facts = [person["certainty"]] if person["certainty"] else []
    if person["distance"] is not None:  # nobody is in the gallery, or verdicts exclude everybody
        facts.append(f"distance {person['distance']:.2f}")
    spans = [
        f"{start:g} s" if start == end else f"{start:g} to {end:g} s"
        for start, end in person["intervals"]
    ]
    shown = (
        spans
        if len(spans) <= MAX_SHOWN_INTERVALS
        else [*spans[:MAX_SHOWN_INTERVALS], f"{len(spans) - MAX_SHOWN_INTERVALS} more intervals"]
    )
    return f"{person['name']} ({', '.join(facts + shown)})"
