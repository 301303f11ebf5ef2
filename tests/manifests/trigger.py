"""Checks of the trigger's Deployment: settings, buckets, database, and how it stops."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from manifests.checks import Document
from manifests.names import Manifests, bucket_problems, pod_labels, selects

from rollcall.core.errors import SettingsError
from rollcall.core.settings import POSTGRESQL_URLS, SQLITE_URL, parse_settings

LIBPQ = frozenset({"PGSSLMODE"})
"""Variables that PostgreSQL's client library reads."""

STAND_INS = {
    "DATABASE_URL": "postgresql://rollcall:secret@rollcall-database-rw:5432/rollcall",
    "RESULT_WEBHOOK_URL": "https://receiver.example/videos",
    "RESULT_WEBHOOK_SECRET": "whsec_" + b64encode(bytes(32)).decode(),
}
"""Values of the variables that come from secrets, where any text would not do."""

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def trigger_problems(all_: Manifests, deployment: Document) -> Iterator[str]:
    """Check settings, buckets, port, database, and the time to stop."""
    pod = deployment.spec["template"]["spec"]
    (container,) = pod["containers"]
    given = {
        item["name"]: item.get("value", STAND_INS.get(item["name"], "x" * 64))
        for item in container.get("env", ())
        if item["name"] not in LIBPQ
    }
    try:
        settings = parse_settings(given)
    except SettingsError as error:
        yield f"{deployment}: {error}"
        return
    yield from bucket_problems(all_, str(deployment), given)
    _, _, port = settings.trigger_listen.rpartition(":")
    if int(port) not in {each.get("containerPort") for each in container.get("ports", ())}:
        yield f"{deployment}: the port in TRIGGER_LISTEN is not a containerPort"
    if settings.database_url.startswith(POSTGRESQL_URLS):
        yield from _many_problems(all_, deployment)
    else:
        yield from _one_problems(deployment, settings.database_url)
    sleep_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace_s = pod.get("terminationGracePeriodSeconds", 30)
    if grace_s <= settings.function_timeout_s + sleep_s:
        yield f"{deployment}: the grace period is shorter than calls may take (FUNCTION_TIMEOUT_S)"


def _one_problems(deployment: Document, url: str) -> Iterator[str]:
    """Check a trigger with SQLite: the file is on a claimed volume, and nobody else opens it."""
    pod = deployment.spec["template"]["spec"]
    claimed = {each["name"] for each in pod["volumes"] if "persistentVolumeClaim" in each}
    mounts = tuple(
        f"{SQLITE_URL}{mount['mountPath']}/"
        for container in pod["containers"]
        for mount in container.get("volumeMounts", ())
        if mount["name"] in claimed
    )
    if not url.startswith(mounts):
        yield f"{deployment}: DATABASE_URL is not a file on a claimed volume"
    if "fsGroup" not in pod["securityContext"]:
        yield f"{deployment}: its user cannot write to the volume"
    if deployment.spec.get("replicas") != 1 or deployment.spec["strategy"]["type"] != "Recreate":
        yield f"{deployment}: two processes would share the SQLite file"


def _many_problems(all_: Manifests, deployment: Document) -> Iterator[str]:
    """Check triggers that share a database: no single node, update or drain stops all of them."""
    spec, pod = deployment.spec, deployment.spec["template"]["spec"]
    (container,) = pod["containers"]
    if spec.get("replicas", 1) < 2:
        yield f"{deployment}: fewer than two pods"
    update = spec.get("strategy", {}).get("rollingUpdate", {})
    if update.get("maxUnavailable") != 0 or update.get("maxSurge", 0) < 1:
        yield f"{deployment}: an update stops a pod before its successor is ready"
    if any("persistentVolumeClaim" in each for each in pod["volumes"]):
        yield f"{deployment}: pods on several nodes cannot mount one volume"
    spread = {each["topologyKey"]: each for each in pod.get("topologySpreadConstraints", ())}
    for key, action in {HOST: "DoNotSchedule", ZONE: "ScheduleAnyway"}.items():
        constraint = spread.get(key, {})
        if constraint.get("whenUnsatisfiable") != action or constraint.get("maxSkew") != 1:
            yield f"{deployment}: its pods are not spread over {key}"
        elif not selects(constraint["labelSelector"]["matchLabels"], pod_labels(deployment)):
            yield f"{deployment}: the spread over {key} counts other pods"
    if "preStop" not in container.get("lifecycle", {}):
        yield f"{deployment}: a stopping pod refuses connections that nodes still send"
    yield from _secret_problems(deployment, container)
    yield from _budget_problems(all_, deployment)


def _secret_problems(deployment: Document, container: Mapping[str, Any]) -> Iterator[str]:
    env = {item["name"]: item for item in container.get("env", ())}
    if "secretKeyRef" not in env["DATABASE_URL"].get("valueFrom", {}):
        yield f"{deployment}: the password in DATABASE_URL is not in a secret"
    if env.get("PGSSLMODE", {}).get("value") not in ("require", "verify-ca", "verify-full"):
        yield f"{deployment}: connections to the database may be unencrypted (PGSSLMODE)"


def _budget_problems(all_: Manifests, deployment: Document) -> Iterator[str]:
    budgets = [
        each
        for each in all_.of("PodDisruptionBudget")
        if each.namespace == deployment.namespace
        and selects(each.spec["selector"].get("matchLabels", {}), pod_labels(deployment))
    ]
    if [each.spec.get("maxUnavailable") for each in budgets] != [1]:
        yield f"{deployment}: a drain may stop several pods at once"
