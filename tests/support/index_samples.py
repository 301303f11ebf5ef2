"""Small sample videos for the index: people, unknown people, a video without faces, an error."""

from __future__ import annotations

from rollcall.core.index_types import Appearance, IndexedVideo

T0 = 1_795_237_499.0
"""Time of the first upload: 21 November 2026, 05:04:59 UTC."""
HOUR_S = 3600.0
DAY_S = 86400.0
NOT_JUDGED = {"too small": 2, "blurred": 0, "turned": 0}
BUCKET = "input-bucket-video"


def appearance(
    number: int,
    name: str,
    *intervals: tuple[float, float],
    distance: float | None = 0.41,
) -> Appearance:
    """One person. The name of an unknown person is empty."""
    times = intervals or ((0.0, 1.0),)
    return Appearance(
        number=number,
        name=name,
        first_s=times[0][0],
        last_s=times[-1][1],
        frames=10 * len(times),
        distance=distance,
        certainty="clear" if name else "",
        intervals=times,
    )


def indexed(
    key: str = "a.mp4",
    *people: Appearance,
    uploaded_s: float = T0,
    finished_s: float | None = None,
    **fields: object,
) -> IndexedVideo:
    """One video. Its status follows from its people."""
    named = any(each.name for each in people)
    values: dict[str, object] = {
        "bucket": BUCKET,
        "etag": f"etag-{key}",
        "status": "recognised" if named else "unknown" if people else "no_face",
        "work_id": f"work-{key}",
        "duration_s": 60.0,
        "coverage": {
            "looks": 7,
            "faces": 9 if people else 0,
            "not_judged": NOT_JUDGED if people else dict.fromkeys(NOT_JUDGED, 0),
        },
        "gallery": "gallery-1",
        **fields,
    }
    return IndexedVideo(
        key=key,
        people=people,
        uploaded_s=uploaded_s,
        finished_s=uploaded_s + 5 if finished_s is None else finished_s,
        **values,  # type: ignore[arg-type]
    )


def samples() -> list[IndexedVideo]:
    """Six videos. Ada is in three of them, Ben in two, and two videos have unknown people."""
    return [
        indexed(
            "lectures/1.mp4",
            appearance(0, "Ada Lovelace", (0.0, 20.0), (30.0, 55.5)),
            appearance(1, "Ben Bitdiddle", (10.0, 12.0), distance=0.55),
            appearance(2, "", (40.0, 41.0), distance=0.71),
            kept="pictures",
        ),
        indexed("lectures/2.mp4", appearance(0, "Ada Lovelace"), uploaded_s=T0 + DAY_S),
        indexed(
            "door/ä+b %41.mp4",
            appearance(0, "Ben Bitdiddle"),
            appearance(1, "Ada Lovelace"),
            uploaded_s=T0 + 2 * DAY_S,
            kept="encodings",
            corrected=True,
        ),
        indexed(
            "door/4.mp4",
            appearance(0, "", distance=None),
            appearance(1, ""),
            uploaded_s=T0 + 3 * DAY_S,
        ),
        indexed("door/5.mp4", uploaded_s=T0 + 4 * DAY_S),
        indexed(
            "broken.mp4",
            status="error",
            error_code="not_a_video",
            error_message="'broken.mp4' cannot be decoded",
            coverage={},
            uploaded_s=T0 + 5 * DAY_S,
        ),
    ]
