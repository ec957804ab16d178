"""The ConfigMap that carries the config document into the pods."""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.config_document import (
    SERVED_ANNOTATION,
    ConfigDocument,
)
from modelserver_operator.desired.labels import child_metadata, config_map_name
from modelserver_operator.desired.volumes import CONFIG_FILE
from modelserver_operator.json_types import JsonObject


def config_map(server: ModelServer, document: ConfigDocument) -> JsonObject:
    """The manifest; servers see a change of it without a restart."""
    annotations = {SERVED_ANNOTATION: "true"} if document.has_served else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(server, config_map_name(server.metadata.name), annotations),
        "data": {CONFIG_FILE: document.text},
    }
