"""The tolerance of a gallery: how far a face may be from a person and still get that name.

The more people a gallery knows, and the more alike they are, the more often a stranger is near to
one of them. So a gallery without a fixed tolerance gets the largest one at which a stranger is
expected to be named at most once in a hundred faces. Two estimates are joined:

- *Model*: F(d) is the probability that one person lies within d of a stranger. Squared distances
  follow a gamma distribution. Its mean and lower tail come from the distances between the
  gallery's own people and, while they are few, from those that are known of the encoding space.
  With n people a stranger is named within t with the probability

      integral from 0 to t of n f(x) (1 - F(x + margin))^(n - 1) dx

- *Trial*: every person of the gallery is a stranger to all others, so it is counted how often they
  would be named. That needs many people, and it knows that some faces are near to everybody.

Measured with 60 people and 1,155 looks, one photo a person (`benchmarks/strangers.py` prints more):

| a stranger is within | 0.50 | 0.55 | 0.58 | 0.60 | 0.65 | 0.70 |
| --- | --- | --- | --- | --- | --- | --- |
| of one person, measured | 0.0000 | 0.0002 | 0.0009 | 0.0017 | 0.011 | 0.047 |
| of one person with four photos | 0.0000 | 0.0014 | 0.0036 | 0.0057 | 0.021 | 0.063 |
| model, one photo | 0.0000 | 0.0004 | 0.0013 | 0.0025 | 0.013 | 0.049 |
| model, four photos | 0.0001 | 0.0011 | 0.0036 | 0.0065 | 0.029 | 0.090 |

The decision page 0086 has the reasons and the results.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rollcall.core.decision import Decision
from rollcall.core.encoding_space import DLIB, EncodingSpace, Spread
from rollcall.core.gallery import Gallery

MAX_FALSE_NAME_RATE = 0.01

MAX_PROBES = 500
MAX_ENCODINGS = 20_000
"""Limits of what is compared, so that a gallery of a million encodings takes a second. Of a larger
one a sample is taken."""

REFERENCE_PEOPLE = 20
"""The known distances of an encoding space count as much as those of so many people."""

MODEL_STRANGERS = 300
"""The model counts as much as a trial with so many people."""

MIN_TRIAL_PEOPLE = 3

TAIL_PAIRS = 20
"""The lower tail of the model is fitted where so many pairs of people are nearer."""

NEARER_STRANGER = 0.025
NEARER_SELF = 0.05
"""With twice as many encodings a person comes nearer by this part of the tolerance: to strangers
(measured: 0.015 of 0.6), and to looks at themselves (0.025 of 0.6)."""

STEPS = 600
"""The tolerance is chosen in steps of the space's tolerance divided by this."""

Values = NDArray[np.float64]


class GalleryTolerance(NamedTuple):
    """A tolerance, and what is to be expected of it."""

    tolerance: float
    false_name_rate: float
    """Part of strangers' faces that get a name, 0 to 1."""
    missed_rate: float
    """Part of looks at known people that are not recognised, 0 to 1."""

    def __str__(self) -> str:
        return (
            f"tolerance {self.tolerance:.2f}: a name is expected for"
            f" {_rate(self.false_name_rate)} faces of strangers, and"
            f" {_rate(self.missed_rate)} looks at known people are expected to be missed"
        )


class _Trial(NamedTuple):
    """Distances of people of the gallery to all others."""

    near: Values
    """For each probe the nearest other person, shape (probes,)."""
    margins: Values
    """The second-nearest other person's distance minus that."""
    mean: float
    tail: tuple[float, float]
    """A distance, and the part of pairs that are nearer."""


_kept: WeakKeyDictionary[Gallery, dict[tuple[str, float | None], GalleryTolerance]] = (
    WeakKeyDictionary()
)


def gallery_tolerance(
    gallery: Gallery, space: EncodingSpace, tolerance: float | None = None
) -> GalleryTolerance:
    """The tolerance of a gallery and what it means; None is the gallery's own.

    It is computed once for each gallery object.
    """
    known = _kept.setdefault(gallery, {})
    key = (space.name, tolerance)
    if key not in known:
        known[key] = _computed(gallery, space, tolerance)
    return known[key]


