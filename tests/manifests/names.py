"""Checks that names in manifests, settings and code agree. No schema can check this.

`Manifests` holds all documents. Each public function yields a sentence for each problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from manifests.checks import Document

from rollcall.core.event_records import STARTING_EVENTS
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import PLACEHOLDER, Settings

OPERATOR_NAMESPACE = "rook-ceph"
TOPIC_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
LABEL = "bucket-notification-"
CLAIM_KEYS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
"""Keys of the secret that Rook creates for a claim, under the name of the claim."""

DATABASE_SECRET = "-app"
DATABASE_KEYS = frozenset({"username", "password", "host", "port", "dbname", "uri", "fqdn-uri"})
"""Suffix and keys of the secret that CloudNativePG creates for a cluster."""

OTHER_SECRETS = {
    ("rollcall", "trigger-token"): frozenset({"trigger-token"}),
    ("rollcall", "function-hmac-key"): frozenset({"function-hmac-key"}),
    ("rollcall", "result-webhook"): frozenset({"url", "secret"}),
    ("rollcall", "web-users"): frozenset({"users"}),
    ("rollcall", "web-secret"): frozenset({"web-secret"}),
    ("rollcall", "aws-key"): frozenset({"aws-access-key-id", "aws-secret-access-key"}),
    ("rook-ceph", "rook-ceph-mon"): frozenset({"ceph-username", "ceph-secret"}),
}
"""Keys of the other secrets. docs/deploy.md creates them all, except the last, which is Rook's."""


class Manifests:
    """All documents, which can be found by kind, namespace and name."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = list(documents)

    def of(self, *kinds: str) -> list[Document]:
        return [document for document in self.documents if document.kind in kinds]

    def find(self, kind: str, namespace: str, name: str) -> Document | None:
        found = (each for each in self.of(kind) if (each.namespace, each.name) == (namespace, name))
        return next(found, None)

    def has(self, kind: str, namespace: str, name: str) -> bool:
        return self.find(kind, namespace, name) is not None


Check = Callable[[Manifests], Iterator[str]]


def claim_problems(all_: Manifests) -> Iterator[str]:
    """Check that each claim names an existing storage class, store and user, and its own bucket."""
    for claim in all_.of("ObjectBucketClaim"):
        if not all_.has("StorageClass", "", claim.spec.get("storageClassName", "")):
            yield f"{claim}: no such storage class"
        owner = claim.spec.get("additionalConfig", {}).get("bucketOwner", "")
        if not all_.has("CephObjectStoreUser", claim.namespace, owner):
            yield f"{claim}: bucketOwner {owner!r} is not a user in this namespace"
        if claim.spec.get("bucketName") != claim.name:
            yield f"{claim}: bucketName is not the name of the claim"
    for storage in all_.of("StorageClass"):
        if storage.body.get("provisioner") != f"{OPERATOR_NAMESPACE}.ceph.rook.io/bucket":
            yield f"{storage}: provisioner is not that of Rook"
        given = storage.body.get("parameters", {})
        yield from _store_problems(all_, storage, given, "objectStoreName", "objectStoreNamespace")


def lifecycle_problems(all_: Manifests, rules: Mapping[str, Any]) -> Iterator[str]:
    """Check that the claims of the buckets in `rules` contain these rules, and other claims none.

    Whenever Rook's operator starts, it compares the claim with the gateway's answer, and deletes
    rules that the claim does not contain. In the answer, rules are sorted by ID and have `Prefix`
    outside of `Filter`.
    """
    for claim in all_.of("ObjectBucketClaim"):
        given = claim.spec.get("additionalConfig", {}).get("bucketLifecycle")
        if given is None:
            if claim.name in rules:
                yield f"{claim}: no bucketLifecycle, so nothing is ever deleted"
            continue
        if claim.name not in rules:
            yield f"{claim}: its objects must not expire"
        try:
            found = json.loads(given)["Rules"]
            ids = [rule["ID"] for rule in found]
        except (ValueError, TypeError, KeyError) as error:
            yield f"{claim}: bucketLifecycle is not S3's JSON: {error!r}"
            continue
        if ids != sorted(set(ids)):
            yield f"{claim}: its rules are not sorted by ID"
        if any("Prefix" not in rule or "Filter" in rule for rule in found):
            yield f"{claim}: the gateway returns Prefix outside of Filter"
        wanted = [_as_returned(rule) for rule in rules.get(claim.name, {}).get("Rules", ())]
        if found != wanted:
            yield f"{claim}: its rules are not those of deploy/lifecycle"


def _as_returned(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Move `Prefix` out of `Filter`, as the gateway does."""
    rest = {key: value for key, value in rule.items() if key != "Filter"}
    return rest | {"Prefix": rule["Filter"]["Prefix"]}


