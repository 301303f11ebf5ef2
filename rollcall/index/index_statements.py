"""The SQL that changes the index, for SQLite and PostgreSQL.

Each statement gets its rows in one parameter (`database.json_rows`).
"""

from __future__ import annotations

from sqlalchemy import text

from rollcall.database.json_rows import among_sql, rows_sql

_OBJECT = "bucket text, key text"
_VIDEO = (
    "etag text, work_id text, status text, error_code text, error_message text, uploaded_s real,"
    " finished_s real, duration_s real, looks int, coverage text, named int, unknown int,"
    " gallery text, kept text, corrected int"
)
_PERSON = "name text, folded text, videos int, first_seen_s real, last_seen_s real"
_APPEARANCE = (
    "video_id int, number int, person_id int, uploaded_s real, first_s real, last_s real,"
    " seconds real, frames int, distance real, certainty text, intervals text"
)
_SEEN = "COALESCE((SELECT {}(a.uploaded_s) FROM appearance a WHERE a.person_id=person.id), 0)"


def _names(columns: str) -> list[str]:
    return [column.split()[0] for column in columns.split(", ")]


class IndexStatements:
    """The statements for one kind of database."""

    def __init__(self, shared: bool) -> None:
        ids, video_ids = among_sql(shared, "id"), among_sql(shared, "video_id")
        lock = "FOR NO KEY UPDATE" if shared else ""
        columns = f"{_OBJECT}, {_VIDEO}"
        new = ", ".join(f"{name}=excluded.{name}" for name in _names(_VIDEO))
        # SQLite needs the WHERE to parse the statement.
        self.put_videos = text(
            f"INSERT INTO video ({', '.join(_names(columns))})"
            f" SELECT {', '.join(_names(columns))} FROM {rows_sql(shared, columns)} WHERE true"
            f" ON CONFLICT (bucket, key) DO UPDATE SET {new}"
            " WHERE video.finished_s <= excluded.finished_s OR (video.status='error'"
            " AND excluded.status<>'error' AND video.etag=excluded.etag)"
            " RETURNING id, bucket, key"
        )
        """Insert the rows, or replace those that `sql_index.replaces` says, and return these."""
        self.lock_video = text(
            f"SELECT id, finished_s FROM video WHERE bucket=:bucket AND key=:key {lock}"
        )
        self.drop_video = text("DELETE FROM video WHERE id=:id")
        self.drop_appearances = text(
            f"DELETE FROM appearance WHERE {video_ids} RETURNING person_id"
        )
        self.grouped_videos = text(f"SELECT DISTINCT video_id FROM unknown_face WHERE {video_ids}")
        self.drop_faces = text(f"DELETE FROM face_block WHERE {video_ids}")
        self.put_people = text(
            f"INSERT INTO person ({', '.join(_names(_PERSON))})"
            f" SELECT {', '.join(_names(_PERSON))} FROM {rows_sql(shared, _PERSON)} WHERE true"
            " ON CONFLICT (name) DO UPDATE SET videos=person.videos+excluded.videos,"
            " first_seen_s=CASE WHEN excluded.first_seen_s < person.first_seen_s"
            " THEN excluded.first_seen_s ELSE person.first_seen_s END,"
            " last_seen_s=CASE WHEN excluded.last_seen_s > person.last_seen_s"
            " THEN excluded.last_seen_s ELSE person.last_seen_s END RETURNING id, name"
        )
        """Add the appearances in the rows to the numbers and times of these people."""
        self.put_appearances = text(
            f"INSERT INTO appearance ({', '.join(_names(_APPEARANCE))})"
            f" SELECT {', '.join(_names(_APPEARANCE))} FROM {rows_sql(shared, _APPEARANCE)}"
        )
        lost = rows_sql(shared, "id int, lost int")
        # In PostgreSQL, writers that change the same people in the same order cannot deadlock.
        self.lock_people = text(f"SELECT id FROM person WHERE {ids} ORDER BY name {lock}")
        self.take_from_people = text(
            "UPDATE person SET videos=person.videos - r.lost,"
            f" first_seen_s={_SEEN.format('min')}, last_seen_s={_SEEN.format('max')}"
            f" FROM {lost} WHERE person.id=r.id"
        )
        self.drop_people = text(f"DELETE FROM person WHERE {ids} AND videos <= 0")


STATEMENTS = {shared: IndexStatements(shared) for shared in (False, True)}
