"""A lecture of 52 minutes with eight people, for tests of the page of a video."""

from __future__ import annotations

import json
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from rollcall.core.encoding_space import DLIB
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.settings import Settings
from rollcall.core.types import Box, Face, FaceQuality, Person, Recognition, Sighting
from rollcall.recognition.stored_faces import StoredFaces, render_faces, stored_faces
from support.ffmpeg import H264, ffmpeg
from support.index_samples import T0

KEY = "course 7/lecture 12.mp4"
LENGTH_S = 3120.0
WIDTH, HEIGHT = 320, 180
LATER_S = 1500.0
"""When Ada has a second picture."""

PEOPLE: tuple[tuple[str, str, float | None, tuple[tuple[float, float], ...]], ...] = (
    ("Ada Lovelace", "clear", 0.31, ((0.0, 1210.0), (1330.0, 2900.0))),
    ("Ben Bitdiddle", "likely", 0.47, ((1010.0, 1330.0), (2500.0, 2510.0))),
    ("Chen Xiaoming", "clear", 0.36, tuple((60.0 * n, 60.0 * n + 9.0) for n in range(1, 50, 3))),
    ("Dora Papadopoulou-Featherstonehaugh", "doubtful", 0.56, ((2000.0, 2200.0),)),
    ("Emil", "clear", 0.40, ((120.0, 130.0),)),
    ("", "", 0.71, ((200.0, 260.0), (2960.0, 3010.0))),
    ("", "", None, ((1500.0, 1501.0),)),
    ("Fatima", "clear", 0.35, ((2600.0, 3119.0),)),
)
COVERAGE = {
    "looks": 313,
    "longest_gap_s": 10.0,
    "stopped_at_s": None,
    "faces": 1204,
    "not_judged": {"too small": 14, "blurred": 0, "turned": 3},
    "video_track": 1,
    "video_tracks": 1,
    "video_tracks_searched": 1,
}


@cache
def clip(folder: Path) -> bytes:
    """A test card with one frame a second, which Chromium plays."""
    source = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r=1:d={LENGTH_S:.0f}"
    options = f"{H264} -preset ultrafast -g 60 -movflags +faststart"
    return ffmpeg(f"{source} {options}", folder / "lecture.mp4").read_bytes()


def lecture(etag: str, bucket: str, kept: str = "pictures") -> IndexedVideo:
    """The row of the index."""
    people = tuple(
        Appearance(
            number,
            name,
            times[0][0],
            times[-1][1],
            9 * len(times),
            distance,
            sure,
            times,  # type: ignore[arg-type]
        )
        for number, (name, sure, distance, times) in enumerate(PEOPLE)
    )
    return IndexedVideo(
        bucket=bucket,
        key=KEY,
        etag=etag,
        status="recognised",
        work_id="work-12",
        uploaded_s=T0,
        finished_s=T0 + 1.2,
        duration_s=LENGTH_S,
        coverage=COVERAGE,
        people=people,
        gallery="gallery-1",
        kept=kept,  # type: ignore[arg-type]
    )


def put_lecture(store: ObjectStore, settings: Settings, body: bytes) -> IndexedVideo:
    """Write the video, its result, report and stored faces, and return the row of the index."""
    bucket = settings.input_bucket
    store.write(bucket, KEY, body, "video/mp4", {})
    video = lecture(store.head(bucket, KEY).etag, bucket)
    store.write(settings.output_bucket, result_key(KEY), b"name\r\nAda\r\n", "text/csv", {})
    report = {"status": "recognised", "faces": faces()}
    reports = settings.report_bucket
    store.write(reports, report_key(KEY), json.dumps(report).encode(), "application/json", {})
    store.write(reports, faces_key(KEY), render_faces(stored(video.etag)), "", {})
    return video


def faces() -> list[dict[str, object]]:
    """The faces of the report: everybody once at each start of an interval, and a small one."""
    found: list[dict[str, object]] = []
    for number, (name, _, distance, times) in enumerate(PEOPLE):
        for start_s, _ in times:
            box = box_of(number)._asdict()
            face = {"time_s": start_s, "box_px": box, "person": number, "not_judged": None}
            found.append({**face, "nearest": name or None, "distance": distance})
    small = {"top": 150, "right": 300, "bottom": 170, "left": 280}
    return [
        *found,
        {"time_s": 1010.0, "box_px": small, "person": None, "not_judged": "too small"},
    ]


def box_of(number: int) -> Box:
    left = 10 + 38 * number
    return Box(40, left + 34, 80, left)


def stored(etag: str) -> StoredFaces:
    """The stored faces: each person once, with a picture in one colour, and Ada a second time."""
    quality = FaceQuality(80, 1.0, 0.0, 0.9)
    encodings = np.eye(DLIB.size)[: len(PEOPLE)]
    seen = [(times[0][0], number, number) for number, (*_, times) in enumerate(PEOPLE)]
    seen = sorted([*seen, (LATER_S, 0, len(PEOPLE))])
    sightings = tuple(
        Sighting(time_s, Face(box_of(n), np.zeros((5, 2)), quality, encodings[n]), None)
        for time_s, n, _ in seen
    )
    people = tuple(
        Person(name, times[0][0], times[-1][1], 9, distance) for name, _, distance, times in PEOPLE
    )
    numbers = tuple(number for _, number, _ in seen)
    pictures = {place: picture(colour) for place, (_, _, colour) in enumerate(seen)}
    found = Recognition(
        people,
        sightings,
        9,
        LENGTH_S,
        looks_s=tuple(time_s for time_s, _, _ in seen),
        persons=numbers,
        tracks=numbers,
        pictures=pictures,
    )
    return stored_faces(found, etag, DLIB)


def picture(number: int) -> bytes:
    """A square JPEG in a colour of its own."""
    body = BytesIO()
    Image.new("RGB", (96, 96), (30 * number, 120, 255 - 30 * number)).save(body, "JPEG")
    return body.getvalue()