def allowed_problems(all_: Manifests, setting: str) -> Iterator[str]:
    """Check that ROOK_OBC_ALLOW_ADDITIONAL_CONFIG_FIELDS allows exactly the fields that claims use.

    Rook allows `maxObjects` and `maxSize` by default.
    """
    allowed = setting.split(",")
    used = {
        key
        for claim in all_.of("ObjectBucketClaim")
        for key in claim.spec.get("additionalConfig", {})
    }
    for key in sorted(used - set(allowed)):
        yield f"{key} is not allowed by the operator's setting"
    for key in sorted(set(allowed) - used - {"maxObjects", "maxSize"}):
        yield f"{key} is allowed but not used"


def image_problems(all_: Manifests) -> Iterator[str]:
    """Check that the cluster and the toolbox run the same image of Ceph, with a full version."""
    images = {each.spec["cephVersion"]["image"] for each in all_.of("CephCluster")}
    for deployment in all_.of("Deployment"):
        containers = deployment.spec["template"]["spec"]["containers"]
        images |= {each["image"] for each in containers if "ceph/ceph" in each["image"]}
    if len(images) > 1:
        yield f"several images of Ceph: {', '.join(sorted(images))}"
    for image in sorted(images):
        if not re.fullmatch(r"quay\.io/ceph/ceph:v\d+\.\d+\.\d+", image):
            yield f"{image} does not name a full version"


def user_problems(all_: Manifests) -> Iterator[str]:
    for user in all_.of("CephObjectStoreUser"):
        yield from _store_problems(all_, user, user.spec, "store", "clusterNamespace")
        for store in all_.of("CephObjectStore"):
            if user.namespace not in store.spec.get("allowUsersInNamespaces", ()):
                yield f"{store}: does not allow users in {user.namespace}"
        owned = [
            claim
            for claim in all_.of("ObjectBucketClaim")
            if claim.spec.get("additionalConfig", {}).get("bucketOwner") == user.name
        ]
        if len(owned) > user.spec.get("quotas", {}).get("maxBuckets", len(owned)):
            yield f"{user}: maxBuckets is less than its {len(owned)} claims"


def notification_problems(all_: Manifests) -> Iterator[str]:
    """Check that labels of claims name notifications, and notifications name topics.

    All three have to be in one namespace.
    """
    labelled = set()
    for claim in all_.of("ObjectBucketClaim"):
        for key, value in claim.body["metadata"].get("labels", {}).items():
            if not key.startswith(LABEL):
                continue
            labelled.add((claim.namespace, value))
            if key != LABEL + str(value):
                yield f"{claim}: label {key} has to have the value {key.removeprefix(LABEL)!r}"
            if not all_.has("CephBucketNotification", claim.namespace, str(value)):
                yield f"{claim}: no notification {value!r} in {claim.namespace}"
    for each in all_.of("CephBucketNotification"):
        if (each.namespace, each.name) not in labelled:
            yield f"{each}: no claim has its label"
        if not all_.has("CephBucketTopic", each.namespace, each.spec.get("topic", "")):
            yield f"{each}: no topic {each.spec.get('topic')!r} in {each.namespace}"
        yield from _filter_problems(each)


