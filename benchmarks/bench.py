"""The object that every section gets: the data, a folder, the store, and how much to measure."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.store_servers import StoreName
from rollcall.core.gallery import Gallery
from rollcall.core.keys import why_left_out
from rollcall.core.settings import Settings
from rollcall.gallery.gallery_formats import is_native, parse_gallery


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults are those of `make bench`; tests measure less."""

    repeats: int = 5
    """How often each measurement is repeated. The median is reported."""
    encodings_step: int = 1
    """Encodings of every n-th frame are compared."""
    workers: int = 2
    throughput_videos: int = 100
    memory_videos: tuple[int, ...] = (100, 1000)
    """Numbers of videos after which memory is measured."""
    encoded_s: int = 30
    """Seconds of video that are encoded. Long videos repeat them without encoding again."""
    lengths_s: tuple[int, ...] = (10, 60, 180, 600)
    timeline_lengths_s: tuple[int, ...] = (60, 180, 600)
    galleries: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    object_bytes: tuple[int, ...] = (4_000_000, 2_000_000_000)
    trigger_videos: int = 3000
    trigger_repeats: int = 3
    trigger_quiet_videos: int = 500
    trigger_finished: tuple[int, ...] = (0, 1_000_000)
    """Numbers of finished videos in the database when the trigger is measured."""
    reconciled_objects: tuple[int, ...] = (100_000, 1_000_000)
    index_rows: tuple[int, int, int] = (100_000, 1000, 1_000_000)
    """Videos, people and appearances of the index that is measured."""
    index_puts: int = 1000
    """Videos that are put into this index."""
    reference_objects: int = 100_000
    """Largest number of videos with which the reconciler's reference is measured."""
    pages_videos: int = 100_000
    pages_people: int = 1_000
    pages_appearances: int = 1_000_000
    pages_rounds: int = 20
    """How often all pages are read again before the memory is measured a second time."""


@dataclass(frozen=True, slots=True)
class Bench:
    """`data` is a folder with the same files as the demo's. The sections write into `folder`, which
    is empty at first and removed afterwards."""

    data: Path
    folder: Path
    store: StoreName = "embedded"
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def settings(self) -> Settings:
        return Settings(model_cache=self.model_cache)

    @property
    def model_cache(self) -> str:
        """The folder for converted models, which all sections share."""
        return str(self.folder / "models")

    @property
    def encodings(self) -> Path:
        """The gallery of both flows. It is a pickle, because the reference reads nothing else."""
        original, converted = (self.data / "encoding").resolve(), self.folder / "encoding"
        if not is_native(original.read_bytes()):
            return original
        if not converted.exists():
            gallery = parse_gallery(original.read_bytes())
            people = {"name": list(gallery.names), "encoding": list(gallery.encodings)}
            converted.write_bytes(pickle.dumps(people))
        return converted

    @property
    def videos(self) -> list[Path]:
        files = sorted((self.data / "videos").iterdir())
        return [path for path in files if not why_left_out(path.name)]

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment for processes that a section starts."""
        return {**os.environ, "MODEL_CACHE": self.model_cache}

    def gallery(self) -> Gallery:
        return parse_gallery(self.encodings.read_bytes())
