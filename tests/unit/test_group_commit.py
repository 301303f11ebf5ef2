"""Changes of several threads are committed together, and fail one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
from sqlalchemy.exc import DataError, OperationalError
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable
from rollcall.queues.group_commit import MAX_ITEMS, GroupCommit


class Commits:
    """Doubles each number. The first commit waits until it is released."""

    def __init__(self, fail: Callable[[Sequence[int]], None] = lambda items: None) -> None:
        self.batches: list[list[int]] = []
        self.released = threading.Event()
        self._fail = fail

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if len(self.batches) == 1:
            assert self.released.wait(60)
        self._fail(items)
        return [2 * item for item in items]


def submit_during_a_commit(commits: Commits, numbers: Sequence[int]) -> list[object]:
    """Submit 0; while it is being committed, submit the numbers. Return outcomes and errors."""
    group = GroupCommit(commits)

    def submit(number: int) -> object:
        try:
            return group.submit(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(numbers) + 1) as pool:
        first = pool.submit(submit, 0)
        wait_until(lambda: commits.batches, "the first commit")
        others = [pool.submit(submit, number) for number in numbers]
        wait_until(lambda: len(group._waiting) == len(numbers), "the other threads")
        commits.released.set()
        assert first.result(60) == 0
        return [other.result(60) for other in others]


def test_what_waits_during_a_commit_is_committed_together() -> None:
    commits = Commits()
    assert submit_during_a_commit(commits, range(1, 9)) == [2 * number for number in range(1, 9)]
    assert [sorted(batch) for batch in commits.batches] == [[0], list(range(1, 9))]


def test_a_commit_has_a_limit() -> None:
    commits = Commits()
    numbers = range(1, MAX_ITEMS + 6)
    assert submit_during_a_commit(commits, numbers) == [2 * number for number in numbers]
    assert [len(batch) for batch in commits.batches] == [1, MAX_ITEMS, 5]


def test_an_unavailable_database_fails_every_thread() -> None:
    def fail(items: Sequence[int]) -> None:
        if 0 not in items:
            cause = OperationalError("", None, Exception())
            raise InboxUnavailable("the server is gone") from cause

    commits = Commits(fail)
    errors = submit_during_a_commit(commits, range(1, 5))
    assert {str(error) for error in errors} == {"the server is gone"}
    assert len({id(error) for error in errors}) == 4
    assert len(commits.batches) == 2


@pytest.mark.parametrize("kind", ["data", "bug"])
def test_a_bad_item_does_not_fail_the_others(kind: str) -> None:
    def fail(items: Sequence[int]) -> None:
        if 3 in items:
            if kind == "bug":
                raise ZeroDivisionError
            raise InboxUnavailable("bad text") from DataError("", None, Exception())

    commits = Commits(fail)
    outcomes = submit_during_a_commit(commits, range(1, 5))
    assert [each for each in outcomes if isinstance(each, int)] == [2, 4, 8]
    assert isinstance(outcomes[2], InboxUnavailable if kind == "data" else ZeroDivisionError)
    assert len(commits.batches) == 2 + 4


def test_later_items_are_committed_after_an_error() -> None:
    def fail(items: Sequence[int]) -> None:
        if 1 in items:
            raise KeyboardInterrupt

    commits = Commits(fail)
    commits.released.set()
    group = GroupCommit(commits)
    with pytest.raises(KeyboardInterrupt):
        group.submit(1)
    assert group.submit(2) == 4


def test_many_threads_get_their_own_outcomes() -> None:
    commits = Commits()
    commits.released.set()
    group = GroupCommit(commits)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(group.submit, range(2000)))
    assert outcomes == [2 * number for number in range(2000)]
    assert sorted(chain.from_iterable(commits.batches)) == list(range(2000))
