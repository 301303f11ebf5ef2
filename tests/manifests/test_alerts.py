"""The alerts fire when they should, and rules and dashboard use metrics that exist."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from manifests import promtool
from manifests.checks import REPOSITORY
from manifests.kustomize import DATABASE, MANY, MONITORING, ONE, build

from rollcall.core.retry import metric_code

CASES = list(promtool.cases())
GUIDE = REPOSITORY / "docs" / "alerts.md"


@pytest.fixture(scope="module")
def rules() -> promtool.Rules:
    return promtool.rules()


@pytest.fixture
def broken(rules: promtool.Rules) -> promtool.Rules:
    """A copy of the rules that a test may break."""
    return copy.deepcopy(rules)


def test_promtool_accepts_the_rules(rules: promtool.Rules, tmp_path: Path) -> None:
    assert not promtool.check_rules(rules, tmp_path)


@pytest.mark.parametrize(
    ("name", "fires", "case"),
    CASES,
    ids=[f"{name}-{'fires' if fires else 'quiet'}" for name, fires, _ in CASES],
)
def test_an_alert_fires_exactly_when_it_should(
    name: str, fires: bool, case: dict[str, Any], rules: promtool.Rules, tmp_path: Path
) -> None:
    assert not promtool.test_rules(rules, name, case, fires, tmp_path)


def test_every_alert_has_cases_with_and_without_it(rules: promtool.Rules) -> None:
    for fires in (True, False):
        assert {name for name, each, _ in CASES if each is fires} == promtool.alerts(rules).keys()


def test_every_alert_says_what_happened_and_what_to_do(rules: promtool.Rules) -> None:
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", GUIDE.read_text(), re.M)}
    for name, rule in promtool.alerts(rules).items():
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        annotations = rule["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook"}
        assert annotations["summary"].endswith(".")
        assert "{{" not in annotations["description"]
        assert annotations["runbook"] == f"docs/alerts.md#{name.lower()}"
        assert name.lower() in headings
    assert headings == {name.lower() for name in promtool.alerts(rules)}


@pytest.mark.parametrize(
    ("alert", "change"),
    [
        ("RollcallTriggerDown", {"expr": "up{job=rollcall-trigger} == 0"}),
        ("RollcallTriggerDown", {"for": "ten minutes"}),
        ("RollcallTriggerDown", {"annotations": {"summary": "{{ $label.pod }} is down"}}),
    ],
)
def test_promtool_finds_a_mistake(
    alert: str, change: dict[str, Any], broken: promtool.Rules, tmp_path: Path
) -> None:
    promtool.alerts(broken)[alert].update(change)
    assert promtool.check_rules(broken, tmp_path)


@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("RollcallTriggerDown", "== 0", "== 1"),
        ("RollcallVideosWaiting", "1800", "18000"),
        ("RollcallCallsFailing", "busy|", ""),
        ("RollcallDeadLetters", "> 0", "< 0"),
        ("RollcallReconcilerStuck", "max(", "min("),
        ("RollcallDatabaseDown", "_up", "_down"),
        ("RollcallCephPushFailed", "10m", "30m"),
        ("RollcallCephQueueFilling", "64000000", "640000"),
    ],
)
def test_the_cases_find_a_wrong_rule(
    alert: str, old: str, new: str, broken: promtool.Rules, tmp_path: Path
) -> None:
    rule = promtool.alerts(broken)[alert]
    assert old in rule["expr"]
    rule["expr"] = rule["expr"].replace(old, new)
    ours = [(fires, case) for name, fires, case in CASES if name == alert]
    assert any(promtool.test_rules(broken, alert, case, fires, tmp_path) for fires, case in ours)


def test_rules_use_metrics_that_exist(rules: promtool.Rules) -> None:
    used = promtool.metrics(promtool.expressions(rules))
    assert {"rollcall_work", "rollcall_lag_seconds_bucket", "ceph_rgw_pubsub_event_lost"} <= used
    assert used - promtool.exported() - promtool.CEPH == set()


def test_the_dashboard_uses_metrics_that_exist() -> None:
    used = promtool.metrics(promtool.panel_expressions(promtool.dashboard()))
    assert used - promtool.exported() - promtool.CEPH == set()


def test_rules_and_dashboard_use_every_metric(rules: promtool.Rules) -> None:
    """Nobody would look at a metric that is on no panel."""
    panels = promtool.panel_expressions(promtool.dashboard())
    used = promtool.metrics(panels + promtool.expressions(rules))
    parts = re.compile(r"_(bucket|sum|count)$")
    shown = {parts.sub("", name) for name in used}
    assert {parts.sub("", name) for name in promtool.exported()} - shown == set()


def test_promtool_accepts_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    expressions = promtool.panel_expressions(promtool.dashboard())
    assert len(expressions) > len(promtool.dashboard()["panels"]) / 2
    assert not promtool.check_expressions(expressions, tmp_path)
    assert promtool.check_expressions([*expressions, "rate(rollcall_work)"], tmp_path)


def test_the_dashboard_uses_series_that_the_rules_record(rules: promtool.Rules) -> None:
    recorded = {
        rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule
    }
    expressions = promtool.panel_expressions(promtool.dashboard()) + promtool.expressions(rules)
    used = {name for each in expressions for name in re.findall(r"rollcall:[a-z0-9:]+", each)}
    assert used == recorded


def test_the_panels_of_the_dashboard_are_complete_and_do_not_overlap() -> None:
    panels = promtool.dashboard()["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Intake", "Queue", "Calls", "People", "Outbox", "Database", "Ceph"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not covered & cells, panel["title"]
        cells |= covered
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert {each["datasource"]["uid"] for each in panel["targets"]} == {"${datasource}"}
            assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])


def test_grafana_loads_the_dashboard_and_prometheus_the_rules() -> None:
    """By the labels that the chart kube-prometheus-stack selects by default."""
    kinds = {document.kind: document for document in build(MONITORING)}
    labels = {kind: document.body["metadata"]["labels"] for kind, document in kinds.items()}
    assert labels["ConfigMap"] == {"grafana_dashboard": "1"}
    assert (
        labels["PrometheusRule"] == labels["ServiceMonitor"] == {"release": "kube-prometheus-stack"}
    )


def test_prometheus_finds_the_service_and_may_reach_the_trigger() -> None:
    (monitor,) = (each for each in build(MONITORING) if each.kind == "ServiceMonitor")
    for overlay in (ONE, MANY):
        documents = build(overlay)
        (service,) = (each for each in documents if each.kind == "Service")
        assert monitor.namespace == service.namespace
        wanted = monitor.spec["selector"]["matchLabels"]
        assert wanted.items() <= service.body["metadata"]["labels"].items()
        ports = {port["name"] for port in service.spec["ports"]}
        assert {endpoint["port"] for endpoint in monitor.spec["endpoints"]} <= ports
        # Without a jobLabel, the name of the service is the job that the alerts name.
        assert (
            f'job="{service.name}"'
            in promtool.alerts(promtool.rules())["RollcallTriggerDown"]["expr"]
        )
        admitted = str(
            [each.spec.get("ingress") for each in documents if each.kind == "NetworkPolicy"]
        )
        assert "'kubernetes.io/metadata.name': 'monitoring'" in admitted


def test_the_page_about_alerts_names_resources_that_exist() -> None:
    ours = {(each.kind.lower(), each.name) for each in build(ONE, MANY, DATABASE)}
    commands = re.findall(r"`(kubectl -n rollcall [^`]+)`", GUIDE.read_text())
    kinds = {"pvc": "persistentvolumeclaim"}
    named = [
        (kinds.get(kind, kind), name)
        for command in commands
        for kind, name in re.findall(r"(deployment|service|cluster|pvc)[/ ]([a-z-]+)", command)
    ]
    assert len(named) >= 4
    assert set(named) <= ours


def test_the_page_about_alerts_names_codes_that_calls_can_have() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", GUIDE.read_text(), re.M)
    codes = {code for row in rows for code in row.replace("`", "").split(", ")}
    assert codes
    assert {metric_code(code.replace("xx", "00")) for code in codes} == codes
