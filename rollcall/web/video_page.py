"""One video: the player, and who was there and when. `video_changes` has what its forms do."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, g, make_response, render_template, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from rollcall.core.coverages import limits_in, stopped_at_s
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.work import Work
from rollcall.index.video_queries import VideoQueries
from rollcall.web import video_texts as texts
from rollcall.web.formats import video_lane
from rollcall.web.given_names import GivenName, given_names
from rollcall.web.lanes import Lane, Rest, Tick, labelled, lanes, length_s, rest_after, ticks
from rollcall.web.parts import parts
from rollcall.web.polling import last_poll
from rollcall.web.shown_people import person_version
from rollcall.web.typed_names import RefusedName, refused_name

pages = Blueprint("video", __name__)

URL_EXPIRES_S = 4 * 3600
"""How long the player's URL is valid. A lecture can be watched with breaks."""

MAX_ATTEMPTS_SHOWN = 20
MAX_LISTED = 200
"""People in the list with the forms. The table has more."""

MAX_TABLE_ROWS = 2_000
MAX_TABLE_TIMES = 20_000
"""Intervals in the whole table."""

INDEXED_S = 60.0
"""Time after which a result is in the index. The trigger ends the work first."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that change on the page while the video is recognised or corrected."""

    id: int
    video: IndexedVideo
    history: list[Work]
    waits_for_correction: bool
    at_s: float
    """When these facts were read. The index has everything that was finished INDEXED_S before."""
    given: Mapping[int, GivenName]
    """The people whose names somebody has given, by their numbers."""

    @property
    def follows(self) -> bool:
        """Whether the facts may change by themselves, so that the page asks for them again."""
        ended_s = max((work.changed_s for work in self.history), default=0.0)
        return bool(self.busy) or self.at_s - ended_s < INDEXED_S

    @property
    def busy(self) -> str:
        """A sentence about work on the video; empty if there is none."""
        states = {work.state for work in self.history}
        if "running" in states:
            return "The video is being recognised."
        if "queued" in states:
            return "The video waits to be recognised again."
        if self.waits_for_correction:
            return "The faces are being compared with the gallery again."
        return ""

    @property
    def version(self) -> str:
        """A text that changes with everything that these facts show."""
        works = [(work.id, work.state, work.calls) for work in self.history]
        shown = repr((self.video, works, self.busy, self.given))
        return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def lanes(self) -> list[Lane]:
        return lanes(self.video, {number: given.words for number, given in self.given.items()})

    @property
    def colours(self) -> dict[int, str]:
        """The lane colours of people, by their numbers."""
        colour = video_lane(seen.name for seen in self.video.people)
        return {seen.number: colour(seen.name) for seen in self.video.people}

    @property
    def everybody(self) -> list[tuple[Appearance, str]]:
        return labelled(self.video.people)[:MAX_TABLE_ROWS]

    @property
    def listed(self) -> list[tuple[Appearance, str]]:
        return self.everybody[:MAX_LISTED]

    @property
    def table_times(self) -> int:
        """How many intervals of each person the table has."""
        return MAX_TABLE_TIMES // max(len(self.video.people), 1)

    @property
    def length_s(self) -> float:
        return length_s(self.video)

    @property
    def ticks(self) -> list[Tick]:
        return ticks(self.length_s)

    @property
    def stopped_at_s(self) -> float | None:
        return stopped_at_s(self.video.coverage)

    @property
    def limits(self) -> list[str]:
        return limits_in(self.video.coverage)

    @property
    def not_searched(self) -> Rest | None:
        return rest_after(self.stopped_at_s, self.length_s)

    @property
    def correctable(self) -> bool:
        return self.video.kept != "none"

    def person_version(self, seen: Appearance) -> str:
        return person_version(self.video, seen)


@pages.get("/videos/<int:video_id>")
def video(video_id: int) -> str:
    """The page of one video."""
    facts = facts_of(video_id)
    found = facts.video
    playable = found.bucket == parts().settings.input_bucket
    name = found.key.rpartition("/")[2]
    url = _url(found) if playable else ""
    _allow_media(url)
    return render_template(
        "video.html",
        facts=facts,
        name=name,
        folder=found.key.rpartition("/")[0],
        url=url,
        download_url=_url(found, name) if playable else "",
        plays=playable and texts.plays_in_browsers(found.key),
        texts=texts,
        refused=refused_name(),
    )


@pages.get("/videos/<int:video_id>/facts")
def facts_part(video_id: int) -> Response:
    """The part of the page that changes, unless the browser shows this version already."""
    facts = facts_of(video_id)
    if request.args.get("version") == facts.version:
        return Response(status=204) if facts.follows else last_poll()
    return make_response(changing_part(facts))


def facts_of(video_id: int) -> Facts:
    """The facts about a video. Raises NotFound."""
    at_s = time.time()
    named = indexed(video_id)
    history = parts().queue.history(named.bucket, named.key, MAX_ATTEMPTS_SHOWN)
    waits = VideoQueries(parts().database).waits_for_correction(named.bucket, named.key)
    # Read again after the work, because a page without work does not ask for a later result.
    found = indexed(video_id)
    return Facts(video_id, found, history, waits, at_s, given_names(found))


def indexed(video_id: int) -> IndexedVideo:
    """The result of a video. Raises NotFound."""
    found = parts().index.get(video_id)
    if found is None:
        raise NotFound
    return found


def changing_part(facts: Facts, refused: RefusedName | None = None) -> str:
    """The part of the page that changes, with the form whose name was refused."""
    return render_template("video_facts.html", facts=facts, texts=texts, refused=refused)


def _url(found: IndexedVideo, filename: str | None = None) -> str:
    return parts().store.presigned_url(found.bucket, found.key, URL_EXPIRES_S, filename)


def _allow_media(url: str) -> None:
    """Allow the player to load the video from the store, and from nowhere else."""
    address = urlsplit(url)
    g.media_origin = f"{address.scheme}://{address.netloc}" if url else ""
