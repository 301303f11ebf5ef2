"""Checks of the custom resources of CloudNativePG and the Prometheus operator.

No package that CI can install has their schemas. So the tables below list the fields that the
manifests in deploy/ use, with the types that the definitions of CloudNativePG 1.30 and of the
Prometheus operator 0.93 give them. Any other field is reported: add it here after looking it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
from manifests.checks import METADATA, Document, where

TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 1}
FLAG = {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
SIZE = {"type": "string", "pattern": r"^\d+[KMGT]i$"}
TIME = {"type": "string", "pattern": r"^(\d+[wdhms])+$"}


def _table(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object that has the required fields, and no unknown ones."""
    return {
        "type": "object",
        "required": sorted(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


_CLUSTER = _table(
    {
        "instances": NUMBER,
        "imageName": {"type": "string", "pattern": r"^[a-z.]+/cloudnative-pg/postgresql:\d+"},
        "bootstrap": _table(
            {"initdb": _table({"database": TEXT, "owner": TEXT}, postInitSQL=_list(TEXT))}
        ),
        "postgresql": _table(
            {
                "synchronous": _table(
                    {
                        "method": {"enum": ["any", "first"]},
                        "number": NUMBER,
                        "dataDurability": {"enum": ["required", "preferred"]},
                        "failoverQuorum": FLAG,
                    }
                )
            }
        ),
        "affinity": _table(
            {
                "enablePodAntiAffinity": FLAG,
                "topologyKey": TEXT,
                "podAntiAffinityType": {"enum": ["required", "preferred"]},
            }
        ),
        "storage": _table({"size": SIZE}),
    },
    resources=_table({}, requests=TEXTS, limits=TEXTS),
)
_MONITOR = _table(
    {
        "selector": _table({"matchLabels": TEXTS}),
        "endpoints": _list(_table({"port": TEXT, "path": TEXT}, interval=TIME, scrapeTimeout=TIME)),
    },
)
_RULE = _table({"expr": TEXT}, alert=TEXT, record=TEXT, labels=TEXTS, annotations=TEXTS) | {
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}]
}
_RULE["properties"]["for"] = TIME
_RULES = _table({"groups": _list(_table({"name": TEXT, "rules": _list(_RULE)}, interval=TIME))})

SCHEMAS = {
    ("postgresql.cnpg.io/v1", "Cluster"): _CLUSTER,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): _RULES,
}


def is_operators(document: Document) -> bool:
    group = str(document.body.get("apiVersion", "")).partition("/")[0]
    return group in ("postgresql.cnpg.io", "monitoring.coreos.com")


def operator_problems(document: Document) -> Iterator[str]:
    """Check fields and types of a resource, and what a database needs to lose no commit."""
    key = (str(document.body.get("apiVersion")), document.kind)
    if key not in SCHEMAS:
        yield f"{document}: no such custom resource: {' '.join(key)}"
        return
    schema = _table({"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA, "spec": SCHEMAS[key]})
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(document.body))
    yield from (f"{document}: {where(error)}" for error in errors)
    if document.kind == "Cluster" and not errors:
        yield from _durability_problems(document)


def _durability_problems(cluster: Document) -> Iterator[str]:
    """Check that no acknowledged commit is lost with one server, and that one loss stops nothing.

    A commit needs `number` standbys. Writes go on after the loss of a server only if that is fewer
    than there are.
    """
    synchronous = cluster.spec["postgresql"]["synchronous"]
    if synchronous["dataDurability"] != "required" or not synchronous["failoverQuorum"]:
        yield f"{cluster}: a failover may lose acknowledged commits"
    if not synchronous["number"] < cluster.spec["instances"] - 1:
        yield f"{cluster}: the loss of one server stops all writes"
    affinity = cluster.spec["affinity"]
    if not affinity["enablePodAntiAffinity"] or affinity["podAntiAffinityType"] != "required":
        yield f"{cluster}: two servers may run on one node"
