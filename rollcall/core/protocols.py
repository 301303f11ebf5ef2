"""The interfaces of the parts of Rollcall that can be replaced one by one.

Each Protocol has a real implementation. Some also have one in memory, for tests. Where there are
both, contract tests run against both (`tests/functional/test_seams.py`). The Protocols of the
trigger's database are in `core.queue_protocols`.

| Protocol | implemented in | used by |
| --- | --- | --- |
| VideoFile | `video.video_files`: a whole file, an object read in ranges | the decoder |
| Video | `video.decoder`: a child process; `video.av_video`: inside that process | recognition |
| Detector, Encoder | `faces`: CenterFace and dlib's network in onnxruntime | the engine |
| FaceEngine | `faces.engine`, `faces.dlib_faces`; `faces.painted_faces` | recognition, enrolment |
| ObjectStore | `stores.s3`; `stores.memory` | pipeline, reconciler, gallery, commands |
| GalleryLocation | `gallery.gallery_locations`: a file, an object in a bucket | gallery, commands |
| GallerySource | `gallery.gallery_locations`: a cache that reloads changed galleries | pipeline |
| ResultQueue | `stores.sqs`; `stores.memory` | pipeline |
| StudentStore | `stores.dynamodb`; `stores.memory` | pipeline, forgetting |

A Protocol that only one module needs is defined in that module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.types import (
    DetectedFace,
    Encodings,
    Frame,
    ObjectInfo,
    Pixels,
    Student,
)

if TYPE_CHECKING:
    from rollcall.core.gallery import Gallery

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class VideoFile(Protocol):
    """A video on the local disk. Some of its bytes may have to be fetched first."""

    path: Path
    size_bytes: int
    complete: bool
    """Whether all bytes are there, so that `ensure_range` never has to fetch any."""

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Fetch the bytes from `start` to `end` (excluded), or at least the first of them.

        Returns the range that is on the disk afterwards, which may be larger. The time that this
        takes does not count against the decoder's time limit. Raises the errors of
        `ObjectStore.read_range`.
        """
        ...


class Video(Protocol):
    """An opened video, whose frames are read in one pass.

    There are two kinds of time. `Frame.time_s` and `duration_s` follow the player's clock.
    `moving_s` counts only the first seconds of a long stretch without a new frame (`MediaClock`).
    Looks (the frames that are searched for faces) are spread over `moving_s`.
    """

    duration_s: float
    """Length of the content in seconds; 0 if it is unknown."""
    moving_s: float
    """Length in `moving_s`, in seconds; exact once the last frame has been read."""
    track: int
    """Number of the video track that is read, counted from 1."""
    tracks: int
    """Number of video tracks in the file."""

    @property
    def damaged(self) -> bool:
        """Whether any part that has been read so far could not be decoded."""
        ...

    @property
    def divisible(self) -> bool:
        """Whether `frames` may begin anywhere, so that two decoders can share the video."""
        ...

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time, the first frame at or after it.

        The times are `moving_s`, in ascending order.
        """
        ...

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Frames from the whole video, at most `step_s` of `moving_s` apart.

        Key frames are chosen, as few as the step allows. Other frames are decoded only where key
        frames are too far apart.
        """
        ...

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """The `Frame.time_s` of the first frame after the cut between two times.

        None if there are several cuts, or none. The limits of `kept_frame` apply.
        """
        ...

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """The decoded frame nearest to the middle between two times (`Frame.time_s`, excluded).

        Only frames of the last two steps of `frames` are kept, and only in a video that was opened
        to be decoded as a whole. None if no frame between the times was kept.
        """
        ...


