"""Counts right, wrong and unknown names for small faces, by the size of the face in pixels.

    python -m benchmarks.face_sizes FOLDER_OR_PICTURE...

Photos are scaled to one size after another. Each is recognised with a gallery of all other photos,
at the tolerance that `TOLERANCE=auto` gives to the gallery of all photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import markdown
from benchmarks.people import Photo, Seen, look, nearest, photos, run_on_pictures, shrunk
from rollcall.core.decision import DecisionRule, Look
from rollcall.core.face_quality import why_not_judged
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Pixels

SIZES_PX = (20, 28, 36, 48, 64, 96)
JPEG_QUALITY = 40
"""JPEG quality in the second table. It is about as bad as that of small faces in compressed
video."""

HEAD = (
    *("face", "looks", "not found", "not judged", "right", "wrong", "unknown"),
    *("strangers judged", "strangers named"),
)


def row(
    label: str,
    looks: Sequence[tuple[Photo, Seen | None]],
    known: Sequence[Photo],
    rule: DecisionRule,
) -> list[object]:
    """Count the names that looks at photos of one size give.

    A person is known if another photo of them is in the gallery. Every look is also tried as a
    stranger's, with a gallery that lacks this person.
    """
    counts = dict.fromkeys(HEAD[2:], 0)
    own_looks = 0
    for photo, seen in looks:
        others = [each for each in known if each is not photo]
        has_another = any(each.person == photo.person for each in others)
        own_looks += has_another
        if seen is None or why_not_judged(seen.quality):
            counts["not found" if seen is None else "not judged"] += has_another
            continue
        if has_another:
            name = _name(seen, others, rule)
            counts["right" if name == photo.person else "wrong" if name else "unknown"] += 1
        counts["strangers judged"] += 1
        strangers = [each for each in others if each.person != photo.person]
        counts["strangers named"] += bool(_name(seen, strangers, rule))
    return [label, own_looks, *counts.values()]


def report(paths: Sequence[Path], engine: FaceEngine) -> str:
    found = photos(paths, engine)
    known = [photo for photo in found if photo.known]
    gallery = Gallery(
        [photo.person for photo in known],
        np.array([photo.encoding for photo in known]),
        engine.space.name,
    )
    rule = decision_for(gallery, None, engine.space)
    head = f"{len(gallery.people)} people, {len(known)} photos, tolerance {rule.tolerance:.3f}"
    parts = [head]
    for title, jpeg in (("Not compressed", False), (f"JPEG quality {JPEG_QUALITY}", True)):
        rows = []
        for size_px in SIZES_PX:
            large = [photo for photo in found if photo.size_px >= size_px]
            looks = [(photo, look_at(engine, photo, size_px, jpeg)) for photo in large]
            rows.append(row(f"{size_px} px", looks, known, rule))
        parts.append(f"## {title}\n\n{markdown.table(HEAD, rows)}")
    return "\n\n".join(parts)


def _name(seen: Seen, known: Sequence[Photo], rule: DecisionRule) -> str:
    encodings = np.array([photo.encoding for photo in known])
    match = nearest(seen.encoding, [photo.person for photo in known], encodings)
    return match.name if match and rule.accepts(Look(match, seen.quality)) else ""


def look_at(engine: FaceEngine, photo: Photo, size_px: int, jpeg: bool) -> Seen | None:
    pixels, box = shrunk(photo, size_px)
    return look(engine, _compressed(pixels) if jpeg else pixels, box)


def _compressed(pixels: Pixels) -> Pixels:
    _, body = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    bgr = cv2.imdecode(body, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(bgr, dtype=np.uint8)[..., ::-1])


if __name__ == "__main__":
    run_on_pictures(report, __doc__)
