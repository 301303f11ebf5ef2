"""Draws the distances in a gallery as an SVG picture that opens in every browser."""

from __future__ import annotations

from collections.abc import Iterator

from rollcall.core.gallery_findings import GalleryCheck, Histogram

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 24, 24, 72, 52
TICKS = 7

_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.soft { fill: #57606a; }
.same { fill: #0f766e; fill-opacity: .55; stroke: #0f766e; }
.different { fill: #b45309; fill-opacity: .35; stroke: #b45309; }
.axis, .tolerance { stroke: #24292f; }
.tolerance { stroke-width: 2; stroke-dasharray: 5 4; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9aa4b2; }
  .axis, .tolerance { stroke: #e6edf3; }
}
"""


def distance_plot(check: GalleryCheck) -> str:
    """Two histograms, each with its own scale, and the tolerance as a line between them."""
    return "\n".join(_lines(check)) + "\n"


def _lines(check: GalleryCheck) -> Iterator[str]:
    tolerance = check.tolerance.tolerance
    end = float(check.same_person.edges[-1])
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-labelledby="title">'
    )
    yield f'<title id="title">{_summary(check)}</title><style>{_STYLE}</style>'
    yield f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text class="title" x="{LEFT}" y="26">Distances between the faces of the gallery</text>'
    yield from _histogram(check.different_people, "different")
    yield from _histogram(check.same_person, "same")
    yield _legend(LEFT, "same", "same person", check.same_person)
    yield _legend(LEFT + 270, "different", "different people", check.different_people)
    bottom = HEIGHT - BOTTOM
    yield f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>'
    for number in range(TICKS):
        value = end * number / (TICKS - 1)
        yield (
            f'<text class="soft" text-anchor="middle" x="{_x(value, end):.1f}" y="{bottom + 20}">'
            f"{value:.2f}</text>"
        )
    x = _x(min(tolerance, end), end)
    yield f'<path class="tolerance" d="M{x:.1f} {TOP - 6}V{bottom}"/>'
    yield f'<text x="{x + 6:.1f}" y="{TOP + 6}">tolerance {tolerance:.2f}</text>'
    yield (
        f'<text class="soft" x="{LEFT}" y="{HEIGHT - 10}">distance (smaller is more alike);'
        " the heights of the two colours have different scales</text>"
    )
    yield "</svg>"


def _histogram(histogram: Histogram, name: str) -> Iterator[str]:
    highest = int(histogram.counts.max(initial=0))
    if not highest:
        return
    end, bottom = float(histogram.edges[-1]), HEIGHT - BOTTOM
    steps = [f"M{LEFT} {bottom}"]
    for count, right in zip(histogram.counts, histogram.edges[1:], strict=True):
        y = bottom - (bottom - TOP) * count / highest
        steps.append(f"V{y:.1f}H{_x(float(right), end):.1f}")
    yield f'<path class="{name}" d="{"".join(steps)}V{bottom}Z"/>'


def _legend(x: int, name: str, text: str, histogram: Histogram) -> str:
    pairs = int(histogram.counts.sum())
    return (
        f'<rect class="{name}" x="{x}" y="42" width="12" height="12"/>'
        f'<text x="{x + 20}" y="53">{text}: {pairs:,} pair{"" if pairs == 1 else "s"}</text>'
    )


def _summary(check: GalleryCheck) -> str:
    """The picture in words, for people who cannot see it."""
    beyond = _share(check.same_person, check.tolerance.tolerance, above=True)
    within = _share(check.different_people, check.tolerance.tolerance, above=False)
    return (
        f"Distances between the faces of {check.people} people. Beyond the tolerance"
        f" {check.tolerance.tolerance:.2f} are {beyond} of the pairs of one person, and within it"
        f" {within} of the pairs of different people."
    )


def _share(histogram: Histogram, tolerance: float, *, above: bool) -> str:
    pairs = int(histogram.counts.sum())
    if not pairs:
        return "none"
    nearer = int(histogram.counts[histogram.edges[1:] <= tolerance].sum())
    return f"{(pairs - nearer if above else nearer) / pairs:.1%}"


def _x(value: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / end
