"""The exit code of the audit: a package that was not looked up does not count as safe."""

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


def judge(*packages: dict[str, Any], known: dict[str, str] | None = None) -> tuple[int, str]:
    code, lines = audit.judge({"dependencies": list(packages)}, known or {})
    return code, "\n".join(lines)


def test_an_audit_without_findings_succeeds() -> None:
    assert judge(GOOD, GOOD) == (0, "2 packages audited, 0 new")


def test_a_finding_fails_the_audit_even_if_other_packages_were_skipped() -> None:
    for packages in ([BAD], [GOOD, BAD], [SKIPPED, BAD]):
        code, text = judge(*packages)
        assert code == audit.FOUND
        assert "c: 2 has PYSEC-1, fixed in 3" in text


@pytest.mark.parametrize("packages", [[], [SKIPPED], [GOOD, SKIPPED]])
def test_skipped_packages_are_reported_as_not_audited(packages: list[dict[str, Any]]) -> None:
    code, text = judge(*packages)
    assert code == audit.NOT_AUDITED
    assert "NOT AUDITED" in text


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_a_known_finding_is_printed_with_its_reason(name: str) -> None:
    code, text = judge(BAD, known={name: "not reachable from here"})
    assert code == 0
    assert "known: not reachable from here" in text


def test_a_known_finding_that_is_no_longer_found_fails_the_audit() -> None:
    assert judge(GOOD, known={"CVE-1": "x"})[0] == audit.FOUND
    assert judge(GOOD, SKIPPED, known={"CVE-1": "x"})[0] == audit.NOT_AUDITED


def test_every_known_finding_has_a_reason() -> None:
    known = json.loads((REPOSITORY / ".ci" / "known-vulnerabilities.json").read_text())
    assert all(isinstance(reason, str) and len(reason) > 20 for reason in known.values())
