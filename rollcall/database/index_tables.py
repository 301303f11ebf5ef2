"""The tables of the pages: who appeared when, who changed what, and what waits to be corrected.

`video`, `person`, `appearance`, `face_block`, `unknown_group` and `unknown_face` are the index.
If these tables are lost, `rollcall index rebuild` fills them again from the reports and the stored
faces. `change`, `removed_example` and `dismissed` cannot be rebuilt.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, Table, Text, text

from rollcall.database.tables import (
    ID,
    KEY,
    TIME,
    id_column,
    key,
    metadata,
    number,
    text_column,
    time,
)

video = Table(
    "video",
    metadata,
    id_column(),
    key("bucket"),
    key("key"),
    text_column("etag"),
    text_column("work_id"),
    text_column("status"),
    text_column("error_code"),
    text_column("error_message"),
    time("uploaded_s"),
    time("finished_s"),
    time("duration_s"),
    number("looks"),
    text_column("coverage"),
    number("named"),
    number("unknown"),
    text_column("gallery"),
    text_column("kept"),
    number("corrected"),
    sqlite_autoincrement=True,
)
"""The videos. One row has the newest result of an object: `recognised`, `unknown`, `no_face` or
`error`. `coverage` is JSON, `gallery` the version that was used, `kept` one of `none`, `encodings`
and `pictures`, `corrected` 1 if a verdict changed the result. `named` and `unknown` count people.
`uploaded_s` is the time of the upload; if it is unknown, that of the recognition."""

Index("video_object", video.c.bucket, video.c.key, unique=True)
# The key is part of this index, so that a search for words in keys reads only the index.
Index("video_uploaded", video.c.uploaded_s, video.c.id, video.c.key)
Index("video_finished", video.c.finished_s, video.c.id)
Index("video_status", video.c.status, video.c.uploaded_s, video.c.id)
Index("video_with_unknown", video.c.uploaded_s, video.c.id, sqlite_where=text("unknown>0"))

person = Table(
    "person",
    metadata,
    id_column(),
    Column("name", key("name").type, nullable=False, unique=True),
    # Compared by its bytes, so that the pages can merge it with names that they sort themselves.
    Column("folded", KEY, nullable=False, server_default=""),
    number("videos"),
    time("first_seen_s"),
    time("last_seen_s"),
    sqlite_autoincrement=True,
)
"""Everybody who was named in a video. `folded` is the name in small letters, for the search.
`videos` counts appearances; the times are those of the uploads."""

Index("person_folded", person.c.folded)
Index("person_last_seen", person.c.last_seen_s, person.c.id)

appearance = Table(
    "appearance",
    metadata,
    id_column(),
    Column("video_id", ID, nullable=False),
    number("number"),
    Column("person_id", ID),
    Column("group_id", ID),
    time("uploaded_s"),
    time("first_s"),
    time("last_s"),
    time("seconds"),
    number("frames"),
    Column("distance", TIME),
    text_column("certainty"),
    text_column("intervals"),
    # The ids are never used again, so they show whether a video was written again.
    sqlite_autoincrement=True,
)
"""One person in one video. `number` is the place in the report's `people`, counted from 0.
`person_id` is NULL for an unknown person; then `group_id` is the group of unknown faces, if
encodings are stored. `seconds` is the length of all intervals, which are JSON:
`[[start_s, end_s], ...]`."""

Index("appearance_video", appearance.c.video_id, appearance.c.number, unique=True)
Index(
    "appearance_person",
    appearance.c.person_id,
    appearance.c.uploaded_s,
    appearance.c.video_id,
    sqlite_where=text("person_id IS NOT NULL"),
)
Index(
    "appearance_group",
    appearance.c.group_id,
    appearance.c.uploaded_s,
    appearance.c.video_id,
    sqlite_where=text("group_id IS NOT NULL"),
)

face_block = Table(
    "face_block",
    metadata,
    Column("video_id", ID, primary_key=True, autoincrement=False),
    text_column("space"),
    Column("numbers", LargeBinary, nullable=False),
    Column("encodings", LargeBinary, nullable=False),
    number("rows"),
    number("version"),
)
"""The encodings of a video's faces, for searches: a few of each appearance. `numbers` are the
appearances (little-endian uint16), `encodings` the rows (little-endian float16). Later changes have
larger versions (`index.row_versions`)."""

Index(
    "face_block_version",
    face_block.c.version,
    face_block.c.video_id,
    face_block.c.space,
    face_block.c.rows,
)

unknown_group = Table(
    "unknown_group",
    metadata,
    id_column(),
    text_column("space"),
    Column("centre", LargeBinary, nullable=False),
    number("appearances"),
    time("first_seen_s"),
    time("last_seen_s"),
    text_column("same"),
    number("version"),
    sqlite_autoincrement=True,
)
"""Groups of unknown faces of all videos that look alike. `centre` is the mean encoding
(little-endian float32). If somebody said that faces show one person, `same` has the digests of
these verdicts, and `centre` has several rows. Later changes have larger versions
(`index.row_versions`)."""

Index("unknown_group_size", unknown_group.c.appearances, unknown_group.c.id)
Index("unknown_group_version", unknown_group.c.version)
Index("unknown_group_same", unknown_group.c.id, sqlite_where=text("same<>''"))

unknown_face = Table(
    "unknown_face",
    metadata,
    Column("video_id", ID, primary_key=True, autoincrement=False),
    Column("number", ID, primary_key=True, autoincrement=False),
    Column("group_id", ID, nullable=False),
    time("uploaded_s"),
    Column("encoding", LargeBinary, nullable=False),
)
"""The members of the groups: the unknown appearances whose encodings are stored. `encoding` is the
mean of the appearance's encodings (little-endian float16). A face that somebody named or ignored
keeps a row with a negative `number` and the negative id of its group (`index.group_memory`)."""

Index("unknown_face_group", unknown_face.c.group_id, unknown_face.c.uploaded_s)

unindexed = Table(
    "unindexed",
    metadata,
    id_column(),
    Column("document", Text, nullable=False),
    time("created_s"),
    sqlite_autoincrement=True,
)
"""Answers of the function (JSON) that are not in the index yet. A row is written in the transaction
that ends the work, so that no video is missed."""

rematch = Table(
    "rematch",
    metadata,
    id_column(),
    key("bucket"),
    key("key"),
    Column("change_id", ID),
    number("attempts"),
    time("due_s"),
    time("created_s"),
    text_column("message"),
    sqlite_autoincrement=True,
)
"""Videos whose stored faces have to be compared with the gallery again."""

Index("rematch_object", rematch.c.bucket, rematch.c.key, unique=True)
Index("rematch_due", rematch.c.due_s, rematch.c.id)

change = Table(
    "change",
    metadata,
    id_column(),
    time("at_s"),
    text_column("who"),
    text_column("action"),
    text_column("name"),
    text_column("details"),
    text_column("undo"),
    Column("undone_by", ID),
    Column("undoes", ID),
    number("videos"),
    sqlite_autoincrement=True,
)
"""The log: who changed what. `details` and `undo` are JSON, and never hold encodings. `undo` is
empty if the change cannot be undone. `undone_by` is the change that undid this one, and `undoes`
the change that this one undid. `videos` counts the videos whose results changed."""

Index("change_at", change.c.at_s, change.c.id)
Index("change_name", change.c.name)

gallery_version = Table(
    "gallery_version",
    metadata,
    id_column(),
    Column("version", key("version").type, nullable=False, unique=True),
    Column("change_id", ID),
    time("at_s"),
    number("removal"),
    sqlite_autoincrement=True,
)
"""The versions of the gallery that results are corrected with. The newest row is the version that
all stored faces were compared with, or are about to be (table `rematch`). A video that was
recognised with one of the others is compared again. `at_s` is when the version was replaced.
`removal` is 1 if a person was removed."""

removed_example = Table(
    "removed_example",
    metadata,
    Column("change_id", ID, primary_key=True, autoincrement=False),
    number("place"),
    text_column("facts"),
    Column("encoding", LargeBinary, nullable=False),
    time("at_s"),
)
"""Encodings that somebody removed from the gallery, for the undo of that change. `place` is the row
in the gallery, `facts` is JSON, `encoding` is little-endian float64. A row is deleted after some
time, and when the person is forgotten."""

Index("removed_example_at", removed_example.c.at_s)

dismissed = Table(
    "dismissed",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("number", ID, primary_key=True, autoincrement=False),
    time("at_s"),
    text_column("who"),
)
"""Problems that somebody has dismissed: `dead` with the id of a dead letter, `bad` with the id of a
bad event, `skipped` with the id of a skipped upload, `message` with the id of a notice."""

skipped_upload = Table(
    "skipped_upload",
    metadata,
    id_column(),
    key("bucket"),
    key("key"),
    text_column("reason"),
    time("uploaded_s"),
    time("seen_s"),
    sqlite_autoincrement=True,
)
"""Objects of the input bucket that are not videos, as the reconciler last saw them."""

Index("skipped_upload_object", skipped_upload.c.bucket, skipped_upload.c.key, unique=True)
