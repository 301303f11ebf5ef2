"""The interfaces between the pages and what they show and change.

| Protocol | implemented in |
| --- | --- |
| VideoIndex | `index.sql_index` |
| FaceSearch, UnknownGroups | `index.face_search`, `index.unknown_groups` |
| ChangeLog | `index.change_log` |
| Corrections | `corrections.corrections` |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rollcall.core.index_types import AnyFaceRef, FaceRef, IndexedVideo
from rollcall.core.types import Encodings


class VideoIndex(Protocol):
    """Who appeared when. Every method may raise InboxUnavailable."""

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        """Store the newest result of each video. A row of the same object is replaced and keeps its
        id, unless it is about a later recognition."""
        ...

    def get(self, video_id: int) -> IndexedVideo | None: ...

    def id_of(self, bucket: str, key: str) -> int | None: ...


class FoundFace(NamedTuple):
    """A face of a video that is like the one that was searched for."""

    face: FaceRef
    distance: float


class FaceSearch(Protocol):
    """Searches the stored encodings of all videos."""

    def put(self, video_id: int, space: str, numbers: Sequence[int], encodings: Encodings) -> None:
        """Store the encodings of a video's faces, shape (n, size), in place of earlier ones.

        `numbers` are the appearances that they belong to. Without rows, earlier ones are removed.
        """
        ...

    def find(
        self, encodings: Encodings, space: str, max_distance: float, limit: int
    ) -> list[FoundFace]:
        """The faces within `max_distance` of any of the encodings, shape (n, size), nearest first.

        Each face is found once, with its smallest distance.
        """
        ...

    def count(self) -> int:
        """Number of stored encodings."""
        ...


@dataclass(frozen=True, slots=True)
class UnknownGroup:
    """Unknown people of several videos who look alike. Times are those of the uploads."""

    id: int
    appearances: int
    first_seen_s: float
    last_seen_s: float
    faces: tuple[FaceRef, ...]
    """Some of the faces, those nearest to the middle of the group first."""


class UnknownGroups(Protocol):
    """Groups of unknown faces of all videos that look alike."""

    def largest(self, limit: int, offset: int = 0) -> list[UnknownGroup]: ...

    def count(self) -> int: ...

    def get(self, group_id: int) -> UnknownGroup | None: ...

    def faces(self, group_id: int, limit: int) -> list[FaceRef]:
        """The faces of a group, those of the newest videos first."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the log."""

    id: int
    at_s: float
    who: str
    action: str
    """`is`, `not`, `same`, `ignore`, `rename`, `merge`, `forget`, `enrol`, `remove_photo`, `rerun`,
    `retry`, `dismiss`, `undo`, `view`, `sign_in`."""
    name: str = ""
    """The person, or the video, that the change is about. Removed when the person is forgotten."""
    details: Mapping[str, Any] = field(default_factory=dict)
    videos: int = 0
    """Number of videos whose results changed."""
    can_undo: bool = False
    undone_by: int | None = None
    undoes: int | None = None


class ChangeLog(Protocol):
    """Who changed what, and when."""

    def record(
        self,
        who: str,
        action: str,
        name: str = "",
        details: Mapping[str, Any] | None = None,
        undo: Mapping[str, Any] | None = None,
    ) -> int:
        """Write a line, and return its id. `undo` is what `Corrections.undo` needs."""
        ...

    def latest(
        self,
        limit: int,
        before_id: int | None = None,
        name: str = "",
        *,
        only_changes: bool = False,
    ) -> list[Change]: ...

    def get(self, change_id: int) -> Change | None: ...


class Corrections(Protocol):
    """Puts verdicts into the gallery, and corrects earlier results.

    Each method returns the id of its line in the log. The gallery and the log are written before it
    returns; the results of the videos follow within seconds (`Change.videos` counts them). Raises
    PermanentError with a sentence for the page if something cannot be done, for example because no
    encodings of the face are stored, and TransientError.
    """

    def is_person(
        self, faces: Sequence[AnyFaceRef], name: str, who: str, others: Sequence[AnyFaceRef] = ()
    ) -> int:
        """The faces show this person, who may be new, and the faces `others` do not."""
        ...

    def is_not(self, faces: Sequence[AnyFaceRef], name: str, who: str) -> int: ...

    def same(self, faces: Sequence[AnyFaceRef], who: str) -> int: ...

    def ignore(self, faces: Sequence[AnyFaceRef], who: str) -> int: ...

    def rename(self, name: str, new_name: str, who: str) -> int: ...

    def merge(self, name: str, into: str, who: str) -> int: ...

    def remove_example(self, name: str, example_id: str, who: str) -> int:
        """Remove one encoding of a person from the gallery."""
        ...

    def gallery_changed(self) -> None:
        """Compare the stored faces of all videos with the gallery again, in the background."""
        ...

    def pending(self) -> int:
        """Number of videos that still have to be compared again."""
        ...

    def undo(self, change_id: int, who: str) -> int: ...
