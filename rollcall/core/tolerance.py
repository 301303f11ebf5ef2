"""Chooses the tolerance of a gallery: the largest distance at which a face still gets a name.

The more people a gallery has, and the more alike they are, the more often a stranger is near one of
them. So a gallery without a fixed tolerance gets the largest tolerance at which at most one in a
hundred faces of strangers is expected to be named. The expected rate is a weighted mean of two
estimates:

- *Model*: F(d) is the probability that a given person of the gallery lies within d of a stranger,
  and f is its density. Squared distances are assumed to follow a gamma distribution. Its mean and
  lower tail come from the distances between the gallery's own people. These are combined with
  distances that are known for the encoding space, which count more in a small gallery. With n
  people and the tolerance t, a stranger is named with the probability

      integral from 0 to t of n f(x) (1 - F(x + margin))^(n - 1) dx

- *Trial*: each person of the gallery is treated as a stranger to all others. The trial counts how
  many of them would be named. It needs many people; unlike the model, it also covers faces that
  are near everybody.

The table shows the probability that a given person lies within a distance of a stranger. It was
measured with 60 people and 1,155 looks; `benchmarks/strangers.py` prints more.

| distance | 0.50 | 0.55 | 0.58 | 0.60 | 0.65 | 0.70 |
| --- | --- | --- | --- | --- | --- | --- |
| measured, one photo of each person | 0.0000 | 0.0002 | 0.0009 | 0.0017 | 0.011 | 0.047 |
| measured, four photos | 0.0000 | 0.0014 | 0.0036 | 0.0057 | 0.021 | 0.063 |
| model F(d), one photo | 0.0000 | 0.0004 | 0.0013 | 0.0025 | 0.013 | 0.049 |
| model F(d), four photos | 0.0001 | 0.0011 | 0.0036 | 0.0065 | 0.029 | 0.090 |

Faces that a verdict added count only for people without enrolled photos, so a verdict about one
person does not change the tolerance for all others (docs/decisions/0120).

docs/decisions/0086 has the reasons and the results.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rollcall.core.decision import DecisionRule
from rollcall.core.encoding_space import DLIB, EncodingSpace, Spread
from rollcall.core.gallery import Gallery

MAX_FALSE_NAME_RATE = 0.01
"""Largest expected share of strangers' faces that get a name."""

MAX_PROBES = 500
MAX_ENCODINGS = 20_000
"""Limits of a trial: people who are compared with everybody else (the probes), and encodings in
all. A larger gallery is sampled, so that a million encodings take about a second."""

REFERENCE_PEOPLE = 20
"""Weight of the distances that are known for the encoding space: they count as much as the
distances of a trial with this many people."""

MODEL_STRANGERS = 300
"""Weight of the model: it counts as much as a trial with this many people."""

MIN_TRIAL_PEOPLE = 3
"""Smallest number of people for a trial. With two people, there is no second-nearest other person
and therefore no margin."""

TAIL_PAIRS = 20
"""The model is fitted at the distance below which this many pairs of people lie. With fewer pairs,
the fit would depend on chance; with more, it would describe the middle of the distribution instead
of its lower tail."""

NEARER_STRANGER = 0.025
NEARER_SELF = 0.05
"""Each time the number of a person's encodings doubles, the distance to the nearest of them shrinks
by this fraction of the space's tolerance. The first number is for looks at strangers (measured with
dlib: by 0.015), the second for looks at the person (measured: by 0.025)."""

STEPS = 600
"""Number of tolerances that are tried, from 0 to the space's tolerance; 0.001 apart for dlib."""

Values = NDArray[np.float64]


class GalleryTolerance(NamedTuple):
    """A tolerance and its expected error rates. `str()` describes them in one sentence."""

    tolerance: float
    false_name_rate: float
    """Expected share of strangers' faces that get a name, 0 to 1."""
    missed_rate: float
    """Expected share of looks at known people that are not recognised, 0 to 1."""

    def __str__(self) -> str:
        return (
            f"tolerance {self.tolerance:.2f}: with these photos, {_rate(self.false_name_rate)}"
            " strangers will get somebody's name, and a known face will be missed in"
            f" {_rate(self.missed_rate)} looks"
        )


class _Trial(NamedTuple):
    """Distances from some people of the gallery (the probes) to everybody else in it."""

    near: Values
    """For each probe, the distance to the nearest other person, shape (probes,)."""
    margins: Values
    """For each probe, the distance to the second-nearest other person minus `near`."""
    mean: float
    """Mean distance of all pairs."""
    tail: tuple[float, float]
    """A distance in the lower tail, and the share of pairs that are nearer than that."""


_cache: WeakKeyDictionary[Gallery, dict[tuple[str, float | None], GalleryTolerance]] = (
    WeakKeyDictionary()
)
"""Results by gallery, space and tolerance. They are deleted together with the gallery object."""


