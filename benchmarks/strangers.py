"""Counts strangers who get a name, and known people who get theirs, by size of the gallery.

    python -m benchmarks.strangers FOLDER_OR_PICTURE...

Galleries are made of the people in the pictures. Larger galleries are filled up with made-up
people, whose encodings have the same statistics as those of the real people. Looks are photos that
were scaled down, and some were also compressed. For each look, its own photo is left out of the
gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import markdown
from benchmarks.face_sizes import JPEG_QUALITY, look_at
from benchmarks.people import Photo, Seen, nearest, photos, run_on_pictures
from rollcall.core.decision import Look
from rollcall.core.face_quality import why_not_judged
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.tolerance import decision_for, gallery_tolerance
from rollcall.core.types import Encodings

GALLERIES = (5, 20, 100, 1000)
"""Numbers of people."""

PHOTOS = (1, 2, 4)
"""Numbers of encodings for each person. People with fewer photos are enrolled with all of them."""

LOOKS = ((36, False), (48, False), (48, True), (64, False), (96, False), (96, True))
"""Sizes of the face in pixels, and whether the look is compressed."""

TRIALS = 12
"""How many galleries of each kind are made. There are few strangers, so each is tried with several
galleries."""

HEAD = (
    *("people", "photos each", "tolerance", "looks at strangers", "named", "named, expected"),
    *("looks at known people", "right", "wrong"),
)


class Population(NamedTuple):
    """The statistics from which made-up people are drawn."""

    mean: Encodings
    covariance: NDArray[np.float64]
    """Covariance of the encodings of one photo of each person."""
    within: Encodings
    """Differences between photos and the mean of their person."""
    norms: Encodings

    def draw(self, people: int, each: int, random: np.random.Generator) -> Encodings:
        """Draw `each` encodings for every one of `people` made-up people.

        Returns shape (people * each, size); a person's encodings follow each other.
        """
        part = float((self.within**2).sum(axis=1).mean() / np.trace(self.covariance))
        middles = random.multivariate_normal(self.mean, (1 - part) * self.covariance, people)
        drawn = np.repeat(middles, each, axis=0)
        drawn += self.within[random.integers(0, len(self.within), len(drawn))]
        norms = self.norms[random.integers(0, len(self.norms), len(drawn))]
        scaled: Encodings = drawn * (norms / np.linalg.norm(drawn, axis=1))[:, None]
        return scaled


def population(known: Sequence[Photo]) -> Population:
    """Estimate the statistics of the known people's encodings."""
    names = sorted({photo.person for photo in known})
    groups = [np.array([p.encoding for p in known if p.person == name]) for name in names]
    several = [group for group in groups if len(group) > 1]
    within = [(g - g.mean(axis=0)) * np.sqrt(len(g) / (len(g) - 1)) for g in several]
    ones = np.array([group[0] for group in groups])
    raw = np.cov(ones.T)
    first, second = np.triu_indices(len(ones), 1)
    squares = ((ones[first] - ones[second]) ** 2).sum(axis=1)
    even = np.trace(raw) ** 2 / len(raw)
    # With a covariance from few people, some made-up people would be too much alike. So it is moved
    # towards equal variances until distances between made-up people vary as much as those between
    # real people. The variance of squared distances is 8 tr(C C), where C is the covariance.
    wanted, estimated = float(np.var(squares)) / 8 - even, float(np.trace(raw @ raw)) - even
    kept = float(np.sqrt(np.clip(wanted / estimated, 0, 1)))
    covariance = kept * raw + (1 - kept) * np.trace(raw) / len(raw) * np.eye(len(raw))
    everyone = np.vstack(groups)
    norms = np.linalg.norm(everyone, axis=1)
    return Population(ones.mean(axis=0), covariance, np.vstack(within), norms)


