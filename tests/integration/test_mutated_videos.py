"""Each of a thousand damaged copies of real clips gives a right answer or a clear error.

The real engine and the real decoder are used, and no damage may end the process of the service.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from support.memory import watch_peak

from rollcall.core.errors import NotAVideo, VideoTooLarge, VideoTooLong, VideoTooSlow
from rollcall.core.gallery import Gallery
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.gallery.gallery_formats import parse_gallery
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

MUTATIONS = int(os.environ.get("MUTATIONS", "1000"))
SEED = 20
MAX_GROWTH_BYTES = 1 << 30


def flip(body: bytearray, random: random.Random) -> None:
    """Change some bytes anywhere."""
    for _ in range(random.choice([1, 4, 16, 64, 256])):
        body[random.randrange(len(body))] = random.randrange(256)


def flip_index(body: bytearray, random: random.Random) -> None:
    """Change some bytes of the index, which lists where every frame is."""
    start = body.index(b"moov")
    for _ in range(random.choice([1, 2, 8, 32])):
        body[random.randrange(start, min(len(body), start + 4000))] = random.randrange(256)


def flip_first_picture(body: bytearray, random: random.Random) -> None:
    """Change some bytes of the first key frame."""
    start = body.index(b"mdat")
    for _ in range(random.choice([1, 8, 64])):
        body[random.randrange(start, min(len(body), start + 40_000))] = random.randrange(256)


def cut_off(body: bytearray, random: random.Random) -> None:
    del body[random.randrange(len(body)) :]


def cut_out(body: bytearray, random: random.Random) -> None:
    start = random.randrange(len(body))
    del body[start : start + random.randrange(1, 5000)]


def double(body: bytearray, random: random.Random) -> None:
    start = random.randrange(len(body))
    body[start:start] = body[start : start + random.randrange(1, 5000)]


def blank(body: bytearray, random: random.Random) -> None:
    start = random.randrange(len(body))
    length = min(len(body) - start, random.randrange(1, 20_000))
    body[start : start + length] = bytes(length)


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    *(flip, flip_index, flip_first_picture),
    *(cut_off, cut_out, double, blank),
]


def outcome(recogniser: Recogniser, gallery: Gallery, path: Path) -> frozenset[str] | str:
    """Return the names in a video, or the code of its error."""
    try:
        people = recogniser.recognise(WholeFile(path), gallery, Stopwatch()).people
    except (NotAVideo, VideoTooLarge, VideoTooLong, VideoTooSlow) as error:
        return error.code
    return frozenset(person.name for person in people if person.name)


def test_a_damaged_clip_gives_a_right_answer_or_a_clear_error(
    classroom: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(Settings(), model_cache=str(tmp_path / "models"))
    recogniser = build_recogniser(settings, build_engine(settings))
    grown_by = watch_peak()
    gallery = parse_gallery((classroom / "encoding").read_bytes())
    clips = sorted((classroom / "videos").iterdir())
    right = {clip: outcome(recogniser, gallery, clip) for clip in clips}
    bodies = {clip: clip.read_bytes() for clip in clips}
    seen: Counter[str] = Counter()
    for number in range(MUTATIONS):
        chance = random.Random(SEED * 1_000_000 + number)
        clip, damage = clips[number % len(clips)], chance.choice(DAMAGES)
        body = bytearray(bodies[clip])
        damage(body, chance)
        path = tmp_path / "video"
        path.write_bytes(body)
        found = outcome(recogniser, gallery, path)
        case = f"mutation {number}, {damage.__name__} of {clip.name}: {found}"
        assert isinstance(found, str) or found <= right[clip], case
        seen[found if isinstance(found, str) else "right" if found else "unknown"] += 1
    assert sum(seen.values()) == MUTATIONS
    assert seen["right"] > MUTATIONS // 4, seen
    assert seen["not_a_video"] > 0, seen
    assert seen["unknown"] <= MUTATIONS // 100, "only a few faces are too damaged to be recognised"
    assert grown_by() < MAX_GROWTH_BYTES
    print(dict(seen))
