"""Inject each fault on each link, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from support.fault_round import FAULTS_OF_LINK
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.invariant import Outcome

from rollcall.core.retry import RetryPolicy

FEW_ATTEMPTS = RetryPolicy().max_unexpected_attempts


def endure(flow: FaultyFlow, link: str, kinds: Sequence[str], contents: list[str]) -> Outcome:
    """Upload the videos while these faults happen on the link, one after the other."""
    before = flow.links[link].injected.copy()
    flow.links[link].break_next(*kinds)
    with Workload(flow, f"{link}-{'-'.join(dict.fromkeys(kinds))}/", contents) as workload:
        flow.wait(
            lambda: Counter(kinds) <= flow.links[link].injected - before, f"all faults of {kinds}"
        )
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.dead_letters) == (len(contents), 0)
    return outcome


@pytest.mark.parametrize("link", FAULTS_OF_LINK)
def test_no_fault_of_a_link_loses_a_video(flow: FaultyFlow, link: str) -> None:
    kinds = FAULTS_OF_LINK[link]
    endure(flow, link, kinds, ["one", "two"] * len(kinds))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """A flow whose calls time out before a stalled link resets them, and with few attempts."""
    values = {"FUNCTION_TIMEOUT_S": "5", "MAX_ATTEMPTS": str(FEW_ATTEMPTS), "RECONCILE_S": "2"}
    with FaultyFlow(tmp_path_factory.mktemp("impatient"), overrides=values) as running:
        running.links["trigger-function"].stall_s = 8.0
        yield running


def test_a_call_without_an_answer_times_out_and_is_retried(impatient: FaultyFlow) -> None:
    outcome = endure(impatient, "trigger-function", ["stall"] * 2, ["one", "two"])
    assert outcome.repeats >= 2
    log = impatient.trigger.log.read_text()
    assert "ReadTimeout" in log


def test_a_function_that_is_busy_for_long_loses_no_video(impatient: FaultyFlow) -> None:
    """The function answers 429 many more times than a video may fail."""
    contents = ["one", "two", "nobody"]
    outcome = endure(impatient, "trigger-function", ["busy"] * 6 * FEW_ATTEMPTS, contents)
    assert outcome.repeats >= 6 * FEW_ATTEMPTS


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("function_500", "internal"),
        ("function_503", "store_unavailable"),
        ("bad_gateway", "http_502"),
        ("reset", "no_answer"),
    ],
)
def test_a_permanent_fault_makes_dead_letters_that_can_be_replayed(
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
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.dead_letters) == (2, 0)


def test_lost_answers_leave_no_dead_letter_if_there_is_a_result(impatient: FaultyFlow) -> None:
    impatient.links["trigger-function"].break_at_random(1, 1.0, ("lost", "half"))
    with Workload(impatient, "answers-lost/", ["one", "two"]) as workload:
        workload.wait_settled(2)
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.repeats) == (2, 2 * (FEW_ATTEMPTS - 1))
    assert {row.code for row in impatient.works("answers-lost/")} == {"result_found"}
