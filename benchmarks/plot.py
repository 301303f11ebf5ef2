"""Draws one picture with the results of three sections: `clips`, `growth` and `throughput`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks import growth, throughput

REFERENCE, OURS, SECOND = "#b0b7c3", "#1f6feb", "#e8833a"
INK, GRID = "#24292f", "#e4e7ec"
STYLE: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c959f",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 26,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
INCHES, DPI = (5.4, 4.6), 150
PLAIN = FuncFormatter(lambda value, _: f"{value:,.10g}")


def draw(results: Mapping[str, Any], path: Path) -> bool:
    """Write a PNG with a panel for each section that was measured.

    Returns False and writes nothing if none of the three sections was measured.
    """
    drawn = [name for name in PANELS if name in results]
    if not drawn:
        return False
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.18, h_pad=0.12)
        figure = Figure(figsize=(INCHES[0] * len(drawn), INCHES[1]), layout=layout)
        for name, axes in zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True):
            PANELS[name](axes, results[name])
        # The file does not name matplotlib's version, so that equal results give equal files.
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return True


def _clips(axes: Axes, clips: list[dict[str, Any]]) -> None:
    names = [clip["video"].removesuffix(".mp4") for clip in clips]
    places = range(len(clips))
    for shift, flow, colour, label in (
        (0.2, "reference", REFERENCE, "reference"),
        (-0.2, "rollcall", OURS, "Rollcall"),
    ):
        values = [clip["cpu_ms"][flow] for clip in clips]
        bars = axes.barh([p - shift for p in places], values, 0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
    axes.set_xscale("log")
    every = [clip["cpu_ms"][flow] for clip in clips for flow in ("reference", "rollcall")]
    axes.set_xlim(10 ** math.floor(math.log10(min(every))), 3 * max(every))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    _title(axes, "CPU per clip", "ms, logarithmic; less is better")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, fontsize=9, borderpad=0)


def _growth(axes: Axes, found: list[dict[str, Any]]) -> None:
    for scan, colour in (("timeline", SECOND), ("identify", OURS)):
        points = growth.cpu_ms(found, scan)
        seconds = [ms / 1000 for ms in points.values()]
        axes.plot(list(points), seconds, "o-", color=colour, linewidth=2, markersize=5)
        last = max(points)
        axes.annotate(
            f"{scan}: {points[last] / 1000:.3g} s",
            (last, points[last] / 1000),
            xytext=(0, 9),
            textcoords="offset points",
            ha="right",
            color=colour,
            fontweight="bold",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    lengths = sorted({each["length_s"] for each in found})
    axes.set_xticks(lengths, [_length(each) for each in lengths])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PLAIN)
    axes.margins(y=0.15)
    axes.grid()
    _title(
        axes, "CPU against the length of the video", "seconds of CPU, 720p; both axes logarithmic"
    )


def _throughput(axes: Axes, result: dict[str, Any]) -> None:
    flows = [(store, name) for store, flows in result.items() for name in flows]
    values = [throughput.per_s(result[store][name]) for store, name in flows]
    colours = [OURS if name == "rollcall" else REFERENCE for _, name in flows]
    labels = [f"{'Rollcall' if name == 'rollcall' else name}\n{store}" for store, name in flows]
    bars = axes.bar(labels, values, 0.6, color=colours)
    axes.bar_label(bars, [f"{value:.1f}" for value in values], padding=3, fontweight="bold")
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(y=0.12)
    axes.grid(axis="y")
    cores = next(iter(next(iter(result.values())).values()))["cores"]
    note = f"videos a second on {cores} cores, store included"
    _title(axes, "The whole flow", note)


def _title(axes: Axes, title: str, note: str) -> None:
    axes.set_title(title)
    axes.annotate(
        note,
        (0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color="#57606a",
    )


def _length(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds / 60:g} min"


PANELS: Mapping[str, Callable[[Axes, Any], None]] = {
    "clips": _clips,
    "growth": _growth,
    "throughput": _throughput,
}