class ObjectStore(Protocol):
    """Buckets of objects. Every method may raise StoreUnavailable or StoreMisconfigured."""

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """Describe the current version. Raises ObjectNotFound."""
        ...

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        """The user metadata, with names in lower case. Raises ObjectNotFound."""
        ...

    def download(self, info: ObjectInfo, path: Path) -> None:
        """Write the bytes of the version with this etag to `path`.

        Raises ObjectNotFound, or ObjectChanged if the object has another etag by now.
        """
        ...

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (excluded) of the version with this etag.

        Raises ObjectNotFound, or ObjectChanged if the object has another etag or fewer bytes.
        """
        ...

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        """The bytes of the current version, or of the version `version_id`.

        Raises ObjectNotFound, or ObjectTooLarge if the object has more than `max_bytes`.
        """
        ...

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Create or replace the object."""
        ...

    def read_with_etag(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        """The bytes and the etag of the current version, from one response.

        Raises the errors of `read`.
        """
        ...

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        """Replace the object if it still has this etag; create it if `etag` is empty.

        Raises ObjectChanged if the object has another etag by now, was deleted, or exists although
        `etag` is empty. Some stores ignore the condition, so `rollcall.gallery.gallery_objects`
        tests the store before it relies on this method.
        """
        ...

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose keys begin with `prefix`, sorted by key."""
        ...

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """The replaced and deleted versions in a versioned bucket; other buckets have none."""
        ...

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        """Delete the object, or permanently delete the version `version_id`.

        A missing object is not an error.
        """
        ...

    def presigned_url(
        self, bucket: str, key: str, expires_s: int, filename: str | None = None
    ) -> str:
        """A URL with which anybody can read the object for `expires_s` seconds, also in ranges.

        No request is sent, so the object may be missing. With a `filename`, the browser saves the
        object under this name instead of showing it.
        """
        ...


class Detector(Protocol):
    """Finds faces in pictures. Safe to share between threads."""

    name: str
    """Part of the engine's name."""

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        """The faces of an RGB picture of shape (height, width, 3), largest first."""
        ...


class Encoder(Protocol):
    """Turns faces into encodings. Safe to share between threads."""

    name: str
    """Part of the engine's name."""
    space: EncodingSpace

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        """The encodings of faces that were detected in this picture, shape (faces, space.size)."""
        ...


class FaceEngine(Protocol):
    """A detector and an encoder behind one interface. Safe to share between threads."""

    name: str
    """The names of both parts. It is stored in the metadata of each result."""
    space: EncodingSpace

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]: ...

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings: ...


class GalleryLocation(Protocol):
    """Where the bytes of a gallery are stored. Messages show `str()` of a location.

    Every method may raise a TransientError of the store.
    """

    def stamp(self) -> str:
        """A text that changes when the bytes change. Raises GalleryError if they cannot be read."""
        ...

    def load(self) -> bytes:
        """The bytes. Raises GalleryMissing if there are none, GalleryError if reading fails."""
        ...

    def changed_s(self) -> float:
        """Unix time of the last change; 0 if unknown. Raises the errors of `stamp`."""
        ...

    def update(self, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the bytes with the result of `change`, without losing changes by other writers.

        `change` receives the newest bytes (None if there are none) and returns the new bytes, or
        None to keep the old ones. It is called again each time another writer was faster. Raises
        GalleryError.
        """
        ...

    def save(self, body: bytes) -> None:
        """Replace the gallery, whatever it contains. Raises GalleryError."""
        ...


class GallerySource(Protocol):
    """Provides the gallery that the pipeline compares faces with."""

    def current(self) -> Gallery:
        """The newest gallery that could be loaded.

        If none has been loaded yet, raises GalleryUnavailable or a TransientError of the store.
        """
        ...

    @property
    def facts(self) -> GalleryFacts | None:
        """Size and age of the gallery in use; None if none has been loaded yet."""
        ...


class ResultQueue(Protocol):
    """Receives a message about each video that is recognised or has failed for good."""

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Send one message. Raises a TransientError."""
        ...


class StudentStore(Protocol):
    """Records of people. Every method may raise StoreUnavailable or StoreMisconfigured."""

    def get(self, name: str) -> Student | None:
        """The record of this name, or None."""
        ...

    def count(self, name: str) -> int:
        """The number of records with this name."""
        ...

    def remove(self, name: str) -> int:
        """Remove every record with this name, and return their number."""
        ...