def gallery_tolerance(
    gallery: Gallery, space: EncodingSpace, tolerance: float | None = None
) -> GalleryTolerance:
    """The tolerance of a gallery with its expected error rates; None means its own tolerance.

    The result is cached with the gallery object.
    """
    cached = _cache.setdefault(gallery, {})
    key = (space.name, tolerance)
    if key not in cached:
        cached[key] = _compute(gallery, space, tolerance)
    return cached[key]


def decision_for(gallery: Gallery, tolerance: float | None, space: EncodingSpace) -> DecisionRule:
    """The rule for faces that are compared with this gallery; None means its own tolerance."""
    if tolerance is None:
        tolerance = gallery.fixed_tolerance or gallery_tolerance(gallery, space).tolerance
    return DecisionRule(space, tolerance, gallery.denies)


def _compute(gallery: Gallery, space: EncodingSpace, tolerance: float | None) -> GalleryTolerance:
    chosen = tolerance or gallery.fixed_tolerance
    gallery = _enrolled(gallery)
    grid = np.linspace(0, max(space.tolerance, chosen or 0.0), STEPS + 1)
    rates = _false_name_rates(gallery, space, grid)
    if chosen is None:
        # Rates rise with the tolerance, so the last one that is low enough is the largest.
        chosen = float(grid[np.flatnonzero(rates <= MAX_FALSE_NAME_RATE)[-1]])
    rate = float(np.interp(chosen, grid, rates))
    return GalleryTolerance(chosen, rate, _missed_rate(gallery, space, chosen))


def _enrolled(gallery: Gallery) -> Gallery:
    """The gallery without the faces that verdicts added to people with enrolled photos, and without
    those that a later verdict gave to somebody else."""
    rows = list(zip(gallery.names, gallery.examples, strict=True))
    with_photos = {name for name, example in rows if not example.verdict}
    kept = [
        row
        for row, (name, example) in enumerate(rows)
        if not example.verdict or (name not in with_photos and not gallery.is_overruled(row))
    ]
    if len(kept) == len(gallery):
        return gallery
    names = [gallery.names[row] for row in kept]
    return Gallery(names, gallery.encodings[kept], gallery.space)


def _false_name_rates(gallery: Gallery, space: EncodingSpace, grid: Values) -> Values:
    """The expected share of strangers' faces that get a name, at each tolerance of the grid."""
    people = len(gallery.people)
    if not people:
        return np.zeros(len(grid))
    trial = _trial(gallery, space)
    model = _model_rates(people, _strangers(gallery, space, trial), space.min_margin, grid)
    # In a sample, fewer people could be near a stranger than in the gallery, so too few strangers
    # would be named.
    if trial is None or len(gallery) > MAX_ENCODINGS:
        return model
    named = np.sort(trial.near[trial.margins >= space.min_margin])
    counts = np.searchsorted(named, grid, side="right")
    return (counts + MODEL_STRANGERS * model) / (len(trial.near) + MODEL_STRANGERS)


def _model_rates(people: int, strangers: Spread, margin: float, grid: Values) -> Values:
    """The integral in the module's docstring, up to each tolerance of the grid."""
    density = np.diff(_within(grid, strangers), prepend=0.0)
    others_beyond_margin = (1 - _within(grid + margin, strangers)) ** (people - 1)
    return np.minimum(1.0, np.cumsum(people * density * others_beyond_margin))


def _strangers(gallery: Gallery, space: EncodingSpace, trial: _Trial | None) -> Spread:
    """Mean and deviation of a stranger's distance to one person of this gallery."""
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
    """The deviation with which the model has the same share of near pairs as the trial."""
    distance, share = trial.tail
    low, high = 0.0, trial.mean / 2
    for _ in range(40):  # bisection; 40 halvings reach a precision of 1e-12
        middle = (low + high) / 2
        nearer = float(_within(np.array([distance]), Spread(trial.mean, middle))[0])
        low, high = (middle, high) if nearer < share else (low, middle)
    return high


def _within(distances: Values, spread: Spread) -> Values:
    """F(d): the probability that a distance with this spread is within each of `distances`.

    Squared distances follow a gamma distribution. Its distribution function is the regularised
    lower incomplete gamma function, computed by its series (Abramowitz and Stegun, 6.5.29).
    """
    # Mean and variance of the square of a normally distributed distance.
    mean = spread.mean**2 + spread.deviation**2
    variance = (2 * spread.mean * spread.deviation) ** 2 + 2 * spread.deviation**4
    if variance < 1e-12:
        return (distances >= spread.mean).astype(np.float64)
    shape = min(mean**2 / variance, 1e5)  # the series needs about sqrt(shape) terms
    x = distances**2 * shape / mean
    term = np.ones_like(x)
    total = term.copy()
    count = 0
    while float(np.max(term / total)) > 1e-9:
        count += 1
        term = term * x / (shape + count)
        total += term
    with np.errstate(divide="ignore"):  # log(0) is minus infinity, whose exponential is 0 again
        logs = shape * np.log(x) - x - math.lgamma(shape + 1) + np.log(total)
    within: Values = np.minimum(1.0, np.exp(logs))
    return within


