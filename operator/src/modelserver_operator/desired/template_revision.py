"""The ControllerRevision that keeps a pod template, so that an operator upgrade changes no pod.

The template is rendered once for each set of cold inputs (what the resource itself says) and is
used as it was rendered until they change. Neither the operator's version nor its defaults are among
them: a new default image reaches the pods with the next cold change, or when `image` names it.
"""

from typing import NamedTuple

from modelserver_operator.api import ModelServer, ModelServerSpec
from modelserver_operator.desired.canonical import canonical_json, digest
from modelserver_operator.desired.defaults import Defaults
from modelserver_operator.desired.labels import child_metadata
from modelserver_operator.desired.model_uri import model_claims
from modelserver_operator.desired.ownership import own_child
from modelserver_operator.desired.pod_template import pod_template
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Observed

# By their names in JSON. A field that is added here must be unset or empty unless somebody sets it,
# and what a field's values look like must not change: either would restart every pod there is.
_COLD_FIELDS = {
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "resources",
    "gpu",
    "credentialsSecretRef",
    "env",
    "serviceAccountName",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "runtimeClassName",
    "cache",
    "podTemplate",
}


class TemplateRevision(NamedTuple):
    """A pod template, the hash of what it was made from, and the manifest that keeps both."""

    hash: str
    template: JsonObject
    manifest: JsonObject


def template_revision(
    server: ModelServer, defaults: Defaults, observed: Observed
) -> TemplateRevision:
    """The template that was kept for what `server` says, or a new one where none was."""
    inputs = cold_hash(server)
    name = f"{server.metadata.name}-{inputs[:10]}"
    kept = _kept(observed, name, inputs)
    data = kept or {"coldHash": inputs, "template": pod_template(server, defaults)}
    manifest: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(server, name),
        "data": data,
        "revision": 1,
    }
    return TemplateRevision(inputs, data["template"], manifest)


def cold_hash(server: ModelServer) -> str:
    """The hash of everything in `server` that a pod template is made from, as 64 hex digits."""
    spec = server.spec.to_json()
    inputs = {field: spec[field] for field in _COLD_FIELDS if spec.get(field)}
    return digest(canonical_json(inputs | {"claims": model_claims(server)}))


def cold_fields() -> frozenset[str]:
    """The fields of the spec, by their names in Python, that a pod template is made from."""
    fields = ModelServerSpec.model_fields
    return frozenset(name for name, field in fields.items() if field.alias in _COLD_FIELDS)


def _kept(observed: Observed, name: str, inputs: str) -> JsonObject | None:
    live = own_child(observed, "ControllerRevision", name)
    if live is None:
        return None
    data: JsonObject = live.get("data") or {}
    return data if data.get("coldHash") == inputs and data.get("template") else None