def decision_for(gallery: Gallery, tolerance: float | None, space: EncodingSpace) -> Decision:
    """The rule for faces that are compared with this gallery; None is its own tolerance."""
    if tolerance is None:
        tolerance = gallery.fixed_tolerance or gallery_tolerance(gallery, space).tolerance
    return Decision(space, tolerance)


def _computed(gallery: Gallery, space: EncodingSpace, tolerance: float | None) -> GalleryTolerance:
    chosen = tolerance or gallery.fixed_tolerance
    grid = np.linspace(0, max(space.tolerance, chosen or 0.0), STEPS + 1)
    rates = _false_name_rates(gallery, space, grid)
    if chosen is None:
        chosen = float(grid[np.flatnonzero(rates <= MAX_FALSE_NAME_RATE)[-1]])
    rate = float(np.interp(chosen, grid, rates))
    return GalleryTolerance(chosen, rate, _missed_rate(gallery, space, chosen))


def _false_name_rates(gallery: Gallery, space: EncodingSpace, grid: Values) -> Values:
    """The part of strangers that is named at each tolerance of the grid."""
    people = len(gallery.people)
    if not people:
        return np.zeros(len(grid))
    trial = _trial(gallery, space)
    model = _model_rates(people, _strangers(gallery, space, trial), space.min_margin, grid)
    if trial is None or len(gallery) > MAX_ENCODINGS:
        return model
    named = np.sort(trial.near[trial.margins >= space.min_margin])
    counts = np.searchsorted(named, grid, side="right")
    return (counts + MODEL_STRANGERS * model) / (len(trial.near) + MODEL_STRANGERS)


def _model_rates(people: int, strangers: Spread, margin: float, grid: Values) -> Values:
    density = np.diff(_within(grid, strangers), prepend=0.0)
    alone = (1 - _within(grid + margin, strangers)) ** (people - 1)
    return np.minimum(1.0, np.cumsum(people * density * alone))


def _strangers(gallery: Gallery, space: EncodingSpace, trial: _Trial | None) -> Spread:
    """The distances of a stranger to one person of this gallery."""
    strangers, _ = _references(space)
    doublings = math.log2(max(1.0, len(gallery) / len(gallery.people)))
    mean = strangers.mean - doublings * NEARER_STRANGER * space.tolerance
    reference = Spread(mean, strangers.deviation)
    if trial is None:
        return reference
    own = Spread(trial.mean, _deviation(trial))
    weight = len(trial.near) / (len(trial.near) + REFERENCE_PEOPLE)
    return Spread(*(weight * a + (1 - weight) * b for a, b in zip(own, reference, strict=True)))


def _deviation(trial: _Trial) -> float:
    """The one with which the model has as many near pairs as the trial."""
    distance, part = trial.tail
    low, high = 0.0, trial.mean / 2
    for _ in range(40):
        middle = (low + high) / 2
        nearer = float(_within(np.array([distance]), Spread(trial.mean, middle))[0])
        low, high = (middle, high) if nearer < part else (low, middle)
    return high


def _within(distances: Values, spread: Spread) -> Values:
    """The gamma distribution of squared distances: the probability of being within each of them.

    The series of the lower incomplete gamma function (Abramowitz and Stegun, 6.5.29).
    """
    mean = spread.mean**2 + spread.deviation**2
    variance = (2 * spread.mean * spread.deviation) ** 2 + 2 * spread.deviation**4
    if variance < 1e-12:
        return (distances >= spread.mean).astype(np.float64)
    shape = min(mean**2 / variance, 1e5)
    x = distances**2 * shape / mean
    term = np.ones_like(x)
    total = term.copy()
    count = 0
    while float(np.max(term / total)) > 1e-9:
        count += 1
        term = term * x / (shape + count)
        total += term
    with np.errstate(divide="ignore"):
        logs = shape * np.log(x) - x - math.lgamma(shape + 1) + np.log(total)
    within: Values = np.minimum(1.0, np.exp(logs))
    return within


