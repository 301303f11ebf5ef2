"""One seeded round: a hundred videos are sent while things break; then everything is checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from support.fault_workload import NO_VIDEO, SCENES, Workload
from support.faulty_flow import FaultyFlow
from support.faulty_proxy import BREAKS
from support.invariant import Verdict

VIDEOS = 100
ACTS = 3
BAD_SHARE = 0.05

FAULTS_OF_LINK = {
    "function-s3": (*BREAKS, "slow_down", "s3_500"),
    "function-dynamodb": (*BREAKS, "throughput", "throttling"),
    "trigger-function": (*BREAKS, "busy", "function_500", "function_503", "bad_gateway"),
    "trigger-s3": (*BREAKS, "slow_down", "s3_500"),
    "store-trigger": (*BREAKS, "unavailable"),
}


def play_round(flow: FaultyFlow, seed: int, videos: int = VIDEOS) -> Verdict:
    """The same seed sends the same videos, and breaks the same things after as many of them."""
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
    """One in twenty is no video."""
    good, bad = sorted(SCENES), sorted(NO_VIDEO)
    return [dice.choice(bad if dice.random() < BAD_SHARE else good) for _ in range(videos)]


def possible_acts(dice: random.Random, flow: FaultyFlow) -> Mapping[str, Callable[[], None]]:
    """What can die, by name."""
    down_s = dice.uniform(0.2, 1.5)
    return {
        "trigger": flow.kill_trigger,
        "worker": flow.kill_worker,
        "function": flow.kill_function,
        "store": lambda: flow.kill_store(down_s),
        "dynamodb": lambda: flow.cut(down_s, "function-dynamodb"),
        "network": lambda: flow.cut(down_s, "trigger-function", "store-trigger"),
    }


def draw_acts(
    dice: random.Random, possible: Mapping[str, Callable[[], None]], videos: int
) -> list[tuple[int, Callable[[], None]]]:
    """After how many settled videos what happens; all before half of them are settled, because
    videos whose events are lost are found only in the end."""
    moments = sorted(dice.randrange(videos // 2) for _ in range(ACTS))
    return [(after, possible[dice.choice(sorted(possible))]) for after in moments]


def weaken_links(dice: random.Random, flow: FaultyFlow) -> None:
    """Two links lose one request in fifty to one in eight."""
    for name in dice.sample(sorted(FAULTS_OF_LINK), 2):
        rate = dice.uniform(0.02, 0.12)
        flow.links[name].break_at_random(dice.randrange(1 << 30), rate, FAULTS_OF_LINK[name])
