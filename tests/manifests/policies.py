"""Checks of network policies: who may reach which pods, and what these pods may reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from manifests.checks import Document
from manifests.names import (
    Manifests,
    container_ports,
    database_of,
    gateway_labels,
    pod_labels,
    selects,
)

Egress = dict[tuple[str, str], set[tuple[str, int]]]
"""Allowed protocols and ports, by namespace and pod labels."""

EVERY_PORT = {("TCP", 0), ("UDP", 0)}
POSTGRESQL = ("TCP", 5432)


def policy_problems(all_: Manifests) -> Iterator[str]:
    """Check that policies select existing pods and ports, and that the senders are admitted."""
    for policy in all_.of("NetworkPolicy"):
        ports = container_ports(all_, policy.namespace, _selector(policy))
        if not ports:
            yield f"{policy}: its podSelector matches no pod"
        for rule in policy.spec.get("ingress", ()):
            for port in rule.get("ports", ()):
                if ports and port["port"] not in ports:
                    yield f"{policy}: no container listens on {port['port']}"
    for deployment in _triggers(all_):
        sources = [source for each in _policies(all_, deployment) for source in _sources(each)]
        if not any(_is_gateway(all_, source) for source, _ in sources):
            yield f"{deployment}: the gateways of the object store are not admitted"
    for deployment in _pages(all_):
        policies = _policies(all_, deployment)
        sources = [str(source) for each in policies for source in _sources(each)]
        if len(sources) != 1 or "ingress-nginx" not in sources[0]:
            yield f"{deployment}: the ingress controller alone has to be admitted"
    for cluster in all_.of("Cluster"):
        yield from _database_problems(all_, cluster)


def _database_problems(all_: Manifests, cluster: Document) -> Iterator[str]:
    """Check that only trigger, pages, the operator and its own servers reach a database."""
    own = {"cnpg.io/cluster": cluster.name}
    policies = [each for each in all_.of("NetworkPolicy") if selects(_selector(each), own)]
    if not policies:
        yield f"{cluster}: everything in Kubernetes may reach it"
    found = [(str(source), ports) for policy in policies for source, ports in _sources(policy)]
    operator = "'app.kubernetes.io/name': 'cloudnative-pg'"
    trigger = "'app.kubernetes.io/name': 'rollcall-trigger'"
    pages = "'app.kubernetes.io/name': 'rollcall-web'"
    wanted = {str(own): {5432, 8000}, operator: {5432, 8000}, trigger: {5432}, pages: {5432}}
    for label, ports in wanted.items():
        if not any(label in source and ports <= given for source, given in found):
            yield f"{cluster}: {label} cannot reach {sorted(ports)}"
    for source, ports in found:
        if ports & {5432, 8000} and not any(label in source for label in wanted):
            yield f"{cluster}: {source} may reach {sorted(ports)}"


def egress_problems(all_: Manifests) -> Iterator[str]:
    """Check that triggers and pages can reach only what they need.

    Both need DNS, the store and the database, triggers also OpenFaaS' gateway, and pages DynamoDB.
    """
    for deployment in (*_triggers(all_), *_pages(all_)):
        # Kubernetes ignores the egress rules of a policy without this type.
        policies = [
            policy
            for policy in _policies(all_, deployment)
            if "Egress" in policy.spec["policyTypes"]
        ]
        if not policies:
            yield f"{deployment}: its pods may connect to everything"
            continue
        found: Egress = {}
        for policy in policies:
            _add_egress(policy, found)
        wanted = _wanted_egress(all_, deployment)
        for target in sorted(found.keys() | wanted.keys(), key=str):
            given, needed = found.get(target, set()), wanted.get(target, set())
            if missing := needed - given:
                yield f"{deployment}: its pods cannot reach {sorted(missing)} of {target}"
            if more := given - needed:
                yield f"{deployment}: its pods may reach {sorted(more)} of {target}"


def _add_egress(policy: Document, found: Egress) -> None:
    for rule in policy.spec.get("egress", ()):
        ports = {(each["protocol"], each["port"]) for each in rule.get("ports", ())}
        for to in rule.get("to", [{}]):
            labels = to.get("podSelector", {}).get("matchLabels", {})
            # Without a namespaceSelector, a podSelector selects pods of the policy's own namespace.
            here = policy.namespace if labels and "namespaceSelector" not in to else "anything"
            namespace = to.get("namespaceSelector", {}).get("matchLabels", {})
            target = namespace.get("kubernetes.io/metadata.name", here), str(labels)
            found.setdefault(target, set()).update(ports or EVERY_PORT)


def _wanted_egress(all_: Manifests, deployment: Document) -> Egress:
    """Return DNS, each store (HTTP and HTTPS), the OpenFaaS gateway and the database."""
    found: Egress = {("kube-system", str({"k8s-app": "kube-dns"})): {("TCP", 53), ("UDP", 53)}}
    for store in all_.of("CephObjectStore"):
        labels = {key: gateway_labels(store)[key] for key in ("app", "rook_object_store")}
        found[store.namespace, str(labels)] = {("TCP", 8080), ("TCP", 443)}
    for container in deployment.spec["template"]["spec"]["containers"]:
        for item in container.get("env", ()):
            if item["name"] == "OPENFAAS_GATEWAY":
                parts = urlsplit(item["value"])
                namespace = (parts.hostname or "").split(".")[1]
                found[namespace, str({"app": "gateway"})] = {("TCP", parts.port or 80)}
    if deployment.name == "rollcall-web":
        found["anything", "{}"] = {("TCP", 443)}
    if database := database_of(deployment):
        found[deployment.namespace, str({"cnpg.io/cluster": database})] = {POSTGRESQL}
    return found


def _triggers(all_: Manifests) -> list[Document]:
    return [each for each in all_.of("Deployment") if each.name == "rollcall-trigger"]


def _pages(all_: Manifests) -> list[Document]:
    return [each for each in all_.of("Deployment") if each.name == "rollcall-web"]


def _policies(all_: Manifests, deployment: Document) -> list[Document]:
    return [
        policy
        for policy in all_.of("NetworkPolicy")
        if policy.namespace == deployment.namespace
        and selects(_selector(policy), pod_labels(deployment))
    ]


def _selector(policy: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = policy.spec["podSelector"].get("matchLabels", {})
    return labels


def _sources(policy: Document) -> Iterator[tuple[Mapping[str, Any], set[Any]]]:
    """Yield each source that a policy admits, with the ports that it may reach."""
    for rule in policy.spec.get("ingress", ()):
        ports = {each["port"] for each in rule.get("ports", ())} or {5432, 8000}
        for source in rule.get("from", [{}]):
            yield source, ports


def _is_gateway(all_: Manifests, source: Mapping[str, Any]) -> bool:
    selector = source.get("podSelector", {}).get("matchLabels", {})
    namespaces = source.get("namespaceSelector", {}).get("matchLabels", {})
    return any(
        namespaces == {"kubernetes.io/metadata.name": store.namespace}
        and selects(selector, gateway_labels(store))
        for store in all_.of("CephObjectStore")
    )
