"""`make soak MINUTES=60`: seeded rounds of faults for as long as wished, and the totals.

The trigger is the product's own, with its own waits. The exit code is 0 when every round was right.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import click
from support.fault_round import VIDEOS, play_round
from support.faulty_flow import FaultyFlow
from support.invariant import Verdict


@dataclass(slots=True)
class Totals:
    """Over all rounds."""

    rounds: int = 0
    videos: int = 0
    results: int = 0
    dead_letters: int = 0
    given_up: int = 0
    calls: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.rounds += 1
        self.videos += verdict.videos
        self.results += verdict.results
        self.dead_letters += verdict.dead_letters
        self.given_up += len(verdict.given_up)
        self.calls += verdict.calls
        self.wrong += verdict.wrong

    def lines(self, faults: Counter[str]) -> list[str]:
        return [
            f"{'rounds':32}{self.rounds:8}",
            f"{'videos sent':32}{self.videos:8}",
            f"{'results':32}{self.results:8}",
            f"{'dead letters':32}{self.dead_letters:8}",
            f"{'  of good videos, given up':32}{self.given_up:8}",
            f"{'repeats (calls beyond the first)':32}{self.calls - self.videos:8}",
            f"{'losses':32}{self.videos - self.results - self.dead_letters:8}",
            f"{'violations':32}{len(self.wrong):8}",
            f"{'faults injected':32}{faults.total():8}",
            *(f"  {kind:30}{count:8}" for kind, count in sorted(faults.items())),
        ]


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(min=0), default=60.0, help="How long.")
@click.option("--seed", type=int, help="Of the first round; chance when not given.")
@click.option("--store", type=click.Choice(["embedded", "ceph"]), default="embedded")
@click.option("--videos", type=click.IntRange(min=4), default=VIDEOS, help="In each round.")
def main(minutes: float, seed: int | None, store: Literal["embedded", "ceph"], videos: int) -> None:
    """Break the flow on purpose, round after round, and check every video."""
    first = random.randrange(1_000_000) if seed is None else seed
    folder = Path(mkdtemp(prefix="rollcall-soak-"))
    click.echo(f"seed {first}, store {store}, {minutes:g} minutes, logs in {folder}")
    totals = Totals()
    with FaultyFlow(folder, store, quick=False) as flow:
        soak(flow, totals, first, minutes, videos)
        faults = flow.injected()
    click.echo("\n".join(totals.lines(faults)))
    if not totals.wrong:
        shutil.rmtree(folder)
    sys.exit(1 if totals.wrong else 0)


def soak(flow: FaultyFlow, totals: Totals, first: int, minutes: float, videos: int) -> None:
    """At least one round. What is wrong ends it, with everything left as it is."""
    end = time.monotonic() + minutes * 60
    seed, before = first, flow.injected()
    while not totals.wrong and (seed == first or time.monotonic() < end):
        started = time.monotonic()
        try:
            verdict = play_round(flow, seed, videos)
        except AssertionError as error:
            totals.wrong.append(f"seed {seed}: {error}")
            break
        totals.add(verdict)
        faults = flow.injected()
        click.echo(
            f"seed {seed}: {verdict.videos} videos, {verdict.results} results,"
            f" {verdict.dead_letters} dead letters, {verdict.repeats} repeats,"
            f" {(faults - before).total()} faults, {time.monotonic() - started:.1f} s"
        )
        for sentence in verdict.given_up:
            click.echo(f"given up: {sentence}")
        seed, before = seed + 1, faults
    for sentence in totals.wrong:
        click.echo(f"WRONG {sentence}")


if __name__ == "__main__":
    main()