def _missed_rate(gallery: Gallery, space: EncodingSpace, tolerance: float) -> float:
    """The part of looks at its people that are farther away; normal distributions."""
    if not len(gallery):
        return 0.0
    _, same = _references(space)
    names, starts = np.unique(np.array(gallery.names, dtype=object), return_counts=True)
    counts, people = np.unique(starts, return_counts=True)
    means = same.mean - np.log2(counts) * NEARER_SELF * space.tolerance
    z = (tolerance - means) / same.deviation
    missed = np.array([math.erfc(each / math.sqrt(2)) / 2 for each in z])
    return float(missed @ people / len(names))


def _references(space: EncodingSpace) -> tuple[Spread, Spread]:
    """Distances of strangers and of looks at one person. Where nobody has measured a space, those
    of dlib's in proportion to the tolerance."""
    factor = space.tolerance / DLIB.tolerance
    return tuple(  # type: ignore[return-value]
        given or Spread(known.mean * factor, known.deviation * factor)
        for given, known in (
            (space.strangers, DLIB.strangers or Spread(0, 0)),
            (space.same_person, DLIB.same_person or Spread(0, 0)),
        )
    )


def _trial(gallery: Gallery, space: EncodingSpace) -> _Trial | None:
    """One encoding of each person against everybody else; None with too few people for that."""
    random = np.random.default_rng(0)
    names, encodings = _sample(gallery, random)
    owners, starts = np.unique(names, return_index=True)
    if len(owners) < MIN_TRIAL_PEOPLE:
        return None
    probes = random.permutation(len(owners))[:MAX_PROBES]
    sizes = np.diff(np.append(starts, len(names)))
    chosen = starts[probes] + random.integers(0, sizes[probes])
    rows = encodings.astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)
    away = squares[chosen, None] + squares - 2 * rows[chosen] @ rows.T
    people = np.minimum.reduceat(away, starts, axis=1)
    distances = np.sqrt(np.maximum(people, 0)).astype(np.float64)
    distances[np.arange(len(probes)), probes] = np.inf
    # Probably one person with two names: it says nothing about strangers.
    distances[distances < space.same_face_distance] = np.inf
    if not np.isfinite(distances).any():
        return None
    mean, tail = _pairs(distances)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    margins = np.where(np.isfinite(first), second, np.inf) - np.where(np.isfinite(first), first, 0)
    return _Trial(first, margins, mean, tail)


def _pairs(distances: Values) -> tuple[float, tuple[float, float]]:
    """The mean of all pairs, and where TAIL_PAIRS of them (a tenth of a few) are nearer."""
    pairs = distances[np.isfinite(distances)]
    rank = min(2 * TAIL_PAIRS, max(1, len(pairs) // 10), len(pairs) - 1)
    return float(pairs.mean()), (float(np.partition(pairs, rank)[rank]), rank / len(pairs))


def _sample(gallery: Gallery, random: np.random.Generator) -> tuple[NDArray[np.int64], Values]:
    """Numbers of people in rising order, and their encodings; whole people of a large gallery."""
    _, owners = np.unique(np.array(gallery.names, dtype=object), return_inverse=True)
    owners = owners.astype(np.int64)
    if len(owners) > MAX_ENCODINGS:
        part = MAX_ENCODINGS / len(owners)
        kept = random.random(int(owners.max()) + 1) < part
        rows = np.flatnonzero(kept[owners])[:MAX_ENCODINGS]
    else:
        rows = np.arange(len(owners))
    rows = rows[np.argsort(owners[rows], kind="stable")]
    return owners[rows], gallery.encodings[rows]


def _rate(part: float) -> str:
    """ "1 in 100", the nearest such number; people read it faster than per cents."""
    if part >= 0.02:
        return f"{round(part * 100)} in 100"
    return f"1 in {_rounded(1 / part)}" if part > 1e-4 else "none of 10,000"


def _rounded(number: float) -> str:
    digits = 10 ** max(0, int(math.log10(number)) - 1)
    return f"{round(number / digits) * digits:,}"
