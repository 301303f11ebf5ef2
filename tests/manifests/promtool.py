"""Run promtool on the rules in deploy/monitoring, and find the metrics that expressions use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from manifests.kustomize import MONITORING, build
from support.needs import need

from rollcall.core.figures import FigureSource
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.queues.memory_outbox import MemoryOutbox
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.trigger.metrics import Metrics

CASES = Path(__file__).with_name("alert_cases.yaml")
METRIC = re.compile(r"\b(?:rollcall|ceph)_[a-z0-9_]+\b")
SECONDS = 120

Rules = dict[str, Any]

CEPH = frozenset(
    f"ceph_{name}"
    for name in (
        "rgw_pubsub_event_triggered",
        "rgw_pubsub_event_lost",
        "rgw_pubsub_push_ok",
        "rgw_pubsub_push_failed",
        "rgw_pubsub_push_pending",
        "rgw_pubsub_missing_conf",
        "rgw_topic_persistent_topic_len",
        "rgw_topic_persistent_topic_size",
    )
)
"""Counters in src/rgw/rgw_perf_counters.cc of Ceph, with the prefix and the groups under which
ceph-exporter serves them."""


def rules() -> Rules:
    """Return the groups of rules, as Prometheus reads them from a file."""
    (document,) = (each for each in build(MONITORING) if each.kind == "PrometheusRule")
    return document.spec


def alerts(of: Rules) -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    rules_ = [rule for group in of["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules_ if "alert" in rule}


def expressions(of: Rules) -> list[str]:
    return [rule["expr"] for group in of["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    (document,) = (each for each in build(MONITORING) if each.kind == "ConfigMap")
    (text,) = document.body["data"].values()
    return dict(json.loads(text))


def panel_expressions(of: Mapping[str, Any]) -> list[str]:
    """Return the expressions of all panels. Grafana replaces $__rate_interval by a duration."""
    return [
        target["expr"].replace("$__rate_interval", "5m")
        for panel in of["panels"]
        for target in panel.get("targets", ())
    ]


def promtool(*arguments: str | Path, folder: Path) -> str:
    """Run promtool in a folder, and return its complaints, or "" if it has none."""
    need(shutil.which("promtool") is not None, "promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )
    return (done.stdout + done.stderr) if done.returncode else ""


def check_rules(of: Rules, folder: Path) -> str:
    (folder / "rules.yaml").write_text(yaml.safe_dump(of))
    return promtool("check", "rules", "rules.yaml", folder=folder)


def check_expressions(expressions: list[str], folder: Path) -> str:
    """Check each expression as the expression of a recording rule."""
    recorded = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    return check_rules({"groups": [{"name": "panels", "rules": recorded}]}, folder)


def test_rules(of: Rules, name: str, case: Mapping[str, Any], fires: bool, folder: Path) -> str:
    """Return promtool's complaint if the alert does not fire, or fires although it should not."""
    rule = alerts(of)[name]
    assert all(isinstance(values, str) for values in case["series"].values()), case
    expected = {
        "exp_labels": {**rule["labels"], **case.get("labels", {})},
        "exp_annotations": {**rule["annotations"], "summary": case.get("summary", "")},
    }
    step = case.get("step", "1m")
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": step,
        "tests": [
            {
                "interval": step,
                "input_series": [
                    {"series": series, "values": values}
                    for series, values in case["series"].items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": case["at"],
                        "alertname": name,
                        "exp_alerts": [expected] if fires else [],
                    }
                ],
            }
        ],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(of))
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    return promtool("test", "rules", "test.yaml", folder=folder)


test_rules.__test__ = False  # type: ignore[attr-defined]  # pytest does not collect it


def cases() -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Yield the name of the alert, whether it fires, and the case."""
    for name, kinds in yaml.safe_load(CASES.read_text()).items():
        for fires in (True, False):
            for case in kinds["fires" if fires else "quiet"]:
                yield name, fires, case


def metrics(expressions: list[str]) -> set[str]:
    """Return the names of the metrics that expressions use. Names with `:` are recorded here."""
    return {name for expression in expressions for name in METRIC.findall(expression)}


def exported() -> set[str]:
    """Return the names of the series that a trigger exports when it has everything to export."""
    metrics = Metrics(FigureSource(MemoryQueue(), MemoryOutbox(), lambda: 0.0, lambda: 0))
    metrics.gallery = GalleryFacts(people=1, encodings=1, changed_s=1.0)
    names = set()
    for family in metrics.registry.collect():
        parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {family.name + part for part in parts.get(family.type, ("",))}
    return names
