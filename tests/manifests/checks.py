"""Checks of manifests against the schemas of Kubernetes and Rook.

Every check gets documents and yields a sentence for each problem, so a test can break a document in
memory and assert that the check finds the mistake. `names.py` checks that names agree.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import kubernetes_validate
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY.parent / "shared" / "data" / "rook" / "crds-v1.20.json"
KUBERNETES = ("1.31", "1.36")
"""The oldest and the newest Kubernetes version that Rook 1.20 supports."""

CRD_GROUPS = ("ceph.rook.io/", "objectbucket.io/")

Schemas = Mapping[tuple[str, str], dict[str, Any]]


class Document(NamedTuple):
    """A YAML document and the file that contains it."""

    file: str
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.body.get("metadata", {}).get("namespace", ""))

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.body.get("spec", {}))

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


class KubernetesLoader(yaml.SafeLoader):
    """Reads YAML 1.1 like kubectl: a bare `n` is false, and repeated keys are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), "yYnN")
KubernetesLoader.bool_values = KubernetesLoader.bool_values | {"y": True, "n": False}


def parse(text: str, file: str = "text") -> list[Document]:
    """Return the documents of a file, except empty ones (such as a comment before `---`)."""
    bodies = yaml.load_all(text, Loader=KubernetesLoader)
    return [Document(file, body) for body in bodies if body is not None]


def load(folder: Path) -> list[Document]:
    """Return the documents of all YAML files below a folder."""
    files = sorted(path for end in ("yaml", "yml") for path in folder.rglob(f"*.{end}"))
    return [
        document
        for path in files
        for document in parse(path.read_text(), str(path.relative_to(REPOSITORY)))
    ]


def lifecycle_rules() -> dict[str, dict[str, Any]]:
    """Return the lifecycle rules in deploy/lifecycle by the name of their bucket."""
    folder = REPOSITORY / "deploy" / "lifecycle"
    files = {"input-bucket-video": "videos", "rollcall-reports": "reports"}
    return {name: json.loads((folder / f"{f}.json").read_text()) for name, f in files.items()}


def core_problems(document: Document) -> Iterator[str]:
    """Check a core resource. A kind that Kubernetes does not know is a problem as well."""
    for version in KUBERNETES:
        try:
            used = kubernetes_validate.validate(document.body, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{document}: Kubernetes {version}: {where(error)}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{document}: {error.message}"
        else:
            if used != version:  # the library silently falls back to an older schema
                yield f"no schemas of Kubernetes {version}; the nearest are {used}"


def rook_schemas(path: Path = CRDS) -> Schemas:
    """Return the JSON Schemas of Rook's custom resources by (apiVersion, kind).

    They refuse unknown fields.
    """
    return {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): _resource(
            version["schema"]["openAPIV3Schema"]
        )
        for crd in json.loads(path.read_text())
        for version in crd["spec"]["versions"]
    }


def rook_problems(document: Document, schemas: Schemas) -> Iterator[str]:
    key = (str(document.body.get("apiVersion")), document.kind)
    if key not in schemas:
        yield f"{document}: no such custom resource: {' '.join(key)}"
        return
    validator = jsonschema.Draft202012Validator(schemas[key])
    yield from (f"{document}: {where(error)}" for error in validator.iter_errors(document.body))


def is_rook(document: Document) -> bool:
    return str(document.body.get("apiVersion", "")).startswith(CRD_GROUPS)


def is_kustomization(document: Document) -> bool:
    return document.kind == "Kustomization"


def where(error: Any) -> str:
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


def _resource(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the fields of every resource, so that it refuses unknown fields."""
    closed = _close(copy.deepcopy(schema))
    text = {"type": "string"}
    closed["properties"] |= {"apiVersion": text, "kind": text, "metadata": METADATA}
    closed["properties"].pop("status", None)  # written by Kubernetes, not by people
    closed["required"] = ["apiVersion", "kind", "metadata", "spec"]
    closed["additionalProperties"] = False
    return closed


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn an OpenAPI schema into a JSON Schema whose objects refuse unknown fields."""
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
        schema["type"] = ["integer", "string"]
    if schema.pop("nullable", False) and "type" in schema:
        kind = schema["type"]
        schema["type"] = [*([kind] if isinstance(kind, str) else kind), "null"]
    for name, part in schema.get("properties", {}).items():
        schema["properties"][name] = _close(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _close(schema[key])
    # Unknown fields are typing errors, even where the operator would accept them.
    if "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return schema
