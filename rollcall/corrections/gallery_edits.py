"""The changes that corrections make to a gallery, and what is needed to undo them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rollcall.core.errors import GalleryError, PermanentError
from rollcall.core.gallery import Gallery
from rollcall.core.names import checked_new_name, normalise_name
from rollcall.core.types import Encodings
from rollcall.core.verdicts import VERDICT_KINDS, Example, FaceSource, Verdict


class Edit(NamedTuple):
    """A changed gallery, and whose results the change may affect."""

    gallery: Gallery
    names: tuple[str, ...] = ()
    """The videos of these people are compared again."""
    encodings: Sequence[Encodings] = ()
    """Videos with faces near these encodings are compared again, each of shape (n, size)."""
    videos: tuple[tuple[str, str], ...] = ()
    """The videos (bucket, key) that show the faces. They are compared before others."""
    ignored: bool = False
    """Videos in which somebody is ignored are compared again. No search finds ignored faces."""
    undo: Mapping[str, Any] = {}
    """What the log keeps to undo the change. It never holds encodings."""


MAX_EXAMPLES = 100
"""Ids that are enough to recognise a person, to undo a rename."""

MakeEdit = Callable[[Gallery], Edit]
"""Changes the newest gallery. It is called again if another writer was faster."""


def about_ignored(edit: Edit, before: Gallery) -> Edit:
    """The same edit, also for videos with ignored faces if it makes faces count again.

    An ignored face counts again if its verdict is undone, or overruled by a later one.
    """
    return edit._replace(ignored=edit.gallery.ignored_faces < before.ignored_faces)


def add_verdicts(verdicts: Sequence[Verdict]) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        changed = gallery
        for verdict in verdicts:
            changed = changed.with_verdict(verdict)
        ids = [verdict.id for verdict in verdicts]
        return _about(verdicts, changed)._replace(undo={"verdicts": ids})

    return edit


def _about(verdicts: Sequence[Verdict], changed: Gallery) -> Edit:
    """An edit that adds or removes these verdicts."""
    names = sorted({verdict.name for verdict in verdicts if verdict.name})
    # A *same* verdict changes the groups of unknown faces, and no result.
    about = [verdict for verdict in verdicts if verdict.kind != "same"]
    near = [verdict.encodings for verdict in about]
    videos = _videos([source for verdict in about for source in verdict.sources])
    return Edit(changed, tuple(names), near, videos)


def _videos(sources: Iterable[FaceSource]) -> tuple[tuple[str, str], ...]:
    """The videos of these faces. A photo belongs to none."""
    return tuple(dict.fromkeys((each.bucket, each.key) for each in sources if each.key))


def rename(name: str, new_name: str) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        old, changed = normalise_name(name), gallery.renamed(name, new_name)
        if changed.people == gallery.people:
            raise GalleryError(f"the person is called {old!r} already; choose another name")
        (new,) = set(changed.people) - set(gallery.people)
        examples = [example.id for example in changed.examples_of(new)][:MAX_EXAMPLES]
        undo = {"name": old, "new_name": new, "examples": examples}
        return Edit(changed, (old, new), undo=undo)

    return edit


def merge(name: str, into: str) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        old, new = normalise_name(name), normalise_name(into)
        for person in (old, new):
            if person not in gallery.people:
                raise GalleryError(f"{person!r} is not in the gallery")
        if old == new:
            raise GalleryError(f"{old!r} cannot be merged with the same person")
        numbered = gallery.reassigned((), (), old)  # gives ids to the examples of older galleries
        examples = [example.id for example in numbered.examples_of(old)]
        verdicts = [verdict.id for verdict in numbered.verdicts if verdict.name == old]
        undo = {"name": old, "into": new, "examples": examples, "verdicts": verdicts}
        near = [gallery.encodings_of(old), gallery.encodings_of(new)]
        return Edit(numbered.reassigned(examples, verdicts, new), (old, new), near, undo=undo)

    return edit


class RemovedExample(NamedTuple):
    """An encoding that was removed from the gallery, with all that brings it back."""

    place: int
    name: str
    example: Example
    encoding: Encodings
    verdict: Verdict | None = None
    """The verdict that added the encoding, with this face only; None for an enrolled photo."""


def remove_example(name: str, example_id: str, keep: Callable[[RemovedExample], None]) -> MakeEdit:
    """Remove one photo, also from the verdict that added it. `keep` gets what brings it back."""

    def edit(gallery: Gallery) -> Edit:
        place = place_of(gallery, name, example_id)
        example, encoding = gallery.examples[place], gallery.encodings[place]
        verdict = next((each for each in gallery.verdicts if each.id == example.verdict), None)
        if verdict is not None:
            verdict = replace(verdict, encodings=encoding[None], sources=(example.source,))
        removed = RemovedExample(place, gallery.names[place], example, encoding, verdict)
        keep(removed)
        near, videos = [removed.encoding[None]], _videos([example.source])
        changed, undo = gallery.without_examples([example_id]), {"example": example_id}
        return Edit(changed, (removed.name,), near, videos, undo=undo)

    return edit


def place_of(gallery: Gallery, name: str, example_id: str) -> int:
    """The row of a person's example. Raises GalleryError if there is none with this id."""
    person = normalise_name(name)
    for place, example in enumerate(gallery.examples):
        if example_id and example.id == example_id and gallery.names[place] == person:
            return place
    raise GalleryError(f"the gallery has no such photo of {person!r} any more; reload the page")


