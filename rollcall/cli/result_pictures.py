"""Writes the pictures of `rollcall recognise --save`: frames, faces, and a contact sheet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rollcall.atomic_files import replace_file
from rollcall.cli.picture_drawing import (
    MADE_BY,
    MAX_COMMENT_END,
    Mark,
    SheetFace,
    annotated,
    colour_of,
    contact_sheet,
)
from rollcall.core.errors import PermanentError
from rollcall.core.face_worth import worth
from rollcall.core.names import UNKNOWN
from rollcall.core.types import Recognition
from rollcall.recognition.frame_book import KeptFrame

MAX_FACES = 500
"""Limit for the saved faces of one video."""

MAX_NAME_BYTES = 100
"""Longest name of a file or folder, without its suffix."""

MAX_LABEL_CHARS = 40
"""Longest name on a frame. The certainty follows it."""

OURS = re.compile(r"(frame-[0-9-]+|face-.*|contact-sheet)\.jpg")
"""The names of the files that this module writes. Files of the user may have such names, too."""

_UNSAFE = re.compile(r"[^\w.-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


class PicturesNotSaved(PermanentError):
    """The folder for pictures cannot be written."""

    code = "pictures_not_saved"


class PersonPicture(NamedTuple):
    """A person of a result, with the best picture of the face; None if none was kept."""

    name: str
    """Empty for an unknown person."""
    label: str
    """The name, or `unknown 2`."""
    jpeg: bytes | None
    colour: str
    document: dict[str, Any]
    """The person in the command's JSON."""


def person_pictures(
    recognition: Recognition, documents: Sequence[dict[str, Any]]
) -> list[PersonPicture]:
    """The people of a video in the order of the result."""
    best: dict[int, tuple[float, bytes]] = {}
    for place, jpeg in recognition.pictures.items():
        person = recognition.persons[place]
        value = worth(recognition.sightings[place].face.quality)
        if person is not None and value > best.get(person, (-1.0, b""))[0]:
            best[person] = (value, jpeg)
    labels = _labels([person.name for person in recognition.people])
    return [
        PersonPicture(
            person.name,
            labels[number],
            best[number][1] if number in best else None,
            colour_of(person.name),
            documents[number],
        )
        for number, person in enumerate(recognition.people)
    ]


def save_pictures(
    folder: Path,
    title: str,
    recognition: Recognition,
    frames: Sequence[KeptFrame],
    people: Sequence[PersonPicture],
) -> int:
    """Write the pictures of one video into the folder, and return their number.

    Pictures of an earlier run are removed. Only the owner may read the files, because they show
    people. Raises PicturesNotSaved, also if a file in the way is not one of ours.
    """
    bodies: dict[str, bytes] = {}
    for frame in frames:
        name = f"frame-{clock(frame.time_s, '-')}.jpg"
        shown = f"{clock(frame.time_s, ':')}  {title}"  # the end of a long title may be cut
        bodies[name] = annotated(frame.picture, _marks(frame, recognition, people), shown)
    for person in people[:MAX_FACES]:
        if person.jpeg:
            bodies[f"face-{safe_name(person.label, bodies, 'face-', '.jpg')}.jpg"] = person.jpeg
    cells = [
        SheetFace(person.jpeg, (person.label, _facts(person.document)), person.colour)
        for person in people
    ]
    if cells:
        bodies["contact-sheet.jpg"] = contact_sheet(cells, title)
    try:
        if bodies:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        earlier = [path for path in folder.iterdir() if _is_ours(path)] if folder.exists() else []
        for name in bodies:
            if (folder / name).exists() and folder / name not in earlier:
                raise PicturesNotSaved(
                    f"{str(folder / name)!r} is not a picture of `recognise --save`, and is not"
                    " replaced; choose another folder"
                )
        for path in earlier:
            if path.name not in bodies:
                path.unlink()
        for name, body in bodies.items():
            replace_file(folder / name, body, durable=False)
    except OSError as error:
        raise PicturesNotSaved(
            f"pictures cannot be saved in {str(folder)!r}: {error.strerror}"
        ) from error
    return len(bodies)


def _is_ours(path: Path) -> bool:
    """Whether the file is a picture of an earlier run."""
    if not OURS.fullmatch(path.name) or not path.is_file():
        return False
    with path.open("rb") as file:
        return MADE_BY in file.read(MAX_COMMENT_END)


def safe_name(text: str, taken: Collection[str], before: str = "", after: str = "") -> str:
    """A file name for any text, without separators, leading dots and spaces.

    With `before` and `after`, the name is not in `taken`, regardless of its case.
    """
    name = _UNSAFE.sub("-", unicodedata.normalize("NFC", text)).strip("-.")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip("-.")
    if not name or _RESERVED.fullmatch(name):
        name = f"{name or 'video'}_"
    used = {each.casefold() for each in taken}
    number, free = 1, name
    while f"{before}{free}{after}".casefold() in used:
        number += 1
        free = f"{name}-{number}"
    return free


def _marks(
    frame: KeptFrame, recognition: Recognition, people: Sequence[PersonPicture]
) -> list[Mark]:
    places = {id(each): place for place, each in enumerate(recognition.sightings)}
    marks = []
    for sighting in frame.sightings:
        place = places.get(id(sighting))
        person = None if place is None else recognition.persons[place]
        if person is not None:
            shown = people[person]
            certainty = shown.document["certainty"]
            name = shown.label
            if len(name) > MAX_LABEL_CHARS:
                name = name[: MAX_LABEL_CHARS - 1] + "…"
            label = f"{name} ({certainty})" if certainty else name
            marks.append(Mark(sighting.face.box, label, shown.colour))
        else:
            marks.append(Mark(sighting.face.box, sighting.face.problem, colour_of("")))
    return marks


def _labels(names: Sequence[str]) -> list[str]:
    """The name of each person. Unknown people are numbered if there are several."""
    unknown = sum(not name for name in names)
    numbers = iter(range(1, unknown + 1))
    return [name or (f"{UNKNOWN} {next(numbers)}" if unknown > 1 else UNKNOWN) for name in names]


def _facts(document: dict[str, Any]) -> str:
    times = clock(document["first_seen_s"], ":")
    return f"{document['certainty']}, {times}" if document["certainty"] else times


def clock(seconds: float, separator: str = ":") -> str:
    """A time as `0:12.3` or `1:02:03.4`, with this separator instead of the colon and the dot."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    text = f"{minutes:02}:{rest // 10:02}.{rest % 10}"
    text = f"{hours}:{text}" if hours else text.removeprefix("0")
    return text if separator == ":" else text.replace(":", separator).replace(".", separator)
