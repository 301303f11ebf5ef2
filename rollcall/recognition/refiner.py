"""When somebody came or went, found between two looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rollcall.core.presence import KNOWN_S
from rollcall.core.types import Encodings, Video
from rollcall.recognition.looker import FrameLook, Looker

MAX_EXTRA_LOOKS = 4
"""Average for each planned look. Faces that come and go all the time, for example because they are
hardly visible, must not make a walk many times slower."""

SPARE_LOOKS = 40


class Refiner:
    """Finds the moments of change between two looks that show different people."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._space = looker.decision.space
        self._left = SPARE_LOOKS

    def between(self, video: Video, before: FrameLook, after: FrameLook) -> list[FrameLook]:
        """Further looks in order of time, the last of which is `after`, the latest look at the
        video.

        If everybody is somebody else behind a cut, that is the moment, and no further look is
        needed. Otherwise the frames in the middle are searched, until each change is known to a
        tenth of a second.
        """
        self._left += MAX_EXTRA_LOOKS
        if not self._differ(before, after):
            return [after]
        if self._all_differ(before, after):
            cut_s = video.cut_between(before.time_s, after.time_s)
            if cut_s is not None:
                return [replace(after, cut_s=cut_s)]
        found = [after]
        gaps = [(before, after)]
        while gaps and self._left > 0:
            first, second = gaps.pop()
            if second.time_s - first.time_s <= KNOWN_S or not self._differ(first, second):
                continue
            frame = video.kept_frame(first.time_s, second.time_s)
            if frame is None:
                continue
            self._left -= 1
            middle = self._looker.look(frame, (first, second))
            found.append(middle)
            gaps += [(first, middle), (middle, second)]
        return sorted(found, key=lambda look: look.time_s)

    def _differ(self, first: FrameLook, second: FrameLook) -> bool:
        """Whether a face that can be judged is in one of them only."""
        near = self._near(first, second)
        return not (near.any(axis=1).all() and near.any(axis=0).all())

    def _all_differ(self, first: FrameLook, second: FrameLook) -> bool:
        """Whether both show faces, and none in common."""
        near = self._near(first, second)
        return near.size > 0 and not near.any()

    def _near(self, first: FrameLook, second: FrameLook) -> NDArray[np.bool_]:
        """Which faces of the two looks are the same, shape (faces, faces)."""
        some, others = self._encodings(first), self._encodings(second)
        distances = np.linalg.norm(some[:, None] - others[None], axis=2)
        near: NDArray[np.bool_] = distances <= self._space.same_face_distance
        return near

    def _encodings(self, look: FrameLook) -> Encodings:
        """Those of the faces that can be judged, shape (faces, size); there may be none."""
        found = [s.face.encoding for s in look.sightings() if s.face.encoding is not None]
        return np.array(found).reshape(len(found), self._space.size)
