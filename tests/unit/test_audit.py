"""The verdict on pip-audit's report: no answer is not a good answer."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from support.needs import REPOSITORY


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("audit", REPOSITORY / ".ci" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = _load()
GOOD = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
BAD = {
    "name": "c",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
}


def judged(*packages: dict[str, Any], known: dict[str, str] | None = None) -> tuple[int, str]:
    code, lines = audit.judge({"dependencies": list(packages)}, known or {})
    return code, "\n".join(lines)


def test_all_looked_up_and_nothing_found() -> None:
    assert judged(GOOD, GOOD) == (0, "2 packages audited, 0 new")


def test_a_finding_fails_whatever_else_is_not_known() -> None:
    for packages in ([BAD], [GOOD, BAD], [SKIPPED, BAD]):
        code, text = judged(*packages)
        assert code == audit.FOUND
        assert "c: 2 has PYSEC-1, fixed in 3" in text


@pytest.mark.parametrize("packages", [[], [SKIPPED], [GOOD, SKIPPED]])
def test_what_was_not_looked_up_is_not_audited(packages: list[dict[str, Any]]) -> None:
    code, text = judged(*packages)
    assert code == audit.NOT_AUDITED
    assert "NOT AUDITED" in text


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_a_known_finding_is_told_with_its_reason(name: str) -> None:
    code, text = judged(BAD, known={name: "not reachable from here"})
    assert code == 0
    assert "known: not reachable from here" in text


def test_a_known_finding_that_is_gone_has_to_go_from_the_list() -> None:
    assert judged(GOOD, known={"CVE-1": "x"})[0] == audit.FOUND
    assert judged(GOOD, SKIPPED, known={"CVE-1": "x"})[0] == audit.NOT_AUDITED


def test_every_known_finding_has_a_reason() -> None:
    known = json.loads((REPOSITORY / ".ci" / "known-vulnerabilities.json").read_text())
    assert all(isinstance(reason, str) and len(reason) > 20 for reason in known.values())