def bring_back(removed: RemovedExample) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        place = min(removed.place, len(gallery))
        verdicts, name = _verdicts_with(removed, gallery, place)
        changed = Gallery(
            [*gallery.names[:place], name, *gallery.names[place:]],
            np.insert(gallery.encodings, place, removed.encoding, axis=0),
            gallery.space,
            examples=[*gallery.examples[:place], removed.example, *gallery.examples[place:]],
            verdicts=verdicts,
        )
        videos = _videos([removed.example.source])
        return Edit(changed, (name,), [removed.encoding[None]], videos)

    return edit


def _verdicts_with(
    removed: RemovedExample, gallery: Gallery, place: int
) -> tuple[list[Verdict], str]:
    """The gallery's verdicts with the removed face in its own one, and the name of the face.

    `place` is the row that the face is about to get.
    """
    verdicts = list(gallery.verdicts)
    if removed.verdict is None:
        return verdicts, removed.name
    own = replace(removed.verdict, name=removed.name)
    for number, verdict in enumerate(verdicts):
        if verdict.id == own.id:
            before = sum(each.verdict == own.id for each in gallery.examples[:place])
            sources = (*verdict.sources[:before], *own.sources, *verdict.sources[before:])
            encodings = np.insert(verdict.encodings, before, removed.encoding, axis=0)
            verdicts[number] = replace(verdict, encodings=encodings, sources=sources)
            return verdicts, verdict.name
    # It was the last face of the verdict. The order counts: later verdicts overrule earlier ones.
    later = (number for number, each in enumerate(verdicts) if each.at_s > own.at_s)
    verdicts.insert(next(later, len(verdicts)), own)
    return verdicts, own.name


def undo_edit(action: str, undo: Mapping[str, Any]) -> MakeEdit:
    """The edit that undoes a change. `undo` is what the log has kept of the change."""
    if action in VERDICT_KINDS:
        return _remove_verdicts(undo["verdicts"])
    if action == "rename":
        return _rename_back(undo)
    if action == "merge":
        return _separate(undo)
    if action == "enrol" and "examples" in undo:
        return _remove_examples(undo["examples"])
    raise PermanentError(f"a change of the kind {action!r} cannot be undone")


def _remove_verdicts(ids: Sequence[str]) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        verdicts = [each for each in gallery.verdicts if each.id in ids]
        if not verdicts:
            raise GalleryError("the gallery does not have this verdict any more")
        changed = gallery
        for verdict in verdicts:
            changed = changed.without_verdict(verdict.id)
        return _about(verdicts, changed)

    return edit


def _rename_back(undo: Mapping[str, Any]) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        name, examples = undo["new_name"], set(undo.get("examples", ()))
        found = {example.id for example in gallery.examples_of(name)}
        if found and examples and found.isdisjoint(examples):
            raise GalleryError(
                f"none of the photos that {name!r} had then are left, so this may be another"
                " person; rename the person instead"
            )
        return rename(name, undo["name"])(gallery)

    return edit


def _separate(undo: Mapping[str, Any]) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        name, into = undo["name"], undo["into"]
        owners = _owners(gallery, undo["examples"], undo["verdicts"]) - {name}
        if not owners:
            raise GalleryError(f"the gallery has no faces of {name!r} any more")
        if checked_new_name(name, gallery.people) in gallery.people:
            raise GalleryError(
                f"somebody else is called {name!r} by now; rename that person first, because"
                " otherwise the two would become one person"
            )
        changed = gallery.reassigned(undo["examples"], undo["verdicts"], name)
        names = (name, *sorted({into, *owners}))  # `into` may have got another name since
        return Edit(changed, names, [changed.encodings_of(each) for each in names])

    return edit


def _owners(gallery: Gallery, examples: Sequence[str], verdicts: Sequence[str]) -> set[str]:
    """The names of those who have one of these examples, or an example of these verdicts."""
    ids = {*examples, *verdicts}
    rows = zip(gallery.names, gallery.examples, strict=True)
    return {name for name, example in rows if (example.verdict or example.id) in ids}


def _remove_examples(ids: Sequence[str]) -> MakeEdit:
    def edit(gallery: Gallery) -> Edit:
        added = set(ids)
        places = [place for place, example in enumerate(gallery.examples) if example.id in added]
        if not places:
            raise GalleryError("the gallery does not have these photos any more")
        names = {gallery.names[place] for place in places}
        changed = gallery.without_examples(added)
        return Edit(changed, tuple(sorted(names)), [gallery.encodings[places]])

    return edit
