"""Removes a person from the gallery and, on request, from everything that mentions them.

A bucket that keeps versions still holds replaced and deleted objects. An old version that mentions
the person is deleted, because versions cannot be rewritten. Current results and reports lose only
the entries of that person (decision 0017).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from rollcall.core.errors import ObjectChanged, ObjectNotFound, PermanentError
from rollcall.core.gallery import Gallery
from rollcall.core.names import checked_name
from rollcall.core.protocols import GalleryLocation, ObjectStore, StudentStore
from rollcall.core.reports import report_without
from rollcall.core.results import csv_without
from rollcall.core.types import Encodings, ObjectInfo
from rollcall.gallery.enrolled_pictures import (
    delete_pictures,
    pictures_of,
    stored_pictures,
)
from rollcall.gallery.gallery_formats import MAX_GALLERY_BYTES, parse_gallery, render_gallery
from rollcall.gallery.gallery_locations import GalleryObject, parse_gallery_at, read_gallery

MAX_RESULT_BYTES = 64 << 20
"""Limit for a result or report. A report on hours of video with many faces has some ten
megabytes."""

MAX_TRIES = 3
"""Limit for the attempts to rewrite an object that other writers keep replacing."""

FORGOTTEN = "forgotten"
"""Name of the object metadata that counts the entries removed from a result or report so far."""

RemovePerson = Callable[[bytes, str], tuple[bytes, int]]
"""Takes the bytes of an object and a name. Returns the bytes without that person, and how many
entries were removed. Raises ValueError for bytes that it cannot parse."""

Seen = tuple[str, str]
"""Key and etag of an object that was searched."""


@dataclass(frozen=True, slots=True)
class Mention:
    """An object, table or file that mentions the person, or that cannot be read."""

    kind: str
    """`gallery`, `picture` (of an enrolled face), `result`, `report`, `faces`, `record` or `file`;
    or a kind of `index.forgotten_people`."""
    where: str
    count: int
    """Entries of that person; 0 if the object cannot be read."""
    version: str = ""
    """Id of an old version, which is deleted as a whole; empty for everything else."""
    problem: str = ""
    """Why the object cannot be read. It is then left unchanged."""

    @property
    def counted_as(self) -> str:
        """The kind under which the entries are counted; old versions are counted apart."""
        return f"old {self.kind}" if self.version else self.kind


@dataclass(frozen=True, slots=True)
class SearchedBucket:
    """A bucket whose objects may mention the person, and how to remove the person from them."""

    kind: str
    """`result`, `report` or `faces`, as in `Mention`."""
    bucket: str
    suffix: str
    """Objects whose key ends differently are ignored."""
    content_type: str
    remove_person: RemovePerson
    max_bytes: int = MAX_RESULT_BYTES
    holds_more: Callable[[bytes, bytes], bool] | None = None
    """Whether an old version holds more about the people than the current object. If the person was
    removed from the current object, such a version is deleted, too: it may be from the time before
    the person had a name. None if only names count."""


def results_in(bucket: str) -> SearchedBucket:
    return SearchedBucket("result", bucket, ".csv", "text/csv", csv_without)


def reports_in(bucket: str) -> SearchedBucket:
    return SearchedBucket("report", bucket, ".json", "application/json", report_without)


def _count_mentions(body: bytes, name: str, faces: Sequence[Encodings] = ()) -> tuple[bytes, int]:
    """Count without rewriting: an old version of a gallery is deleted as a whole. It may have a
    face of the person with the name of somebody else."""
    gallery = parse_gallery(body)
    return body, gallery.mentions(name) + sum(map(gallery.count_faces, faces))


GALLERY_VERSIONS = SearchedBucket("gallery", "", "", "", _count_mentions, MAX_GALLERY_BYTES)
"""How old versions of a gallery are searched."""


@dataclass(frozen=True, slots=True)
class PersonRemoval:
    """Removes one name, location by location. With `dry_run` it only reports the mentions.

    Every step can be repeated, so running all of them again completes an interrupted removal.
    """

    name: str
    dry_run: bool
    former_names: Sequence[str] = ()
    """Names that the person had before. Only old versions are searched for them: today, they may be
    the names of other people."""
    faces: list[Encodings] = field(default_factory=list)
    """The person's encodings in the gallery, each of shape (k, size), once it was searched."""
    changed: set[tuple[str, str]] = field(default_factory=set)
    """Bucket and key of the objects that have lost the person in this removal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", checked_name(self.name))

    def remove_from_gallery(self, location: GalleryLocation) -> Iterator[Mention]:
        """Remove the person's encodings and verdicts, and old versions of the gallery with them.

        Raises GalleryError, also if there is no gallery.
        """
        count, pictures = self._remove_entries(location)
        if count:
            yield Mention("gallery", str(location), count)
        if pictures:
            yield Mention("picture", pictures_of(location), pictures)
        # The old versions are listed last, so that they include the one that was just replaced.
        if isinstance(location, GalleryObject):
            listed = location.store.old_versions(location.bucket, location.key)
            old = (info for info in listed if info.key == location.key)
            count_mentions = partial(_count_mentions, faces=self.faces)
            versions = replace(
                GALLERY_VERSIONS, bucket=location.bucket, remove_person=count_mentions
            )
            yield from self._delete_old_versions(location.store, versions, old)

    def _remove_entries(self, location: GalleryLocation) -> tuple[int, int]:
        """Return how many encodings and negative examples, and how many pictures of enrolled faces
        were removed, or would be."""
        if self.dry_run:
            gallery = read_gallery(location)
            self.faces.append(gallery.faces_of(self.name))
            found = _example_ids(gallery, self.name) & stored_pictures(location)
            return gallery.mentions(self.name), len(found)
        entries, pictures = [0], [0]

        def change(body: bytes | None) -> bytes | None:
            # If the body is None, there is no gallery, and `load` raises GalleryMissing.
            gallery = parse_gallery_at(location, location.load() if body is None else body)
            entries.append(gallery.mentions(self.name))
            self.faces.append(gallery.faces_of(self.name))
            # The pictures go first: after an interruption, the gallery still has their ids.
            own = _example_ids(gallery, self.name)
            pictures.append(delete_pictures(location, own))
            # Pictures without an example may be of a photo of this person that was removed before.
            known = {example.id for example in gallery.examples}
            delete_pictures(location, stored_pictures(location) - known)
            return render_gallery(gallery.without(self.name)) if entries[-1] else None

        location.update(change)
        # `change` runs again after a conflict. If our own write had succeeded and only its answer
        # was lost, a later run may count 0, so the largest count is the true one.
        return max(entries), max(pictures)

    def remove_from_bucket(
        self, store: ObjectStore, searched: SearchedBucket, before: Collection[Seen] = ()
    ) -> Iterator[Mention]:
        """Remove the person's entries from results, reports or stored faces.

        Other entries and metadata stay the same, and no current object is deleted. Objects that
        `remove_from_current` has searched `before` are left out. Raises ObjectChanged for an object
        that other writers keep replacing.
        """
        yield from self.remove_from_current(store, searched, set(before))
        listed = store.old_versions(searched.bucket)
        old = (info for info in listed if info.key.endswith(searched.suffix))
        yield from self._delete_old_versions(store, searched, old)

    def remove_from_current(
        self, store: ObjectStore, searched: SearchedBucket, seen: set[Seen]
    ) -> Iterator[Mention]:
        """Do the same without old versions. Objects that are in `seen` are left out; all others are
        added to it, as they were before."""
        for info in store.list_objects(searched.bucket):
            if info.key.endswith(searched.suffix) and (info.key, info.etag) not in seen:
                seen.add((info.key, info.etag))
                yield from self._remove_from_object(store, searched, info)

    def remove_from_students(self, students: StudentStore, table: str) -> Iterator[Mention]:
        """Remove the person's records from the student table."""
        count = students.count(self.name) if self.dry_run else students.remove(self.name)
        if count:
            yield Mention("record", f"table {table}", count)

    def _remove_from_object(
        self, store: ObjectStore, searched: SearchedBucket, info: ObjectInfo
    ) -> Iterator[Mention]:
        mention = Mention(searched.kind, f"s3://{info.bucket}/{info.key}", 0)
        try:
            for _ in range(MAX_TRIES):
                body = store.read(info.bucket, info.key, searched.max_bytes)
                rest, count = searched.remove_person(body, self.name)
                if not count:
                    return
                if self.dry_run or self._write_without_person(store, searched, info, rest, count):
                    self.changed.add((info.bucket, info.key))
                    yield replace(mention, count=count)
                    return
                info = store.head(info.bucket, info.key)
        except ObjectNotFound:
            return  # deleted since the listing, so it no longer mentions anybody
        except (ValueError, PermanentError) as error:
            yield replace(mention, problem=str(error))
            return
        raise ObjectChanged(f"{mention.where} keeps being rewritten; run this again later")

    def _write_without_person(
        self,
        store: ObjectStore,
        searched: SearchedBucket,
        info: ObjectInfo,
        rest: bytes,
        count: int,
    ) -> bool:
        """Write the object back. Return False if somebody replaced it since it was listed."""
        location, content_type = (info.bucket, info.key), searched.content_type
        metadata = dict(store.metadata(*location))
        before = metadata.get(FORGOTTEN, "")
        metadata[FORGOTTEN] = str((int(before) if before.isdecimal() else 0) + count)
        if store.head(*location).etag != info.etag:
            return False
        try:
            store.write_if(*location, rest, content_type, info.etag, metadata)
        except ObjectChanged:
            if store.head(*location).etag != info.etag:
                return False
            # The etag still matches, so this store refuses all conditional writes in this bucket.
            store.write(*location, rest, content_type, metadata)
        return True

    def _delete_old_versions(
        self, store: ObjectStore, searched: SearchedBucket, infos: Iterable[ObjectInfo]
    ) -> Iterator[Mention]:
        mentions = (self._mention_in_version(store, searched, info) for info in infos)
        # The list is complete before the first deletion: some stores cannot continue a listing
        # after the last version that they listed was deleted.
        for info, mention in list(filter(None, mentions)):
            if mention.count and not self.dry_run:
                store.delete(info.bucket, info.key, info.version_id)
            yield mention

    def _mention_in_version(
        self, store: ObjectStore, searched: SearchedBucket, info: ObjectInfo
    ) -> tuple[ObjectInfo, Mention] | None:
        mention = Mention(searched.kind, f"s3://{info.bucket}/{info.key}", 0, info.version_id)
        try:
            body = store.read(info.bucket, info.key, searched.max_bytes, info.version_id)
            names = (self.name, *self.former_names)
            count = sum(searched.remove_person(body, name)[1] for name in names)
            if not count and searched.holds_more and (info.bucket, info.key) in self.changed:
                current = store.read(info.bucket, info.key, searched.max_bytes)
                count = int(searched.holds_more(body, current))
        except ObjectNotFound:
            return None  # deleted since the listing, by another removal or a lifecycle rule
        except (ValueError, PermanentError) as error:
            return info, replace(mention, problem=str(error))
        return (info, replace(mention, count=count)) if count else None


def _example_ids(gallery: Gallery, name: str) -> set[str]:
    return {example.id for example in gallery.examples_of(name) if example.id}
