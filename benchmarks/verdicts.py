"""Counts right and wrong names before and after a verdict about a look-alike.

    python -m benchmarks.verdicts FOLDER_OR_PICTURE...

A gallery of made-up people gets a look-alike of one of them, Ada, who is not enrolled: Ben. The
encodings have the statistics of the real people in the pictures, as in `strangers`. Then somebody
says of a few looks at Ben that they are not Ada, or that they are Ben. New looks at both follow.
`fixed` is a rule that was not chosen: a face is not Ada if it is within the distance at which
two looks count as the same face of a negative example.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import markdown
from benchmarks.people import photos, run_on_pictures
from benchmarks.strangers import Population, population
from rollcall.core.decision import DecisionRule, Look
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Encodings, FaceQuality
from rollcall.core.verdicts import FaceSource, Verdict, VerdictKind

PEOPLE = 20
PHOTOS = (1, 2, 4)
EXAMPLES = (1, 5)
"""Numbers of looks that a verdict is about."""

PAIRS = 200
LOOKS = 20
MIXED = (0.25, 0.6)
"""How far Ben's mean encoding lies from Ada's, as a share of the way to another person's."""

GOOD = FaceQuality(120, 0.1, 0.0, 0.9)
HEAD = (
    "photos of Ada",
    "looks in the verdict",
    "verdict",
    "looks at Ben named Ada",
    "Ada named Ada",
)


def report(paths: Sequence[Path], engine: FaceEngine) -> str:
    found = [photo for photo in photos(paths, engine) if photo.known]
    drawn = population(found)
    rows = [row for each in PHOTOS for row in _rows(drawn, each, engine)]
    head = f"{len(found)} photos of {len({photo.person for photo in found})} people"
    return f"{head}\n\n{markdown.table(HEAD, rows)}"


def _rows(drawn: Population, each: int, engine: FaceEngine) -> list[list[str]]:
    random = np.random.default_rng(15)
    counts: dict[tuple[int, str], list[int]] = {}
    pairs = 0
    while pairs < PAIRS:
        encodings = drawn.draw(PEOPLE, each, random)
        names = [f"p{row // each}" for row in range(len(encodings))]
        gallery = Gallery(names, encodings, engine.space.name)
        rule = decision_for(gallery, None, engine.space)
        ada = gallery.encodings_of("p0")
        middle = ada.mean(axis=0)
        share = random.uniform(*MIXED)
        other = gallery.encodings_of("p1").mean(axis=0)
        bens = _looks(drawn, (1 - share) * middle + share * other, 2 * LOOKS, random)
        if _named(gallery, rule, bens[:LOOKS], "p0") < LOOKS // 2:
            continue  # nobody would have complained
        pairs += 1
        adas = _looks(drawn, middle, LOOKS, random)
        _count(counts, (0, "none"), gallery, rule, bens[LOOKS:], adas)
        for examples in EXAMPLES:
            said = bens[:examples]
            for verdict, name in (("not", "p0"), ("is", "ben")):
                changed = gallery.with_verdict(_verdict(verdict, name, said))  # type: ignore[arg-type]
                _count(counts, (examples, verdict), changed, rule, bens[LOOKS:], adas)
            near = engine.space.same_face_distance
            left = [_far(looks, said, near) for looks in (bens[LOOKS:], adas)]
            _count(counts, (examples, "fixed"), gallery, rule, *left)
    total = PAIRS * LOOKS
    return [
        [str(each), str(examples), verdict, *(f"{100 * count / total:.1f} %" for count in named)]
        for (examples, verdict), named in counts.items()
    ]


def _looks(
    drawn: Population, middle: Encodings, count: int, random: np.random.Generator
) -> Encodings:
    """Looks at a person whose mean encoding is `middle`, shape (count, size)."""
    looks = middle + drawn.within[random.integers(0, len(drawn.within), count)]
    norms = drawn.norms[random.integers(0, len(drawn.norms), count)]
    scaled: Encodings = looks * (norms / np.linalg.norm(looks, axis=1))[:, None]
    return scaled


def _count(
    counts: dict[tuple[int, str], list[int]],
    key: tuple[int, str],
    gallery: Gallery,
    rule: DecisionRule,
    bens: Encodings,
    adas: Encodings,
) -> None:
    named = counts.setdefault(key, [0, 0])
    named[0] += _named(gallery, rule, bens, "p0")
    named[1] += _named(gallery, rule, adas, "p0")


def _named(gallery: Gallery, rule: DecisionRule, looks: Encodings, name: str) -> int:
    matches = gallery.nearest(looks)
    return sum(
        match is not None and match.name == name and rule.accepts(Look(match, GOOD))
        for match in matches
    )


def _verdict(kind: VerdictKind, name: str, faces: Encodings) -> Verdict:
    return Verdict("v", kind, name, faces, (FaceSource(),) * len(faces))


def _far(looks: Encodings, said: Encodings, near: float) -> Encodings:
    """The looks that no negative example is near to."""
    distances = np.linalg.norm(looks[:, None] - said[None], axis=2).min(axis=1)
    far: Encodings = looks[distances > near]
    return far


if __name__ == "__main__":
    run_on_pictures(report, __doc__)
