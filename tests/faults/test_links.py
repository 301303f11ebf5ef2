"""Each fault in each link, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from support.fault_round import FAULTS_OF_LINK
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.invariant import Verdict

from rollcall.core.retry import FEW_ATTEMPTS


def endure(flow: FaultyFlow, link: str, kinds: Sequence[str], contents: list[str]) -> Verdict:
    """Each of these faults happens once in the link while the videos are sent."""
    before = flow.links[link].injected.copy()
    flow.links[link].break_next(*kinds)
    with Workload(flow, f"{link}-{'-'.join(dict.fromkeys(kinds))}/", contents) as workload:
        flow.wait(lambda: Counter(kinds) <= flow.links[link].injected - before, f"all of {kinds}")
        verdict = workload.finish()
    assert not verdict.wrong
    assert (verdict.results, verdict.dead_letters) == (len(contents), 0)
    return verdict


@pytest.mark.parametrize("link", FAULTS_OF_LINK)
def test_every_fault_of_a_link_is_survived(flow: FaultyFlow, link: str) -> None:
    kinds = FAULTS_OF_LINK[link]
    endure(flow, link, kinds, ["one", "two"] * len(kinds))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """Gives a call up before a stalled link does, and a video after three attempts."""
    values = {"FUNCTION_TIMEOUT_S": "5", "MAX_ATTEMPTS": str(FEW_ATTEMPTS), "RECONCILE_S": "2"}
    with FaultyFlow(tmp_path_factory.mktemp("impatient"), overrides=values) as running:
        running.links["trigger-function"].stall_s = 8.0
        yield running


def test_a_function_that_never_answers_is_given_up_and_called_again(impatient: FaultyFlow) -> None:
    verdict = endure(impatient, "trigger-function", ["stall"] * 2, ["one", "two"])
    assert verdict.repeats >= 2
    log = impatient.trigger.log.read_text()
    assert "ReadTimeout" in log


def test_being_busy_for_long_costs_no_video(impatient: FaultyFlow) -> None:
    """Many times as often as a video may fail."""
    contents = ["one", "two", "nobody"]
    verdict = endure(impatient, "trigger-function", ["busy"] * 6 * FEW_ATTEMPTS, contents)
    assert verdict.repeats >= 6 * FEW_ATTEMPTS


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("function_500", "internal"),
        ("function_503", "store_unavailable"),
        ("bad_gateway", "http_502"),
        ("reset", "no_answer"),
    ],
)
def test_what_never_gets_better_is_a_dead_letter_and_can_be_replayed(
    impatient: FaultyFlow, kind: str, code: str
) -> None:
    prefix = f"hopeless-{kind}/"
    impatient.links["trigger-function"].break_at_random(1, 1.0, (kind,))
    with Workload(impatient, prefix, ["one", "stranger"]) as workload:
        workload.wait_settled(2)
        dead = impatient.works(prefix)
        assert [(row.state, row.code, row.calls) for row in dead] == [
            ("dead", code, FEW_ATTEMPTS)
        ] * 2
        assert all(f"after {FEW_ATTEMPTS} attempts" in row.message for row in dead)
        impatient.mend()
        assert impatient.replay() == 2
        verdict = workload.finish()
    assert not verdict.wrong
    assert (verdict.results, verdict.dead_letters) == (2, 0)


def test_lost_answers_leave_no_dead_letter_beside_the_result(impatient: FaultyFlow) -> None:
    impatient.links["trigger-function"].break_at_random(1, 1.0, ("lost", "half"))
    with Workload(impatient, "answers-lost/", ["one", "two"]) as workload:
        workload.wait_settled(2)
        verdict = workload.finish()
    assert not verdict.wrong
    assert (verdict.results, verdict.repeats) == (2, 2 * (FEW_ATTEMPTS - 1))
    assert {row.code for row in impatient.works("answers-lost/")} == {"result_found"}
