"""The CustomResourceDefinition, from the types. Pure."""

import json

from modelserver_operator.api.marks import CHANGE
from modelserver_operator.api.schema import structural, with_children, without
from modelserver_operator.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION, ModelServer
from modelserver_operator.json_types import JsonObject

CRD_NAME = f"{PLURAL}.{GROUP}"


def crd() -> JsonObject:
    """Build the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["msrv"],
                "categories": ["modelserver"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def marked_schema() -> JsonObject:
    """Build the schema of the resource. What a change of a field costs (`x-change`) is still apart
    from its description, for whoever prints them apart.
    """
    root = structural(ModelServer)
    fields = root["properties"]
    fields["metadata"] = {"type": "object"}
    # Kubernetes fills in the first two, and only the operator writes status.
    for name in ("apiVersion", "kind", "status"):
        fields[name] = without(fields[name], "default")
    return root


def _version() -> JsonObject:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": without(_described(marked_schema()), CHANGE)},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _printer_columns(),
    }


def _described(schema: JsonObject, inherited: str = "") -> JsonObject:
    """Write what a field's default is, and what its change costs, into its description.

    A field without a mark of its own costs what the field around it does.
    """
    change = schema.get(CHANGE, inherited)
    described = with_children(schema, lambda child: _described(child, change))
    if "description" in schema:
        default = f"Default: {_text(schema['default'])}." if "default" in schema else ""
        sentences = (schema["description"], default, change)
        described["description"] = " ".join(sentence for sentence in sentences if sentence)
    return described


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _printer_columns() -> list[JsonObject]:
    return [
        _column("Ready", _condition("Ready", "status")),
        _column("Reason", _condition("Ready", "reason")),
        _column("Versions", ".status.servingVersions"),
        _column("Replicas", ".status.readySummary"),
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        _column("Source", ".status.source", wide=True),
        _column("Rollout", _condition("RolloutHealthy", "reason"), wide=True),
        _column("Endpoint", ".status.endpoints.grpc", wide=True),
        _column("Message", _condition("Ready", "message"), wide=True),
    ]


def _condition(kind: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{part}'


def _column(name: str, path: str, *, wide: bool = False) -> JsonObject:
    column = {"name": name, "type": "string", "jsonPath": path}
    return column | {"priority": 1} if wide else column
