"""Forgetting a person: out of the gallery and, where that is wanted, out of all that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from rollcall.core.errors import ObjectChanged, ObjectNotFound, PermanentError
from rollcall.core.names import checked_name
from rollcall.core.protocols import ObjectStore, StudentStore
from rollcall.core.reports import report_without
from rollcall.core.results import csv_without
from rollcall.core.types import ObjectInfo
from rollcall.gallery.gallery_formats import MAX_GALLERY_BYTES, parse_gallery, render_gallery
from rollcall.gallery.gallery_places import GalleryPlace, StorePlace, gallery_of, read_gallery

MAX_NAMING_BYTES = 64 << 20
"""Of a result or a report. The report of hours with many faces has some MB."""

TRIES = 3
FORGOTTEN = "forgotten"
"""Metadata of a result or report from which people were taken: how many entries."""

Without = Callable[[bytes, str], tuple[bytes, int]]
"""The bytes without a person, and how many entries were taken out. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One place that names the person, or that nobody can tell of."""

    kind: str
    """`gallery`, `result`, `report`, `record` or `file`."""
    where: str
    count: int
    """Entries of that person; 0 for what cannot be read."""
    version: str = ""
    """Of an old version, which is deleted as a whole."""
    problem: str = ""
    """Why it cannot be read; it stays as it is."""


@dataclass(frozen=True, slots=True)
class Named:
    """A bucket whose objects name people."""

    kind: str
    bucket: str
    ending: str
    content_type: str
    without: Without


def results_in(bucket: str) -> Named:
    return Named("result", bucket, ".csv", "text/csv", csv_without)


def reports_in(bucket: str) -> Named:
    return Named("report", bucket, ".json", "application/json", report_without)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The name to forget. Without `really`, everything is found and nothing is touched.

    Each step may be repeated: what was interrupted is finished by doing it all again.
    """

    name: str
    really: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", checked_name(self.name))

    def in_gallery(self, place: GalleryPlace) -> Iterator[Mention]:
        """The old versions go last: the one that was current is among them by then."""
        if count := self._out_of(place):
            yield Mention("gallery", str(place), count)
        if isinstance(place, StorePlace):
            listed = place.store.old_versions(place.bucket, place.key)
            old = (info for info in listed if info.key == place.key)
            yield from self._old(place.store, "gallery", old, _gallery_without)

    def _out_of(self, place: GalleryPlace) -> int:
        """How many encodings go. Raises GalleryError, also where there is no gallery."""
        if not self.really:
            return read_gallery(place).names.count(self.name)
        counts = [0]

        def change(body: bytes | None) -> bytes | None:
            gallery = gallery_of(place, place.load() if body is None else body)
            counts.append(gallery.names.count(self.name))
            return render_gallery(gallery.without(self.name)) if counts[-1] else None

        place.change(change)
        return max(counts)

    def in_bucket(self, store: ObjectStore, named: Named) -> Iterator[Mention]:
        """Results or reports, whose other entries, metadata and number stay."""
        for info in store.list_objects(named.bucket):
            if info.key.endswith(named.ending):
                yield from self._current(store, named, info)
        listed = store.old_versions(named.bucket)
        old = (info for info in listed if info.key.endswith(named.ending))
        yield from self._old(store, named.kind, old, named.without)

    def in_students(self, students: StudentStore, table: str) -> Iterator[Mention]:
        count = students.remove(self.name) if self.really else students.count(self.name)
        if count:
            yield Mention("record", f"table {table}", count)

    def _current(self, store: ObjectStore, named: Named, info: ObjectInfo) -> Iterator[Mention]:
        trace = Mention(named.kind, f"s3://{info.bucket}/{info.key}", 0)
        try:
            for _ in range(TRIES):
                body = store.read(info.bucket, info.key, MAX_NAMING_BYTES)
                rest, count = named.without(body, self.name)
                if not count:
                    return
                if not self.really or self._replaced(store, named, info, rest, count):
                    yield replace(trace, count=count)
                    return
                info = store.head(info.bucket, info.key)
        except ObjectNotFound:
            return  # deleted since the listing: it names nobody any more
        except (ValueError, PermanentError) as error:
            yield replace(trace, problem=str(error))
            return
        raise ObjectChanged(f"{trace.where} is being written all the time; do this again later")

    def _replaced(
        self, store: ObjectStore, named: Named, info: ObjectInfo, rest: bytes, count: int
    ) -> bool:
        """False when a newer one has come since the listing, which must not be overwritten."""
        metadata = dict(store.metadata(info.bucket, info.key))
        before = metadata.get(FORGOTTEN, "")
        metadata[FORGOTTEN] = str((int(before) if before.isdecimal() else 0) + count)
        if store.head(info.bucket, info.key).etag != info.etag:
            return False
        where, kind = (info.bucket, info.key), named.content_type
        try:
            store.write_if(*where, rest, kind, info.etag, metadata)
        except ObjectChanged:
            if store.head(*where).etag != info.etag:
                return False
            store.write(*where, rest, kind, metadata)  # this store cannot compare etags
        return True

    def _old(
        self, store: ObjectStore, kind: str, infos: Iterable[ObjectInfo], without: Without
    ) -> Iterator[Mention]:
        """Deletes after the listing: not every store finds its place again in a list from which
        the last version that it told of is missing."""
        looked = (self._old_trace(store, kind, info, without) for info in infos)
        for info, trace in list(filter(None, looked)):
            if trace.count and self.really:
                store.delete(info.bucket, info.key, info.version_id)
            yield trace

    def _old_trace(
        self, store: ObjectStore, kind: str, info: ObjectInfo, without: Without
    ) -> tuple[ObjectInfo, Mention] | None:
        trace = Mention(kind, f"s3://{info.bucket}/{info.key}", 0, info.version_id)
        most = MAX_GALLERY_BYTES if kind == "gallery" else MAX_NAMING_BYTES
        try:
            _, count = without(store.read(info.bucket, info.key, most, info.version_id), self.name)
        except ObjectNotFound:
            return None  # another removal, or a lifecycle rule, has deleted it since the listing
        except (ValueError, PermanentError) as error:
            return info, replace(trace, problem=str(error))
        return (info, replace(trace, count=count)) if count else None


def _gallery_without(body: bytes, name: str) -> tuple[bytes, int]:
    """Only counts: an old version is deleted, never rewritten."""
    return body, parse_gallery(body).names.count(name)
