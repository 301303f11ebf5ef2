"""A mistake in the manifests of the pages is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from manifests import policies
from manifests.checks import REPOSITORY, load
from manifests.kustomize import DATABASE, MANY, ONE, WEB_MANY, WEB_ONE, build
from manifests.names import Manifests
from manifests.web import web_problems

Change = Callable[[dict[str, Any]], object]


def with_change(many: bool, kind: str, name: str, change: Change) -> Manifests:
    built = build(MANY, WEB_MANY, DATABASE) if many else build(ONE, WEB_ONE)
    all_ = Manifests(copy.deepcopy(load(REPOSITORY / "ceph") + built))
    document = all_.find(kind, "rollcall", name)
    assert document is not None
    change(document.body["spec"])
    return all_


def pod_of(spec: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


def set_env(name: str, value: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        (item,) = (i for i in pod_of(spec)["containers"][0]["env"] if i["name"] == name)
        item.pop("valueFrom", None)
        item["value"] = value

    return change


def without_volume(name: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        pod = pod_of(spec)
        pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != name]

    return change


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        set_env("WEB_LISTEN", "0.0.0.0:8090"),
        set_env("WEB_USERS", "/etc/rollcall-web/none"),
        set_env("WEB_USERS", "/etc/users"),
        set_env("WEB_SECRET", ""),
        set_env("DATABASE_URL", "sqlite:////var/lib/rollcall/other.sqlite3"),
        set_env("S3_ENDPOINT_URL", "http://rgw.elsewhere.svc.cluster.local"),
        set_env("ENCODINGS", "s3://nowhere/gallery.npz"),
        set_env("KEEP_FACES", "yes"),
        without_volume("users"),
        lambda spec: spec.update(replicas=2),
    ],
)
def test_a_wrong_deployment_is_found(many: bool, change: Change) -> None:
    all_ = with_change(many, "Deployment", "rollcall-web", change)
    deployment = all_.find("Deployment", "rollcall", "rollcall-web")
    assert deployment is not None
    assert list(web_problems(all_, deployment))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: pod_of(spec).pop("affinity"),
        without_volume("inbox"),
    ],
)
def test_pages_on_another_node_than_their_file_are_found(change: Change) -> None:
    all_ = with_change(False, "Deployment", "rollcall-web", change)
    deployment = all_.find("Deployment", "rollcall", "rollcall-web")
    assert deployment is not None
    assert list(web_problems(all_, deployment))


def test_a_trigger_that_starts_on_another_node_than_the_pages_is_found() -> None:
    """The pages would keep the volume on their node, so the trigger could not start."""
    all_ = with_change(
        False, "Deployment", "rollcall-trigger", lambda spec: pod_of(spec).pop("affinity")
    )
    deployment = all_.find("Deployment", "rollcall", "rollcall-web")
    assert deployment is not None
    assert any("another node" in problem for problem in web_problems(all_, deployment))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["ingress"][0].pop("from"),
        lambda spec: spec["ingress"][0]["from"].append({"podSelector": {}}),
        lambda spec: spec["ingress"].clear(),
        lambda spec: spec["egress"].pop(),
        lambda spec: spec["egress"].append({}),
        lambda spec: spec["policyTypes"].remove("Egress"),
    ],
)
def test_a_wrong_policy_is_found(change: Change) -> None:
    all_ = with_change(True, "NetworkPolicy", "rollcall-web", change)
    checks = (policies.policy_problems, policies.egress_problems)
    assert [problem for check in checks for problem in check(all_)]


def test_a_database_that_does_not_admit_the_pages_is_found() -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["ingress"][0]["from"].pop()

    assert list(
        policies.policy_problems(with_change(True, "NetworkPolicy", "rollcall-database", change))
    )
