"""The strip of a video, and the texts of the pages' filters."""

from __future__ import annotations

from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.web.formats import ALIKE, FILTERS, clock, counted, lane, person_url, video_lane, when
from rollcall.web.strips import HEIGHT, WIDTH, strip_text, ticks


def seen(number: int, name: str, *intervals: tuple[float, float]) -> Appearance:
    return Appearance(number, name, 0.0, 0.0, 1, None, intervals=intervals)


def video(*people: Appearance, duration_s: float = 100.0) -> IndexedVideo:
    return IndexedVideo("b", "x.mp4", "e", "recognised", duration_s=duration_s, people=people)


def test_ticks_are_where_people_were_seen() -> None:
    found = ticks(video(seen(0, "Ada", (10, 20), (50, 100)), seen(1, "", (0, 50))), lane)
    assert [(tick.x, tick.width) for tick in found] == [(100, 100), (500, 500), (0, 500)]
    assert [tick.lane for tick in found] == [lane("Ada"), lane("Ada"), "x"]
    assert [tick.y for tick in found] == [0, 0, HEIGHT // 2]


def test_short_ticks_stay_visible_and_near_ones_are_joined() -> None:
    found = ticks(video(seen(0, "Ada", (0, 0.01), (0.5, 0.6), (100, 100))), lane)
    assert [(tick.x, tick.width) for tick in found] == [(0, 9), (WIDTH - 4, 4)]


def test_a_strip_without_a_length_is_empty() -> None:
    assert ticks(video(seen(0, "Ada", (0, 0)), duration_s=0.0), lane) == []


def test_a_strip_holds_intervals_after_the_stated_end() -> None:
    found = ticks(video(seen(0, "Ada", (50, 200))), lane)
    assert [(tick.x, tick.width) for tick in found] == [(250, 750)]


def test_a_strip_is_also_written_in_words() -> None:
    assert strip_text(video(seen(0, "Ada"), seen(1, ""), seen(2, ""))) == "Seen: Ada, 2 unknown"
    assert strip_text(video()) == "Nobody was seen"


def test_a_person_has_the_same_colour_everywhere() -> None:
    assert lane("Ada") == lane("Ada")
    assert {lane(f"person {number}") for number in range(100)} == {str(n) for n in range(8)}


def test_people_of_one_video_have_different_colours_while_some_are_free() -> None:
    names = [name for name in map(str, range(100)) if lane(name) == "0"][:9]
    colour = video_lane(["", *names, names[0]])
    assert [colour(name) for name in names] == [*"01234675", "0"]
    assert colour("") == "x"
    assert ALIKE[0] == 5  # which is given last


def test_the_strip_has_the_colours_of_the_page() -> None:
    names = [name for name in map(str, range(100)) if lane(name) == "3"][:2]
    found = FILTERS["ticks"](video(*(seen(n, name, (0, 9)) for n, name in enumerate(names))))
    assert [tick.lane for tick in found] == ["3", "4"]


def test_texts_of_filters() -> None:
    assert [clock(0), clock(61.4), clock(3661)] == ["0:00", "1:01", "1:01:01"]
    assert counted(1, "video") == "1 video"
    assert counted(1200, "person", "people") == "1,200 people"
    assert person_url("A/B é") == "/people/by-name/A%2FB%20%C3%A9"
    assert 'datetime="1970-01-01T00:00:01+00:00"' in when(1.7)
    assert " data-exact>" in when(0, exact=True)
