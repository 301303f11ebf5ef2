"""One round of faults: upload videos while processes and links break, then check each video."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from support.fault_workload import NOT_VIDEOS, SCENES, Workload
from support.faulty_flow import FaultyFlow
from support.faulty_link import BREAKS
from support.invariant import Outcome
from support.postgres_pair import PostgresPair

VIDEOS = 100
ACTS = 3
"""Number of times in a round that a process is killed or a link is cut."""
NOT_VIDEO_PROBABILITY = 0.05
"""Probability that an upload is not a video."""

FAULTS_OF_LINK = {
    "function-s3": (*BREAKS, "slow_down", "s3_500"),
    "function-dynamodb": (*BREAKS, "throughput", "throttling"),
    "trigger-function": (*BREAKS, "busy", "function_500", "function_503", "bad_gateway"),
    "trigger-s3": (*BREAKS, "slow_down", "s3_500"),
    "store-trigger": (*BREAKS, "unavailable"),
}
"""Faults by link. The links of the second trigger have the faults of those of the first one."""

MIN_RATE, MAX_RATE = 0.02, 0.12
DATABASE_RATE = 0.004
"""Probability of a fault in a request to the database. One video needs many such requests."""


def play_round(flow: FaultyFlow, seed: int, videos: int = VIDEOS) -> Outcome:
    """Play a round. The seed decides which files are uploaded, and which faults happen when."""
    dice = random.Random(seed)
    contents = draw_contents(dice, videos)
    acts = draw_acts(dice, possible_acts(dice, flow), videos)
    weaken_links(dice, flow)
    with Workload(flow, f"round-{seed:06}/", contents) as workload:
        for after, act in acts:
            workload.wait_settled(after)
            act()
        return workload.finish()


def draw_contents(dice: random.Random, videos: int) -> list[str]:
    """Choose the contents to upload; about 5% are not videos."""
    good, bad = sorted(SCENES), sorted(NOT_VIDEOS)
    return [
        dice.choice(bad if dice.random() < NOT_VIDEO_PROBABILITY else good) for _ in range(videos)
    ]


def possible_acts(dice: random.Random, flow: FaultyFlow) -> Mapping[str, Callable[[], None]]:
    """Return the functions that kill a process or cut a link of the flow, by name."""
    down_s = dice.uniform(0.2, 1.5)
    possible: dict[str, Callable[[], None]] = {
        "worker": flow.kill_worker,
        "function": flow.kill_function,
        "store": lambda: flow.kill_store(down_s),
        "dynamodb": lambda: flow.cut(down_s, "function-dynamodb"),
        "network": lambda: flow.cut(down_s, "trigger-function", "store-trigger"),
    }
    for trigger in flow.triggers:
        possible[trigger.name] = partial(flow.kill_trigger, trigger.number)
    if isinstance(flow.database, PostgresPair):
        possible["failover"] = flow.fail_over
    elif flow.database is not None:
        link = dice.choice(flow.links_to("database"))
        possible["database"] = lambda: flow.kill_database(down_s)
        possible["database-network"] = lambda: flow.cut(down_s, link)
    return possible


def draw_acts(
    dice: random.Random, possible: Mapping[str, Callable[[], None]], videos: int
) -> list[tuple[int, Callable[[], None]]]:
    """Choose acts, each with the number of settled videos (done or dead letters) to wait for.

    All numbers are below half of `videos`. Videos whose events are lost settle late, so a larger
    number might be reached only at the end of the round.
    """
    moments = sorted(dice.randrange(videos // 2) for _ in range(ACTS))
    return [(after, possible[dice.choice(sorted(possible))]) for after in moments]


def weaken_links(dice: random.Random, flow: FaultyFlow) -> None:
    """Make two links fail at random, each in 2% to 12% of its requests.

    If there is a PostgreSQL server, the link of one trigger to it fails rarely, too.
    """
    names = [name for name in flow.links if not name.endswith("-database")]
    for name in dice.sample(sorted(names), 2):
        rate = dice.uniform(MIN_RATE, MAX_RATE)
        flow.links[name].break_at_random(dice.randrange(1 << 30), rate, faults_of(name))
    if flow.database is not None and not isinstance(flow.database, PostgresPair):
        name = dice.choice(flow.links_to("database"))
        flow.links[name].break_at_random(dice.randrange(1 << 30), DATABASE_RATE, BREAKS)


def faults_of(link: str) -> Sequence[str]:
    """The faults of a link, also of one of several triggers."""
    return FAULTS_OF_LINK[re.sub(r"^trigger\d+", "trigger", link)]