def _missed_rate(gallery: Gallery, space: EncodingSpace, tolerance: float) -> float:
    """The expected share of looks at the gallery's people that are farther away than the tolerance.

    The distances between looks at one person are assumed to follow a normal distribution.
    """
    if not len(gallery):
        return 0.0
    _, same = _references(space)
    # People with the same number of encodings have the same mean, so each number is computed once.
    names, numbers = np.unique(np.array(gallery.names, dtype=object), return_counts=True)
    counts, people = np.unique(numbers, return_counts=True)
    means = same.mean - np.log2(counts) * NEARER_SELF * space.tolerance
    z = (tolerance - means) / same.deviation
    # The part of a normal distribution beyond z standard deviations.
    missed = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in z])
    return float(missed @ people / len(names))


def _references(space: EncodingSpace) -> tuple[Spread, Spread]:
    """The known distances to strangers, and between looks at one person.

    For a space without measured distances, dlib's are scaled by the ratio of the tolerances.
    """
    factor = space.tolerance / DLIB.tolerance
    return tuple(  # type: ignore[return-value]
        measured or Spread(dlib.mean * factor, dlib.deviation * factor)
        for measured, dlib in (
            (space.strangers, DLIB.strangers or Spread(0, 0)),
            (space.same_person, DLIB.same_person or Spread(0, 0)),
        )
    )


def _trial(gallery: Gallery, space: EncodingSpace) -> _Trial | None:
    """Compare one encoding of each probe with everybody else; None with too few people."""
    random = np.random.default_rng(0)  # a fixed seed, so that a gallery's tolerance stays the same
    row_owners, encodings = _sample(gallery, random)
    owners, starts = np.unique(row_owners, return_index=True)
    if len(owners) < MIN_TRIAL_PEOPLE:
        return None
    probes = random.permutation(len(owners))[:MAX_PROBES]
    sizes = np.diff(np.append(starts, len(row_owners)))
    chosen = starts[probes] + random.integers(0, sizes[probes])
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab, in single precision, which is enough for a rate.
    rows = encodings.astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)
    squared_distances = squares[chosen, None] + squares - 2 * rows[chosen] @ rows.T
    nearest = np.minimum.reduceat(squared_distances, starts, axis=1)  # shape (probes, people)
    distances = np.sqrt(np.maximum(nearest, 0)).astype(np.float64)
    distances[np.arange(len(probes)), probes] = np.inf  # a probe is not a stranger to itself
    # Two people this close are probably one person with two names, which says nothing about
    # strangers.
    distances[distances < space.same_face_distance] = np.inf
    if not np.isfinite(distances).any():
        return None
    mean, tail = _mean_and_tail(distances)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    margins = np.where(np.isfinite(first), second, np.inf) - np.where(np.isfinite(first), first, 0)
    return _Trial(first, margins, mean, tail)


def _mean_and_tail(distances: Values) -> tuple[float, tuple[float, float]]:
    """The mean distance of all pairs, and the lower tail as in `_Trial.tail`."""
    pairs = distances[np.isfinite(distances)]
    # Each pair occurs twice, once for either probe. If there are few pairs, the tail is a tenth of
    # them.
    rank = min(2 * TAIL_PAIRS, max(1, len(pairs) // 10), len(pairs) - 1)
    return float(pairs.mean()), (float(np.partition(pairs, rank)[rank]), rank / len(pairs))


def _sample(gallery: Gallery, random: np.random.Generator) -> tuple[NDArray[np.int64], Values]:
    """The index of each encoding's person, and the encodings, both grouped by person.

    A large gallery is sampled by person: all encodings of some people, not some of everybody's.
    """
    _, owners = np.unique(np.array(gallery.names, dtype=object), return_inverse=True)
    owners = owners.astype(np.int64)
    if len(owners) > MAX_ENCODINGS:
        share = MAX_ENCODINGS / len(owners)
        kept = random.random(int(owners.max()) + 1) < share
        rows = np.flatnonzero(kept[owners])[:MAX_ENCODINGS]
    else:
        rows = np.arange(len(owners))
    rows = rows[np.argsort(owners[rows], kind="stable")]
    return owners[rows], gallery.encodings[rows]


def _rate(share: float) -> str:
    """A share as "3 in 100" or "1 in 250", which people read faster than a percentage."""
    if share >= 0.02:
        return f"{round(share * 100)} in 100"
    return f"1 in {_rounded(1 / share)}" if share > 1e-4 else "none of 10,000"


def _rounded(number: float) -> str:
    """The number with two significant digits."""
    digits = 10 ** max(0, int(math.log10(number)) - 1)
    return f"{round(number / digits) * digits:,}"
