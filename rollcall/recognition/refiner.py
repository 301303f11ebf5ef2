"""Finds out when somebody came or went between two looks of `SCAN=timeline`.

If a cut replaces everybody, the change is at the first frame after the cut. Otherwise the frame
halfway between the two looks is searched, then the middle frame of each half whose ends still show
different people, until every change is known to a tenth of a second. For this purpose, the decoder
keeps the frames of the last seconds, so nothing is decoded twice (decisions 0090 and 0092).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rollcall.core.presence import EXACT_STEP_S
from rollcall.core.protocols import Video
from rollcall.core.types import Encodings
from rollcall.recognition.looker import FrameLook, Looker

MAX_EXTRA_LOOKS = 4
"""Limit for the extra looks per planned look, on average. Faces that flicker, for example because
they are hardly visible, must not make the search many times slower."""

INITIAL_LOOKS = 40
"""Extra looks that are allowed from the start, for a video in which much changes early on."""


class Refiner:
    """Refines one pair of looks after the other. All pairs share one budget of extra looks."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._space = looker.decision.space
        self._looks_left = INITIAL_LOOKS

    def between(self, video: Video, before: FrameLook, after: FrameLook) -> list[FrameLook]:
        """Return the extra looks and `after`, in order of time.

        `after` must be the latest look at the video: the decoder does not keep older frames.
        """
        self._looks_left += MAX_EXTRA_LOOKS
        if not self._differ(before, after):
            return [after]
        if self._all_differ(before, after):
            cut_s = video.cut_between(before.time_s, after.time_s)
            if cut_s is not None:
                return [replace(after, cut_s=cut_s)]
        looks = [after]
        gaps = [(before, after)]
        while gaps and self._looks_left > 0:
            start, end = gaps.pop()
            if end.time_s - start.time_s <= EXACT_STEP_S or not self._differ(start, end):
                continue
            frame = video.kept_frame(start.time_s, end.time_s)
            if frame is None:  # the decoder kept no frame between the two
                continue
            self._looks_left -= 1
            middle = self._looker.look(frame, (start, end))
            looks.append(middle)
            gaps += [(start, middle), (middle, end)]
        return sorted(looks, key=lambda look: look.time_s)

    def _differ(self, first: FrameLook, second: FrameLook) -> bool:
        """Whether at least one face that can be judged is in only one of the two looks."""
        same = self._same_faces(first, second)
        return not (same.any(axis=1).all() and same.any(axis=0).all())

    def _all_differ(self, first: FrameLook, second: FrameLook) -> bool:
        """Whether both looks show faces that can be judged, and no such face is in both."""
        same = self._same_faces(first, second)
        return same.size > 0 and not same.any()

    def _same_faces(self, first: FrameLook, second: FrameLook) -> NDArray[np.bool_]:
        """Return, with shape (faces of first, faces of second), whether two faces are the same."""
        rows, columns = self._encodings(first), self._encodings(second)
        distances = np.linalg.norm(rows[:, None] - columns[None], axis=2)
        same: NDArray[np.bool_] = distances <= self._space.same_face_distance
        return same

    def _encodings(self, look: FrameLook) -> Encodings:
        """Return the encodings of faces that can be judged, shape (faces, size)."""
        found = [s.face.encoding for s in look.sightings() if s.face.encoding is not None]
        return np.array(found).reshape(len(found), self._space.size)  # (0, size) without faces
