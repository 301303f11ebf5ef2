"""`make soak MINUTES=60`: play rounds of faults for a given time, and print the totals.

`DATABASE=postgresql TRIGGERS=3` runs several triggers on one PostgreSQL, and `DATABASE=pair` on a
primary with a synchronous standby that takes over again and again.

The waits of the trigger are those of production. The exit code is 0 if no round had a violation,
otherwise 1.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import click
from support.fault_round import VIDEOS, play_round
from support.faulty_flow import FaultyFlow
from support.flow_database import OnePostgres
from support.invariant import Outcome
from support.postgres_pair import PostgresPair

SERVED: dict[str, type[OnePostgres] | type[PostgresPair]] = {
    "postgresql": OnePostgres,
    "pair": PostgresPair,
}


@dataclass(slots=True)
class Totals:
    """The sums of all rounds, and the violations."""

    rounds: int = 0
    videos: int = 0
    results: int = 0
    dead_letters: int = 0
    given_up: int = 0
    calls: int = 0
    orphans: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.rounds += 1
        self.videos += outcome.videos
        self.results += outcome.results
        self.dead_letters += outcome.dead_letters
        self.given_up += len(outcome.given_up)
        self.calls += outcome.calls
        self.orphans += outcome.orphans
        self.wrong += outcome.wrong

    def lines(self, faults: Counter[str]) -> list[str]:
        return [
            f"{'rounds':32}{self.rounds:8}",
            f"{'videos sent':32}{self.videos:8}",
            f"{'results':32}{self.results:8}",
            f"{'dead letters':32}{self.dead_letters:8}",
            f"{'  of valid videos':32}{self.given_up:8}",
            f"{'repeats (calls beyond the first)':32}{self.calls - self.videos:8}",
            f"{'  while an orphaned call ran':32}{self.orphans:8}",
            f"{'losses':32}{self.videos - self.results - self.dead_letters:8}",
            f"{'violations':32}{len(self.wrong):8}",
            f"{'faults injected':32}{faults.total():8}",
            *(f"  {kind:30}{count:8}" for kind, count in sorted(faults.items())),
        ]


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(min=0), default=60.0, help="Duration of the run.")
@click.option("--seed", type=int, help="Seed of the first round; random by default.")
@click.option("--store", type=click.Choice(["embedded", "ceph"]), default="embedded")
@click.option("--videos", type=click.IntRange(min=4), default=VIDEOS, help="Videos in each round.")
@click.option("--database", type=click.Choice(["sqlite", "postgresql", "pair"]), default="sqlite")
@click.option("--triggers", type=click.IntRange(min=1, max=9), default=1, help="Of one database.")
def main(
    minutes: float,
    seed: int | None,
    store: Literal["embedded", "ceph"],
    videos: int,
    database: Literal["sqlite", "postgresql", "pair"],
    triggers: int,
) -> None:
    """Inject faults into a flow, round after round, and check every video."""
    if database == "sqlite" and triggers > 1:
        raise click.UsageError("several triggers need --database postgresql or --database pair")
    first = random.randrange(1_000_000) if seed is None else seed
    folder = Path(mkdtemp(prefix="rollcall-soak-"))
    where = f"store {store}, database {database}, triggers {triggers}"
    click.echo(f"seed {first}, {where}, {minutes:g} minutes, logs in {folder}")
    totals = Totals()
    with ExitStack() as stack:
        served = stack.enter_context(SERVED[database]()) if database in SERVED else None
        running = FaultyFlow(folder, store, quick=False, triggers=triggers, database=served)
        flow = stack.enter_context(running)
        soak(flow, totals, first, minutes, videos)
        faults = flow.injected()
    click.echo("\n".join(totals.lines(faults)))
    if not totals.wrong:
        shutil.rmtree(folder)
    sys.exit(1 if totals.wrong else 0)


def soak(flow: FaultyFlow, totals: Totals, first: int, minutes: float, videos: int) -> None:
    """Play rounds for this time, but at least one. The first violation ends the run."""
    end = time.monotonic() + minutes * 60
    seed, before = first, flow.injected()
    while not totals.wrong and (seed == first or time.monotonic() < end):
        started = time.monotonic()
        try:
            outcome = play_round(flow, seed, videos)
        except AssertionError as error:
            totals.wrong.append(f"seed {seed}: {error}")
            break
        totals.add(outcome)
        faults = flow.injected()
        click.echo(
            f"seed {seed}: {outcome.videos} videos, {outcome.results} results,"
            f" {outcome.dead_letters} dead letters, {outcome.repeats} repeats,"
            f" {(faults - before).total()} faults, {time.monotonic() - started:.1f} s"
        )
        for sentence in outcome.given_up:
            click.echo(f"given up: {sentence}")
        seed, before = seed + 1, faults
    for sentence in totals.wrong:
        click.echo(f"WRONG {sentence}")


if __name__ == "__main__":
    main()
