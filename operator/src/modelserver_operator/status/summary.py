"""The one-line summaries: printer columns show strings, and of a JSONPath only the first match."""

from collections.abc import Sequence

from modelserver_operator.api import Endpoints, Metadata
from modelserver_operator.status.facts import Facts
from modelserver_operator.status.version_row import AVAILABLE

_LONGEST = 256
_GRPC_PORT = 8500
_NAME_LABEL = "modelserver.dev/name"


def serving_versions(facts: Facts) -> str:
    """`mnist:2,1 other:7`: what pods have Available now; whole models are left out at the end of
    a long list.
    """
    served = ((model, _served(facts, model)) for model in facts.rows.models)
    return _joined([f"{model}:{versions}" for model, versions in served if versions])


def source(facts: Facts) -> str:
    """The models' URIs, each once."""
    return _joined(tuple(dict.fromkeys(model.uri for model in facts.server.spec.models)))


def ready_summary(facts: Facts) -> str:
    """`2/3`: ready pods of those wanted."""
    return f"{len(facts.view.ready)}/{facts.wanted_replicas}"


def endpoints(metadata: Metadata) -> Endpoints:
    """Where clients in the cluster find the server."""
    name, namespace = metadata.name, metadata.namespace
    return Endpoints(
        grpc=f"{name}.{namespace}.svc:{_GRPC_PORT}",
        headless=f"dns:///{name}-headless.{namespace}.svc:{_GRPC_PORT}",
    )


def selector(metadata: Metadata) -> str:
    """The label selector of the pods, as text."""
    return f"{_NAME_LABEL}={metadata.name}"


def _served(facts: Facts, model: str) -> str:
    rows = [row.status for row in facts.rows.of(model)]
    served = [row for row in rows if row.state == AVAILABLE and row.available_replicas]
    return ",".join(str(row.version) for row in served)


def _joined(entries: Sequence[str]) -> str:
    """All entries, or as many as fit and how many do not."""
    text = " ".join(entries)
    if len(text) <= _LONGEST:
        return text
    fitting = len(entries)
    while fitting and len(_with_rest(entries, fitting)) > _LONGEST:
        fitting -= 1
    return _with_rest(entries, fitting) if fitting else f"{text[: _LONGEST - 1]}…"


def _with_rest(entries: Sequence[str], fitting: int) -> str:
    return f"{' '.join(entries[:fitting])} +{len(entries) - fitting} more"
