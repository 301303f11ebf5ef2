"""Removes a person everywhere for the pages, in words for people who do not run Rollcall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollcall.cli.forget import find_mentions, late_s
from rollcall.core.protocols import GalleryLocation
from rollcall.core.settings import Settings
from rollcall.gallery.forgetting import Mention, PersonRemoval
from rollcall.stores.boto import s3_client
from rollcall.stores.buckets import has_bucket
from rollcall.stores.s3 import S3Store


@dataclass(frozen=True, slots=True)
class EverywhereForgetting:
    """What `rollcall gallery remove --everywhere` does."""

    settings: Settings
    location: GalleryLocation

    def mentions(self, name: str, dry_run: bool) -> Iterator[Mention]:
        removal = PersonRemoval(name, dry_run=dry_run)
        return find_mentions(removal, self.settings, self.location, everywhere=True)

    def unreached(self) -> list[str]:
        """Sentences about places that this installation has and the search does not reach."""
        chosen, sentences = self.settings, []
        bucket = chosen.report_bucket
        if bucket and not has_bucket(S3Store(s3_client(chosen)), bucket):
            sentences.append(
                f"reports: their bucket {bucket!r} does not exist, so none were searched"
            )
        has_files = Path(chosen.results_folder).is_dir()
        if chosen.result_queue_url and not has_files:
            sentences.append(
                "text files of a worker on another machine; whoever runs it has to remove the"
                " person there, too"
            )
        if has_files or chosen.result_queue_url:
            sentences.append("messages in the queues of the worker, for up to 14 days")
        return sentences

    @property
    def repeat_after_s(self) -> float:
        return late_s(self.settings)
