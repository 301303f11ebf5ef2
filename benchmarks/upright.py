"""Compares rules that turn photos upright (docs/decisions/0183).

    python -m benchmarks.upright PICTURE_OR_CLIP_OR_FOLDER...

Every picture, and every tenth frame of a clip, has to show its faces upright. Each is turned by all
four quarter turns, also smaller and darker, and cut to one face with more or less around it. The
table shows how many of these photos each rule turns wrongly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import markdown
from benchmarks.frames import rgb_frames
from benchmarks.people import chosen_pictures
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import DetectedFace, Pixels
from rollcall.core.upright import is_upright
from rollcall.faces.engine import default_engine
from rollcall.gallery.photos import read_photo

FRAMES_STEP = 10

Positions = Sequence[Sequence[DetectedFace]]
"""The faces found in the photo after 0, 1, 2 and 3 quarter turns."""


def first(positions: Positions) -> int:
    """The first position with an upright face."""
    return next((n for n, faces in enumerate(positions) if any(map(is_upright, faces))), 0)


def unchanged_or_best(positions: Positions) -> int:
    """The photo as it is, if it has an upright face, and otherwise the best position."""
    return 0 if any(map(is_upright, positions[0])) else best(positions)


def best(positions: Positions) -> int:
    """The position with the best score of an upright face, as `turn_upright`."""
    scores = [max((f.score for f in faces if is_upright(f)), default=0.0) for faces in positions]
    return int(np.argmax(scores))


RULES: Mapping[str, Callable[[Positions], int]] = {
    "first upright": first,
    "unchanged, or best score": unchanged_or_best,
    "best score": best,
}


def photos(files: Sequence[Path], engine: FaceEngine) -> Iterator[tuple[str, Pixels]]:
    for file in files:
        clip = file.suffix == ".mp4"
        for pixels in rgb_frames(file, FRAMES_STEP) if clip else [read_photo(file)]:
            yield "whole picture", pixels
            small = cv2.resize(pixels, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
            yield "at 40 % of its size", np.asarray(small, np.uint8)
            yield "at 15 % of its brightness", (pixels * 0.15).astype(np.uint8)
            for face in engine.detect(pixels):
                for around in (1.0, 0.4):
                    kind = f"one face, with {around:g} times its size around it"
                    yield kind, _cut(pixels, face, around)


def _cut(pixels: Pixels, face: DetectedFace, around: float) -> Pixels:
    box = face.box
    side = round(around * max(box.right - box.left, box.bottom - box.top))
    top, left = max(0, box.top - side), max(0, box.left - side)
    return np.ascontiguousarray(pixels[top : box.bottom + side, left : box.right + side])


def report(files: Sequence[Path], engine: FaceEngine) -> str:
    counts, wrong = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for kind, pixels in photos(files, engine):
        turned = (np.ascontiguousarray(np.rot90(pixels, quarters)) for quarters in range(4))
        found = [engine.detect(each) for each in turned]
        if not any(map(is_upright, found[0])):
            continue
        counts[kind] += 4
        for turn in range(4):
            positions = found[turn:] + found[:turn]
            for name, rule in RULES.items():
                wrong[kind][name] += (turn + rule(positions)) % 4 != 0
    rows = [(kind, count, *(wrong[kind][name] for name in RULES)) for kind, count in counts.items()]
    return markdown.table(("photo", "photos", *RULES), rows)


def main() -> None:
    pictures = chosen_pictures(__doc__)
    print(report(pictures, default_engine(Path.home() / ".cache" / "rollcall")))


if __name__ == "__main__":
    main()
