"""Measures how far Rollcall's encodings are from those of `face_recognition` (Euclidean distance).

Both encode the same squares of the same frames. A person is recognised up to a distance of 0.6, so
differences of a millionth do not matter. Run alone: `make bench ONLY=encodings`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.frames import rgb_frames
from benchmarks.theirs import face_recognition
from devstack.demo import sample_folder
from rollcall.faces.dlib_encoder import square_of
from rollcall.wiring import build_engine

TITLE = "Encodings"


def run(bench: Bench) -> dict[str, Any]:
    """Return the largest difference for any face in the clips and in the demo's sample."""
    engine = build_engine(bench.settings)
    clips = [*bench.videos, *sorted((sample_folder(bench.folder) / "videos").iterdir())]
    differences = []
    for clip in clips:
        for rgb in rgb_frames(clip, bench.sizes.encodings_step):
            found = engine.detect(rgb)
            squares = [tuple(square_of(face)) for face in found]
            theirs = face_recognition.face_encodings(rgb, squares)
            for one, other in zip(engine.encode(rgb, found), theirs, strict=True):
                differences.append(float(np.linalg.norm(one - other)))
    return {"clips": len(clips), "faces": len(differences), "largest_l2": max(differences)}


def table(result: dict[str, Any]) -> str:
    return (
        "Largest distance (L2) between Rollcall's encoding of a face and that of"
        f" `face_recognition`: {result['largest_l2']:.1e}, for {result['faces']} faces in"
        f" {result['clips']} clips (the demo's sample included)."
    )