class Counts:
    """The counts for all galleries of one kind together."""

    def __init__(self) -> None:
        self.tolerances: list[float] = []
        self.expected: list[float] = []
        self.strangers = self.named = self.known = self.right = self.wrong = 0

    def cells(self) -> list[str]:
        rate = f"{100 * self.named / max(1, self.strangers):.2f} %"
        right, wrong = (f"{100 * n / max(1, self.known):.1f} %" for n in (self.right, self.wrong))
        return [
            *(f"{np.mean(self.tolerances):.3f}", str(self.strangers), rate),
            *(f"{100 * np.mean(self.expected):.2f} %", str(self.known), right, wrong),
        ]


def count(
    counts: Counts,
    enrolled: Sequence[Photo],
    filler: Encodings,
    each: int,
    looks: Sequence[tuple[Photo, Seen]],
    engine: FaceEngine,
) -> None:
    """Recognise all looks with one gallery, and add the results to `counts`."""
    names = [photo.person for photo in enrolled]
    names += [f"made up {number // each}" for number in range(len(filler))]
    rows = np.vstack([[photo.encoding for photo in enrolled], filler])
    gallery = Gallery(names, rows, engine.space.name)
    tolerance = gallery_tolerance(gallery, engine.space)
    rule = decision_for(gallery, None, engine.space)
    counts.tolerances.append(tolerance.tolerance)
    counts.expected.append(tolerance.false_name_rate)
    people = {photo.person for photo in enrolled}
    for photo, seen in looks:
        other = [index for index, each_one in enumerate(enrolled) if each_one is not photo]
        kept = [*other, *range(len(enrolled), len(names))]
        match = nearest(seen.encoding, [names[index] for index in kept], rows[kept])
        name = match.name if match and rule.accepts(Look(match, seen.quality)) else ""
        if photo.person not in people:
            counts.strangers += 1
            counts.named += bool(name)
        elif any(enrolled[index].person == photo.person for index in other):
            counts.known += 1
            counts.right += name == photo.person
            counts.wrong += name not in ("", photo.person)


def report(paths: Sequence[Path], engine: FaceEngine) -> str:
    found = photos(paths, engine)
    known = [photo for photo in found if photo.known]
    drawn = population(known)
    looks = [
        (photo, seen)
        for photo in found
        for size_px, jpeg in LOOKS
        if photo.size_px >= size_px
        and (seen := look_at(engine, photo, size_px, jpeg))
        and not why_not_judged(seen.quality)
    ]
    rows = []
    for size in GALLERIES:
        for each in PHOTOS:
            counts = Counts()
            for trial in range(TRIALS):
                random = np.random.default_rng(trial)
                enrolled = _enrolled(known, size, each, random)
                missing = size - len({photo.person for photo in enrolled})
                filler = drawn.draw(missing, each, random)
                some = [looks[i] for i in random.permutation(len(looks))[: len(looks) // 2]]
                count(counts, enrolled, filler, each, some, engine)
            rows.append([f"{size:,}", str(each), *counts.cells()])
    people = len({photo.person for photo in known})
    head = f"{people} people with {len(known)} photos, looks at {len(found)} faces"
    note = f"Looks of {', '.join(_described(*kind) for kind in LOOKS)}."
    return f"{head}\n\n{markdown.table(HEAD, rows)}\n\n{note}"


def _described(size_px: int, jpeg: bool) -> str:
    return f"{size_px} px" + (f" with JPEG quality {JPEG_QUALITY}" if jpeg else "")


def _enrolled(
    known: Sequence[Photo], size: int, each: int, random: np.random.Generator
) -> list[Photo]:
    """Return photos of randomly chosen people. At most two thirds of all people are chosen, so that
    the others are strangers."""
    people = sorted({photo.person for photo in known})
    count = min(size, 2 * len(people) // 3)
    chosen: list[Photo] = []
    for person in random.permutation(people)[:count]:
        own = [photo for photo in known if photo.person == person]
        chosen += [own[index] for index in random.permutation(len(own))[:each]]
    return chosen


if __name__ == "__main__":
    run_on_pictures(report, __doc__)
