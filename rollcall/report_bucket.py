"""Writes the report of a video, and the stored faces beside it, into the report bucket."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.errors import KeyNotUsable, ObjectNotFound, RollcallError
from rollcall.core.index_types import KeptFaces
from rollcall.core.keys import faces_key, report_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.types import ObjectInfo, Recognition
from rollcall.recognition.stored_faces import CONTENT_TYPE, render_faces, stored_faces

WAY_OUT = (
    "make the bucket (`--register` and `rollcall up` do) and allow the function to write to it, or"
    " set REPORT_BUCKET to an empty text, which switches reports off"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReportBucket:
    """Its methods never raise: the result is written already, or its error is about to be returned.

    A failure is logged. A call must not fail because of a report.
    """

    store: ObjectStore
    bucket: str
    """REPORT_BUCKET; empty: nothing is written."""
    keep: KeptFaces
    """KEEP_FACES."""

    def write_report(self, key: str, document: Mapping[str, Any]) -> None:
        """Write the report, or the error, of the video with this key."""
        if not self.bucket:
            return
        try:
            body = json.dumps(document, indent=1).encode()
            self.store.write(self.bucket, report_key(key), body, "application/json", {})
        except RollcallError as error:
            log.error("cannot write the report of %r: %s; %s", key, error, WAY_OUT)

    def write_faces(
        self, info: ObjectInfo, recognition: Recognition, space: EncodingSpace
    ) -> KeptFaces:
        """Store the faces if KEEP_FACES is set, and return what is stored."""
        if self.keep == "none" or not self.bucket:
            return "none"
        try:
            body = render_faces(stored_faces(recognition, info.etag, space))
            self.store.write(self.bucket, faces_key(info.key), body, CONTENT_TYPE, {})
        except RollcallError as error:
            log.error("cannot store the faces of %r: %s; %s", info.key, error, WAY_OUT)
            return "none"
        return self.keep

    def delete_faces(self, key: str) -> None:
        """Delete the faces that were stored for an earlier upload with this key, if there are any.

        Otherwise they would be taken for those of the newest upload.
        """
        if not self.bucket:
            return
        try:
            # A bucket that keeps versions would get a delete marker for every key. So only an
            # object that exists is deleted. `metadata` finds that out with one request, and `head`
            # needs two for an object that is gone.
            self.store.metadata(self.bucket, faces_key(key))
            self.store.delete(self.bucket, faces_key(key))
        except (ObjectNotFound, KeyNotUsable):  # no faces can be stored for so long a key
            return
        except RollcallError as error:
            log.error("cannot delete older stored faces of %r: %s; %s", key, error, WAY_OUT)
