"""Render scenes with known people, times and face sizes.

People are cut out of pictures, scaled to a chosen face width and pasted onto a canvas. A scene is a
list of appearances, so the correct answer is known without recognition.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from devstack.sample import PRESIDENTS, fetch_pictures
from rollcall.core.types import MIN_JUDGED_PX, Pixels
from support.needs import REPOSITORY, classroom_folder, need
from support.one_at_a_time import one_at_a_time
from support.pictures import astronaut

SMALLEST_PX = math.ceil(MIN_JUDGED_PX * 1.1)
"""Width of the smallest face that has to be named. It is 10 % above the limit, because the width of
the detector's boxes is off by up to that much."""

HD = (1280, 720)
FULL_HD = (1920, 1080)
ENROLLED_PX = 150
"""Width in pixels of the faces in photos for enrolment."""

SWAY_S = 8.0
"""Time in which a swaying person moves to one side, to the other side, and back."""

Interval = tuple[float, float]
"""Start and end in seconds, the end excluded."""


class FaceBox(NamedTuple):
    """A face in a picture, in pixels, from the forehead to the chin."""

    left: int
    top: int
    width: int
    height: int


class Portrait(NamedTuple):
    """A face in a picture.

    `picture` is "astronaut.png", a picture of the two presidents, a group picture, or a frame of a
    classroom clip, such as "test_0.mp4:40".
    """

    picture: str
    box: FaceBox
    mirrored: bool = False


KNOWN = {
    "eileen": (
        Portrait("astronaut.png", FaceBox(182, 58, 88, 120)),
        Portrait("astronaut.png", FaceBox(182, 58, 88, 120), mirrored=True),
    ),
    "obama": (
        Portrait("obama.jpg", FaceBox(362, 64, 259, 378)),
        Portrait("obama3.jpg", FaceBox(645, 267, 260, 341)),
        Portrait("obama2.jpg", FaceBox(198, 214, 266, 444)),
        Portrait("test_8.mp4:24", FaceBox(865, 97, 271, 355)),
    ),
    "biden": (
        Portrait("biden.jpg", FaceBox(426, 161, 306, 402)),
        Portrait("biden.jpg", FaceBox(426, 161, 306, 402), mirrored=True),
        Portrait("test_1.mp4:40", FaceBox(789, 173, 158, 207)),
    ),
    "trump": (
        Portrait("test_0.mp4:0", FaceBox(607, 86, 104, 122)),
        Portrait("test_0.mp4:40", FaceBox(601, 83, 105, 127)),
    ),
    "mr_bean": (
        Portrait("test_2.mp4:0", FaceBox(699, 133, 175, 222)),
        Portrait("test_2.mp4:24", FaceBox(680, 144, 183, 228)),
    ),
    "johnny_depp": (
        Portrait("test_4.mp4:0", FaceBox(261, 162, 123, 140)),
        Portrait("test_4.mp4:40", FaceBox(277, 131, 134, 162)),
    ),
    "vin_diesel": (
        Portrait("test_5.mp4:8", FaceBox(537, 154, 280, 331)),
        Portrait("test_5.mp4:72", FaceBox(658, 298, 278, 382)),
    ),
    "ragnar": (
        Portrait("test_6.mp4:8", FaceBox(449, 178, 342, 431)),
        Portrait("test_6.mp4:48", FaceBox(540, 143, 224, 262)),
    ),
    "morgan_freeman": (
        Portrait("test_7.mp4:0", FaceBox(395, 144, 338, 440)),
        Portrait("test_7.mp4:16", FaceBox(401, 151, 326, 425)),
    ),
}
"""Portraits by name. The first portrait is enrolled, the others are shown in scenes."""

GROUPS = {
    "group_1.jpg": (
        *((999, 72, 97, 135), (215, 128, 94, 123), (730, 136, 91, 116), (472, 140, 94, 125)),
    ),
    "group_2.jpg": ((99, 116, 81, 109), (381, 115, 78, 111), (0, 93, 53, 67)),
    "group_3.jpg": (
        *((36, 24, 58, 75), (156, 87, 49, 70), (260, 103, 45, 59), (489, 95, 58, 76)),
        (367, 111, 51, 69),
    ),
    "group_4.jpg": (
        *((82, 21, 87, 119), (234, 34, 90, 125), (578, 64, 82, 111), (464, 162, 95, 145)),
        *((257, 228, 84, 115), (51, 248, 103, 138)),
    ),
    "group_5.jpg": (
        *((219, 30, 76, 106), (575, 45, 83, 107), (713, 108, 91, 105), (436, 143, 88, 120)),
        (103, 158, 94, 112),
    ),
}
STRANGERS = tuple(
    Portrait(picture, FaceBox(*box), mirrored)
    for mirrored in (False, True)
    for picture, boxes in GROUPS.items()
    for box in boxes
)
"""Portraits of people who are never enrolled."""


