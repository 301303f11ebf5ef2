"""Report known vulnerabilities of the packages that requirements-dev.txt pins (`make audit`).

pip-audit exits with 0 even if the service did not answer, so this script chooses the exit code:

0  every package was looked up, and no new vulnerability was found
1  a new vulnerability was found, or an accepted one was no longer found
3  some packages could not be looked up (not every mirror offers PyPI's JSON API)

`.ci/known-vulnerabilities.json` lists accepted vulnerabilities, each with the reason.
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
    """Return the exit code and the lines to print. `known` maps accepted ids to their reasons."""
    packages = report["dependencies"]
    skipped = [package["name"] for package in packages if "vulns" not in package]
    new, lines, seen = [], [], set()
    for name, ids, text in _findings(packages):
        reason = next((known[each] for each in ids if each in known), "")
        seen |= ids & known.keys()
        (lines if reason else new).append(
            f"{name}: {text}" + (f" (known: {reason})" if reason else "")
        )
    if not skipped:
        new += [
            f"no longer found, remove it from known-vulnerabilities.json: {each}"
            for each in known.keys() - seen
        ]
    if not packages or skipped:
        shown = ", ".join(skipped[:SHOWN]) or "pip-audit looked up no package"
        lines.append(f"NOT AUDITED: {len(skipped)} of {len(packages)} packages ({shown})")
    code = FOUND if new else NOT_AUDITED if skipped or not packages else 0
    return code, [*new, *lines, f"{len(packages) - len(skipped)} packages audited, {len(new)} new"]


def _findings(packages: list[Any]) -> Iterator[tuple[str, set[str], str]]:
    """Yield the package, the ids and the text of each vulnerability."""
    for package in packages:
        for found in package.get("vulns", ()):
            ids = {found["id"], *found.get("aliases", ())}
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            text = f"{package['version']} has {found['id']}, fixed in {fixed}"
            yield package["name"], ids, text


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", str(ROOT / "requirements-dev.txt")]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if not done.stdout.startswith("{"):
        last = done.stderr.strip().splitlines()[-1:]
        print("NOT AUDITED:", *(last or ["pip-audit printed nothing"]))
        return NOT_AUDITED
    code, lines = judge(json.loads(done.stdout), json.loads(KNOWN.read_text()))
    print("\n".join(map(printable, lines)))  # the texts come from PyPI
    return code


if __name__ == "__main__":
    sys.exit(main())
