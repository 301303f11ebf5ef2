"""Run the program of `make soak` for one short round."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from faults import soak
from support.invariant import Outcome

ARGUMENTS = ["--minutes", "0", "--seed", "4", "--videos", "8"]


@pytest.mark.parametrize("more", [[], ["--database", "pair", "--triggers", "2"]])
def test_a_soak_prints_its_seed_each_round_and_the_totals(more: list[str]) -> None:
    result = CliRunner().invoke(soak.main, [*ARGUMENTS, *more])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("seed 4, store embedded")
    assert lines[1].startswith("seed 4: 8 videos")
    totals = dict(re.findall(r"^ *([a-z0-9-][^\d]*?) +(\d+)$", result.output, re.MULTILINE))
    assert (totals["rounds"], totals["videos sent"], totals["losses"]) == ("1", "8", "0")
    assert int(totals["results"]) + int(totals["dead letters"]) == 8
    assert int(totals["faults injected"]) > 0


def test_a_soak_of_several_triggers_needs_a_database_that_they_can_share() -> None:
    result = CliRunner().invoke(soak.main, ["--triggers", "3"])
    assert result.exit_code == 2
    assert "several triggers need --database postgresql" in result.output


@pytest.mark.parametrize("wrong", ["lost", "endless"])
def test_a_soak_that_finds_a_violation_prints_it_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    """It also keeps the logs."""

    def play_round(*_: object) -> Outcome:
        if wrong == "endless":
            raise AssertionError("waited in vain for the end: endless")
        return Outcome(8, 7, 0, (), 8, 0, ("a.mp4 is lost",))

    monkeypatch.setattr(soak, "play_round", play_round)
    monkeypatch.setattr(soak, "mkdtemp", lambda prefix: str(tmp_path))
    result = CliRunner().invoke(soak.main, [*ARGUMENTS[:1], "1", *ARGUMENTS[2:]])
    assert result.exit_code == 1
    assert (tmp_path / "trigger.log").is_file()
    assert re.search(rf"^WRONG .*{wrong}", result.output, re.MULTILINE)
