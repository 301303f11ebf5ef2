"""Writes the page of `rollcall recognise --html`: one file that opens without a network.

Pictures are data URLs, and the page has no script, so that it can be sent to somebody and opened
anywhere. The content security policy forbids everything else.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from rollcall.atomic_files import replace_file
from rollcall.cli.result_pictures import PersonPicture, PicturesNotSaved, clock
from rollcall.core.printable import printable

MAX_PEOPLE = 200
"""Limit for the lanes of one video. Further people are counted."""

MAX_INTERVALS = 2000
"""Limit for the intervals that are drawn in one lane."""

MAX_LISTED = 30
"""Limit for the intervals of a person that are listed as text."""

LANE_PX = 1000
"""Width of a lane in the units of its picture."""

MIN_MARK_PX = 4
"""Smallest width of an interval, so that a single look can be seen."""

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1f2933; --soft: #52606d; --line: #d9dee4;
  --fill: #f2f4f7; }
@media (prefers-color-scheme: dark) { :root { --back: #14191f; --text: #e4e9ee; --soft: #9fb0c0;
  --line: #303a45; --fill: #1e252d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 16px; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 24px; } h2 { font-size: 18px; margin: 0; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 16px; margin: 16px 0; }
p { margin: 4px 0; color: var(--soft); } .error { color: inherit; font-weight: 600; }
table { width: 100%; border-collapse: collapse; margin-top: 8px; }
th, td { text-align: left; vertical-align: top; padding: 8px 12px 8px 0;
  border-top: 1px solid var(--line); font-weight: normal; }
th { width: 15rem; } .name { font-weight: 600; overflow-wrap: anywhere; }
.person { display: flex; gap: 12px; }
.face { width: 64px; height: 64px; border-radius: 8px; object-fit: cover; background: var(--fill);
  flex: none; display: grid; place-items: center; font-size: 24px; color: var(--soft); }
.lane { width: 100%; height: 24px; display: block; background: var(--fill); border-radius: 4px; }
.times { font-size: 13px; color: var(--soft); }
.axis { display: flex; justify-content: space-between; font-size: 13px; color: var(--soft); }
@media (max-width: 720px) { th, td { display: block; width: auto; }
  td { border-top: 0; padding-top: 0; } thead { display: none; } }
"""

_PAGE = Markup("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{about}</p>
{videos}
</main>
</body>
</html>
""")

_VIDEO = Markup("""<section aria-label="{title}">
<h2>{title}</h2>
{facts}
{table}
</section>
""")

_TABLE = Markup("""<table>
<thead><tr><th scope="col">Person</th><td><div class="axis">{ticks}</div></td></tr></thead>
<tbody>
{rows}
</tbody>
</table>
""")

_ROW = Markup("""<tr><th scope="row"><div class="person">{face}
<div><div class="name">{name}</div><div class="times">{facts}</div></div></div></th>
<td><svg class="lane" viewBox="0 0 {width} 24" preserveAspectRatio="none" role="img"
  aria-label="{label}">{marks}</svg><div class="times">{times}</div></td></tr>
""")


class PageVideo(NamedTuple):
    """A video on the page."""

    document: dict[str, Any]
    """The command's JSON about it."""
    end_s: float
    people: list[PersonPicture]


def write_page(path: Path, videos: Sequence[PageVideo], gallery: str) -> None:
    """Write the page. Only its owner may read it. Raises PicturesNotSaved."""
    try:
        replace_file(path, page_html(videos, gallery).encode(), durable=False)
    except OSError as error:
        raise PicturesNotSaved(f"{str(path)!r} cannot be written: {error.strerror}") from error


def page_html(videos: Sequence[PageVideo], gallery: str) -> str:
    """The page as text. `gallery` is the version of the gallery."""
    count = f"{len(videos)} video" + ("" if len(videos) == 1 else "s")
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    about = f"{count}, recognised with the gallery {gallery} on {now}."
    body = Markup().join(_video(video) for video in videos)
    style = Markup(STYLE)  # noqa: S704 (a constant)
    return str(_PAGE.format(title="Who is in these videos", style=style, about=about, videos=body))


def _video(video: PageVideo) -> Markup:
    document = video.document
    if document["error"]:
        facts = [Markup('<p class="error">{}</p>').format(f"error: {document['error']}")]
    else:
        facts = [Markup("<p>{}</p>").format(text) for text in _facts(video)]
    shown = video.people[:MAX_PEOPLE]
    table = Markup()
    if shown:
        ticks = [Markup("<span>{}</span>").format(clock(video.end_s * n / 4)) for n in range(5)]
        rows = Markup().join(_row(person, video.end_s) for person in shown)
        table = _TABLE.format(ticks=Markup().join(ticks), rows=rows)
    if more := len(video.people) - len(shown):
        facts.append(Markup("<p>{} more people are not shown.</p>").format(more))
    # Without its folder, because the page may be sent to somebody.
    title = printable(Path(document["video"]).name)
    return _VIDEO.format(title=title, facts=Markup("\n").join(facts), table=table)


def _facts(video: PageVideo) -> list[str]:
    """Length, coverage, and what the result does not say, in sentences."""
    coverage = video.document["coverage"]
    looks = coverage["looks"]
    texts = [f"{clock(video.end_s)} long. {looks} frame{'' if looks == 1 else 's'} searched."]
    if not video.people:
        texts.append("Nobody was recognised.")
    missed = {name: n for name, n in coverage["not_judged"].items() if n}
    if missed:
        counts = ", ".join(f"{number} {name}" for name, number in missed.items())
        texts.append(f"Faces that could not be judged: {counts}.")
    return texts + [f"{limit[:1].upper()}{limit[1:]}." for limit in video.document["limits"]]


def _row(person: PersonPicture, end_s: float) -> Markup:
    intervals = person.document["intervals"]
    scale = LANE_PX / max(end_s, 0.001)
    marks = Markup().join(
        _mark(start * scale, max(MIN_MARK_PX, (end - start) * scale), person.colour)
        for start, end in intervals[:MAX_INTERVALS]
    )
    spans = [
        clock(start) if start == end else f"{clock(start)} to {clock(end)}"
        for start, end in intervals[:MAX_LISTED]
    ]
    if more := len(intervals) - len(spans):
        spans.append(f"{more} more")
    distance = person.document["distance"]
    facts = [
        person.document["certainty"],
        f"distance {distance:.2f}" if distance is not None else "",
    ]
    return _ROW.format(
        face=_face(person),
        name=person.label,
        facts=", ".join(filter(None, facts)),
        width=LANE_PX,
        label=f"{person.label}: {', '.join(spans)}",
        marks=marks,
        times=", ".join(spans),
    )


def _mark(x: float, width: float, colour: str) -> Markup:
    x = min(x, LANE_PX - width)
    return Markup('<rect x="{:.1f}" y="4" width="{:.1f}" height="16" fill="{}"/>').format(
        x, width, colour
    )


def _face(person: PersonPicture) -> Markup:
    if person.jpeg is None:
        initial = person.name[:1].upper() or "?"
        return Markup('<span class="face" aria-hidden="true">{}</span>').format(initial)
    url = "data:image/jpeg;base64," + base64.b64encode(person.jpeg).decode()
    return Markup('<img class="face" alt="" src="{}">').format(url)
