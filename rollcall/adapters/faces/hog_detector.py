"""dlib's HOG detector of upright faces.

dlib carries it as compressed text, and takes a quarter of a second to read that; its plain state it
reads in a millisecond.
"""

from __future__ import annotations

from pathlib import Path

import dlib

from rollcall.adapters.faces.model_cache import cached


def hog_detector(cache: Path) -> dlib.fhog_object_detector:
    """As `dlib.get_frontal_face_detector()`; not safe for threads.

    It is made as pickle would make it, but nothing that a pickle says is done.
    """
    state = cached(cache, f"frontal_face_detector-dlib-{dlib.__version__}", ".hog", _state)
    detector = dlib.fhog_object_detector.__new__(dlib.fhog_object_detector)
    detector.__setstate__((state,))
    return detector


def _state() -> bytes:
    (state,) = dlib.get_frontal_face_detector().__getstate__()
    return bytes(state)
