"""The gallery of known people: their encodings, and what people said about faces (verdicts)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from rollcall.core.contradictions import are_among, counted_faces, without_faces
from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.errors import GalleryError
from rollcall.core.gallery_checks import (
    check_encodings,
    checked_examples,
    checked_names,
    checked_verdicts,
    frozen,
)
from rollcall.core.matching import Matcher
from rollcall.core.names import checked_new_name, normalise_name
from rollcall.core.types import Encodings, Match
from rollcall.core.verdicts import Example, Verdict, new_id, verdict_examples


class Gallery:
    """The known people: n encodings of shape (n, size), and a name and an `Example` for each.

    A person may have several encodings. A gallery never changes; `with_encoding`, `with_verdict`
    and the like return a new one. `version` is a digest of all that decides who a face is: names,
    encodings and verdicts.
    """

    def __init__(
        self,
        names: Sequence[str],
        encodings: Encodings,
        space: str = DLIB.name,
        *,
        fixed_tolerance: float | None = None,
        examples: Sequence[Example] = (),
        verdicts: Sequence[Verdict] = (),
    ) -> None:
        """Raises GalleryError for names, encodings or verdicts that do not match or cannot be used.

        `space` is the name of the encoding space that all encodings belong to. `fixed_tolerance` is
        used instead of a tolerance that is computed from the encodings. It is not copied to
        galleries that are made from this one. `verdicts` are in the order in which they were given.
        The encodings of *is* verdicts are among `encodings`, with the verdict's id in `examples`.
        """
        check_encodings(len(names), encodings, space)
        self.space = space
        self.fixed_tolerance = fixed_tolerance
        self.names = checked_names(names)
        self.encodings = frozen(encodings)
        self.examples = checked_examples(examples, len(names))
        self.verdicts = checked_verdicts(verdicts, self.names, self.encodings, self.examples)
        self.people = tuple(sorted(set(self.names)))
        self._counted = counted_faces(self.verdicts)
        self._matcher = Matcher(self.names, self.encodings, self._counted)
        self.version = self._version()

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, encodings: Encodings) -> list[Match | None]:
        """The nearest person to each of k encodings, shape (k, size).

        None if nobody can be this person, for example in an empty gallery. The distance to a person
        is the distance to the nearest of that person's encodings.
        """
        return self._matcher.nearest(encodings)

    def excludes(self, name: str, encodings: Encodings) -> bool:
        """Whether *not* verdicts say that none of these faces, shape (k, size), is the person."""
        return self._matcher.excludes(name, encodings)

    def denies(self, name: str, encodings: Sequence[Encodings]) -> bool:
        """Whether a *not* verdict about the person is about one of these very looks."""
        return self._matcher.denies(name, encodings)

    def is_overruled(self, row: int) -> bool:
        """Whether a later verdict says that this encoding shows somebody else. It names nobody."""
        return self._counted.overrules(self.names[row], self.encodings[row])

    @property
    def ignored_faces(self) -> int:
        """Number of faces that are ignored, without those that a later verdict gave to somebody."""
        return len(self._counted.ignored)

    def encodings_of(self, name: str) -> Encodings:
        """The encodings of one person, shape (n, size)."""
        return self.encodings[self._rows_of(name)]

    def faces_of(self, name: str) -> Encodings:
        """The same without those that a later verdict gave to somebody else."""
        rows = [row for row in self._rows_of(name) if not self.is_overruled(row)]
        return self.encodings[rows]

    def count_faces(self, faces: Encodings) -> int:
        """Number of encodings, also those of verdicts, that are one of these faces, (k, size)."""
        own = [self.encodings, *(each.encodings for each in self.verdicts if each.kind != "is")]
        fitting = [each for each in own if each.shape[1] == faces.shape[1]]
        return sum(int(are_among(each, faces).sum()) for each in fitting)

    def examples_of(self, name: str) -> tuple[Example, ...]:
        """The facts about one person's encodings, parallel to `encodings_of`."""
        return tuple(self.examples[row] for row in self._rows_of(name))

    def mentions(self, name: str) -> int:
        """Number of entries that name the person: encodings, and faces of *not* verdicts."""
        normalised = normalise_name(name)
        refused = (each for each in self.verdicts if (each.kind, each.name) == ("not", normalised))
        return self.names.count(normalised) + sum(len(each.sources) for each in refused)

    def with_encoding(
        self, name: str, encoding: Encodings, example: Example | None = None
    ) -> Gallery:
        """A new gallery with one more encoding, of shape (size,)."""
        return self.with_encodings(name, encoding[None], [example or Example(new_id())])

    def with_encodings(
        self, name: str, encodings: Encodings, examples: Sequence[Example]
    ) -> Gallery:
        """A new gallery with more encodings of one person, shape (n, size)."""
        return self._changed(
            (*self.names, *[name] * len(encodings)),
            self._joined(encodings),
            (*self._examples_with_ids(), *examples),
            self.verdicts,
        )

    def with_verdict(self, verdict: Verdict) -> Gallery:
        """A new gallery with one more verdict. Raises GalleryError if its id is already taken."""
        added = verdict_examples(verdict)
        return self._changed(
            (*self.names, *[verdict.name] * len(added)),
            self._joined(verdict.encodings[: len(added)]),
            (*self._examples_with_ids(), *added),
            (*self.verdicts, verdict),
        )

    def without_verdict(self, verdict_id: str) -> Gallery:
        """A new gallery without this verdict and the encodings that it added, if it has it."""
        rows = [
            row
            for row, each in enumerate(self.examples)
            if not each.verdict or each.verdict != verdict_id
        ]
        return self._with_rows(rows, [each for each in self.verdicts if each.id != verdict_id])

    def without_examples(self, example_ids: Collection[str]) -> Gallery:
        """A new gallery without these encodings. Ids that the gallery does not have are left out.

        If a verdict added one of the encodings, it also leaves the verdict, and a verdict without
        encodings is removed.
        """
        ids = set(example_ids) - {""}
        removed = {row for row, each in enumerate(self.examples) if each.id in ids}
        changed = {self.examples[row].verdict for row in removed}
        verdicts = [
            self._without_rows(each, removed) if each.id in changed else each
            for each in self.verdicts
        ]
        rows = [row for row in range(len(self)) if row not in removed]
        return self._with_rows(rows, [each for each in verdicts if len(each.sources)])

    def without(self, name: str) -> Gallery:
        """A new gallery without this person.

        It lacks the person's encodings and the verdicts that name the person. Other verdicts lose
        the faces that are the person's: "not Bob" from the time before somebody said "is Ada", or
        an earlier "is Bob", which would hold again without the later verdict.
        """
        removed, faces = normalise_name(name), self.faces_of(name)
        said = [row for row, example in enumerate(self.examples) if example.verdict]
        shown = {said[index] for index in np.flatnonzero(are_among(self.encodings[said], faces))}
        rows = [
            row for row, other in enumerate(self.names) if other != removed and row not in shown
        ]
        others = (each for each in self.verdicts if each.name != removed)
        left = (without_faces(each, faces) for each in others)
        return self._with_rows(rows, list(filter(None, left)))

    def renamed(self, name: str, new_name: str) -> Gallery:
        """A new gallery in which a person has another name.

        Raises GalleryError if there is no such person, or if the new name is not allowed, is taken,
        or looks like somebody else's.
        """
        old = normalise_name(name)
        if old not in self.people:
            raise GalleryError(f"{name!r} is not in the gallery")
        others = [other for other in self.people if other != old]
        new = checked_new_name(new_name, others)
        if new in others:
            raise GalleryError(f"{new!r} is already in the gallery; merge the two people instead")
        return self._changed(
            [new if each == old else each for each in self.names],
            self.encodings,
            self._examples_with_ids(),
            [replace(each, name=new) if each.name == old else each for each in self.verdicts],
        )

    def reassigned(
        self, example_ids: Collection[str], verdict_ids: Collection[str], name: str
    ) -> Gallery:
        """A new gallery in which these examples and verdicts belong to the person `name`.

        The encodings of an *is* verdict move with the verdict, and only with it. Ids that the
        gallery does not have, and verdicts without a name, are left out.
        """
        examples, verdicts = set(example_ids) - {""}, set(verdict_ids)
        return self._changed(
            [
                name if (each.verdict in verdicts if each.verdict else each.id in examples) else own
                for own, each in zip(self.names, self.examples, strict=True)
            ],
            self.encodings,
            self._examples_with_ids(),
            [
                replace(each, name=name) if each.name and each.id in verdicts else each
                for each in self.verdicts
            ],
        )

    def _rows_of(self, name: str) -> list[int]:
        normalised = normalise_name(name)
        return [row for row, other in enumerate(self.names) if other == normalised]

    def _without_rows(self, verdict: Verdict, removed: Collection[int]) -> Verdict:
        """An *is* verdict without some of its encodings, given by their rows in the gallery."""
        rows = [row for row, each in enumerate(self.examples) if each.verdict == verdict.id]
        kept = [number for number, row in enumerate(rows) if row not in removed]
        sources = tuple(verdict.sources[number] for number in kept)
        return replace(verdict, encodings=verdict.encodings[kept], sources=sources)

    def _joined(self, encodings: Encodings) -> Encodings:
        """The gallery's encodings, and these after them."""
        if encodings.shape[1:] != self.encodings.shape[1:]:
            raise GalleryError(
                f"the gallery's encodings have {self.encodings.shape[1]} numbers, and the new ones"
                f" have shape {encodings.shape}; they were made by different engines"
            )
        return np.vstack([self.encodings, encodings])

    def _with_rows(self, rows: Sequence[int], verdicts: Sequence[Verdict]) -> Gallery:
        """A new gallery with some of the encodings."""
        examples = self._examples_with_ids()
        return self._changed(
            [self.names[row] for row in rows],
            self.encodings[rows],
            [examples[row] for row in rows],
            verdicts,
        )

    def _changed(
        self,
        names: Sequence[str],
        encodings: Encodings,
        examples: Sequence[Example],
        verdicts: Sequence[Verdict],
    ) -> Gallery:
        return Gallery(names, encodings, self.space, examples=examples, verdicts=verdicts)

    def _examples_with_ids(self) -> Sequence[Example]:
        """The examples; those of older galleries get ids, so that each can be removed."""
        return [each if each.id else replace(each, id=new_id()) for each in self.examples]

    def _version(self) -> str:
        digest = hashlib.sha256("\x00".join(self.names).encode())
        digest.update(np.ascontiguousarray(self.encodings).data)
        for verdict in self.verdicts:
            facts = (verdict.id, verdict.kind, verdict.name, str(len(verdict.encodings)))
            digest.update("\x00".join(("", *facts, "")).encode())
            digest.update(np.ascontiguousarray(verdict.encodings).data)
        return digest.hexdigest()[:16]


def empty_gallery(space: EncodingSpace = DLIB) -> Gallery:
    """A gallery without people."""
    return Gallery((), np.empty((0, space.size)), space.name)
