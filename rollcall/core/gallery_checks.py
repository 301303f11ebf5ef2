"""Checks what a gallery is made of. All functions raise GalleryError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rollcall.core.encoding_space import DLIB, MAX_SIZE, NAME_FORM
from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.names import checked_name
from rollcall.core.types import Encodings
from rollcall.core.verdicts import ID_FORM, NAMING_KINDS, VERDICT_KINDS, Example, Verdict

MAX_COMPONENT = 100.0
"""Largest absolute value of a number in an encoding. The numbers of real encodings are below 1, or
slightly above. With much larger ones, distances in single precision would be too inaccurate."""

MAX_VERDICTS = 100_000
MAX_VERDICT_FACES = 1000
"""Largest number of faces that one verdict is about."""


def check_encodings(count: int, encodings: Encodings, space: str) -> None:
    """Check that there is one usable encoding for each of `count` names."""
    if not NAME_FORM.fullmatch(space):
        raise GalleryError(
            "the name of the gallery's encoding space is not valid; enrol the people again"
        )
    size = DLIB.size if space == DLIB.name else encodings.shape[-1] if encodings.ndim else 0
    if encodings.shape != (count, size) or not 0 < size <= MAX_SIZE:
        raise GalleryError(
            f"{count} names need encodings of shape ({count}, {size or 'size'}),"
            f" not {encodings.shape}"
        )
    _check_numbers(encodings)


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """The normalised names. Refuses a name that nobody can be enrolled under."""
    checked: dict[str, str] = {}  # a name with many encodings is checked only once
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or name not in checked:
            try:
                checked[name] = checked_name(name)
            except NameRefused as error:
                # This message may be logged, so only its cause, `error`, quotes the name.
                raise GalleryError(
                    f"name {number} of the gallery cannot be used; `rollcall gallery` shows why"
                ) from error
    return tuple(checked[name] for name in names)


def frozen(encodings: Encodings) -> Encodings:
    """The encodings as a read-only array, copied only if the caller could change them."""
    usable = encodings.dtype == np.float64 and encodings.flags.c_contiguous
    if usable and not encodings.flags.writeable:
        return encodings
    copy = np.array(encodings, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def checked_examples(examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """The facts about `count` encodings; facts without ids if there are none."""
    if not examples:
        return (Example(""),) * count
    if len(examples) != count:
        raise GalleryError(f"{count} encodings need {count} examples, not {len(examples)}")
    ids = [example.id for example in examples if example.id]
    if len(set(ids)) != len(ids) or not all(map(ID_FORM.fullmatch, ids)):
        raise GalleryError("the ids of the gallery's examples are not unique, or not valid")
    return tuple(examples)


def checked_verdicts(
    verdicts: Sequence[Verdict],
    names: Sequence[str],
    encodings: Encodings,
    examples: Sequence[Example],
) -> tuple[Verdict, ...]:
    """The verdicts with normalised names. The rest are the gallery's checked parts.

    The encodings of an *is* verdict are also encodings of the person.
    """
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        if example.verdict:
            rows.setdefault(example.verdict, []).append(row)
    checked = tuple(_checked_verdict(verdict, encodings.shape[1]) for verdict in verdicts)
    if len(checked) > MAX_VERDICTS:
        raise GalleryError(f"a gallery has at most {MAX_VERDICTS} verdicts")
    if len({verdict.id for verdict in checked}) != len(checked):
        raise GalleryError("the ids of the gallery's verdicts are not unique")
    for verdict in checked:
        own = rows.pop(verdict.id, [])
        if (verdict.kind == "is") != bool(own) or any(names[row] != verdict.name for row in own):
            raise GalleryError("a verdict of the gallery does not match its examples")
        if own and not np.array_equal(encodings[own], verdict.encodings):
            raise GalleryError("a verdict of the gallery does not match its encodings")
    if rows:
        raise GalleryError("an example of the gallery belongs to a verdict that does not exist")
    return checked


def _checked_verdict(verdict: Verdict, size: int) -> Verdict:
    if verdict.kind not in VERDICT_KINDS or not ID_FORM.fullmatch(verdict.id):
        raise GalleryError(
            "a verdict of the gallery has an unknown kind or an id that is not valid"
        )
    shape = verdict.encodings.shape
    if len(shape) != 2 or shape[0] != len(verdict.sources) or not shape[0] or shape[1] != size:
        raise GalleryError(
            f"a verdict needs one encoding of {size} numbers for each of its sources, and at least"
            f" one; it has {len(verdict.sources)} sources and encodings of shape {shape}"
        )
    if shape[0] > MAX_VERDICT_FACES:
        raise GalleryError(f"a verdict is about at most {MAX_VERDICT_FACES} faces, not {shape[0]}")
    _check_numbers(verdict.encodings)
    if bool(verdict.name) != (verdict.kind in NAMING_KINDS):
        raise GalleryError("only the verdicts `is` and `not` have a name, and both need one")
    (name,) = checked_names([verdict.name]) if verdict.name else ("",)
    return replace(verdict, name=name, encodings=frozen(verdict.encodings))


def _check_numbers(encodings: Encodings) -> None:
    if encodings.dtype.kind != "f" or not _has_usable_numbers(encodings):
        raise GalleryError(
            "encodings have to be finite floating-point numbers from"
            f" {-MAX_COMPONENT:g} to {MAX_COMPONENT:g}; enrol the person again"
        )


def _has_usable_numbers(encodings: Encodings) -> bool:
    """Whether every number is finite and between -MAX_COMPONENT and MAX_COMPONENT."""
    if not encodings.size:
        return True
    # If one number is NaN, `min` and `max` return NaN, and both comparisons are false.
    return bool(encodings.min() >= -MAX_COMPONENT and encodings.max() <= MAX_COMPONENT)
