"""Known vulnerabilities of what requirements-dev.txt pins: `make audit`.

pip-audit calls it a success when the service told it nothing, so its answer is judged here: 0 when
every package was looked up and nothing new was found, 1 for a finding, 3 when some or all packages
could not be looked up (PyPI's JSON interface is not there behind every mirror).

A finding that has to be lived with stands in `.ci/known-vulnerabilities.json`, with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollcall.core.printable import printable

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ROOT / ".ci" / "known-vulnerabilities.json"
FOUND, NOT_AUDITED = 1, 3
SHOWN = 5


def judge(report: Mapping[str, Any], known: Mapping[str, str]) -> tuple[int, list[str]]:
    """The exit code and the lines to print. `known` is id -> reason."""
    packages = report["dependencies"]
    skipped = [package["name"] for package in packages if "vulns" not in package]
    new, lines, seen = [], [], set()
    for name, names, text in _findings(packages):
        reason = next((known[each] for each in names if each in known), "")
        seen |= names & known.keys()
        (lines if reason else new).append(
            f"{name}: {text}" + (f" (known: {reason})" if reason else "")
        )
    if not skipped:
        new += [f"known, and no longer found: {each}" for each in known.keys() - seen]
    if not packages or skipped:
        shown = ", ".join(skipped[:SHOWN]) or "nothing was asked"
        lines.append(f"NOT AUDITED: {len(skipped)} of {len(packages)} packages ({shown})")
    code = FOUND if new else NOT_AUDITED if skipped or not packages else 0
    return code, [*new, *lines, f"{len(packages) - len(skipped)} packages audited, {len(new)} new"]


def _findings(packages: list[Any]) -> Iterator[tuple[str, set[str], str]]:
    for package in packages:
        for found in package.get("vulns", ()):
            names = {found["id"], *found.get("aliases", ())}
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            text = f"{package['version']} has {found['id']}, fixed in {fixed}"
            yield package["name"], names, text


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", str(ROOT / "requirements-dev.txt")]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if not done.stdout.startswith("{"):
        print("NOT AUDITED:", done.stderr.strip().splitlines()[-1:] or "pip-audit said nothing")
        return NOT_AUDITED
    code, lines = judge(json.loads(done.stdout), json.loads(KNOWN.read_text()))
    print("\n".join(map(printable, lines)))  # some of it is PyPI's text
    return code


if __name__ == "__main__":
    sys.exit(main())