def topic_problems(all_: Manifests) -> Iterator[str]:
    for topic in all_.of("CephBucketTopic"):
        if not TOPIC_NAME.fullmatch(topic.name):
            yield f"{topic}: its name may contain only letters, digits, - and _"
        yield from _store_problems(
            all_, topic, topic.spec, "objectStoreName", "objectStoreNamespace"
        )
        if topic.spec.get("persistent") is not True:
            yield f"{topic}: not persistent, so events are lost while the trigger is down"
        if topic.spec.get("opaqueData") != PLACEHOLDER:
            yield f"{topic}: opaqueData has to be {PLACEHOLDER}, because the token is a secret"
        uri = topic.spec.get("endpoint", {}).get("http", {}).get("uri", "")
        yield from _address_problems(all_, topic, uri, "/events")


def service_problems(all_: Manifests) -> Iterator[str]:
    """Check that each service selects existing pods and one of their ports."""
    for service in all_.of("Service"):
        selector = service.spec.get("selector", {})
        ports = container_ports(all_, service.namespace, selector)
        if not ports:
            yield f"{service}: its selector matches no pod"
        for port in service.spec.get("ports", ()):
            if ports and port.get("targetPort", port.get("port")) not in ports:
                yield f"{service}: no container listens on {port.get('targetPort')}"


def deployment_problems(all_: Manifests) -> Iterator[str]:
    for deployment in all_.of("Deployment"):
        labels = pod_labels(deployment)
        if not selects(deployment.spec["selector"].get("matchLabels", {}), labels):
            yield f"{deployment}: its selector does not match its pods' labels"
        pod = deployment.spec["template"]["spec"]
        for volume in pod.get("volumes", ()):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and not all_.has("PersistentVolumeClaim", deployment.namespace, claim):
                yield f"{deployment}: no volume claim {claim!r}"
        for container in pod["containers"]:
            yield from _container_problems(all_, deployment, container, pod)


def bucket_problems(all_: Manifests, where: str, values: Mapping[str, str]) -> Iterator[str]:
    """Check that claims create all buckets in the settings, and check the endpoint of the store."""
    settings = Settings()
    for name in ("INPUT_BUCKET", "OUTPUT_BUCKET", "REPORT_BUCKET", "ENCODINGS"):
        given = str(values.get(name, getattr(settings, name.lower())))
        bucket = urlsplit(given).netloc if name == "ENCODINGS" else given
        if bucket and bucket not in {claim.name for claim in all_.of("ObjectBucketClaim")}:
            yield f"{where}: no claim creates {name} {bucket!r}"
    host = urlsplit(str(values.get("S3_ENDPOINT_URL", ""))).hostname
    hosts = {
        f"rook-ceph-rgw-{store.name}.{store.namespace}.svc.cluster.local"
        for store in all_.of("CephObjectStore")
    }
    if host not in hosts:
        yield f"{where}: S3_ENDPOINT_URL is not the store's service {', '.join(sorted(hosts))}"


def _store_problems(
    all_: Manifests, document: Document, given: Mapping[str, Any], name: str, namespace: str
) -> Iterator[str]:
    if not all_.has("CephObjectStore", str(given.get(namespace)), str(given.get(name))):
        yield f"{document}: no object store {given.get(namespace)}/{given.get(name)}"


def _filter_problems(notification: Document) -> Iterator[str]:
    """Check that the notification sends only events that start work, for all keys of videos."""
    if set(notification.spec.get("events", ())) != {f"s3:{event}" for event in STARTING_EVENTS}:
        yield f"{notification}: its events are not those that start work"
    filters = notification.spec.get("filter", {})
    for kind in sorted(filters.keys() - {"keyFilters"}):
        yield f"{notification}: Rook ignores {kind}"
    expressions = [
        rule["value"] for rule in filters.get("keyFilters", ()) if rule["name"] == "regex"
    ]
    for extension in VIDEO_EXTENSIONS:
        for key in (extension, f"a/b c{extension}", f"A{extension.upper()}"):
            if not all(re.fullmatch(expression, key) for expression in expressions):
                yield f"{notification}: {key} is filtered out"
    if all(re.fullmatch(expression, "a.csv") for expression in expressions):
        yield f"{notification}: a.csv is not filtered out"


