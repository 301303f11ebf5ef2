"""Decides whether looks at a face name a person, and how sure the name is.

A *look* is a frame that was searched for faces; here it stands for one face in that frame.

*One look* names the nearest person if the distance is accepted and no other person is equally near.
The accepted distance is the tolerance of the gallery. For a face that is hard to judge, it is at
most the encoding space's tolerance times a quality factor, because the encodings of such faces are
nearer to those of everybody else. A gallery with a lower tolerance than that is not made stricter.

The factors were chosen from this table, measured with looks at 134 faces of 60 people, at least 36
pixels wide. In 95 of 100 looks, the nearest wrong person is farther away than the distance in the
second column. The next two columns show how many looks have a wrong person within 0.55 and 0.60.

| looks at faces with | wrong person | within 0.55 | within 0.60 | factor |
| --- | --- | --- | --- | --- |
| 36 px, JPEG quality 40 | 0.55 | 5.3 % | 30 % | 0.95 |
| 48 px, JPEG quality 40 | 0.57 | 0.8 % | 25 % | 1 |
| at least 48 px | 0.57 | 2.4 % | 14 % | 1 |
| sharpness 0.004 to 0.012 | 0.55 | 5.6 % | 29 % | 0.94 to 0.95 |
| sharpness of at least 0.03 | 0.57 | 2.3 % | 17 % | 1 |
| turn 0.5 to 0.7 (14 looks) | 0.56 | 0 % | 36 % | 0.95 to 0.97 |
| score 0.6 to 0.8 (39 looks) | 0.56 | 5.1 % | 33 % | 0.95 to 1 |

*Looks that somebody has named* (the gallery has the same encoding) decide alone. Otherwise, the
other looks at the face in this video could outvote what somebody said about it. For the same
reason, nobody is named of whom somebody said that a look does not show this person.

*Several looks* at one face name the person that most of them vote for, if at least half of all
looks agree or one of the agreeing looks is clear. Bad quality moves an encoding in a random
direction, so the mean of n looks is more reliable than a single look. Therefore the difference
between the tolerance and the accepted distance is divided by the square root of n.

docs/decisions/0085 has the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.types import Certainty, Encodings, FaceQuality, Match

SIZE_FACTORS = ((32, 48), (0.93, 1.0))
SHARPNESS_FACTORS = ((0.008, 0.03), (0.94, 1.0))
TURN_FACTORS = ((0.35, 0.6), (1.0, 0.95))
SCORE_FACTORS = ((0.5, 0.8), (0.92, 1.0))
"""For each measure of `FaceQuality`: two points, and the factor of the space's tolerance at each.
Factors are linear between the points and constant outside. The smallest of the four factors
counts."""

CLEAR_RESERVE = 0.25
"""A clear look is nearer than the accepted distance by at least this fraction of the space's clear
margin (for dlib, by 0.025).