class Surroundings(NamedTuple):
    """How much of the picture around a face is pasted with it, in face widths and heights."""

    beside: float
    above: float
    below: float


NATURAL = Surroundings(1.0, 0.7, 1.2)
TIGHT = Surroundings(0.2, 0.25, 0.2)
ALONE = Surroundings(0.25, 0.4, 0.3)


@dataclass(frozen=True)
class Appearance:
    """A portrait that is visible for some time. `name` is empty for a stranger."""

    name: str
    portrait: Portrait
    face_px: int
    """Width of the face in the scene."""
    x: int
    y: int
    """Centre of the face in pixels."""
    interval: Interval = (0.0, float("inf"))
    sway_px: int = 0
    """Pixels that the person moves to either side."""
    surroundings: Surroundings = NATURAL
    cell: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the tile of a video meeting that crops the picture, if any."""


@dataclass(frozen=True)
class Scene:
    """The content of a video, and the correct answer."""

    appearances: Sequence[Appearance]
    size: tuple[int, int] = HD
    length_s: float = 2.0
    fps: int = 5
    noisy: bool = False
    """Whether the background is noise instead of a plain colour."""

    @property
    def people(self) -> dict[str, list[Interval]]:
        """Return the intervals in which each known person is visible, by name."""
        found: dict[str, list[Interval]] = {}
        for each in self.appearances:
            if each.name:
                start_s, end_s = each.interval
                found.setdefault(each.name, []).append((start_s, min(end_s, self.length_s)))
        return {name: _union(intervals) for name, intervals in found.items()}

    def write(self, path: Path) -> Path:
        """Render the scene as H.264, with the key frames that the encoder chooses by default."""
        need(shutil.which("ffmpeg") is not None, "the program ffmpeg is not installed")
        width, height = self.size
        argv = (
            f"ffmpeg -nostdin -v fatal -y -f rawvideo -pix_fmt rgb24 -s {width}x{height}"
            f" -r {self.fps} -i - -c:v libx264 -preset veryfast -pix_fmt yuv420p"
        ).split()
        with subprocess.Popen([*argv, str(path)], stdin=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None
            for frame in self.frames():
                encoder.stdin.write(frame.data)
            encoder.stdin.close()
        assert encoder.returncode == 0, path
        return path

    def frames(self) -> Iterator[Pixels]:
        width, height = self.size
        background = np.full((height, width, 3), (200, 205, 200), np.uint8)
        if self.noisy:
            chance = np.random.default_rng(12)
            background = chance.integers(0, 255, background.shape, dtype=np.uint8)
        for number in range(round(self.length_s * self.fps)):
            time_s, canvas = number / self.fps, background.copy()
            for each in self.appearances:
                # A quarter of a frame absorbs rounding errors at the ends of intervals.
                if each.interval[0] <= time_s + 0.25 / self.fps < each.interval[1]:
                    _paste(canvas, each, time_s)
            yield canvas


def overlap(found: Iterable[Sequence[float]], truth: Iterable[Sequence[float]]) -> float:
    """Return the intersection over union of two sets of intervals, measured by their length."""
    one, other = _union(found), _union(truth)
    both = sum(
        max(0.0, min(a_end, b_end) - max(a_start, b_start))
        for a_start, a_end in one
        for b_start, b_end in other
    )
    either = sum(end - start for start, end in (*one, *other)) - both
    return both / either if either else 1.0


def photo(portrait: Portrait) -> Pixels:
    """Return a photo for enrolment, cropped so that it shows only this person."""
    cut, _ = _cut(portrait, ENROLLED_PX, ALONE)
    return cut


def tiles(
    per_side: int,
    size: tuple[int, int],
    *,
    surroundings: Surroundings = NATURAL,
    noisy: bool = False,
    turn: int = 0,
) -> Scene:
    """Return a meeting of `per_side` times `per_side` tiles: known people, then strangers.

    `turn` rotates the order of the people, and chooses their portraits.
    """
    cells = _cells(per_side, per_side, size)
    shown = _known(turn) + [("", portrait) for portrait in STRANGERS]
    face_px = round((cells[0][3] - cells[0][1]) * 0.36)
    return Scene(
        [
            Appearance(
                name,
                portrait,
                face_px,
                (left + right) // 2,
                top + (bottom - top) * 48 // 100,
                surroundings=surroundings,
                cell=(left + 2, top + 2, right - 2, bottom - 2),
            )
            for (name, portrait), (left, top, right, bottom) in zip(shown, cells, strict=False)
        ],
        size,
        noisy=noisy,
    )


def small_beside_large(per_side: int) -> Scene:
    """Return a 1080p scene in which every second face is small, as if far from the webcam.

    If `per_side` is 1, there are two faces, with about 1/5 and 1/12 of the picture's width.
    """
    if per_side == 1:
        large, small = KNOWN["obama"][2], KNOWN["biden"][1]
        both = Appearance("obama", large, 384, 640, 540), Appearance("biden", small, 152, 1440, 540)
        return Scene(both, FULL_HD)
    scene = tiles(per_side, FULL_HD)
    small_px = max(SMALLEST_PX, scene.appearances[0].face_px * 5 // 12)
    return replace(
        scene,
        appearances=[
            replace(each, face_px=small_px) if number % 2 else each
            for number, each in enumerate(scene.appearances)
        ],
    )


def crowd(count: int, size: tuple[int, int], *, turn: int = 0) -> Scene:
    """Return a scene of two to twelve people, whose faces grow from SMALLEST_PX to a large one.

    The edge of the picture crops the people at the left if enough of the face stays visible.
    """
    columns = 2 if count <= 4 else 3 if count <= 6 else 4
    cells = _cells(columns, -(-count // columns), size)
    largest_px = min(cells[0][2], cells[0][3]) // 3
    shown = [*_known(turn), *(("", portrait) for portrait in STRANGERS)][:count]
    found = []
    parts = np.linspace(0, 1, count)
    for (name, portrait), cell, part in zip(shown, cells, parts, strict=False):
        face_px = round(SMALLEST_PX + (largest_px - SMALLEST_PX) * part**2)
        x, y = (cell[0] + cell[2]) // 2, (cell[1] + cell[3]) // 2
        if cell[0] == 0 and face_px * 7 // 8 > SMALLEST_PX:
            x = face_px * 3 // 8
        found.append(Appearance(name, portrait, face_px, x, y, cell=cell))
    return Scene(found, size)


def one_after_another() -> Scene:
    """Return a 720p scene with one person at a time, hard cuts, and times without people."""
    times = (
        *(("eileen", 0, 3.2), ("obama", 3.2, 5.2), ("biden", 7.6, 12.48), ("trump", 12.48, 14.6)),
        *(("mr_bean", 16, 20.8), ("eileen", 20.8, 23.04), ("morgan_freeman", 25, 27.36)),
        *(("obama", 30, 35.96), ("ragnar", 37.8, 40)),
    )
    shots = [
        Appearance(name, KNOWN[name][1], 170, 600, 330, (start_s, end_s), sway_px=60)
        for name, start_s, end_s in times
    ]
    return Scene(shots, HD, length_s=40, fps=25)


def come_and_go() -> Scene:
    """Return a 720p scene with up to four people at once, in different places and sizes."""
    places = {
        (340, 180, 110): (("obama", 0, 14.4), ("biden", 18, 31.32)),
        (960, 180, 80): (
            *(("trump", 2.68, 6.04), ("vin_diesel", 9.2, 11.2), ("trump", 20, 24.6)),
            ("johnny_depp", 26.4, 40),
        ),
        (340, 540, 60): (("morgan_freeman", 5, 40),),
        (960, 540, 95): (("", 0, 10), ("ragnar", 12.12, 18.8), ("eileen", 19.4, 29.44)),
    }
    return _timeline(places, 40)


def long_meeting() -> Scene:
    """Return 75 s of 720p in which each person is visible for ten seconds or a little longer."""
    places = {
        (340, 360, 120): (
            *(("obama", 0, 12), ("trump", 19.32, 29.36), ("johnny_depp", 33, 44)),
            *(("vin_diesel", 46.4, 56.44), ("eileen", 64.84, 75)),
        ),
        (960, 360, 70): (("biden", 8, 18.04), ("mr_bean", 30, 41.2), ("ragnar", 58, 68.6)),
    }
    return _timeline(places, 75)


def _timeline(
    places: Mapping[tuple[int, int, int], Sequence[tuple[str, float, float]]], length_s: float
) -> Scene:
    """Return a scene of these people.

    The keys of `places` are x, y and the width of the face. The values are name, start and end.
    """
    appearances = [
        Appearance(
            name,
            KNOWN[name][1] if name else STRANGERS[0],
            face_px,
            x,
            y,
            (start_s, end_s),
            sway_px=face_px // 3,
        )
        for (x, y, face_px), times in places.items()
        for name, start_s, end_s in times
    ]
    return Scene(appearances, HD, length_s=length_s, fps=25)


def _known(turn: int) -> list[tuple[str, Portrait]]:
    """Return each known person once. `turn` rotates the order, and chooses the portraits."""
    names = list(KNOWN)
    names = names[turn % len(names) :] + names[: turn % len(names)]
    return [(name, KNOWN[name][1 + turn % (len(KNOWN[name]) - 1)]) for name in names]


def _cells(columns: int, rows: int, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return left, top, right and bottom of each cell, row by row."""
    wide, high = size[0] // columns, size[1] // rows
    return [
        (column * wide, row * high, (column + 1) * wide, (row + 1) * high)
        for row in range(rows)
        for column in range(columns)
    ]