def _address_problems(all_: Manifests, topic: Document, uri: str, path: str) -> Iterator[str]:
    parts = urlsplit(uri)
    name, _, rest = (parts.hostname or "").partition(".")
    namespace = rest.removesuffix(".svc.cluster.local")
    service = all_.find("Service", namespace, name)
    if service is None or rest == namespace:
        yield f"{topic}: {uri} is not NAME.NAMESPACE.svc.cluster.local of a service"
    elif parts.port not in {port["port"] for port in service.spec["ports"]}:
        yield f"{topic}: {service.name} has no port {parts.port}"
    if parts.path != path:
        yield f"{topic}: the trigger accepts events only at {path}"


def _container_problems(
    all_: Manifests, deployment: Document, container: Mapping[str, Any], pod: Mapping[str, Any]
) -> Iterator[str]:
    secrets = _secrets(all_)
    for item in container.get("env", ()):
        wanted = item.get("valueFrom", {}).get("secretKeyRef")
        if wanted and wanted["key"] not in secrets.get(
            (deployment.namespace, wanted["name"]), frozenset()
        ):
            yield f"{deployment}: {item['name']}: no secret {wanted['name']} with {wanted['key']}"
    declared = {volume["name"] for volume in pod.get("volumes", ())}
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in declared:
            yield f"{deployment}: no volume {mount['name']}"
    named = {port.get("name") for port in container.get("ports", ())}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if port is not None and port not in named:
            yield f"{deployment}: {probe} uses the port {port!r}, which does not exist"


def _secrets(all_: Manifests) -> dict[tuple[str, str], frozenset[str]]:
    claims = {(claim.namespace, claim.name): CLAIM_KEYS for claim in all_.of("ObjectBucketClaim")}
    databases = {
        (cluster.namespace, f"{cluster.name}{DATABASE_SECRET}"): DATABASE_KEYS
        for cluster in all_.of("Cluster")
    }
    return claims | databases | OTHER_SECRETS


def database_of(deployment: Document) -> str:
    """Return the name of the CloudNativePG cluster whose secret has the DATABASE_URL, or ""."""
    for container in deployment.spec["template"]["spec"]["containers"]:
        for item in container.get("env", ()):
            secret = item.get("valueFrom", {}).get("secretKeyRef", {}).get("name", "")
            if item["name"] == "DATABASE_URL":
                return str(secret).removesuffix(DATABASE_SECRET)
    return ""


def container_ports(all_: Manifests, namespace: str, selector: Mapping[str, str]) -> set[Any]:
    """Return numbers and names of the ports of the pods that match a selector."""
    found: set[Any] = set()
    for deployment in all_.of("Deployment"):
        if deployment.namespace == namespace and selects(selector, pod_labels(deployment)):
            for container in deployment.spec["template"]["spec"]["containers"]:
                for port in container.get("ports", ()):
                    found |= {port["containerPort"], port.get("name")}
    for store in all_.of("CephObjectStore"):
        if store.namespace == namespace and selects(selector, gateway_labels(store)):
            # Rook moves gateway.port to 8080, because its containers are not root.
            found |= {8080} if "port" in store.spec["gateway"] else set()
    for cluster in all_.of("Cluster"):
        if cluster.namespace == namespace and selects(selector, {"cnpg.io/cluster": cluster.name}):
            # PostgreSQL, the server's state for the operator, and metrics.
            found |= {5432, 8000, 9187}
    return found - {None}


def pod_labels(deployment: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = deployment.spec["template"]["metadata"].get("labels", {})
    return labels


def gateway_labels(store: Document) -> dict[str, str]:
    """Return the labels of the gateway pods that Rook creates."""
    return {
        "app": "rook-ceph-rgw",
        "rook_cluster": store.namespace,
        "rook_object_store": store.name,
    }


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()
