"""Whether looks at a face name a person, and how sure that is.

*One look* names the nearest person when the distance is accepted and nobody else is equally near.
The accepted distance is the tolerance; for a face that can hardly be judged it is at most a part of
the space's largest tolerance, because such faces come nearer to everybody. A gallery whose own
tolerance is smaller than that is strict enough already. Measured with looks at 134 faces and 60
people, faces of 36 pixels and more: the distance to the nearest wrong person that 95 in 100 looks
exceed, and how often a wrong person is within 0.55 and within 0.60.

| look | nearest wrong person | within 0.55 | within 0.60 | part of the tolerance |
| --- | --- | --- | --- | --- |
| 36 px, JPEG quality 40 | 0.55 | 5.3 % | 30 % | 0.95 |
| 48 px, JPEG quality 40 | 0.57 | 0.8 % | 25 % | 1 |
| 48 px and more | 0.57 | 2.4 % | 14 % | 1 |
| sharpness 0.004 to 0.012 | 0.55 | 5.6 % | 29 % | 0.94 and less |
| sharpness 0.03 and more | 0.57 | 2.3 % | 17 % | 1 |
| turn 0.5 to 0.7 | 0.56 | 0 % of 14 | 36 % | 0.97 and less |
| score 0.6 to 0.8 | 0.56 | 5.1 % of 39 | 33 % | 0.95 to 1 |

*Several looks* at one face name the person that most of them are nearest to, if at least half of
all looks agree. What a look lacks in quality moves its encoding at random, so the mean of n looks
is worth more than one of them: its allowance shrinks with the square root of n.

The decision page 0085 has the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.types import Certainty, FaceQuality, Match

SIZE_PARTS = ((32, 48), (0.93, 1.0))
SHARPNESS_PARTS = ((0.008, 0.03), (0.94, 1.0))
TURN_PARTS = ((0.35, 0.6), (1.0, 0.95))
SCORE_PARTS = ((0.5, 0.8), (0.92, 1.0))
"""Measures of a face, and the part of the space's tolerance up to which one look at such a face is
accepted; linear in between, and constant outside. The least part counts."""

CLEAR_INSIDE = 0.25
"""A clear look is nearer than the accepted distance by this part of the space's clear margin.

Measured with galleries of 5 and 20 people and their own tolerances: with 0.5, 0 to 11 of 10,000
looks at strangers are clear, and 76 to 93 of 100 looks at known people; with 0, 42 to 100 of 10,000
looks at strangers. With 0.5, one of the eight real clips has no clear look at all, at distances of
0.57 to 0.59."""


class Look(NamedTuple):
    """One look at one face: whom it is nearest to, and how well it can be judged."""

    match: Match | None
    quality: FaceQuality


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule that turns looks into a name."""

    space: EncodingSpace
    tolerance: float

    def accepted_distance(self, quality: FaceQuality) -> float:
        """The largest distance at which one look at a face of that quality names a person."""
        parts = (
            np.interp(quality.size_px, *SIZE_PARTS),
            np.interp(quality.sharpness, *SHARPNESS_PARTS),
            np.interp(quality.turn, *TURN_PARTS),
            np.interp(quality.score, *SCORE_PARTS),
        )
        most = max(self.tolerance, self.space.tolerance) * float(min(parts))
        return min(self.tolerance, most)

    def accepts(self, look: Look) -> bool:
        """Whether this look alone names the person that it is nearest to."""
        return self._names(look, self.accepted_distance(look.quality), self.space.min_margin)

    def is_clear(self, look: Look) -> bool:
        """Whether this look answers the question, so that a second one is not needed."""
        inside = CLEAR_INSIDE * self.space.clear_margin
        return self._names(
            look, self.accepted_distance(look.quality) - inside, self.space.clear_margin
        )

    def decide(self, looks: Sequence[Look]) -> tuple[str, Certainty]:
        """The person that several looks at one face show, empty for unknown, and how sure that is.

        - *clear*: a look is clear, and no look speaks for somebody else.
        - *likely*: a look names the person alone.
        - *doubtful*: the looks name the person only together, or against a majority of looks that
          are too far from everybody.
        """
        votes = [look for look in looks if self._names(look, self.tolerance, self.space.min_margin)]
        name = _winner(votes)
        own = [look for look in votes if look.match and look.match.name == name]
        agreed = 2 * len(own) >= len(looks)
        clear = any(self.is_clear(look) for look in own)
        if not own or not (agreed or clear):
            return "", ""
        if not agreed:
            return name, "doubtful"
        if clear and len(own) == len(votes):
            return name, "clear"
        if any(self.accepts(look) for look in own):
            return name, "likely"
        return (name, "doubtful") if self._together(own) else ("", "")

    def _names(self, look: Look, distance: float, margin: float) -> bool:
        match = look.match
        return match is not None and match.distance <= distance and match.margin >= margin

    def _together(self, looks: Sequence[Look]) -> bool:
        """Whether agreeing looks name a person that none of them names alone."""
        distance = np.mean([look.match.distance for look in looks if look.match])
        accepted = np.mean([self.accepted_distance(look.quality) for look in looks])
        allowance = (self.tolerance - accepted) / np.sqrt(len(looks))
        return bool(distance <= self.tolerance - allowance)


def _winner(votes: Sequence[Look]) -> str:
    """The name with most votes; of two with as many, the nearer. Empty without votes."""
    matches = [look.match for look in votes if look.match]
    counts = Counter(match.name for match in matches)
    best = min(matches, key=lambda match: (-counts[match.name], match.distance), default=None)
    return best.name if best else ""