def _union(intervals: Iterable[Sequence[float]]) -> list[Interval]:
    """Merge intervals that touch or overlap."""
    joined: list[Interval] = []
    for start_s, end_s in sorted((float(each[0]), float(each[1])) for each in intervals):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return joined


def _paste(canvas: Pixels, who: Appearance, time_s: float) -> None:
    cut, (face_x, face_y) = _cut(who.portrait, who.face_px, who.surroundings)
    sway = who.sway_px * np.sin(2 * np.pi * time_s / SWAY_S)
    left, top = round(who.x + sway) - face_x, who.y - face_y
    height, width = canvas.shape[:2]
    cell = who.cell or (0, 0, width, height)
    x0, y0 = max(left, cell[0]), max(top, cell[1])
    x1, y1 = min(left + cut.shape[1], cell[2]), min(top + cut.shape[0], cell[3])
    canvas[y0:y1, x0:x1] = cut[y0 - top : y1 - top, x0 - left : x1 - left]


@cache
def _cut(
    portrait: Portrait, face_px: int, surroundings: Surroundings
) -> tuple[Pixels, tuple[int, int]]:
    """Return the scaled person with some background, and the centre of the face in it."""
    picture, (left, top, wide, high) = _picture(portrait.picture), portrait.box
    if portrait.mirrored:
        picture, left = picture[:, ::-1], picture.shape[1] - left - wide
    beside, above, below = surroundings
    x0, x1 = max(0, round(left - beside * wide)), round(left + (1 + beside) * wide)
    y0, y1 = max(0, round(top - above * high)), round(top + (1 + below) * high)
    scale = face_px / wide
    cut = cv2.resize(
        np.ascontiguousarray(picture[y0:y1, x0:x1]),
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
    )
    centre = (round((left + wide / 2 - x0) * scale), round((top + high / 2 - y0) * scale))
    return np.asarray(cut, dtype=np.uint8), centre


@cache
def _picture(name: str) -> Pixels:
    if name == "astronaut.png":
        return astronaut()
    if ":" in name:
        video, number = name.split(":")
        return _frame(classroom_folder() / "videos" / video, int(number))
    path = _folder_of(name) / name
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None, path
    return np.asarray(pixels, dtype=np.uint8)


def _frame(path: Path, number: int) -> Pixels:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    for _ in range(number + 1):
        is_read, frame = capture.read()
        assert is_read, path
    capture.release()
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _folder_of(name: str) -> Path:
    if name in GROUPS:
        folder = groups_folder()
        need(folder.is_dir(), f"no group pictures at {folder}; set ROLLCALL_DATA")
        return folder
    folder = REPOSITORY / "state" / "pictures"
    with one_at_a_time():
        if not folder.is_dir():
            incomplete = folder.with_name(f"pictures.{os.getpid()}")
            fetch_pictures(PRESIDENTS, incomplete)
            incomplete.rename(folder)
    return folder


def groups_folder() -> Path:
    """Return the folder of group pictures beside the classroom clips."""
    return classroom_folder().parent / "groups"