Measured with galleries of 5 and 20 people and their own tolerances. Without a reserve, 42 to 100 of
10,000 looks at strangers are clear. With 0.5, only 0 to 11 of them are, while 76 to 93 of 100 looks
at known people still are; but one of the eight real clips, with distances of 0.57 to 0.59, then has
no clear look. 0.25 is a compromise."""


class Look(NamedTuple):
    """One look at one face: the nearest person, and how well the face can be judged."""

    match: Match | None
    quality: FaceQuality


class Decision(NamedTuple):
    """The name of a face, and how sure it is."""

    name: str
    """Empty for an unknown person, and for an ignored one."""
    certainty: Certainty
    ignored: bool = False
    """Whether the face is one that nobody needs to know (an *ignore* verdict)."""


NOBODY = Decision("", "")


Denies = Callable[[str, Sequence[Encodings]], bool]
"""Whether somebody said of one of these very looks that it does not show this person."""


def _nothing_is_denied(name: str, encodings: Sequence[Encodings]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The rule that turns looks into a name. `tolerance` is that of the gallery or the setting."""

    space: EncodingSpace
    tolerance: float
    denies: Denies = field(default=_nothing_is_denied, compare=False)

    def accepted_distance(self, quality: FaceQuality) -> float:
        """The largest distance at which one look at a face of this quality names a person."""
        factors = (
            np.interp(quality.size_px, *SIZE_FACTORS),
            np.interp(quality.sharpness, *SHARPNESS_FACTORS),
            np.interp(quality.turn, *TURN_FACTORS),
            np.interp(quality.score, *SCORE_FACTORS),
        )
        # If the user chose a larger tolerance than the space's, the factor applies to that.
        limit = max(self.tolerance, self.space.tolerance) * float(min(factors))
        return min(self.tolerance, limit)

    def accepts(self, look: Look) -> bool:
        """Whether this look alone names the person that it is nearest to."""
        return _is_match(look, self.accepted_distance(look.quality), self.space.min_margin)

    def is_clear(self, look: Look) -> bool:
        """Whether this look is so sure that no second one is needed."""
        limit = self.accepted_distance(look.quality) - CLEAR_RESERVE * self.space.clear_margin
        return _is_match(look, limit, self.space.clear_margin)

    def decide(self, looks: Sequence[Look]) -> Decision:
        """The person in several looks at one face, and how sure the name is.

        A look votes for the nearest person. It has no vote if that person is beyond the tolerance,
        or if another person is equally near. Ignored faces are voted for like a person.

        - *clear*: at least one look is clear, and no look votes for anybody else.
        - *likely*: at least one look alone is enough to name the person.
        - *doubtful*: no look alone names the person, or fewer than half of the looks vote for them.
        """
        looks = [look for look in looks if look.match and look.match.is_exact] or looks
        min_margin = self.space.min_margin
        votes = [look for look in looks if _is_match(look, self.tolerance, min_margin)]
        winner = _winner(votes)
        agreeing = [look for look in votes if look.match and look.match.name == winner.name]
        enough = 2 * len(agreeing) >= len(looks)  # a look without a vote counts against the name
        clear = any(self.is_clear(look) for look in agreeing)
        if not agreeing or not (enough or clear):
            return NOBODY
        if not enough:
            return winner._replace(certainty="doubtful")
        if clear and len(agreeing) == len(votes):
            return winner._replace(certainty="clear")
        if any(self.accepts(look) for look in agreeing):
            return winner._replace(certainty="likely")
        return winner._replace(certainty="doubtful") if self._agree_on_name(agreeing) else NOBODY

    def decide_unless_denied(
        self, looks: Sequence[Look], encodings: Sequence[Encodings]
    ) -> Decision:
        """As `decide`, but nobody of whom somebody said that a look does not show this person.

        `encodings` are those of the looks.
        """
        left = list(looks)
        while True:
            decision = self.decide(left)
            name = decision.name
            if not name or not self.denies(name, encodings):
                return decision
            # The next round has at least one vote less.
            left = [
                Look(None, look.quality) if look.match and look.match.name == name else look
                for look in left
            ]

    def _agree_on_name(self, looks: Sequence[Look]) -> bool:
        """Whether looks that vote for one person are enough together, though none is alone."""
        distance = np.mean([look.match.distance for look in looks if look.match])
        accepted = np.mean([self.accepted_distance(look.quality) for look in looks])
        reduction = (self.tolerance - accepted) / np.sqrt(len(looks))
        return bool(distance <= self.tolerance - reduction)


def _is_match(look: Look, max_distance: float, min_margin: float) -> bool:
    match = look.match
    return match is not None and match.distance <= max_distance and match.margin >= min_margin


def _winner(votes: Sequence[Look]) -> Decision:
    """The person with the most votes, and in a tie the nearest one; nobody without votes."""
    matches = [look.match for look in votes if look.match]
    counts = Counter(match.name for match in matches)
    best = min(matches, key=lambda match: (-counts[match.name], match.distance), default=None)
    return Decision(best.name, "", best.ignored) if best else NOBODY
