"""Checks of the Deployment of the pages: settings, buckets, database and users."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.checks import Document
from manifests.names import OTHER_SECRETS, Manifests, bucket_problems
from manifests.trigger import LIBPQ, STAND_INS

from rollcall.core.errors import SettingsError
from rollcall.core.settings import parse_settings


def web_problems(all_: Manifests, deployment: Document) -> Iterator[str]:
    """Check the settings, that users are in a mounted secret, and that the database is shared."""
    pod = deployment.spec["template"]["spec"]
    (container,) = pod["containers"]
    given = {
        item["name"]: item.get("value", STAND_INS.get(item["name"], "x" * 64))
        for item in container["env"]
        if item["name"] not in LIBPQ
    }
    try:
        settings = parse_settings(given)
    except SettingsError as error:
        yield f"{deployment}: {error}"
        return
    yield from bucket_problems(all_, str(deployment), given)
    _, _, port = settings.web_listen.rpartition(":")
    if int(port) not in {each["containerPort"] for each in container["ports"]}:
        yield f"{deployment}: the port in WEB_LISTEN is not a containerPort"
    if deployment.spec["replicas"] != 1:
        yield f"{deployment}: a removal of a person is known only to the pod that runs it"
    if not settings.web_secret:
        yield f"{deployment}: without WEB_SECRET, each pod signs sessions with its own key"
    yield from _users_problems(deployment, settings.web_users)
    yield from _database_problems(all_, deployment)


def _users_problems(deployment: Document, path: str) -> Iterator[str]:
    pod = deployment.spec["template"]["spec"]
    secrets = {each["name"]: each["secret"] for each in pod["volumes"] if "secret" in each}
    for mount in pod["containers"][0]["volumeMounts"]:
        folder, _, file = path.rpartition("/")
        if mount["mountPath"] == folder and mount["name"] in secrets:
            name = secrets[mount["name"]]["secretName"]
            if file in OTHER_SECRETS.get((deployment.namespace, name), ()):
                return
    yield f"{deployment}: WEB_USERS {path!r} is not a file of a mounted secret"


def _database_problems(all_: Manifests, deployment: Document) -> Iterator[str]:
    """Check that the pages use the database of the trigger: with SQLite, on the same node."""
    trigger = all_.find("Deployment", deployment.namespace, "rollcall-trigger")
    assert trigger is not None
    if _database(trigger) != _database(deployment):
        yield f"{deployment}: DATABASE_URL is not that of the trigger"
    pod, other = (each.spec["template"]["spec"] for each in (deployment, trigger))
    claims = [volume for volume in other["volumes"] if "persistentVolumeClaim" in volume]
    if not claims:
        return
    if claims != [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]:
        yield f"{deployment}: the volume is not that of the trigger"
    affinity = pod.get("affinity", {}).get("podAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", ())
    labels = [term["labelSelector"]["matchLabels"] for term in terms]
    if trigger.spec["selector"]["matchLabels"] not in labels:
        yield f"{deployment}: its pod may run on another node than the SQLite file"
    preferred = (
        other.get("affinity", {})
        .get("podAffinity", {})
        .get("preferredDuringSchedulingIgnoredDuringExecution", ())
    )
    terms = [each["podAffinityTerm"]["labelSelector"]["matchLabels"] for each in preferred]
    if deployment.spec["selector"]["matchLabels"] not in terms:
        yield f"{trigger}: its next pod may start on another node, while the pages hold the volume"


def _database(deployment: Document) -> object:
    (container,) = deployment.spec["template"]["spec"]["containers"]
    found = {item["name"]: item for item in container["env"]}
    return found["DATABASE_URL"]
