"""The tree in the docstring of `core/errors.py` agrees with the classes of that module."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from rollcall.core import errors
from rollcall.core.errors import PermanentError, RollcallError, TransientError

LINE = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?: +(?P<status>\d{3}))?(?:  .*)?$")


def drawn() -> Iterator[tuple[str, str, int | None]]:
    """Name, parent and status in each line of the tree. A missing status is the parent's."""
    path: list[tuple[str, int | None]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        depth = len(found["indent"]) // 4
        del path[depth:]
        inherited = path[-1][1] if path else None
        status = int(found["status"]) if found["status"] else inherited
        yield found["name"], path[-1][0] if path else "Exception", status
        path.append((found["name"], status))


def defined() -> dict[str, type[RollcallError]]:
    return {
        name: each
        for name, each in vars(errors).items()
        if inspect.isclass(each) and issubclass(each, RollcallError)
    }


def test_the_tree_contains_every_class_once() -> None:
    assert sorted(name for name, _, _ in drawn()) == sorted(defined())


@pytest.mark.parametrize(("name", "parent", "status"), list(drawn()))
def test_a_class_has_the_parent_and_status_that_the_tree_shows(
    name: str, parent: str, status: int | None
) -> None:
    each = defined()[name]
    assert [base.__name__ for base in each.__bases__] == [parent]
    if status is not None:
        assert each.status == status


LEAVES = {
    name: each
    for name, each in defined().items()
    if each not in (RollcallError, PermanentError, TransientError)
}


@pytest.mark.parametrize("name", LEAVES)
def test_the_branch_of_the_tree_decides_about_retries(name: str) -> None:
    each = LEAVES[name]
    transient = issubclass(each, TransientError)
    assert each.retryable is transient
    assert transient or 400 <= each.status < 500
    assert str(each("what is wrong")) == "what is wrong"


def test_codes_are_unique() -> None:
    assert len({each.code for each in LEAVES.values()}) == len(LEAVES)


@pytest.mark.parametrize(
    "name", [name for name, each in LEAVES.items() if issubclass(each, TransientError)]
)
def test_transient_errors_say_when_to_retry(name: str) -> None:
    each = LEAVES[name]
    assert issubclass(each, TransientError)
    assert each("x").retry_after_s >= 1
    assert each("x", retry_after_s=7).retry_after_s == 7
