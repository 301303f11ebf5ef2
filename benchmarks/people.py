"""Reads and scales the photos of people that `face_sizes` and `strangers` use."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.frames import rgb_frames
from rollcall.core.face_quality import measure
from rollcall.core.following import overlap
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Box, DetectedFace, Encodings, FaceQuality, Match, Pixels
from rollcall.faces.engine import default_engine
from rollcall.gallery.photos import read_photo

PICTURES = (".jpg", ".jpeg", ".png", ".mp4")
SURROUNDINGS = 2
"""How much of the picture is kept on each side of a face, as a multiple of the face's longer side.
The detector needs some surroundings."""

HELP = (
    "folders with pictures of one person each, or single pictures and clips, in which every face"
    " counts as a stranger"
)


class Photo(NamedTuple):
    """A face, and the part of the picture around it."""

    person: str
    known: bool
    """Whether the person may be enrolled. Only people with a folder may: the face in a single
    picture may belong to the same person as another face with a different name."""
    pixels: Pixels
    box: Box
    encoding: Encodings

    @property
    def size_px(self) -> int:
        return min(self.box.right - self.box.left, self.box.bottom - self.box.top)


class Seen(NamedTuple):
    """The engine's result for a look at a photo."""

    quality: FaceQuality
    encoding: Encodings


def photos(paths: Sequence[Path], engine: FaceEngine) -> list[Photo]:
    """Return the largest face of each picture in a folder, and every face of a single picture."""
    found: list[Photo] = []
    for path in paths:
        if path.is_dir():
            for picture in sorted(path.iterdir()):
                if picture.suffix in PICTURES:
                    found += list(_faces(picture, path.name, engine))[:1]
        else:
            found += _faces(path, "", engine)
    return found


def shrunk(photo: Photo, size_px: int) -> tuple[Pixels, Box]:
    """Return the photo scaled so that its face has this size, and the face's box after scaling."""
    factor = size_px / photo.size_px
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(photo.pixels, None, fx=factor, fy=factor, interpolation=method)
    box = Box(*(round(side * factor) for side in photo.box))
    return np.ascontiguousarray(pixels, dtype=np.uint8), box


def look(engine: FaceEngine, pixels: Pixels, box: Box) -> Seen | None:
    """Look at the face in this box; None if the engine finds no face there."""
    face = max(engine.detect(pixels), key=lambda each: overlap(each.box, box), default=None)
    if face is None or overlap(face.box, box) < 0.3:
        return None
    quality = measure(pixels, face.box, face.landmarks, face.score)
    return Seen(quality, engine.encode(pixels, [face])[0])


def nearest(encoding: Encodings, names: Sequence[str], encodings: Encodings) -> Match | None:
    """Return the nearest identity, as `Gallery.nearest` does, without building a gallery."""
    if not names:
        return None
    distances = np.linalg.norm(encodings - encoding, axis=1)
    best = int(distances.argmin())
    others = distances[np.array(names) != names[best]]
    second = float(others.min()) if len(others) else math.inf
    return Match(names[best], float(distances[best]), second - float(distances[best]))


def _faces(path: Path, person: str, engine: FaceEngine) -> Iterator[Photo]:
    pixels = next(rgb_frames(path)) if path.suffix == ".mp4" else read_photo(path)
    for number, face in enumerate(engine.detect(pixels)):
        encoding = engine.encode(pixels, [face])[0]
        around, box = _cut_out(pixels, face)
        yield Photo(person or f"{path.name} {number}", bool(person), around, box, encoding)


def _cut_out(pixels: Pixels, face: DetectedFace) -> tuple[Pixels, Box]:
    box = face.box
    side = SURROUNDINGS * max(box.right - box.left, box.bottom - box.top)
    top, left = max(0, box.top - side), max(0, box.left - side)
    around = np.ascontiguousarray(pixels[top : box.bottom + side, left : box.right + side])
    return around, Box(box.top - top, box.right - left, box.bottom - top, box.left - left)


def chosen_pictures(about: str | None) -> list[Path]:
    """The pictures and clips that a script's arguments name, also those in folders."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("paths", nargs="+", type=Path, help="pictures, clips (.mp4), folders")
    paths: list[Path] = parser.parse_args().paths
    files = [
        each for path in paths for each in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return [path for path in files if path.suffix in (".mp4", ".jpg", ".png")]


def run_on_pictures(report: Callable[[Sequence[Path], FaceEngine], str], about: str | None) -> None:
    """Run a script whose arguments are pictures of people, and print its report."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("pictures", nargs="+", type=Path, help=HELP)
    engine = default_engine(Path.home() / ".cache" / "rollcall")
    print(report(parser.parse_args().pictures, engine))
