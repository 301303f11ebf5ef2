"""Decides who is in a video, from the faces that a search found, or that were stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rollcall.core.decision import DecisionRule
from rollcall.core.types import Coverage, Recognition, Sighting
from rollcall.core.voting import people


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """The facts about the search of a video track, other than the faces."""

    looks_s: tuple[float, ...]
    """Times of all looks, in order."""
    cuts_s: tuple[float, ...]
    """Times of the first frames after cuts, as in `Recognition`."""
    duration_s: float
    frames: int
    """Number of frames that were searched, those of other video tracks included."""
    track: int
    tracks: int
    searched: int
    """These three are as in `Coverage`."""
    stopped_at_s: float | None


def decide(
    sightings: tuple[Sighting, ...], decision: DecisionRule, facts: SearchFacts
) -> Recognition:
    """Who is in a video with these sightings, which are in order of time. Raises TooManyFaces."""
    end_s = max([facts.duration_s, *facts.looks_s])  # the header's duration may be too short, or 0
    found = people(sightings, decision, facts.looks_s, end_s, facts.cuts_s)
    coverage = Coverage(
        track=facts.track,
        tracks=facts.tracks,
        searched=facts.searched,
        looks=len(facts.looks_s),
        longest_gap_s=_longest_gap_s(facts.looks_s, end_s),
        faces=len(sightings),
        not_judged=Counter(s.face.problem for s in sightings if s.face.problem),
        ignored=found.ignored,
        stopped_at_s=facts.stopped_at_s,
    )
    return Recognition(
        found.people,
        sightings,
        facts.frames,
        facts.duration_s,
        coverage,
        looks_s=facts.looks_s,
        cuts_s=facts.cuts_s,
        persons=found.persons,
        tracks=found.tracks,
    )


def _longest_gap_s(looks_s: Sequence[float], end_s: float) -> float:
    gaps_s = (after - before for before, after in pairwise([*looks_s, end_s]))
    return max(gaps_s, default=0.0)
